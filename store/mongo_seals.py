"""What is made of numbered spans of records on MongoDB, and is only in force while it is true of them.

A span is as good as its mark, which is made before its records are read and says so once all is written. Who
adds, changes or removes a record of a span removes the mark afterwards (`unseal`): so whatever was read too early
never counts. What is made names the mark that it belongs to, as two processes may seal one span.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from pymongo import ReplaceOne
from pymongo.collection import Collection

from store.mongo_client import Found as Document

_AT_ONCE: Final = 500  # things written together

Made = Iterator[tuple[str, bytes]]


class MongoSeals:
    """Named bytes by the number of a span, in a collection of their own. Raises: PyMongoError, from its methods."""

    def __init__(self, kept: Collection[Document]) -> None:
        self._kept = kept
        self._full = 0  # below this number everything is sealed, as far as is known here

    def seal(
        self, full: int, known: Callable[[], Iterable[int]], made: Callable[[int], Made], most: int
    ) -> int:
        """Seals at most so many spans, the last first, of those `known` below `full`; how many that was.

        `made` must not read before its first item is asked for.
        """
        if full <= self._full:
            return 0  # nothing new: who ships asks often
        numbers = sorted(known(), reverse=True)
        whole = self.whole(numbers)
        left = [number for number in numbers if number not in whole]
        for number in left[:most]:
            self._write(number, made(number))
        if len(left) <= most:
            self._full = full
        return min(len(left), most)

    def _write(self, number: int, made: Made) -> None:
        mark = {"_id": _id(number), "by": os.urandom(8)}
        self._drop(number, number + 1)
        self._kept.replace_one({"_id": mark["_id"]}, {**mark, "whole": False}, upsert=True)
        while some := list(itertools.islice(made, _AT_ONCE)):
            documents = [
                {"_id": _id(number, name), "by": mark["by"], "data": data} for name, data in some
            ]
            self._kept.bulk_write(
                [ReplaceOne({"_id": one["_id"]}, one, upsert=True) for one in documents],
                ordered=False,
            )
        done = self._kept.update_one(mark, {"$set": {"whole": True}})
        if not done.matched_count:  # something changed meanwhile
            self._kept.delete_many({"_id": _ids(number, number + 1), "by": mark["by"]})

    def unseal(self, numbers: Iterable[int]) -> None:
        """Drops what was made of these spans. After their records were changed, not before."""
        for number in sorted(set(numbers)):
            if self._kept.delete_one({"_id": _id(number)}).deleted_count:
                self._full = min(self._full, number)
                self._drop(number, number + 1)

    def forget(self, number: int) -> None:
        """Drops what was made of all spans below a number."""
        self._drop(0, number)

    def _drop(self, first: int, end: int) -> None:
        self._kept.delete_many({"_id": _ids(first, end)})

    def whole(self, numbers: Iterable[int]) -> set[int]:
        """Which of these spans are sealed."""
        wanted = {_id(number): number for number in numbers}
        found = self._kept.find({"_id": {"$in": list(wanted)}, "whole": True}, {"_id": 1})
        return {wanted[one["_id"]] for one in found}

    def read(self, numbers: Iterable[int], names: Iterable[str]) -> dict[int, dict[str, bytes]]:
        """Of each of these spans that is sealed, what it has under these names."""
        wanted = {
            _id(number, name): (number, name)
            for number, name in itertools.product(numbers, ("", *names))
        }
        found = self._kept.find({"_id": {"$in": list(wanted)}}).to_list()
        marks = {one["_id"]: one["by"] for one in found if one.get("whole")}
        made: dict[int, dict[str, bytes]] = {wanted[mark][0]: {} for mark in marks}
        for one in found:
            number, name = wanted[one["_id"]]
            if name and one["by"] == marks.get(_id(number)):
                made[number][name] = bytes(one["data"])
        return made


def _id(number: int, name: str = "") -> str:
    """Of what has this name; without one, of the mark."""
    return f"{number:012x}/{name}"


def _ids(first: int, end: int) -> Document:
    """What is written of these spans."""
    return {"$gte": _id(first), "$lt": _id(end)}
