"""OpenAI: `https://api.openai.com/v1`, key as bearer.

`base_url` includes the `/v1` (as OpenAI's own clients have it), so a regional or private address works
unchanged. The caller's `openai-organization` and `openai-project` never pass (`proxy/outbound.py` drops
them): which organisation pays is the account's business.
"""

from __future__ import annotations

from collections.abc import Mapping

from yarl import URL

from proxy.providers.base import (
    OPENAI_OPERATIONS,
    Account,
    Dialect,
    Operation,
    base_of,
    operation_routes,
)
from proxy.providers.keyed import Keyed

BASE_URL = "https://api.openai.com/v1"


class OpenAI(Keyed):
    name = "openai"
    dialects = frozenset({Dialect.OPENAI})
    operations = OPENAI_OPERATIONS - {Operation.RERANK}
    address = BASE_URL  # unless the document has another

    def routes(self, account: Account, model_id: str) -> Mapping[Operation, URL]:
        return operation_routes(base_of(account, self.address), self.operations)
