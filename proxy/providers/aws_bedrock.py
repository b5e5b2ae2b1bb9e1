"""Amazon Bedrock through the routes on which it speaks OpenAI's and Anthropic's APIs natively.

OpenAI dialect: `https://bedrock-runtime.<region>.amazonaws.com/openai/v1/…` (chat completions, responses).
Anthropic dialect: `https://bedrock-mantle.<region>.api.aws/anthropic/v1/messages[/count_tokens]`.
Bodies and event streams pass byte for byte; InvokeModel and Converse, which would need a translation,
are not used. A `base_url` (a VPC endpoint, or one of the two hosts for both dialects) replaces both
hosts; a path in it is where the OpenAI dialect starts. The credential is a Bedrock API key (bearer) or access keys (SigV4).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from yarl import URL

from proxy.providers.base import (
    ANTHROPIC_OPERATIONS,
    Account,
    ApiKey,
    AwsKeys,
    CredentialMissing,
    Dialect,
    Headers,
    Operation,
    Prepared,
    Secret,
    Upstream,
    host_label,
    join,
    operation_routes,
    route,
)
from proxy.providers.sigv4 import sign

_OPENAI = frozenset({Operation.CHAT_COMPLETIONS, Operation.RESPONSES})
_RUNTIME, _MANTLE = "bedrock-runtime", "bedrock-mantle"


class AwsBedrock:
    name = "aws-bedrock"
    dialects = frozenset({Dialect.OPENAI, Dialect.ANTHROPIC})

    def routes(self, account: Account, model_id: str) -> Mapping[Operation, URL]:
        region = host_label(account.region, "region", account.name)
        if account.base_url is None:
            runtime = URL(f"https://{_RUNTIME}.{region}.amazonaws.com/openai/v1")
            mantle = URL(f"https://{_MANTLE}.{region}.api.aws/anthropic/v1")
        else:
            given = account.base_url
            mantle = join(given.origin(), "anthropic", "v1")
            if given.raw_path.strip("/"):
                runtime = given
            else:
                # AWS documents `/v1` for most models of bedrock-mantle, `/openai/v1` for bedrock-runtime.
                on_mantle = _MANTLE in (given.raw_host or "")
                runtime = join(given, *(("v1",) if on_mantle else ("openai", "v1")))
        return {
            **operation_routes(runtime, _OPENAI),
            **operation_routes(mantle, ANTHROPIC_OPERATIONS),
        }

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
        if isinstance(secret, ApiKey):
            headers.append(("authorization", f"Bearer {secret.value}"))
        elif isinstance(secret, AwsKeys):
            # Only what no hop rewrites is signed.
            fixed = [item for item in headers if item[0].lower() == "content-type"]
            headers.extend(
                sign(
                    "POST",
                    url,
                    fixed,
                    body,
                    keys=secret,
                    region=upstream.region or "",
                    service=_service(url, operation),
                    now=now,
                )
            )
        else:
            raise CredentialMissing(
                f"the provider account `{upstream.account_name}` has no AWS credential",
                hint="`auth_data` of type `api-key` or `access-key-based`",
            )
        return Prepared("POST", url, headers, body)


def _service(url: URL, operation: Operation) -> str:
    """The service name that AWS wants in the signature: it follows the endpoint."""
    host = url.raw_host or ""
    if _MANTLE in host:
        return _MANTLE
    if _RUNTIME in host or operation.dialect is Dialect.OPENAI:
        return "bedrock"
    return _MANTLE
