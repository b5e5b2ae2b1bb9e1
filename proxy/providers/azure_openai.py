"""Azure OpenAI: the resource's own address, key as `api-key`.

Without `api_version` (or with `v1`, `latest`, `preview`) the current API is used:
`<base_url>/openai/v1/<operation>`, and the deployment is the model in the body. With a dated
`api_version` it is the older one: `<base_url>/openai/deployments/<deployment>/<operation>?api-version=…`,
where the deployment stands in the path. In both, `model_id` is the deployment's name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from yarl import URL

from proxy.providers.base import (
    Account,
    Dialect,
    Operation,
    UpstreamMisconfigured,
    component,
    join,
    operation_routes,
)
from proxy.providers.keyed import Keyed

_BY_DEPLOYMENT = frozenset(
    {
        Operation.AUDIO_SPEECH,
        Operation.AUDIO_TRANSCRIPTIONS,
        Operation.AUDIO_TRANSLATIONS,
        Operation.CHAT_COMPLETIONS,
        Operation.COMPLETIONS,
        Operation.EMBEDDINGS,
        Operation.IMAGES_EDITS,
        Operation.IMAGES_GENERATIONS,
    }
)
_ALL = _BY_DEPLOYMENT | {Operation.RESPONSES}
_DATED = re.compile(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}(?:-preview)?\Z")


class AzureOpenAI(Keyed):
    name = "azure-openai"
    dialects = frozenset({Dialect.OPENAI})
    key_header = "api-key"
    key_prefix = ""

    def routes(self, account: Account, model_id: str) -> Mapping[Operation, URL]:
        if account.base_url is None:
            raise UpstreamMisconfigured(
                f"the provider account `{account.name}` needs a `base_url`",
                hint="`https://<resource>.openai.azure.com`",
            )
        base = _resource(account.base_url)
        version = account.api_version or "v1"
        if version in ("v1", "latest", "preview"):
            found = operation_routes(join(base, "openai", "v1"), _ALL)
            if version == "v1":
                return found
            return {op: url.with_query({"api-version": version}) for op, url in found.items()}
        if not _DATED.match(version):
            raise UpstreamMisconfigured(
                f"the `api_version` of the provider account `{account.name}` is not a version",
                hint="`v1`, `preview`, or a date such as `2024-10-21`",
            )
        deployment = component(model_id, "deployment (`model_id`)", account.name)
        dated = operation_routes(join(base, "openai", "deployments", deployment), _BY_DEPLOYMENT)
        dated[Operation.RESPONSES] = join(base, "openai", "responses")
        return {op: url.with_query({"api-version": version}) for op, url in dated.items()}


def _resource(base: URL) -> URL:
    """`base` without the `/openai` or `/openai/v1` that portals like to print behind it."""
    path = base.raw_path.rstrip("/")
    return base.with_path(path.removesuffix("/v1").removesuffix("/openai"), encoded=True)
