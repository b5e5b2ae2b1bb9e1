"""What a reference may mean: a thing of the files being checked, a stored one, or a shipped one.

The stored ones are asked through `Known`, which `policies.estate.Estate` satisfies: its names hold a small
fact for each document, so that checking never needs all documents at hand. Next: `mentions`, the checks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from policies.documents import Document, ProviderAccount, Role, VirtualMcpServer
from policies.errors import PolicyError
from policies.loader import Loaded, shipped
from policies.mcp_offers import Offer, offers_of
from policies.naming import Key, plain
from policies.truefoundry import actions_of


class KnownFact(Protocol):
    """What is known of a stored document without reading it."""

    @property
    def models(self) -> tuple[str, ...]: ...
    @property
    def bundle(self) -> tuple[str, ...] | None: ...
    @property
    def tenant_role(self) -> bool: ...
    @property
    def virtual(self) -> bool: ...


class KnownNames(Protocol):
    """Which things are stored, by family and plain name."""

    def current(self, family: str, plain: str, /) -> str | None: ...
    def spelling(self, family: str, plain: str, /) -> str | None: ...
    def fact(self, key: Key, /) -> KnownFact | None: ...
    def keys(self) -> Iterator[Key]: ...


class KnownDocument(Protocol):
    @property
    def document(self) -> Document: ...


class Known(Protocol):
    """What is stored already (`policies.estate.Estate`)."""

    @property
    def names(self) -> KnownNames: ...
    def document(self, key: Key, /) -> KnownDocument | None: ...


@dataclass(frozen=True, slots=True)
class RoleFact:
    """What a grant needs to know of a role."""

    tenant: bool
    actions: tuple[str, ...] = ()  # of a resource role


class Things:
    """Looks things up, in the files first: what they declare replaces what is stored."""

    def __init__(self, loaded: Loaded, known: Known | None) -> None:
        self.known = known
        self._broken = loaded.broken
        self._own: dict[Key, Document] = {}
        if known is None:
            self._own.update((document.key, document) for document in shipped())
        self._own.update((each.document.key, each.document) for each in loaded.documents)

    def has(self, family: str, name: str) -> bool:
        """Whether there is such a thing. One whose own document is broken counts: it is reported once."""
        if (family, name) in self._own or (family, name) in self._broken:
            return True
        if self.known is None:
            return False
        if family == "user":
            return self.known.names.fact((family, name)) is not None
        return self.known.names.current(family, name) is not None

    def stored_spelling(self, family: str, name: str) -> str | None:
        """The stored name that differs from `name` in case at most, or None."""
        return None if self.known is None else self.known.names.spelling(family, name)

    def names(self, family: str) -> Iterable[str]:
        """Every name of a family, for hints."""
        yield from (name for kind, name in self._own if kind == family)
        if self.known is not None:
            stored = self.known.names.keys()
            yield from (plain(name) for kind, name in stored if kind == family)

    def models(self, account: str) -> tuple[str, ...] | None:
        """The names of an account's models; None when its document is broken or there is none."""
        own = self._own.get(("provider-account", account))
        if isinstance(own, ProviderAccount):
            return tuple(model.name for model in own.integrations)
        fact = self._fact("provider-account", account)
        return None if fact is None else fact.models

    def offers(self, server: str) -> tuple[Offer, ...] | None:
        """What a stored MCP server was found to offer; None when that is not known (yet)."""
        if self.known is None or ("mcp-server", server) in self._broken:
            return None
        current = self.known.names.current("mcp-server", server)
        if current is None:
            return None
        found = self.known.names.fact(("mcp-catalogue", current))
        policy = self.known.names.fact(("mcp-server", current))
        if found is None or policy is None or policy.virtual:
            return None
        return offers_of(server, policy.models, found.models)

    def is_virtual_server(self, name: str) -> bool:
        """Whether the MCP server of that name is made of others."""
        own = self._own.get(("mcp-server", name))
        if own is not None:
            return isinstance(own, VirtualMcpServer)
        fact = self._fact("mcp-server", name)
        return fact is not None and fact.virtual

    def role(self, name: str) -> RoleFact | None:
        """What is known of a role; None when its document is broken or there is none."""
        own = self._own.get(("role", name))
        if isinstance(own, Role):
            return RoleFact(own.resource_type == "tenant", _actions(own.permissions))
        fact = self._fact("role", name)
        return None if fact is None else RoleFact(fact.tenant_role, fact.bundle or ())

    def target_of(self, model: str) -> str | None:
        """What the virtual model `<account>/<model>` stands for; None for any other model."""
        account, _, name = model.partition("/")
        found = self._own.get(("provider-account", account))
        if found is None and self.known is not None:
            current = self.known.names.current("provider-account", account)
            stored = self.known.document(("provider-account", current)) if current else None
            found = stored.document if stored is not None else None
        if isinstance(found, ProviderAccount):
            for each in found.integrations:
                if each.name == name and each.routing_config is not None:
                    target = each.routing_config.targets[0].target
                    head, _, rest = target.partition("/")
                    return f"{plain(head)}/{rest}"
        return None

    def _fact(self, family: str, name: str) -> KnownFact | None:
        if self.known is None or (family, name) in self._broken:
            return None
        current = self.known.names.current(family, name)
        return None if current is None else self.known.names.fact((family, current))


def _actions(permissions: Iterable[str]) -> tuple[str, ...]:
    found: list[str] = []
    for written in permissions:
        try:
            found += [action.value for action in actions_of(written)]
        except PolicyError:
            continue  # reported where the role is checked
    return tuple(found)
