"""Who owns a document, and who asserts what of it: a source revokes only its own.

A document has one owner, and only the owner edits its plain fields; anybody else takes it over first. The
members and managers of a team and the roles of a user are asserted one by one: an element stays while any
source asserts it. What differs from "asserted by the owner" stands in the document's `sources`:
`{"members": {"user:u-1": ["manual", "scim"]}, "taken_from": "gitops"}`.

What `shipped`, `host` and `recovery` wrote yields to the next writer: nobody stands behind it who would
miss it. The same holds for somebody who was invited by being mentioned. `host` and `recovery` write
everything, and leave the owner as it is. Credentials have no owner here: ending one is never refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from policies.change import Change, Drift, Source
from policies.documents import Document, dump
from policies.errors import ManagedBy
from policies.estate import Stored
from policies.naming import UNMENTIONED_FAMILIES, Key, label, plain_key

# What nobody owns: ending a token is never refused, and what a server offers is found, not asserted.
OWNERLESS: Final = UNMENTIONED_FAMILIES | {"mcp-catalogue"}
YIELDING: Final = frozenset({Source.SHIPPED, Source.HOST, Source.RECOVERY})
FREE: Final = frozenset({Source.HOST, Source.RECOVERY})
SYNCED: Final = frozenset({Source.GITOPS, Source.SCIM, Source.SSO})
# Whom a change of a source suspends, and whose suspension it lifts.
CAUSE: Final[Mapping[Source, str]] = {
    Source.SCIM: "scim",
    Source.MANUAL: "admin",
    Source.GITOPS: "admin",
    Source.HOST: "admin",
    Source.RECOVERY: "admin",
}
ELEMENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "team": ("members", "managers"),
    "user": ("roles",),
}
TAKEN_FROM: Final = "taken_from"
_ASIDE: Final = frozenset({"name", "sources", "bounded_by"})  # no field that anybody writes
_SUSPENSION: Final[Mapping[str, frozenset[str]]] = {
    "user": frozenset({"state", "suspended_by"}),
    "virtual-account": frozenset({"state"}),  # one cause: whoever may write it suspends and lifts
}
TAKE_OVER: Final = "change it at its source, or take it over with `take_over`"


@dataclass(frozen=True, slots=True)
class Owned:
    """A document as it will be stored, its owner then, and what stays although the writer left it out.

    `taken` says that it was somebody else's, and that the change takes it over.
    """

    data: dict[str, Any]
    owner: Source
    taken: bool = False
    drift: tuple[Drift, ...] = ()


def settle(
    key: Key,
    data: Mapping[str, Any],
    written: Document,
    before: Stored | None,
    change: Change,
    *,
    personal: bool = False,
) -> Owned:
    """What comes of `data`, a resolved document, where `before` stands.

    `written` says which fields were given; `personal` that the person's address or name becomes another.

    Raises:
        ManagedBy: another source owns a field, or asserts an element, that the writer changes.
    """
    if before is not None and key[0] in OWNERLESS:
        return Owned(dict(data), before.source)
    return _Settling(key, dict(data), written, before, change, personal).owned()


def left_alone(before: Stored | None, change: Change) -> bool:
    """Whether files no longer decide about a document, because it was taken over from them."""
    return (
        before is not None
        and change.source is Source.GITOPS
        and before.source is not Source.GITOPS
        and not change.take_over
        and before.document.sources.get(TAKEN_FROM) == Source.GITOPS.value
    )


def may_end(before: Stored, change: Change) -> bool:
    """Whether the change deletes the document as its owner, or where no owner is asked.

    False: it takes the document over.

    Raises:
        ManagedBy: another source owns it.
    """
    key, owner = before.key, before.source
    if key[0] in OWNERLESS or change.source is owner or change.source in FREE or yields(before):
        return True
    if change.take_over:
        return False
    raise ManagedBy(
        f"{label(plain_key(key))} is managed by `{owner.value}`", owner.value, hint=TAKE_OVER
    )


def yields(stored: Stored) -> bool:
    """Whether whoever writes the document next owns it."""
    invited = stored.key[0] == "user" and getattr(stored.document, "state", "") == "invited"
    return stored.source in YIELDING or invited


@dataclass(slots=True)
class _Settling:
    """One document on its way. Problems gather, so that all of them are named."""

    key: Key
    data: dict[str, Any]
    written: Document
    before: Stored | None
    change: Change
    personal: bool
    drift: list[Drift] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    holders: set[str] = field(default_factory=set)
    held: Mapping[str, Any] = field(default_factory=dict)

    def owned(self) -> Owned:
        writer, before = self.change.source, self.before
        self.data.pop("sources", None)
        if before is None:
            self._suspension(writer)
            self._refuse()
            return Owned(self.data, writer)
        self.held = dump(before.document)
        owner = before.source
        edited = self._edited()
        open_ = yields(before)
        if edited and not (writer is owner or open_ or writer in FREE or self.change.take_over):
            self._hold(", ".join(f"`{name}`" for name in edited), owner.value)
        takes = writer is not owner and (
            self.change.take_over or (open_ and self._claims(writer, edited))
        )
        after = writer if takes else owner
        self._suspension(owner)
        notes: dict[str, Any] = {
            name: made
            for name in ELEMENTS.get(self.key[0], ())
            if (made := self._elements(name, owner, takes=takes, after=after))
        }
        self._refuse()
        taken_from = self._taken_from(owner, takes=takes)
        if taken_from and taken_from != after.value:
            notes[TAKEN_FROM] = taken_from
        if notes:
            self.data["sources"] = notes
        return Owned(self.data, after, takes and not open_, tuple(self.drift))

    # --- plain fields ---

    def _edited(self) -> list[str]:
        """The plain fields that become another."""
        family = self.key[0]
        aside = _ASIDE | _SUSPENSION.get(family, frozenset()) | set(ELEMENTS.get(family, ()))
        names = sorted({*self.held, *self.data} - aside)
        found = [name for name in names if self.held.get(name) != self.data.get(name)]
        return [*found, *(["email", "displayName"] if self.personal else [])]

    def _claims(self, writer: Source, edited: list[str]) -> bool:
        """Whether a write makes a document that yields the writer's: more than adding an element."""
        if edited or self.held.get("state") == "invited":
            return True
        if writer in (Source.SCIM, Source.SSO):
            return False
        names = {*self.held, *self.data} - _ASIDE
        return any(self.held.get(name) != self.data.get(name) for name in names)

    def _taken_from(self, owner: Source, *, takes: bool) -> str:
        if takes and owner in SYNCED:
            return owner.value
        said = self.held.get("sources", {}).get(TAKEN_FROM, "")
        return str(said)

    # --- elements ---

    def _elements(
        self, name: str, owner: Source, *, takes: bool, after: Source
    ) -> dict[str, list[str]]:
        """Merges a list of elements into the document; who asserts those that not only the owner does."""
        writer = self.change.source
        old = dict.fromkeys(self.held.get(name) or ())
        listed = dict.fromkeys(self.data.get(name) or ())
        said = name in self.written.model_fields_set
        held = self._asserted(name, old, owner)
        found: dict[str, set[str]] = {}
        for element in listed:
            if element not in held:
                found[element] = {writer.value}
            elif takes and (said or owner.value in held[element]):
                found[element] = (held[element] - {owner.value}) | {writer.value}
            elif writer is Source.GITOPS and said:
                found[element] = held[element] | {writer.value}
            else:
                found[element] = held[element]
        kept = [element for element in old if element not in listed]
        for element in kept:
            gone = {writer.value, owner.value} if takes else {writer.value}
            found[element] = self._remaining(name, element, held[element] - gone)
        kept = [element for element in kept if found[element]]
        whole = [*listed, *kept]
        if kept or (after is not writer and name in self.data):
            # What others brought in stands where it stood, so that the same file is no change.
            self.data[name] = list(old) if set(whole) == set(old) else whole
        usual = {after.value}
        return {
            element: sorted(sources)
            for element, sources in found.items()
            if sources and sources != usual
        }

    def _asserted(self, name: str, old: Mapping[str, None], owner: Source) -> dict[str, set[str]]:
        said: Mapping[str, list[str]] = self.held.get("sources", {}).get(name, {})
        return {element: set(said.get(element, (owner.value,))) for element in old}

    def _remaining(self, name: str, element: str, others: set[str]) -> set[str]:
        """Who still asserts an element that the writer left out."""
        writer = self.change.source
        if writer in FREE:
            return set()
        if writer is Source.MANUAL:
            others = others - {source.value for source in YIELDING}
            if not others or self.change.take_over:
                return set()
            self._hold(f"`{element}` in `{name}`", *others)
        elif others:
            self.drift.append(Drift(plain_key(self.key), name, element, tuple(sorted(others))))
        return others

    # --- suspension ---

    def _suspension(self, owner: Source) -> None:
        """INVARIANT: only who set a cause of suspension lifts it; what is not said stays."""
        if self.key[0] != "user":
            return
        before = _causes(self.held, owner)
        wanted = self._wanted(before)
        if wanted is None:
            after = before
        elif self.change.source in FREE:
            after = wanted
        else:
            after = self._apart(before, wanted)
        if after:
            self.data["state"] = "suspended"
            self.data["suspended_by"] = sorted(after)
        else:
            self.data.pop("suspended_by", None)

    def _wanted(self, before: frozenset[str]) -> frozenset[str] | None:
        """The causes that the writer means; None if nothing is said."""
        said = self.written.model_fields_set & {"state", "suspended_by"}
        if not said:
            return None
        causes = frozenset(getattr(self.written, "suspended_by", ()))
        if getattr(self.written, "state", "") != "suspended" or causes:
            return causes
        own = CAUSE.get(self.change.source)
        if own is None:
            if not before:
                self.refused.append(f"a change of `{self.change.source.value}` suspends nobody")
            return before
        return frozenset({own}) if "suspended_by" in said else before | {own}

    def _apart(self, before: frozenset[str], wanted: frozenset[str]) -> frozenset[str]:
        """The causes afterwards: the writer's own as he wants it, those of others as they are."""
        own = {CAUSE[self.change.source]} if self.change.source in CAUSE else set()
        for cause in sorted(wanted - before - own):
            self.refused.append(f"only `{cause}` suspends by `{cause}`")
        kept = before - own
        if self.change.take_over:
            kept &= wanted
        elif kept - wanted and self.change.source is Source.MANUAL:
            self._hold("the suspension", *(kept - wanted))
        else:
            self.drift.extend(
                Drift(plain_key(self.key), "suspended_by", cause, (cause,))
                for cause in sorted(kept - wanted)
            )
        return kept | (wanted & own)

    # --- refusals ---

    def _hold(self, what: str, *holders: str) -> None:
        self.holders.update(holders)
        named = " and ".join(f"`{one}`" for one in sorted(holders))
        self.refused.append(f"{what} is managed by {named}")

    def _refuse(self) -> None:
        """Raises: ManagedBy, with everything that the writer may not change."""
        if self.refused:
            text = f"{label(self.written.key)}: {'; '.join(self.refused)}"
            raise ManagedBy(text, " ".join(sorted(self.holders)), hint=TAKE_OVER)


def _causes(held: Mapping[str, Any], owner: Source) -> frozenset[str]:
    """Why somebody is suspended; where it was never said, whoever owns the document did it."""
    said = frozenset(held.get("suspended_by") or ())
    if said or held.get("state") != "suspended":
        return said
    return frozenset({"scim" if owner is Source.SCIM else "admin"})


def all_managed(found: list[ManagedBy]) -> ManagedBy:
    """One error for all documents that other sources own."""
    first, more = found[0], len(found) - 1
    tail = f" (and {more} more document{'s' if more > 1 else ''})" if more else ""
    return ManagedBy(f"{first.message}{tail}", first.owner, hint=first.hint)


def drift_of(stored: Stored) -> Iterator[Drift]:
    """A document that files list and that was taken over from them."""
    yield Drift(plain_key(stored.key), "", "", (stored.source.value,))
