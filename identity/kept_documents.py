"""The documents of one family as they stand, for whoever answers by them in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from identity.ports import Snapshot
from policies.change import Entry
from policies.documents import Document, parse

D = TypeVar("D", bound=Document)


class KeptDocuments(Generic[D]):
    """An applier's memory of a family with one type. Iterates in the order of their names."""

    def __init__(self, kind: type[D], family: str) -> None:
        self._kind = kind
        self._family = family
        self._documents: dict[str, D] = {}

    def __iter__(self) -> Iterator[D]:
        return iter([self._documents[name] for name in sorted(self._documents)])

    def load(self, snapshot: Snapshot) -> None:
        """Start over from a snapshot."""
        self._documents = {d.name: d for d in snapshot.documents if isinstance(d, self._kind)}

    def apply(self, entry: Entry) -> bool:
        """Take over one committed entry; whether it touched any of these."""
        touched = [change for change in entry.documents if change.key[0] == self._family]
        for change in touched:
            self._documents.pop(change.key[1], None)
            if change.after is not None:
                document = parse(change.after)
                assert isinstance(document, self._kind)
                self._documents[document.name] = document
        return bool(touched)
