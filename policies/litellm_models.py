"""LiteLLM's `model_list` to provider accounts: one for each provider, address and key.

A deployment becomes a model of the account; callers say `<account>/<model_name>`. Keys become references to
environment variables; a key that stands in the file is not copied, the report says which variable to set.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from policies.check_accounts import address_problem
from policies.litellm_notes import Notes, shown

_ENV = re.compile(r"os\.environ/([A-Za-z_][A-Za-z0-9_]{0,127})\Z")
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/+-]{0,127}\Z")
_REGION = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")
_VERSION = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")


class Provider(NamedTuple):
    """What a provider of LiteLLM is here: its type, its usual variable, its address if it has one."""

    type: str
    variable: str
    base_url: str = ""


_COMPATIBLE = "openai-compatible"
PROVIDERS: Mapping[str, Provider] = {
    "openai": Provider("openai", "OPENAI_API_KEY"),
    "anthropic": Provider("anthropic", "ANTHROPIC_API_KEY"),
    "azure": Provider("azure-openai", "AZURE_API_KEY"),
    "gemini": Provider("google-gemini", "GEMINI_API_KEY"),
    "bedrock": Provider("aws-bedrock", ""),
    "custom_openai": Provider(_COMPATIBLE, ""),
    "hosted_vllm": Provider(_COMPATIBLE, ""),
    "litellm_proxy": Provider(_COMPATIBLE, ""),
    "lm_studio": Provider(_COMPATIBLE, ""),
    "openai_like": Provider(_COMPATIBLE, ""),
    "deepseek": Provider(_COMPATIBLE, "DEEPSEEK_API_KEY", "https://api.deepseek.com/v1"),
    "fireworks_ai": Provider(
        _COMPATIBLE, "FIREWORKS_API_KEY", "https://api.fireworks.ai/inference/v1"
    ),
    "groq": Provider(_COMPATIBLE, "GROQ_API_KEY", "https://api.groq.com/openai/v1"),
    "mistral": Provider(_COMPATIBLE, "MISTRAL_API_KEY", "https://api.mistral.ai/v1"),
    "openrouter": Provider(_COMPATIBLE, "OPENROUTER_API_KEY", "https://openrouter.ai/api/v1"),
    "together_ai": Provider(_COMPATIBLE, "TOGETHERAI_API_KEY", "https://api.together.xyz/v1"),
    "xai": Provider(_COMPATIBLE, "XAI_API_KEY", "https://api.x.ai/v1"),
}
_MODES: Mapping[str, str] = {
    "audio_speech": "text_to_speech",
    "audio_transcription": "audio_transcription",
    "chat": "chat",
    "completion": "completion",
    "embedding": "embedding",
    "image_generation": "image",
    "moderation": "moderation",
    "realtime": "realtime",
    "rerank": "rerank",
    "responses": "responses",
}
_USED = frozenset(
    {"model", "api_base", "base_url", "api_key", "api_version", "custom_llm_provider"}
    | {"aws_access_key_id", "aws_secret_access_key", "aws_session_token", "aws_region_name"}
    | {"litellm_credential_name"}
)


class Deployed(NamedTuple):
    """One model here: its name, the team that alone may use it, the access groups that it is in."""

    name: str  # <account>/<model>
    team: str | None
    groups: tuple[str, ...]


@dataclass(slots=True)
class Models:
    """The accounts as they grow. `by_name` leads from LiteLLM's `model_name` to what stands for it."""

    notes: Notes
    credentials: Mapping[str, Mapping[str, Any]]
    by_name: dict[str, list[Deployed]] = field(default_factory=dict)
    variables: set[str] = field(default_factory=set)
    _accounts: dict[tuple[object, ...], dict[str, Any]] = field(default_factory=dict)

    def documents(self) -> list[dict[str, Any]]:
        return list(self._accounts.values())

    def add(self, entry: object, where: str) -> None:
        """One entry of `model_list`."""
        params = entry.get("litellm_params") if isinstance(entry, Mapping) else None
        if not isinstance(entry, Mapping) or not isinstance(params, Mapping):
            self.notes.left(where, "an entry without `litellm_params`")
            return
        name, at = str(entry.get("model_name") or ""), f"{where}.litellm_params"
        stored = self.credentials.get(str(params.get("litellm_credential_name")), {})
        params = {**stored, **{key: value for key, value in params.items() if value is not None}}
        if not name or "*" in name or "*" in str(params.get("model", "")):
            todo = "Name each model under `integrations` of its account."
            self.notes.left(where, f"the wildcard model `{shown(name)}`", todo)
            return
        for key in sorted(set(params) - _USED):
            self.notes.left(
                f"{at}.{shown(key)}", "limits, prices and request defaults are not policy"
            )
        account = self._account(params, at)
        if account is None:
            return
        self._model(account, name, params, entry.get("model_info"), where)

    def _account(self, params: Mapping[str, Any], at: str) -> dict[str, Any] | None:
        """The account of a deployment; None (and a note) when it cannot be one here."""
        prefix = provider_of(params)
        provider = PROVIDERS.get(prefix)
        if provider is None:
            todo = "Add it by hand as an `openai-compatible` account if it speaks that protocol."
            self.notes.left(f"{at}.model", f"the provider `{shown(prefix) or 'unknown'}`", todo)
            return None
        fields: dict[str, Any] = {}
        kind = provider.type
        base = str(params.get("api_base") or params.get("base_url") or provider.base_url)
        if base:
            if base.startswith("os.environ/") or address_problem(base.rstrip("/")):
                todo = (
                    "Write the address itself, without user, query or variables, and import again."
                )
                self.notes.left(
                    f"{at}.api_base", "a model whose address cannot be taken over", todo
                )
                return None
            fields["base_url"] = base.rstrip("/")
            kind = _COMPATIBLE if kind == "openai" else kind
        elif kind in (_COMPATIBLE, "azure-openai"):
            todo = "Write `api_base`, and import again."
            self.notes.left(f"{at}.api_base", f"a model of `{shown(prefix)}` without address", todo)
            return None
        version = str(params.get("api_version") or "")
        if kind == "azure-openai" and _VERSION.match(version) and "os.environ" not in version:
            fields["api_version"] = version
        if kind == "aws-bedrock":
            region = str(params.get("aws_region_name") or "")
            if not _REGION.match(region):
                todo = "Write the region itself, as `us-east-1`, and import again."
                self.notes.left(f"{at}.aws_region_name", "a Bedrock model without region", todo)
                return None
            fields["region"] = region
        return self._with_key(kind, prefix, fields, params, provider, at)

    def _with_key(
        self,
        kind: str,
        prefix: str,
        fields: dict[str, Any],
        params: Mapping[str, Any],
        provider: Provider,
        at: str,
    ) -> dict[str, Any]:
        secrets = {
            key: params.get(key)
            for key in (
                "api_key",
                "aws_access_key_id",
                "aws_secret_access_key",
                "aws_session_token",
            )
        }
        found = self._accounts.get(key := (kind, *sorted(fields.items()), *secrets.values()))
        if found is not None:
            return found
        wanted = prefix.replace("_", "-")
        host = re.match(r"https?://([A-Za-z0-9-]+)", fields.get("base_url", ""))
        if host and not provider.base_url:
            wanted = f"{wanted}-{host[1]}"
        name = self.notes.name("provider-account", wanted, f"{at}.model")
        account: dict[str, Any] = {"type": f"provider-account/{kind}", "name": name, **fields}
        auth = self._auth(kind, name, secrets, provider.variable, at)
        if auth:
            account["auth_data"] = auth
        account["integrations"] = []
        self._accounts[key] = account
        return account

    def _auth(
        self, kind: str, name: str, secrets: Mapping[str, Any], usual: str, at: str
    ) -> dict[str, str]:
        if kind == "aws-bedrock":
            if not secrets["aws_access_key_id"]:
                todo = "Give the account `auth_data` with access keys."
                self.notes.changed(f"{at}.aws_access_key_id", f"`{name}` has no access keys", todo)
                return {}
            fields = {
                short: self._reference(name, short.upper(), secrets[key], "", f"{at}.{key}")
                for key, short in (
                    ("aws_access_key_id", "access_key_id"),
                    ("aws_secret_access_key", "secret_access_key"),
                    ("aws_session_token", "session_token"),
                )
                if secrets[key] or key == "aws_secret_access_key"
            }
            return {"type": "access-key-based", **fields}
        if not secrets["api_key"] and not usual:
            return {}
        made = self._reference(name, "API_KEY", secrets["api_key"], usual, f"{at}.api_key")
        return {"type": "api-key", "api_key": made}

    def _reference(self, name: str, what: str, value: object, usual: str, where: str) -> str:
        """`env:NAME` for a key: the variable that it named, the usual one, or a new one to set."""
        named = _ENV.match(str(value)) if value else None
        if named is not None:
            variable = named[1]
        elif not value and usual:
            variable = usual
            self.notes.changed(where, f"no key was named; `{name}` reads `{variable}`")
        else:
            variable = re.sub(r"[^A-Z0-9]", "_", f"{name}_{what}".upper())
            variable = variable if not variable[0].isdigit() else f"_{variable}"
            todo = f"Set `{variable}`; replace the key if the file was shared."
            self.notes.changed(where, "the key stands in the file and was not copied", todo)
        self.variables.add(variable)
        return f"env:{variable}"

    def _model(
        self,
        account: dict[str, Any],
        name: str,
        params: Mapping[str, Any],
        info: object,
        where: str,
    ) -> None:
        info = info if isinstance(info, Mapping) else {}
        made = (
            name
            if _MODEL.match(name)
            else re.sub(r"[^A-Za-z0-9._:@/+-]+", "-", name).strip("-._:@/+")
        )
        made = made[:120] or "model"
        if made != name:
            self.notes.changed(f"{where}.model_name", f"`{shown(name)}` is called `{made}` here")
        full = f"{account['name']}/{made}"
        if any(made.casefold() == each["name"].casefold() for each in account["integrations"]):
            todo = "A model here has one upstream; make a second account to keep both."
            self.notes.left(where, f"another deployment of `{full}`: load balancing", todo)
            return
        upstream = str(params.get("model"))
        prefix, slash, rest = upstream.partition("/")
        model = {
            "type": account["type"].replace("provider-account/", "integration/model/"),
            "name": made,
            "model_id": rest if slash and prefix in PROVIDERS else upstream,
            "model_types": [self._mode(info.get("mode"), upstream, where)],
        }
        account["integrations"].append(model)
        groups = info.get("access_groups")
        listed = tuple(map(str, groups)) if isinstance(groups, list | tuple) else ()
        team = str(info["team_id"]) if info.get("team_id") else None
        others = self.by_name.setdefault(name, [])
        if others:
            todo = "Callers choose one of them."
            self.notes.changed(where, f"`{shown(name)}` had several deployments, balanced", todo)
        others.append(Deployed(full, team, listed))
        self.notes.carried(where, f"`{shown(name)}` is `{full}`")

    def _mode(self, mode: object, upstream: str, where: str) -> str:
        if mode in _MODES:
            return _MODES[str(mode)]
        for part, kind in (("embed", "embedding"), ("whisper", "audio_transcription"),
                           ("tts-", "text_to_speech"), ("dall-e", "image")):  # fmt: skip
            if part in upstream.casefold():
                self.notes.changed(where, f"taken for a model of the kind `{kind}` by its name")
                return kind
        return "chat"


def provider_of(params: Mapping[str, Any]) -> str:
    """LiteLLM's name of the provider: said, before the slash, or known by the model's name."""
    said = params.get("custom_llm_provider")
    if said:
        return str(said)
    model = str(params.get("model") or "")
    prefix, slash, _ = model.partition("/")
    if slash:
        return prefix
    if re.match(r"gpt-|o[1-9](-|$)|text-embedding-|chatgpt-|dall-e|whisper-|tts-", model):
        return "openai"
    return "anthropic" if model.startswith("claude-") else ""
