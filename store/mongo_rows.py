"""Rows of a shelf on MongoDB: where an arm wants several keys at once, they meet in the index.

An index on an array serves one test of it; the server reads whole documents for every other. Where two common
keys hardly ever come together that is tens of thousands of documents for nothing. So the places of one are
taken from the index, newest first, and those that the others have not are dropped, again by the index
alone; only what is left is read. All else is asked as it stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from pymongo.collection import Collection
from pymongo.errors import ExecutionTimeout

from authz.filters import Sense
from store.filters import Asked, Test, Tests, mongo_arm, mongo_query
from store.mongo_client import Found as Document
from store.request_records import Row

INDEX: Final = [("keys", 1), ("_id", -1)]
_FIRST: Final = 1000  # places in the first look
_LARGEST: Final = 16_000
_WIDE: Final = (
    100  # keys of a test that is left to the documents: each place is looked up under each
)
_APART: Final = 16  # arms that are asked one by one
_SHOWN: Final = {"keys": 0, "writer": 0, "wseq": 0}


class MongoRows:
    """The rows that pass a filter between two times. Raises: PyMongoError, from its methods."""

    def __init__(self, kept: Collection[Document], asked: Asked, since: int, until: int) -> None:
        self._kept = kept
        self._at = {"$gte": since, "$lt": until}
        meeting = [arm for arm in asked if len(_wanted(arm)) > 1]
        self._meeting = meeting if len(meeting) <= _APART else []
        self._plain = tuple(arm for arm in asked if arm not in self._meeting)

    def between(self, bottom: int, top: int, number: int) -> tuple[list[Row], bool]:
        """At most so many with places from `bottom` to `top`, the newest first; whether the time ran out."""
        rows: dict[int, Row] = {}
        try:
            if self._plain:
                query = mongo_query(self._plain)
                rows |= self._found({"$gte": bottom, "$lte": top}, query, number)
            for arm in self._meeting:
                self._meet(arm, bottom, top, number, rows)
        except ExecutionTimeout:
            # What one arm has not found yet may lie between the rows of another.
            alone = len(self._meeting) == 1 and not self._plain
            return (list(rows.values()) if alone else []), True
        return [rows[seq] for seq in sorted(rows, reverse=True)[:number]], False

    def _found(self, places: Document, query: Document, number: int, **more: Any) -> dict[int, Row]:
        asked = {"_id": places, "at": self._at, **query}
        found = self._kept.find(asked, _SHOWN, sort=[("_id", -1)], limit=number, **more)
        return {one["_id"]: row_of(one) for one in found}

    def _meet(self, arm: Tests, bottom: int, top: int, number: int, rows: dict[int, Row]) -> None:
        """Adds the rows of one arm as they are found."""
        tests = sorted(_wanted(arm), key=lambda test: len(test.keys))
        query, had, size = mongo_arm(arm), 0, _FIRST
        while True:
            places = self._places(tests[0], {"$gte": bottom, "$lte": top}, size)
            both: Sequence[int] = places
            for test in tests[1:]:
                if both and len(test.keys) <= _WIDE:
                    both = self._places(test, {"$in": list(both)}, 0)
            if both:
                more = self._found({"$in": list(both)}, query, number - had, hint="_id_")
                rows |= more
                had += len(more)
            if had >= number or len(places) < size:
                return
            top = places[-1] - 1
            if size == _FIRST:  # it takes longer: the walk goes on along what is rarest
                span = {"$gte": bottom, "$lte": top}
                tests.sort(key=lambda test: (self._rarity(test, span), len(test.keys)))
            size = min(size * 4, _LARGEST)

    def _places(self, test: Test, places: Document, number: int) -> list[int]:
        query = {"keys": {"$in": sorted(test.keys)}, "_id": places}
        found = self._kept.find(
            query, {"_id": 1}, sort=[("_id", -1)], limit=number, hint=INDEX, batch_size=_LARGEST + 1
        )
        return [one["_id"] for one in found.to_list()]

    def _rarity(self, test: Test, places: Document) -> int:
        """How far back so many places of a test reach, 0 for all the way: what is rare reaches far."""
        query = {"keys": {"$in": sorted(test.keys)}, "_id": places}
        found = self._kept.find(
            query, {"_id": 1}, sort=[("_id", -1)], skip=_FIRST - 1, limit=1, hint=INDEX
        )
        return next((int(one["_id"]) for one in found), 0)


def _wanted(arm: Tests) -> list[Test]:
    return [test for test in arm if test.sense is Sense.HAS]


def row_of(found: Document) -> Row:
    """A document as a row."""
    return Row(found["_id"], found["id"], found["at"], bytes(found["body"]))
