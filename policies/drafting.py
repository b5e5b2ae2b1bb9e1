"""The first half of a plan: which documents change, and what each will be once stored.

Versions are compared, documents validated and resolved, new accounts bound to their team. What follows for
rows and for other documents is `planning`'s half.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from authz.errors import GatewardenError
from policies.change import Change, Drift, Source
from policies.compile import rows_of
from policies.documents import Document, VirtualAccount, dump, parse
from policies.errors import Conflict, InvalidDocuments, ManagedBy, NotFound, Problem
from policies.estate import Draft, Estate, Stored, fact_of
from policies.loader import as_loaded
from policies.naming import Key, label, plain_key
from policies.ownership import Owned, all_managed, drift_of, left_alone, may_end, settle
from policies.ports import Vault
from policies.resolve import Resolver
from policies.validate import validate

# Whether the asker may grant on an object; None = whoever asks is not judged (the host).
MayGrant = Callable[[str], bool]


@dataclass(slots=True)
class Touched:
    """A document on its way: before and after, whether the asker named it, and who owns it then (None:
    who did, or for a new one whoever makes it)."""

    before: Stored | None
    after: dict[str, Any] | None
    document: Document | None
    asked: bool
    owner: Source | None = None


class Drafting:
    """One plan in the making. Methods are called in the order in which they stand here."""

    def __init__(
        self, estate: Estate, change: Change, new_id: Callable[[str], str], vault: Vault | None
    ) -> None:
        self._estate = estate
        self._change = change
        self._draft = Draft(estate.names)
        self._resolver = Resolver(estate, self._draft, new_id, vault)
        self._problems = self._resolver.problems
        self.warnings: tuple[Problem, ...] = ()
        self._puts: dict[Key, Document] = {}
        self._deletes: list[Key] = [self._resolver.key_of(key) for key in change.deletes]
        for document in change.puts:
            key = self._resolver.new_key(document)
            if key in self._puts or key in self._deletes:
                self._problem(key, "duplicate_document", "it is changed twice in one change")
            self._puts[key] = document
            self._note_written(key, document)
        self._expect = {self._resolver.key_of(k): v for k, v in change.expect.items()}
        self._unbind = {self._resolver.key_of(key) for key in change.unbind}
        self._work: dict[Key, Touched] = {}
        self._bindable: set[Key] = set()
        self._managed: list[ManagedBy] = []
        self._drift: list[Drift] = []
        self._taken: set[Key] = set()

    @property
    def touched(self) -> set[Key]:
        """The stored keys that the change names."""
        return {*self._puts, *self._deletes, *self._expect, *self._unbind}

    def resolve(self, may_grant: MayGrant | None) -> Iterator[None]:
        """Documents as they will be stored; yields after each.

        Raises:
            Conflict, NotFound, InvalidDocuments, ManagedBy.
        """
        self._check_versions()
        self._leave_alone()
        self._validate()
        for key in self._deletes:
            before = self._estate.document(key)
            if before is None:
                raise NotFound(f"there is no {label(plain_key(key))}")
            self._delete(key, before)
        for key, written in self._puts.items():
            self._put(key, written)
            yield
        for user_id, document in self._resolver.invited.items():
            key = ("user", user_id)
            if key not in self._work:
                self._draft.put(document)
                self._work[key] = Touched(None, dump(document), document, False)
        self._lift_bounds()
        self._refuse_if_wrong()
        self._bind_accounts(may_grant)
        for key, touched in self._work.items():
            if touched.document is not None:
                self._draft.note(key, fact_of(touched.document))

    def _leave_alone(self) -> None:
        """Files say nothing any more about what was taken over from them."""
        for key in list(self._puts):
            before = self._estate.document(key)
            if before is not None and left_alone(before, self._change):
                del self._puts[key]
                self._draft.note(key, fact_of(before.document))
                self._drift.extend(drift_of(before))

    def _delete(self, key: Key, before: Stored) -> None:
        try:
            if not may_end(before, self._change):
                self._taken.add(key)
        except ManagedBy as error:
            self._managed.append(error)
        self._work[key] = Touched(before, None, None, True)
        self._draft.note(key, None)

    def _edit(self, key: Key, after: Document) -> None:
        """A change of a stored document that follows from another, and is judged as if it were asked for."""
        before = self._estate.document(key)
        try:
            owned = settle(key, dump(after), after, before, self._change)
        except ManagedBy as error:
            self._managed.append(error)
            return
        self._place(key, before, owned, parse(owned.data))

    def _place(self, key: Key, before: Stored | None, owned: Owned, document: Document) -> None:
        self._work[key] = Touched(before, dump(document), document, True, owned.owner)
        self._drift.extend(owned.drift)
        if owned.taken:
            self._taken.add(key)

    def _validate(self) -> None:
        """The checks that files get offline, on what this change brings and what is stored.

        Raises:
            InvalidDocuments.
        """
        loaded = as_loaded(self._change.puts)
        found = validate(loaded, _Stored(self._draft, self._estate))
        errors = tuple(problem for problem in found if problem.severity == "error")
        if errors:
            raise InvalidDocuments(errors)
        self.warnings = tuple(found)

    def _note_written(self, key: Key, written: Document) -> None:
        """What is put may be mentioned by what is put with it, in any order."""
        try:
            self._draft.note(key, fact_of(written))
        except GatewardenError as error:
            self._problem(key, error.code, error.message, error.hint)

    def _check_versions(self) -> None:
        for key, version in self._expect.items():
            before = self._estate.document(key)
            if version != (before.version if before is not None else 0):
                name = label(plain_key(key))
                raise Conflict(f"{name} changed since it was read", hint="read it again")

    def _put(self, key: Key, written: Document) -> None:
        before = self._estate.document(key)
        data = self._resolver.document(written, key, before)
        if self._problems:
            return
        try:
            personal = before is not None and key[0] == "user" and key[1] in self._resolver.people
            owned = settle(key, data, written, before, self._change, personal=personal)
            document = parse(owned.data)
        except ManagedBy as error:
            self._managed.append(error)
            return
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            text = f"{where}: {first['msg'].lower()}"
            self._problem(key, "invalid_document", text, path=first["loc"])
            return
        self._place(key, before, owned, document)

    def _lift_bounds(self) -> None:
        for key in self._unbind:
            touched = self._work.get(key)
            before = self._estate.document(key)
            if before is None:
                raise NotFound(f"there is no {label(plain_key(key))}")
            data = touched.after if touched is not None else dump(before.document)
            if data is not None:
                data = {name: value for name, value in data.items() if name != "bounded_by"}
                owner = touched.owner if touched is not None else None
                self._work[key] = Touched(before, data, parse(data), True, owner)

    def _bind_accounts(self, may_grant: MayGrant | None) -> None:
        """A new account whose creator may not grant what it grants is bound to the team that owns it."""
        for key, touched in self._work.items():
            account = touched.document
            if touched.before is not None or not isinstance(account, VirtualAccount):
                continue
            owner = account.owned_by.team if account.owned_by else None
            if owner is None:
                continue
            if may_grant is None:
                self._bindable.add(key)
                continue
            granted = {r.values[1] for r in rows_of(account, self._draft) if r.ptype == "p"}
            if not all(may_grant(thing) for thing in granted):
                touched.after = {**dump(account), "bounded_by": owner}
                touched.document = parse(touched.after)

    def _problem(
        self,
        key: Key,
        code: str,
        message: str,
        hint: str = "",
        path: tuple[str | int, ...] = (),
    ) -> None:
        text = f"{label(plain_key(key))}: {message}"
        self._problems.append(Problem("request", 1, 1, code, text, hint, path=path, key=key))

    def _refuse_if_wrong(self) -> None:
        """Raises: InvalidDocuments, with every problem and the documents as they were written; ManagedBy."""
        if self._problems:
            written = {key: document.key for key, document in self._puts.items()}
            named = (
                replace(one, key=written.get(one.key, one.key) if one.key else None)
                for one in self._problems
            )
            raise InvalidDocuments(tuple(sorted(named)))
        if self._managed:
            raise all_managed(self._managed)


@dataclass(frozen=True, slots=True)
class _Stored:
    """What `validate` asks of the estate (`things.Known`)."""

    names: Draft
    estate: Estate

    def document(self, key: Key) -> Stored | None:
        return self.estate.document(key)
