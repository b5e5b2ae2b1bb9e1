"""Anthropic: `https://api.anthropic.com`, key as `x-api-key`.

`anthropic-version` and `anthropic-beta` are the caller's and pass through untouched. `base_url` is the
address without `/v1`, as Anthropic's own clients have it; one that ends in `/v1` means the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from yarl import URL

from proxy.providers.base import (
    ANTHROPIC_OPERATIONS,
    Account,
    Dialect,
    Headers,
    Operation,
    Prepared,
    Secret,
    Upstream,
    api_key,
    base_of,
    join,
    operation_routes,
    route,
)

BASE_URL = "https://api.anthropic.com"


class Anthropic:
    name = "anthropic"
    dialects = frozenset({Dialect.ANTHROPIC})

    def routes(self, account: Account, model_id: str) -> Mapping[Operation, URL]:
        base = base_of(account, BASE_URL)
        if base.raw_path.rstrip("/").rpartition("/")[2] != "v1":
            base = join(base, "v1")
        return operation_routes(base, ANTHROPIC_OPERATIONS)

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
        headers.append(("x-api-key", api_key(upstream, secret)))
        return Prepared("POST", url, headers, body)
