"""Rows of a shelf on MongoDB: where an arm wants several keys at once, they meet in the index.

An index on an array serves one test of it; the server reads whole documents for every other. Where two common
keys hardly ever come together that is tens of thousands of documents for nothing. So the places of one are
taken from the index, newest first, and those that the others have not are dropped, again by the index
alone; only what is left is read. Where that takes longer, sealed blocks say it at once (`mongo_postings.py`).
All else is asked as it stands.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Final

from pymongo.collection import Collection
from pymongo.errors import ExecutionTimeout

from authz.filters import Sense
from store.filters import Asked, Test, Tests, mongo_arm, mongo_query
from store.mongo_client import Found as Document
from store.mongo_postings import BATCH, INDEX, MongoPostings
from store.request_records import Row

_FIRST: Final = 1000  # places in the first look
_LARGEST: Final = BATCH
_SHORT: Final = 200  # places that are read first of those that meet in a block
# Keys of a test that is left to the documents: each place is looked up under each.
_WIDE: Final = 100
_APART: Final = 16  # arms that are asked one by one
_SHOWN: Final = {"keys": 0, "writer": 0, "wseq": 0}


class MongoRows:
    """The rows that pass a filter between two times. Raises: PyMongoError, from its methods."""

    def __init__(
        self,
        kept: Collection[Document],
        postings: MongoPostings,
        asked: Asked,
        since: int,
        until: int,
    ) -> None:
        self._kept = kept
        self._postings = postings
        self._at = {"$gte": since, "$lt": until}
        meeting = [arm for arm in asked if len(_wanted(arm)) > 1]
        self._meeting = meeting if len(meeting) <= _APART else []
        self._common: set[Tests] = set()  # arms that the first look did not come to the end of
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
        query, had = mongo_arm(arm), 0
        for places in self._met(arm, bottom, top):
            more = self._found({"$in": places}, query, number - had, hint="_id_")
            rows |= more
            had += len(more)
            if had >= number:
                return

    def _met(self, arm: Tests, bottom: int, top: int) -> Iterator[list[int]]:
        """The places of what may pass an arm, the newest first; no list is empty."""
        tests = sorted(_wanted(arm), key=lambda test: len(test.keys))
        if arm not in self._common:
            first = self._places(tests[0], {"$gte": bottom, "$lte": top}, _FIRST)
            if both := self._also(tests[1:], first):
                yield both
            if len(first) < _FIRST:
                return
            self._common.add(arm)  # it takes longer, and so it will further back
            top = first[-1] - 1
        known = [test for test in arm if len(test.keys) <= _WIDE]
        known.sort(key=lambda test: test.sense is Sense.LACKS)
        for part in self._postings.parts(bottom, top):
            if part.blocks and len(known) > 1:
                met, size = self._postings.meeting(part, known), _SHORT
                while both := list(itertools.islice(met, size)):
                    yield both
                    size = _LARGEST
            else:
                yield from self._walked(tests, part.bottom, part.top)

    def _walked(self, tests: Sequence[Test], bottom: int, top: int) -> Iterator[list[int]]:
        """The same along the index alone."""
        size = _FIRST
        while top >= bottom:
            places = self._places(tests[0], {"$gte": bottom, "$lte": top}, size)
            if both := self._also(tests[1:], places):
                yield both
            if len(places) < size:
                return
            top = places[-1] - 1
            if size == _FIRST:  # the walk goes on along what is rarest
                span = {"$gte": bottom, "$lte": top}
                tests = sorted(tests, key=lambda test: (self._rarity(test, span), len(test.keys)))
            size = min(size * 4, _LARGEST)

    def _also(self, tests: Sequence[Test], places: list[int]) -> list[int]:
        """Those of these places that pass these tests, by the index alone."""
        for test in tests:
            if places and len(test.keys) <= _WIDE:
                places = self._places(test, {"$in": places}, 0)
        return places

    def _places(self, test: Test, places: Document, number: int) -> list[int]:
        query = {"keys": {"$in": sorted(test.keys)}, "_id": places}
        found = self._kept.find(
            query, {"_id": 1}, sort=[("_id", -1)], limit=number, hint=INDEX, batch_size=BATCH + 1
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
