"""What a change comes to: documents resolved, rows added and removed, what ends with what.

`plan_steps` is a generator that says what it wants to know next, so that it stays pure while a live
service loads documents from its store; `plan` drives it over a full estate. Only the documents that the
change touches and those whose look-ups changed are compiled. Whether the asker may: `authorise`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass

from authz.errors import GatewardenError
from authz.rows import Row
from policies.change import Change, Delta, DocumentChange, Plan, Source
from policies.compile import rows_of
from policies.documents import Document, dump
from policies.drafting import MayGrant
from policies.estate import Estate, Names
from policies.leaving import Leaving, document_of, token_of_key
from policies.naming import OPAQUE_FAMILIES, Key, label, plain, plain_key, split_generation
from policies.ordering import in_order
from policies.ports import Lookups, Vault
from policies.references import EVERY_MODEL, EVERY_OFFER, OFFERS_OF, mentions_of
from policies.resolve import PeopleNamed
from policies.secrets import WITH_SECRETS, sealed_of

MAX_ALARMS = 100


@dataclass(frozen=True, slots=True)
class Wants:
    """What must be loaded into the estate before the plan goes on.

    `tokens` want `Estate.dependents` AND the documents found there; `rows` want `Estate.assertions`.
    """

    emails: frozenset[str] = frozenset()
    people: frozenset[str] = frozenset()
    documents: frozenset[Key] = frozenset()
    tokens: frozenset[str] = frozenset()
    rows: frozenset[Row] = frozenset()


def offline_user_id(email: str) -> str:
    """A user id made from the address: for offline use only, where nothing is stored."""
    return "u-" + hashlib.sha256(email.encode()).hexdigest()[:20]


def first_version(key: Key) -> int:
    """The version of a new document: above every version that an earlier generation can have had, so
    that what was read of the old thing never matches the new one."""
    generation = 1 if key[0] in OPAQUE_FAMILIES else split_generation(key[1])[1]
    return (generation - 1) * 1_000_000 + 1


def is_shareable(row: Row) -> bool:
    """Whether several documents may assert the same row. All others name their document or thing."""
    return row.ptype == "c" or (row.ptype == "g" and row.values[1].startswith("role:"))


def plan(
    estate: Estate,
    change: Change,
    *,
    new_id: Callable[[str], str] = offline_user_id,
    vault: Vault | None = None,
    may_grant: MayGrant | None = None,
) -> Plan:
    """What `change` comes to on a full estate, which stays as it is.

    Raises:
        InvalidDocuments: with every problem. Conflict: a version differs from what the caller saw.
        NotFound: a document to delete does not exist. GuardRefused: see `plan_steps`.
    """
    steps = plan_steps(estate, change, new_id=new_id, vault=vault, may_grant=may_grant)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            made: Plan = done.value
            return made


def offline(documents: Iterable[Document]) -> Estate:
    """A full estate of documents as written, for checks and cases: nothing is stored or sealed.

    Raises:
        InvalidDocuments: with every problem.
    """
    estate = Estate()
    change = Change("host", source=Source.HOST, request_id="offline", puts=tuple(documents))
    estate.apply(plan(estate, change))
    return estate


def plan_steps(
    estate: Estate,
    change: Change,
    *,
    new_id: Callable[[str], str],
    vault: Vault | None = None,
    may_grant: MayGrant | None = None,
) -> Generator[Wants, None, Plan]:
    """The plan of `change`, made step by step; each step says what it wants loaded first.

    Raises:
        InvalidDocuments, Conflict, NotFound: as `plan`.
        ManagedBy: another source owns what is changed. GuardRefused: a deleted team still owns things.
    """
    people = PeopleNamed()
    yield from _turns(people.look(change))
    yield Wants(emails=frozenset(people.emails))
    work = _Work(estate, change, new_id, vault)
    yield Wants(
        documents=frozenset(work.touched) | {("user", user_id) for user_id in people.ids},
        people=frozenset(name for family, name in work.touched if family == "user"),
    )
    yield from _turns(work.resolve(may_grant))
    yield Wants(tokens=work.ending_tokens())
    yield Wants(tokens=work.pass_on())
    work.end_credentials()
    yield Wants(tokens=work.changed_tokens())
    yield from _turns(work.compile())
    yield Wants(rows=frozenset(row for row in work.moved if is_shareable(row)))
    return work.result()


class _Work(Leaving):
    """One plan in the making. Methods are called in the order in which they stand here."""

    def __init__(
        self, estate: Estate, change: Change, new_id: Callable[[str], str], vault: Vault | None
    ) -> None:
        super().__init__(estate, change, new_id, vault)
        self._rows: dict[Key, tuple[frozenset[Row], frozenset[Row]]] = {}
        self._deltas: dict[Key, Delta] = {}
        self._granted: dict[Key, tuple[str, ...]] = {}
        self.moved: dict[Row, int] = {}

    # --- rows ---

    def changed_tokens(self) -> frozenset[str]:
        """The tokens whose mentions must be compiled again."""
        tokens: set[str] = set()
        for key in self._work:
            before, after = self._estate.names.fact(key), self._draft.fact(key)
            if key[0] == "credential" or before == after:
                continue
            if key[0] in ("mcp-server", "mcp-catalogue"):
                tokens |= self._offer_tokens(key[1])
            if key[0] == "mcp-catalogue":
                continue  # nobody mentions it but by what it holds
            tokens.add(token_of_key(key))
            if key[0] == "provider-account":
                tokens |= {f"models-of:{plain_key(key)[1]}", EVERY_MODEL}
        return frozenset(tokens)

    def _offer_tokens(self, server: str) -> set[str]:
        """Under what those are found who depend on what an MCP server offers, or a virtual one by it."""
        used_by = {*self._estate.names.users_of(server), *self._draft.users_of(server)}
        return {EVERY_OFFER, *(f"{OFFERS_OF}{plain(name)}" for name in (server, *used_by))}

    def compile(self) -> Iterator[None]:
        """Rows before and after, of the touched documents and of those that depend on them.

        Raises:
            InvalidDocuments.
        """
        for key, touched in self._work.items():
            if touched.document != document_of(touched.before):
                yield
                self._compile(key, document_of(touched.before), touched.document, touched.asked)
        for token in self.changed_tokens():
            for key in self._dependents(token):
                stored = self._estate.document(key)
                if stored is None or key in self._rows or self._ended(key):
                    continue
                yield
                self._compile(key, stored.document, stored.document, False)
        self._refuse_if_wrong()
        for old, new in self._rows.values():
            for row in new - old:
                self.moved[row] = self.moved.get(row, 0) + 1
            for row in old - new:
                self.moved[row] = self.moved.get(row, 0) - 1

    def _compile(
        self, key: Key, before: Document | None, after: Document | None, asked: bool
    ) -> None:
        were, are = _Watched(self._estate.names), _Watched(self._draft)
        old, new = self._compiled(key, before, were), self._compiled(key, after, are)
        self._rows[key] = (old, new)
        if not asked:
            return
        # Somebody suspended has no rows, but will have them again without another change of this
        # document: so it is now that they are judged, as if everybody it names could act.
        if were.idle:
            old = self._compiled(key, before, _Watched(self._estate.names, all_act=True))
        if are.idle:
            new = self._compiled(key, after, _Watched(self._draft, all_act=True))
        self._deltas[key] = Delta(tuple(sorted(new - old)), tuple(sorted(old - new)))
        if key in self._unbind:
            self._granted[key] = tuple(sorted({r.values[1] for r in new if r.ptype == "p"}))

    def _ended(self, key: Key) -> bool:
        return key in self._work and self._work[key].after is None

    def _compiled(self, key: Key, document: Document | None, names: Lookups) -> frozenset[Row]:
        if document is None:
            return frozenset()
        try:
            return frozenset(rows_of(document, names))
        except GatewardenError as error:
            self._problem(key, error.code, error.message, error.hint)
            return frozenset()

    def result(self) -> Plan:
        """The plan. Rows that several documents assert appear with the first and go with the last."""
        added: list[Row] = []
        removed: list[Row] = []
        held = self._holders()
        for row, difference in self.moved.items():
            # Of a row that is not shareable one document is the only one that can assert it.
            before = len(held[row]) if row in held else int(difference < 0)
            after = before + difference
            if after and not before:
                added.append(row)
            elif before and not after:
                removed.append(row)
        changes = tuple(self._changes())
        return Plan(
            change=self._change,
            documents=changes,
            added=tuple(in_order(added)),
            removed=tuple(in_order(removed)),
            deltas={k: self._deltas.get(k, Delta()) for k, t in self._work.items() if t.asked},
            granted=self._granted,
            people=tuple(p for _, p in sorted(self._resolver.people.items())),
            readdressed=frozenset(self._resolver.readdressed),
            left=tuple(sorted(k[1] for k in self._deletes if k[0] == "user")),
            secrets_ended=self._secrets_ended(),
            asserted=tuple(self._assertions(new=True)),
            unasserted=tuple(self._assertions(new=False)),
            warnings=self.warnings,
            alarms=tuple(self._alarms()),
            bindable=frozenset(self._bindable),
            drift=tuple(self._drift),
            endings=self._endings,
            taken=frozenset(self._taken),
        )

    def _holders(self) -> dict[Row, set[Key]]:
        """Who asserts the shareable rows that move, before."""
        held = {
            row: set(self._estate.assertions.get(row, ()))
            for row in self.moved
            if is_shareable(row)
        }
        for key, (old, _) in self._rows.items():
            for row in held.keys() & old if held else ():
                held[row].add(key)
        return held

    def _changes(self) -> Iterable[DocumentChange]:
        for key in in_order(self._work):
            touched = self._work[key]
            before = touched.before
            held = dump(before.document) if before is not None else None
            owner = touched.owner or self._change.source
            if before is not None and touched.owner is None and touched.after is not None:
                owner = before.source
            # Who a person is changes outside the log: the document's version says that it did.
            if (
                held != touched.after
                or (key[0] == "user" and touched.asked and key[1] in self._resolver.people)
                or (before is not None and before.source is not owner and touched.after is not None)
            ):
                version = before.version + 1 if before is not None else first_version(key)
                yield DocumentChange(key, held, touched.after, version, owner)

    def _secrets_ended(self) -> tuple[str, ...]:
        ended: set[str] = set()
        for touched in self._work.values():
            if touched.before is not None and touched.before.key[0] in WITH_SECRETS:
                ended |= sealed_of(dump(touched.before.document)) - sealed_of(touched.after)
        return tuple(sorted(ended))

    def _assertions(self, *, new: bool) -> Iterable[tuple[Row, Key]]:
        for key in in_order(self._rows):
            old, after = self._rows[key]
            for row in sorted(after - old if new else old - after):
                if is_shareable(row):
                    yield row, key

    def _alarms(self) -> Iterable[str]:
        """What a deletion leaves dangling: it commits all the same."""
        count = 0
        for key in self._deletes:
            if key[0] in OPAQUE_FAMILIES:
                continue
            for other in self._dependents(token_of_key(key)):
                if self._still_mentions(other, token_of_key(key)) and count < MAX_ALARMS:
                    count += 1
                    yield f"{label(plain_key(other))} still names {label(plain_key(key))}, which is gone"

    def _still_mentions(self, key: Key, token: str) -> bool:
        touched = self._work.get(key)
        if touched is None or touched.after is None:
            return touched is None
        return token in mentions_of(touched.after)


class _Watched:
    """Look-ups that notice when somebody exists and cannot act; with `all_act` nobody is suspended."""

    def __init__(self, names: Names, *, all_act: bool = False) -> None:
        self._names = names
        self._all_act = all_act
        self.idle = False
        self.lives = names.lives
        self.generations = names.generations
        self.models = names.models
        self.offers = names.offers
        self.parts = names.parts
        self.bundle = names.bundle
        self.is_tenant_role = names.is_tenant_role

    def acts(self, subject: str) -> bool:
        if self._names.acts(subject):
            return True
        if subject.startswith("user:") or self.lives(subject):
            self.idle = True
            return self._all_act
        return False


def _turns(work: Iterator[None]) -> Iterator[Wants]:
    """Lets others have their turn after each document, while many are worked through."""
    for _ in work:
        yield Wants()
