"""The estate: all documents as they stand, and the facts that compiling asks for.

`Names` are the facts (small, held by every process); `Estate` holds documents too, all of them offline
and in tests, only those that a change needs on a live service (`store.changes` loads them step by step).
Both are changed only by applying what was planned; a plan looks through a `draft` of the names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from authz.rows import Row
from authz.vocabulary import kind_of
from policies.change import DocumentChange, Person, Plan, Source
from policies.compile import STRUCTURE_ROWS, bundle_of, rows_of
from policies.documents import (
    Document,
    McpCatalogue,
    McpServer,
    ProviderAccount,
    Role,
    User,
    VirtualAccount,
    VirtualMcpServer,
    dump,
    parse,
)
from policies.mcp_catalogue import EntryState, entry_id
from policies.mcp_offers import Offer, catalogue_fact, chosen_of, composed, offers_of, server_fact
from policies.naming import (
    EVERYONE,
    FAMILY_OF_KIND,
    OPAQUE_FAMILIES,
    UNMENTIONED_FAMILIES,
    Key,
    split_generation,
    with_generation,
)
from policies.references import mentions_of


@dataclass(frozen=True, slots=True)
class Stored:
    """A document as stored: which write it is, who owns it, and since which epoch it is so."""

    document: Document
    version: int
    source: Source
    epoch: int

    @property
    def key(self) -> Key:
        return self.document.key


@dataclass(frozen=True, slots=True)
class Fact:
    """What others may need to know of a document."""

    suspended: bool = False
    # A provider account's models, by name; of an MCP server or catalogue what `mcp_offers` makes of it.
    models: tuple[str, ...] = ()
    bundle: tuple[str, ...] | None = None  # a resource role's actions
    tenant_role: bool = False
    virtual: bool = False  # an account or MCP server, what of whom is offered stands for others


_PLAIN = Fact()
VIRTUAL_MODEL = "provider-account/virtual-model"


def fact_of(document: Document) -> Fact:
    """The fact of a stored document; equal facts mean that nothing which mentions it changes."""
    match document:
        case User():
            return Fact(suspended=document.state == "suspended" or bool(document.suspended_by))
        case VirtualAccount():
            return Fact(suspended=document.state == "suspended")
        case ProviderAccount():
            models = tuple(sorted(model.name for model in document.integrations))
            return Fact(models=models, virtual=document.type == VIRTUAL_MODEL)
        case McpServer():
            return Fact(
                models=server_fact(document), virtual=isinstance(document, VirtualMcpServer)
            )
        case McpCatalogue():
            return Fact(models=catalogue_fact(document))
        case Role():
            if document.resource_type == "tenant":
                return Fact(tenant_role=True)
            return Fact(bundle=bundle_of(document))
        case _:
            return _PLAIN


def fact_of_stored(key: Key, stored: Mapping[str, Any]) -> Fact:
    """The same of a stored mapping; users, of whom a sync brings thousands, are not parsed."""
    if key[0] == "user":
        suspended = stored.get("state") == "suspended" or bool(stored.get("suspended_by"))
        return Fact(suspended=suspended)
    return _PLAIN if key[0] in UNMENTIONED_FAMILIES else fact_of(parse(stored))


class Names:
    """Which things exist, in which generation, and their facts. Satisfies `ports.Lookups`.

    Users are too many to hold: a user id in a stored document was checked when it was written, so only
    those that cannot act now (suspended or deleted) are held.
    """

    def __init__(self) -> None:
        self._facts: dict[Key, Fact] = {}  # stored key -> fact; without users and credentials
        self._latest: dict[Key, int] = {}  # plain key -> highest generation ever given
        self._folded: dict[Key, str] = {}  # casefolded plain key -> plain name
        self._idle_users: set[str] = set()  # user ids (u-…) that are suspended or deleted

    def put(self, document: Document) -> None:
        """Take note of a stored document."""
        self.note(document.key, fact_of(document))

    def note(self, key: Key, fact: Fact | None, *, ended: bool = False) -> None:
        """Take note of a document's fact; None = it is gone (`ended`: was once there, at a start)."""
        family, name = key
        if family == "user":
            if fact is None or fact.suspended:
                self._idle_users.add(name)
            else:
                self._idle_users.discard(name)
            return
        if family in UNMENTIONED_FAMILIES:
            return
        plain, generation = split_generation(name)
        self._latest[family, plain] = max(generation, self._latest.get((family, plain), 0))
        if fact is None:
            self._facts.pop(key, None)
            if not ended and self._folded.get((family, plain.casefold())) == plain:
                del self._folded[family, plain.casefold()]
        else:
            self._facts[key] = fact
            self._folded[family, plain.casefold()] = plain

    def fact(self, key: Key) -> Fact | None:
        """The fact of a stored key; None when it is gone. A user is taken to exist unless known idle."""
        if key[0] == "user":
            return Fact(suspended=True) if key[1] in self._idle_users else _PLAIN
        return self._facts.get(key)

    def latest(self, family: str, plain: str) -> int:
        """The highest generation that the name ever had; 0 = it was never taken."""
        return self._latest.get((family, plain), 0)

    def current(self, family: str, plain: str) -> str | None:
        """The stored name of what is called `plain` now, or None."""
        name = with_generation(plain, self.latest(family, plain))
        return name if self.fact((family, name)) is not None else None

    def spelling(self, family: str, plain: str) -> str | None:
        """The name in use that differs from `plain` in case at most, or None."""
        return self._folded.get((family, plain.casefold()))

    def keys(self) -> Iterator[Key]:
        """The stored keys of everything that exists, but for users and credentials."""
        return iter(self._facts)

    def accounts(self) -> Iterator[str]:
        """The stored names of all provider accounts."""
        return (name for family, name in self._facts if family == "provider-account")

    def servers(self) -> Iterator[str]:
        """The stored names of all MCP servers."""
        return (name for family, name in self.keys() if family == "mcp-server")

    def offered(self, server: str) -> tuple[Offer, ...]:
        """Everything in the catalogue of an MCP server that is not virtual, with its state."""
        fact = self.fact(("mcp-server", server))
        found = self.fact(("mcp-catalogue", server))
        if fact is None or found is None or fact.virtual:
            return ()
        return offers_of(server, fact.models, found.models)

    def users_of(self, server: str) -> Iterator[str]:
        """The virtual MCP servers that take tools of a server."""
        for name in self.servers():
            fact = self.fact(("mcp-server", name))
            parts = chosen_of(fact.models) if fact is not None and fact.virtual else ()
            if any(part == server for part, _ in parts):
                yield name

    # --- Lookups ---

    def lives(self, thing: str) -> bool:
        family = FAMILY_OF_KIND.get(kind_of(thing))
        if family is None or family == "user" or thing == EVERYONE:
            # Implicit groups, data, settings; of users only those that ended are known.
            return family != "user" or thing.partition(":")[2] not in self._idle_users
        return self.fact((family, thing.partition(":")[2])) is not None

    def acts(self, subject: str) -> bool:
        family = FAMILY_OF_KIND.get(kind_of(subject))
        if family is None or subject == EVERYONE:
            return True
        fact = self.fact((family, subject.partition(":")[2]))
        return fact is not None and not fact.suspended

    def generations(self, thing: str) -> tuple[str, ...]:
        kind, _, name = thing.partition(":")
        family = FAMILY_OF_KIND.get(kind)
        if family is None or family in OPAQUE_FAMILIES or thing == EVERYONE:
            return (thing,)
        plain, _ = split_generation(name)
        latest = max(1, self.latest(family, plain))
        return tuple(f"{kind}:{with_generation(plain, n)}" for n in range(1, latest + 1))

    def models(self, account: str | None) -> frozenset[str]:
        if account is not None:
            fact = self.fact(("provider-account", account))
            return frozenset(f"model:{account}/{name}" for name in (fact.models if fact else ()))
        return frozenset(model for name in self.accounts() for model in self.models(name))

    def offers(self, server: str | None) -> frozenset[str]:
        if server is None:
            return frozenset(one for name in self.servers() for one in self.offers(name))
        fact = self.fact(("mcp-server", server))
        if fact is not None and fact.virtual:
            return frozenset(entry_id("tool", server, name) for name in self.parts(server))
        offered = self.offered(server)
        return frozenset(one.id for one in offered if one.state is EntryState.ENABLED)

    def parts(self, server: str) -> Mapping[str, tuple[str, str]]:
        fact = self.fact(("mcp-server", server))
        if fact is None or not fact.virtual:
            return {}
        return composed(chosen_of(fact.models), self._tools)

    def _tools(self, server: str) -> dict[str, bool]:
        return {
            one.name: one.state is EntryState.ENABLED
            for one in self.offered(server)
            if one.kind == "tool" and one.state is not EntryState.GONE
        }

    def bundle(self, role: str) -> tuple[str, ...] | None:
        fact = self.fact(("role", role.partition(":")[2]))
        return fact.bundle if fact is not None else None

    def is_tenant_role(self, role: str) -> bool:
        fact = self.fact(("role", role.partition(":")[2]))
        return fact is not None and fact.tenant_role


class Draft(Names):
    """Names as they will be: a thin layer over names that stay as they are."""

    def __init__(self, base: Names) -> None:
        super().__init__()
        self._base = base
        self._gone: set[Key] = set()
        self._users: dict[str, Fact] = {}
        self._freed: set[Key] = set()

    def note(self, key: Key, fact: Fact | None, *, ended: bool = False) -> None:
        family, name = key
        if family == "user":
            self._users[name] = fact if fact is not None else Fact(suspended=True)
            return
        plain = split_generation(name)[0]
        super().note(key, fact, ended=ended)
        if fact is None:
            self._gone.add(key)
            self._freed.add((family, plain.casefold()))
        else:
            self._gone.discard(key)

    def fact(self, key: Key) -> Fact | None:
        if key[0] == "user":
            return self._users.get(key[1]) or self._base.fact(key)
        own = self._facts.get(key)
        if own is not None or key in self._gone:
            return own
        return self._base.fact(key)

    def latest(self, family: str, plain: str) -> int:
        return max(self._latest.get((family, plain), 0), self._base.latest(family, plain))

    def spelling(self, family: str, plain: str) -> str | None:
        own = super().spelling(family, plain)
        if own is not None or (family, plain.casefold()) in self._freed:
            return own
        return self._base.spelling(family, plain)

    def keys(self) -> Iterator[Key]:
        yield from self._facts
        for key in self._base.keys():  # noqa: SIM118
            if key not in self._facts and key not in self._gone:
                yield key

    def accounts(self) -> Iterator[str]:
        yield from super().accounts()
        for name in self._base.accounts():
            key = ("provider-account", name)
            if key not in self._facts and key not in self._gone:
                yield name

    def lives(self, thing: str) -> bool:
        if kind_of(thing) == "user":
            return not (self.fact(("user", thing.partition(":")[2])) or _PLAIN).suspended
        return super().lives(thing)


@dataclass(slots=True)
class Estate:
    """Documents by stored key, and what a plan asks about them.

    A full estate (`complete`) answers everything from itself; a partial one is filled by whoever drives
    `change.plan_steps`.
    """

    names: Names = field(default_factory=Names)
    documents: dict[Key, Stored] = field(default_factory=dict)
    people: dict[str, Person] = field(default_factory=dict)  # user id -> person
    emails: dict[str, str] = field(default_factory=dict)  # casefolded e-mail -> user id
    dependents: dict[str, set[Key]] = field(default_factory=dict)  # token -> who mentions it
    assertions: dict[Row, set[Key]] = field(default_factory=dict)  # shareable row -> who asserts it
    epoch: int = 0

    def document(self, key: Key) -> Stored | None:
        """The stored document, or None."""
        return self.documents.get(key)

    def person(self, email: str) -> Person | None:
        """Who has this e-mail address (compared by casefold)."""
        found = self.emails.get(email.casefold())
        return self.people.get(found) if found is not None else None

    def add_person(self, person: Person) -> None:
        """Take note of a person, who has one address at a time."""
        self.forget_person(person.id)
        self.people[person.id] = person
        self.emails[person.email.casefold()] = person.id

    def forget_person(self, user_id: str) -> None:
        """Free the address of a user."""
        old = self.people.pop(user_id, None)
        if old is not None:
            self.emails.pop(old.email.casefold(), None)

    def apply(self, plan: Plan) -> None:
        """Take over a plan made for this estate: the offline counterpart of a commit."""
        self.epoch += 1
        for change in plan.documents:
            self._replace(change)
        for user_id in plan.left:
            self.forget_person(user_id)
        for person in plan.people:
            self.add_person(person)
        for row, key in plan.asserted:
            self.assertions.setdefault(row, set()).add(key)
        for row, key in plan.unasserted:
            self.assertions.get(row, set()).discard(key)

    def _replace(self, change: DocumentChange) -> None:
        for token in mentions_of(change.before) if change.before is not None else ():
            self.dependents.get(token, set()).discard(change.key)
        if change.after is None:
            self.documents.pop(change.key, None)
            self.names.note(change.key, None)
            return
        document = parse(change.after)
        self.documents[change.key] = Stored(document, change.version, change.source, self.epoch)
        self.names.put(document)
        for token in mentions_of(change.after):
            self.dependents.setdefault(token, set()).add(change.key)

    def rows(self) -> tuple[Row, ...]:
        """All rows, compiled from scratch: what every incremental result is measured against."""
        made: set[Row] = set(STRUCTURE_ROWS)
        for stored in self.documents.values():
            made.update(rows_of(stored.document, self.names))
        return tuple(sorted(made))

    def stored(self) -> Iterable[tuple[Key, Mapping[str, Any]]]:
        """Each document's key and mapping, sorted."""
        return ((key, dump(self.documents[key].document)) for key in sorted(self.documents))
