"""The catalogue: every declared model, ready to be called. It is an applier of the change log.

A model that is not here does not exist for anybody. Callers write `acme/mini`; what is decided is the
`id` of what was found, which holds the account's generation (`model:acme~2/mini`). Building never fails: a
document that makes no valid address gives an `Upstream` with a `problem`, which only its own callers meet.
Next: `proxy/outbound.py` calls an `Upstream`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from yarl import URL

from authz.errors import InvalidId
from authz.vocabulary import Kind, model_id
from policies.change import Entry
from policies.documents import Document, Integration, ProviderAccount, parse
from policies.naming import split_generation
from policies.pricing import price_of
from proxy.providers import PROVIDERS
from proxy.providers.base import (
    Account,
    Dialect,
    LocalProvider,
    Provider,
    Upstream,
    UpstreamError,
    UpstreamMisconfigured,
)

FAMILY = "provider-account"
VIRTUAL = "provider-account/virtual-model"
MAX_CHAIN = 16  # aliases of aliases; validation allows fewer
_FORBIDDEN = re.compile(r"[#?@\\%\s\x00-\x1f\x7f]")


class Snapshot(Protocol):
    """The part of the change log's snapshot that is read here."""

    @property
    def documents(self) -> Iterable[Document]: ...


class Catalogue:
    """Models by the name that callers write, `<account>/<model>`."""

    def __init__(self, on_change: Callable[[str], None] | None = None) -> None:
        """`on_change` hears the name of each account whose document changed (drops its secret)."""
        self._on_change = on_change
        self._accounts: dict[str, ProviderAccount] = {}
        self._models: dict[str, Upstream] = {}  # declared ones, then aliases
        self._sorted: list[Upstream] | None = None

    def __len__(self) -> int:
        return len(self._models)

    def model(self, name: str) -> Upstream | None:
        """The model called `<account>/<model>`, or None."""
        return self._models.get(name)

    def models(self) -> list[Upstream]:
        """All models, sorted by name. The list is shared: do not change it."""
        if self._sorted is None:
            self._sorted = [self._models[name] for name in sorted(self._models)]
        return self._sorted

    def load(self, snapshot: Snapshot) -> None:
        """Starts from the estate as of one epoch."""
        for name in self._accounts:
            self._tell(name)
        self._accounts = {
            document.name: document
            for document in snapshot.documents
            if isinstance(document, ProviderAccount)
        }
        self._models = {}
        for account in self._accounts.values():
            self._declare(account)
        self._link()

    def apply(self, entry: Entry) -> None:
        """Follows one committed entry; untouched accounts keep their very objects."""
        touched = [change for change in entry.documents if change.key[0] == FAMILY]
        if not touched:
            return
        for (
            change
        ) in touched:  # all that goes before anything comes: a name may be taken again at once
            self._forget(change.key[1])
        for change in touched:
            document = None if change.after is None else parse(change.after)
            if isinstance(document, ProviderAccount):
                self._accounts[document.name] = document
                self._declare(document)
        self._link()

    def _forget(self, name: str) -> None:
        old = self._accounts.pop(name, None)
        if old is not None:
            for integration in old.integrations:
                self._models.pop(_name(old, integration), None)
        self._tell(name)

    def _tell(self, account: str) -> None:
        if self._on_change is not None:
            self._on_change(account)

    def _declare(self, document: ProviderAccount) -> None:
        """Adds the models of one account; aliases come with `_link`."""
        if document.type == VIRTUAL:
            return
        for integration in document.integrations:
            built = _build(document, integration)
            if built is not None:
                self._models[built.name] = built

    def _link(self) -> None:
        """Makes every alias anew: what it stands for may have changed."""
        self._sorted = None
        virtual = [
            (document, integration)
            for document in self._accounts.values()
            if document.type == VIRTUAL
            for integration in document.integrations
        ]
        if not virtual:
            return
        targets: dict[str, str] = {}  # id of an alias -> id of what it stands for
        for document, integration in virtual:
            self._models.pop(_name(document, integration), None)
            alias, routing = _id(document, integration), integration.routing_config
            if alias is not None and routing is not None:
                targets[alias] = f"{Kind.MODEL.value}:{routing.targets[0].target}"
        declared = {model.id: model for model in self._models.values()}
        for document, integration in virtual:
            alias = _id(document, integration)
            target = _end(alias, targets, declared)
            if alias is not None and target is not None:
                name = _name(document, integration)
                self._models[name] = replace(target, id=alias, name=name, target=target.id)


def _end(
    alias: str | None, targets: Mapping[str, str], declared: Mapping[str, Upstream]
) -> Upstream | None:
    """The declared model at the end of a chain of aliases; the engine asks about each step of it."""
    current = alias
    for _ in range(MAX_CHAIN):
        current = targets.get(current or "")
        if current is None:
            return None
        if current in declared:
            return declared[current]
    return None


def _name(document: ProviderAccount, integration: Integration) -> str:
    """The name that callers write."""
    return f"{split_generation(document.name)[0]}/{integration.name}"


def _id(document: ProviderAccount, integration: Integration) -> str | None:
    try:
        return model_id(document.name, integration.name)
    except InvalidId:  # too long once escaped; the loader refuses it, an old log may hold it
        return None


def _build(document: ProviderAccount, integration: Integration) -> Upstream | None:
    identity = _id(document, integration)
    if identity is None:
        return None
    provider: Provider = PROVIDERS[document.type.partition("/")[2]]
    sent = integration.model_id or integration.name
    region = integration.region or document.region
    dialects = provider.dialects
    if document.dialects is not None:
        dialects &= frozenset(Dialect(name) for name in document.dialects)
    common: dict[str, Any] = {
        "id": identity,
        "name": _name(document, integration),
        "account": document.name,
        "provider": provider,
        "model_id": sent,
        "dialects": dialects,
        "auth": document.auth_data,
        "region": region,
        "model_types": integration.model_types,
        "local": isinstance(provider, LocalProvider),
        "price": price_of(document.type.partition("/")[2], sent, integration.cost),
    }
    shown = split_generation(document.name)[0]
    try:
        base = None if document.base_url is None else parse_base(document.base_url, shown)
        account = Account(shown, base, region, document.api_version)
        routes = provider.routes(account, sent)
    except UpstreamError as problem:
        return Upstream(**common, problem=problem.with_traceback(None))
    origins = frozenset(str(url.origin()) for url in routes.values())
    return Upstream(**common, routes=routes, origins=origins)


def parse_base(text: str, account: str) -> URL:
    """The base address that a document gives.

    Raises:
        UpstreamMisconfigured: not absolute http(s), or holds a user name, a query, a fragment, an
            escape, a backslash or a space.
    """
    hint = "for example `https://api.example.com/v1`"
    if _FORBIDDEN.search(text):
        raise UpstreamMisconfigured(
            f"the `base_url` of the provider account `{account}` holds a character that it must not",
            hint=hint,
        )
    try:
        url = URL(text)
        port = url.port
    except ValueError:
        url, port = URL(), None
    if url.scheme not in ("http", "https") or not url.raw_host or port is None:
        raise UpstreamMisconfigured(
            f"the `base_url` of the provider account `{account}` is not an http or https address",
            hint=hint,
        )
    return url
