"""OpenAI: `https://api.openai.com/v1`, key as bearer.

`base_url` includes the `/v1` (as OpenAI's own clients have it), so a regional or private address works
unchanged. The caller's `openai-organization` and `openai-project` never pass (`proxy/outbound.py` drops
them): which organisation pays is the account's business.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from yarl import URL

from proxy.providers.base import (
    OPENAI_OPERATIONS,
    Account,
    Dialect,
    Headers,
    Operation,
    Prepared,
    Secret,
    Upstream,
    api_key,
    base_of,
    operation_routes,
    route,
)

BASE_URL = "https://api.openai.com/v1"


class OpenAI:
    name = "openai"
    dialects = frozenset({Dialect.OPENAI})
    operations = OPENAI_OPERATIONS - {Operation.RERANK}

    def routes(self, account: Account, model_id: str) -> Mapping[Operation, URL]:
        return operation_routes(base_of(account, BASE_URL), self.operations)

    def prepare(
        self,
        upstream: Upstream,
        operation: Operation,
        headers: Headers,
        body: bytes,
        secret: Secret | None,
        now: datetime,
    ) -> Prepared:
        url = route(upstream, operation)
        headers.append(("authorization", f"Bearer {api_key(upstream, secret)}"))
        return Prepared("POST", url, headers, body)
