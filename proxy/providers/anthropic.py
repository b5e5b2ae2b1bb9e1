"""Anthropic: `https://api.anthropic.com`, key as `x-api-key`.

`anthropic-version` and `anthropic-beta` are the caller's and pass through untouched. `base_url` is the
address without `/v1`, as Anthropic's own clients have it; one that ends in `/v1` means the same.
"""

from __future__ import annotations

from collections.abc import Mapping

from yarl import URL

from proxy.providers.base import (
    ANTHROPIC_OPERATIONS,
    Account,
    Dialect,
    Operation,
    base_of,
    join,
    operation_routes,
)
from proxy.providers.keyed import Keyed

BASE_URL = "https://api.anthropic.com"


class Anthropic(Keyed):
    name = "anthropic"
    dialects = frozenset({Dialect.ANTHROPIC})
    key_header = "x-api-key"
    key_prefix = ""

    def routes(self, account: Account, model_id: str) -> Mapping[Operation, URL]:
        base = base_of(account, BASE_URL)
        if base.raw_path.rstrip("/").rpartition("/")[2] != "v1":
            base = join(base, "v1")
        return operation_routes(base, ANTHROPIC_OPERATIONS)
