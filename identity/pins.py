"""Pinned metadata: what the gateway stamps on a caller's records, whatever the caller sends.

Comes from `gateway-metadata-config` documents. Which rule wins: documents in order of their name, rules
in the order in which they are written, and for each key the LAST rule that matches the caller. So a
general rule stands first and an exception below it. A rule matches if one of its subjects is the caller
or one of the caller's groups (teams, roles, `any:…`); a rule without subjects matches nobody.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType

from authz.vocabulary import Kind, kind_of
from identity.kept_documents import KeptDocuments
from identity.ports import Snapshot
from policies.change import Entry
from policies.documents import MetadataConfig
from policies.truefoundry import subject_of

NOTHING: Mapping[str, str] = MappingProxyType({})

_FAMILY = "gateway-metadata-config"
_ANY_SUBJECT = f"{Kind.ANY.value}:subject"


class Pins:
    """An applier of the change log that answers what is pinned for a caller."""

    def __init__(self) -> None:
        self._documents = KeptDocuments(MetadataConfig, _FAMILY)
        self._overrides: tuple[Mapping[str, str], ...] = ()  # of every rule, in order
        self._rules_of: dict[str, tuple[int, ...]] = {}  # subject -> places in `_overrides`

    @property
    def any(self) -> bool:
        """Whether any rule pins anything: if not, a caller's groups need not be asked for."""
        return bool(self._rules_of)

    def pinned(self, principal_id: str, groups: Collection[str]) -> Mapping[str, str]:
        """The pinned metadata of a caller: empty if no rule matches.

        `groups` are the subjects that the caller belongs to (`engine.subject_closure`); the implicit
        ones (`any:subject`, `any:user`, `any:virtualaccount`) need not be among them.
        """
        rules_of = self._rules_of
        if not rules_of:
            return NOTHING
        matching: set[int] = set()
        for subject in (principal_id, _ANY_SUBJECT, f"any:{kind_of(principal_id)}", *groups):
            matching.update(rules_of.get(subject, ()))
        if not matching:
            return NOTHING
        pinned: dict[str, str] = {}
        for place in sorted(matching):
            pinned.update(self._overrides[place])
        return MappingProxyType(pinned)

    def load(self, snapshot: Snapshot) -> None:
        """Start over from a snapshot."""
        self._documents.load(snapshot)
        self._index()

    def apply(self, entry: Entry) -> None:
        """Take over one committed entry."""
        if self._documents.apply(entry):
            self._index()

    def _index(self) -> None:
        rules = [rule for document in self._documents for rule in document.rules]
        rules_of: dict[str, list[int]] = {}
        for place, rule in enumerate(rules):
            for subject in rule.subjects:
                rules_of.setdefault(subject_of(subject), []).append(place)
        # Both are replaced in one step: a request between them would read places of the other.
        self._overrides, self._rules_of = (
            tuple(dict(rule.metadata_override) for rule in rules),
            {subject: tuple(places) for subject, places in rules_of.items()},
        )
