"""What is wrong with a provider account: its address, its credentials, its models, its aliases.

The address and region end up in a host name and a path, so they are held to a grammar here; whether the
address may be called at all is decided by the outbound guard at run time. Secrets are never repeated.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from policies.documents import (
    AccessKeyAuth,
    ApiKeyAuth,
    Document,
    Integration,
    ProviderAccount,
)
from policies.loader import REQUEST, Located
from policies.mentions import Mentions
from policies.nearest import did_you_mean

MODEL_TYPES = (
    "audio_transcription",
    "audio_translation",
    "chat",
    "completion",
    "embedding",
    "image",
    "moderation",
    "ocr",
    "realtime",
    "rerank",
    "responses",
    "text_to_speech",
)
MAX_ALIAS_DEPTH = 8
VIRTUAL = "provider-account/virtual-model"

_REFERENCE = re.compile(r"(env|file|secret):(.*)\Z", re.DOTALL)
_ENV = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}\Z")
_FILE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}\Z")
_SECRET_ID = re.compile(r"[A-Za-z0-9._-]{1,128}\Z")
_AUTHORITY = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\])(?::(?P<port>[0-9]{1,5}))?\Z"
)
_PATH = re.compile(r"[A-Za-z0-9._~/:@!$&'()*+,;=-]*\Z")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")
_VERSION = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
# What a type cannot do without.
_NEEDS: Mapping[str, tuple[str, str]] = {
    "provider-account/azure-openai": ("base_url", "https://<resource>.openai.azure.com"),
    "provider-account/openai-compatible": ("base_url", "https://llm.example.com/v1"),
    "provider-account/aws-bedrock": ("region", "us-east-1"),
}
_WITHOUT_CREDENTIALS = frozenset(
    {VIRTUAL, "provider-account/echo", "provider-account/openai-compatible"}
)


def check_account(doc: Located[Document], account: ProviderAccount, refs: Mentions) -> None:
    """Everything about one provider account."""
    found = refs.found
    if account.base_url is not None:
        _address(doc, account.base_url, account.auth_data is not None, refs)
    if account.region is not None and not _LABEL.match(account.region):
        found.error(doc, ("region",), "bad_region", "`region` is not a region", "as `us-east-1`")
    if account.api_version is not None and not _VERSION.match(account.api_version):
        found.error(doc, ("api_version",), "wrong_value", "`api_version` is not a version")
    needed = _NEEDS.get(account.type)
    if needed is not None and getattr(account, needed[0]) is None:
        found.error(
            doc, (), "missing_field", f"a {account.type} needs `{needed[0]}`", f"as `{needed[1]}`"
        )
    if account.dialects is not None and not account.dialects:
        found.warn(doc, ("dialects",), "empty_list", "an account without dialects serves nobody")
    _credentials(doc, account, refs)
    for index, grant in enumerate(account.collaborators):
        refs.subject(doc, ("collaborators", index, "subject"), grant.subject)
        at = ("collaborators", index, "role_id")
        refs.resource_role(doc, at, grant.role_id, f"provider-account:{account.name}")
    _models(doc, account, refs)


# -- address -----------------------------------------------------------------------------------------


def _address(doc: Located[Document], url: str, secret: bool, refs: Mentions) -> None:
    problem = address_problem(url)
    if problem:
        refs.found.error(
            doc,
            ("base_url",),
            "bad_address",
            f"`base_url` {problem}",
            "as `https://host[:port]/path`",
        )
    elif secret and url.lower().startswith("http:"):
        refs.found.warn(
            doc,
            ("base_url",),
            "plain_http",
            "credentials go to `base_url` unencrypted",
            "use https",
        )


def address_problem(url: str) -> str:
    """Why `url` cannot be an upstream's address, or ''. It is not repeated: it may hold a secret.

    Held to one strict form rather than parsed, so that no reader further on can take it for another.
    """
    if re.search(r"[\x00-\x20\x7f\\]", url):
        return "holds blanks, controls or backslashes"
    if not re.match(r"https?://", url, re.IGNORECASE):
        return "is neither http nor https"
    if "#" in url:
        return "holds a fragment"
    if "?" in url:
        return "holds a query"
    authority, _, path = url.partition("://")[2].partition("/")
    if "@" in authority:
        return "holds a user name or password"
    parts = _AUTHORITY.match(authority)
    if parts is None or ".." in authority:
        return "has no usable host"
    if parts["port"] is not None and not 0 < int(parts["port"]) < 65536:
        return "has no usable port"
    if not _PATH.match(path) or any(part in (".", "..") for part in path.split("/")):
        return "has a path with `..`, `%` or other odd characters"
    return ""


# -- credentials -------------------------------------------------------------------------------------


def _credentials(doc: Located[Document], account: ProviderAccount, refs: Mentions) -> None:
    auth = account.auth_data
    if auth is None:
        if account.type not in _WITHOUT_CREDENTIALS:
            refs.found.warn(
                doc,
                (),
                "no_credentials",
                "no `auth_data`: the provider is called without credentials",
            )
        return
    if account.type == VIRTUAL:
        refs.found.error(
            doc, ("auth_data",), "wrong_value", "a virtual model has no credentials of its own",
            "those of its targets are used",
        )  # fmt: skip
    if isinstance(auth, ApiKeyAuth):
        check_secret(doc, "api_key", auth.api_key, refs)
        return
    assert isinstance(auth, AccessKeyAuth)
    if account.type != "provider-account/aws-bedrock":
        refs.found.error(
            doc, ("auth_data", "type"), "wrong_value",
            "access keys are for provider-account/aws-bedrock only", "use `type: api-key`",
        )  # fmt: skip
    check_secret(doc, "secret_access_key", auth.secret_access_key, refs)
    if auth.session_token is not None:
        check_secret(doc, "session_token", auth.session_token, refs)
    if _REFERENCE.match(auth.access_key_id):
        check_secret(doc, "access_key_id", auth.access_key_id, refs)


def check_secret(
    doc: Located[Document],
    name: str,
    value: str,
    refs: Mentions,
    path: tuple[str | int, ...] | None = None,
) -> None:
    """A reference must be well formed; a secret in plain text in a file is said."""
    path = path or ("auth_data", name)
    found = _REFERENCE.match(value)
    if found is None:
        if not value.strip():
            refs.found.error(doc, path, "empty_secret", f"`auth_data.{name}` is empty")
        elif re.search(r"[\x00-\x1f\x7f]", value):
            refs.found.error(
                doc, path, "wrong_value", f"`auth_data.{name}` holds line breaks or controls"
            )
        elif value.startswith(("tfy-secret:", "secret-store:")):
            refs.found.error(
                doc,
                path,
                "unsupported_reference",
                f"`auth_data.{name}` refers to a secret store, which is not supported yet",
                "write `env:NAME` or `file:name`",
            )
        elif not doc.file.startswith(REQUEST):
            refs.found.warn(
                doc,
                path,
                "plain_secret",
                f"`auth_data.{name}` is a secret in plain text",
                "write `env:NAME` or `file:name`, and replace the secret if the file was shared",
            )
        return
    kind, rest = found.groups()
    form = {"env": _ENV, "file": _FILE, "secret": _SECRET_ID}[kind]
    if not form.match(rest):
        hint = {
            "env": "as `env:OPENAI_API_KEY`",
            "file": "as `file:openai`: a plain name inside the folder of secrets",
            "secret": "it is given by the server",
        }[kind]
        refs.found.error(doc, path, "bad_reference", f"`auth_data.{name}` is not a reference", hint)


# -- models ------------------------------------------------------------------------------------------


def _models(doc: Located[Document], account: ProviderAccount, refs: Mentions) -> None:
    found, seen = refs.found, dict[str, int]()
    for index, model in enumerate(account.integrations):
        path = ("integrations", index)
        first = seen.setdefault(model.name.casefold(), index)
        if first != index:
            line = doc.at("integrations", first, "name").line
            found.error(
                doc, (*path, "name"), "duplicate", f"the model `{model.name}` stands twice",
                f"the first is at line {line}; names that differ in case only count as one",
            )  # fmt: skip
        if not model.type.startswith("integration/model/"):
            found.error(
                doc, (*path, "type"), "wrong_value", f"`{model.type[:80]}` is not a kind of model",
                "as `integration/model/openai`",
            )  # fmt: skip
        for place, kind in enumerate(model.model_types):
            if kind not in MODEL_TYPES:
                found.error(
                    doc, (*path, "model_types", place), "wrong_value",
                    f"`{kind[:80]}` is not a model type",
                    did_you_mean(kind, MODEL_TYPES, "one of " + ", ".join(MODEL_TYPES)),
                )  # fmt: skip
        if model.region is not None and not _LABEL.match(model.region):
            found.error(doc, (*path, "region"), "bad_region", "`region` is not a region")
        _cost(doc, path, model, refs)
        if model.authorized_subjects is not None:
            if not model.authorized_subjects:
                found.warn(
                    doc, (*path, "authorized_subjects"), "empty_list",
                    f"nobody but managers may use `{account.name}/{model.name}`",
                    "leave the field out to let everyone with access to the account use it",
                )  # fmt: skip
            refs.subjects(doc, (*path, "authorized_subjects"), model.authorized_subjects)
        _alias(doc, account, path, model, refs)


def _cost(
    doc: Located[Document], path: tuple[str | int, ...], model: Integration, refs: Mentions
) -> None:
    cost = model.cost
    if cost is None:
        return
    said = cost.input_cost_per_token is not None, cost.output_cost_per_token is not None
    if cost.metric == "custom_cost" and not any(said):
        refs.found.error(
            doc, (*path, "cost"), "missing_field", "a cost of one's own says no price",
            "add `input_cost_per_token` and `output_cost_per_token`, in US dollars",
        )  # fmt: skip
    elif cost.metric == "public_cost" and any(said):
        refs.found.warn(
            doc, (*path, "cost"), "no_effect", "with `public_cost` a price here says nothing",
            "write `metric: custom_cost`",
        )  # fmt: skip


def _alias(
    doc: Located[Document],
    account: ProviderAccount,
    path: tuple[str | int, ...],
    model: Integration,
    refs: Mentions,
) -> None:
    routing = model.routing_config
    if routing is None:
        if account.type == VIRTUAL:
            refs.found.error(
                doc,
                path,
                "missing_field",
                f"the virtual model `{model.name}` has no `routing_config`",
            )
        return
    at = (*path, "routing_config")
    if account.type != VIRTUAL:
        refs.found.error(
            doc, at, "wrong_value", f"a model of a {account.type} has no targets",
            f"targets are for a {VIRTUAL}",
        )  # fmt: skip
        return
    for index, target in enumerate(routing.targets):
        place = (*at, "targets", index, "target")
        if refs.model(doc, place, target.target):
            _chain(doc, place, f"{account.name}/{model.name}", target.target, refs)


def _chain(
    doc: Located[Document],
    place: tuple[str | int, ...],
    start: str,
    target: str,
    refs: Mentions,
) -> None:
    """Follow the targets: no circle, and no more than `MAX_ALIAS_DEPTH` steps."""
    steps = [start]
    current: str | None = target
    while current is not None:
        if current in steps:
            chain = " > ".join((*steps, current))
            refs.found.error(
                doc,
                place,
                "cycle",
                f"virtual models stand for each other: {chain[:400]}",
                "break it",
            )
            return
        steps.append(current)
        if len(steps) > MAX_ALIAS_DEPTH + 1:
            refs.found.error(
                doc, place, "too_deep", f"a chain of more than {MAX_ALIAS_DEPTH} virtual models"
            )
            return
        current = refs.things.target_of(current)
