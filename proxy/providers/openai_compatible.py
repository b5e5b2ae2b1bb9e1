"""Any server that speaks OpenAI's API (vLLM, Ollama, LiteLLM, …), with or without a key.

`base_url` is required and includes the `/v1` where the server has one. A server inside the network must
be listed in `UPSTREAM__ALLOW_PRIVATE`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from yarl import URL

from proxy.providers.base import (
    OPENAI_OPERATIONS,
    Account,
    Headers,
    Operation,
    Prepared,
    Secret,
    Upstream,
    UpstreamMisconfigured,
    operation_routes,
    route,
)
from proxy.providers.openai import OpenAI


class OpenAICompatible(OpenAI):
    name = "openai-compatible"
    operations = OPENAI_OPERATIONS

    def routes(self, account: Account, model_id: str) -> Mapping[Operation, URL]:
        if account.base_url is None:
            raise UpstreamMisconfigured(
                f"the provider account `{account.name}` needs a `base_url`",
                hint="the address that an OpenAI client would be given, usually ending in `/v1`",
            )
        return operation_routes(account.base_url, self.operations)

    def prepare(
        self,
        upstream: Upstream,
        operation: Operation,
        headers: Headers,
        body: bytes,
        secret: Secret | None,
        now: datetime,
    ) -> Prepared:
        if upstream.auth is None:  # servers without a key are common inside a network
            return Prepared("POST", route(upstream, operation), headers, body)
        return super().prepare(upstream, operation, headers, body, secret, now)
