"""What the pure policy code needs to be told: what exists (`Lookups`), and who keeps secrets (`Vault`).

`estate.Names` satisfies `Lookups`; `store.changes` brings a `Vault` that seals with the installation's key.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from policies.naming import Key


class Lookups(Protocol):
    """The few facts about other documents that compiling one document needs. All ids are stored ids."""

    def lives(self, thing: str) -> bool:
        """Whether this very generation of the thing exists (suspended or not)."""
        ...

    def acts(self, subject: str) -> bool:
        """Whether the subject exists and is not suspended, so that its grants have rows."""
        ...

    def generations(self, thing: str) -> tuple[str, ...]:
        """The ids of every generation that the thing's name ever had, oldest first."""
        ...

    def models(self, account: str | None) -> Iterable[str]:
        """The ids of the models of an account (its stored name), or of all accounts."""
        ...

    def offers(self, server: str | None) -> Iterable[str]:
        """The ids of the tools, prompts and resources that an MCP server (its stored name) offers now, or
        that all do. Of a virtual server: its tools."""
        ...

    def parts(self, server: str) -> Mapping[str, tuple[str, str]]:
        """What the tools of a virtual MCP server stand for: name -> (stored server, its tool)."""
        ...

    def bundle(self, role: str) -> tuple[str, ...] | None:
        """The actions of a resource role (`role:<name>`); None for a tenant role or an unknown one."""
        ...

    def is_tenant_role(self, role: str) -> bool:
        """Whether `role:<name>` exists and is a tenant role."""
        ...


class Vault(Protocol):
    """Seals a secret that came as plain text, while a change is planned."""

    def seal(self, key: Key, field: str, origin: str, secret: str) -> str:
        """The reference (`secret:<id>`) to store instead. The same arguments give the same reference."""
        ...
