"""Where common keys lie on a shelf of MongoDB: what finds the records that have several of them at once.

An index on an array serves one test of it. Where two common keys hardly ever come together, that is tens of
thousands of places looked at for nothing. So places that have come to rest are sealed in blocks: a bitmap
for every key that many records of the block have. Keys that few have are looked up in the index, and so is
whatever has no bitmap, which is therefore never wrong to leave out.

A block is as good as its mark, which is made before its records are read and says so once all is written.
Who puts a record into a block, or changes one, removes the mark afterwards (`unseal`): so whatever was read
too early never counts. Bitmaps name the mark that they belong to, as two processes may seal one block.
"""

from __future__ import annotations

import itertools
import os
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from pymongo import ReplaceOne
from pymongo.collection import Collection
from pymongo.database import Database

from authz.filters import Sense
from store.filters import Test
from store.mongo_client import Found as Document
from store.scanning import PIECE_BITS

INDEX: Final = [("keys", 1), ("_id", -1)]
BATCH: Final = 16_000  # places of one answer of the server
BLOCK_BITS: Final = 16  # of a place: which block it belongs to
FEWEST: Final = 128  # records of a block that have a key for which there is a bitmap
_AT_ONCE: Final = 500  # bitmaps written together
_BLOCKS: Final = (1, 4, 16)  # looked at together: at first, then, and from then on


class Part(NamedTuple):
    """Places from `bottom` to `top`; with `marks`, those of their blocks, all of which are sealed."""

    bottom: int
    top: int
    marks: Mapping[int, bytes]


class MongoPostings:
    """The bitmaps of one shelf. Raises: PyMongoError, from its methods."""

    def __init__(self, db: Database[Document], shelf: str) -> None:
        """`shelf`: the name of the collection that has the records."""
        self._records = db[shelf]
        self._kept: Collection[Document] = db[f"{shelf}_postings"]
        self._full = 0  # below this block everything is sealed

    # --- sealing ------------------------------------------------------------------------------------

    def seal(self, head: int, most: int) -> int:
        """Seals at most so many blocks that are full, the newest first; how many that was.

        `head`: the place of the record that came last.
        """
        full = max(0, head - (1 << PIECE_BITS)) >> BLOCK_BITS  # most that comes late comes sooner
        if full <= self._full:
            return 0  # nothing new: who ships asks often
        lowest = self._records.find_one({}, {"_id": 1}, sort=[("_id", 1)])
        if lowest is None:
            return 0
        blocks = range(lowest["_id"] >> BLOCK_BITS, full)
        marks = self._marks(blocks)
        open_blocks = [one for one in reversed(blocks) if one not in marks]
        for block in open_blocks[:most]:
            self._write(block)
        if len(open_blocks) <= most:
            self._full = full
        return min(len(open_blocks), most)

    def _write(self, block: int) -> None:
        mark = os.urandom(8)
        self._drop(block, block + 1)
        self._kept.replace_one(
            {"_id": _id(block)}, {"by": mark, "whole": False}, upsert=True
        )  # before anything is read
        bitmaps = self._bitmaps(block)
        while made := list(itertools.islice(bitmaps, _AT_ONCE)):
            self._kept.bulk_write(
                [
                    ReplaceOne({"_id": _id(block, key)}, {"by": mark, "bits": bits}, upsert=True)
                    for key, bits in made
                ],
                ordered=False,
            )
        done = self._kept.update_one({"_id": _id(block), "by": mark}, {"$set": {"whole": True}})
        if not done.matched_count:  # something changed meanwhile
            self._kept.delete_many({"_id": _ids(block, block + 1), "by": mark})

    def _bitmaps(self, block: int) -> Iterator[tuple[int, bytes]]:
        base = block << BLOCK_BITS
        places: defaultdict[int, list[int]] = defaultdict(list)
        for one in self._records.find({"_id": _span(block, block + 1)}, {"keys": 1}):
            place = one["_id"] - base
            for key in one["keys"]:
                places[key].append(place)
        for key, said in places.items():
            if len(said) >= FEWEST:
                yield key, zlib.compress(_bitmap(said), 1)

    # --- what changes -------------------------------------------------------------------------------

    def unseal(self, places: Iterable[int]) -> None:
        """Drops what is written of the blocks of these places. After they were changed, not before."""
        for block in sorted({place >> BLOCK_BITS for place in places}):
            if self._kept.delete_one({"_id": _id(block)}).deleted_count:
                self._full = min(self._full, block)
                self._drop(block, block + 1)

    def forget(self, floor: int) -> None:
        """Drops the blocks that lie wholly below a place."""
        self._drop(0, floor >> BLOCK_BITS)

    def _drop(self, first: int, end: int) -> None:
        self._kept.delete_many({"_id": _ids(first, end)})

    # --- finding ------------------------------------------------------------------------------------

    def parts(self, bottom: int, top: int) -> Iterator[Part]:
        """These places in parts, the newest first: those of sealed blocks, and those between."""
        marks = self._marks(range(bottom >> BLOCK_BITS, (top >> BLOCK_BITS) + 1))
        sizes = iter(_BLOCKS)
        while top >= bottom:
            block = top >> BLOCK_BITS
            last, sealed = block, block in marks
            size = next(sizes, _BLOCKS[-1]) if sealed else 1 << 62
            while (last - 1) << BLOCK_BITS >= bottom and block - last + 1 < size:
                if (last - 1 in marks) != sealed:
                    break
                last -= 1
            low = max(bottom, last << BLOCK_BITS)
            blocks = range(last, block + 1) if sealed else ()
            yield Part(low, top, {one: marks[one] for one in blocks})
            top = low - 1

    def meeting(self, part: Part, tests: Sequence[Test]) -> Iterator[int]:
        """The places of a sealed part that may pass all of these tests, the newest first.

        A key that has no bitmap only counts where it is wanted.
        """
        bitmaps = self._read(part, {key for test in tests for key in test.keys})
        left = dict.fromkeys(part.marks, (1 << (1 << BLOCK_BITS)) - 1)
        for test in tests:
            found = dict.fromkeys(left, 0)
            missing: dict[int, list[int]] = {}
            for block, key in itertools.product(left, test.keys):
                if (block, key) in bitmaps:
                    found[block] |= bitmaps[block, key]
                else:
                    missing.setdefault(block, []).append(key)
            if test.sense is Sense.LACKS:
                left = {block: bits & ~found[block] for block, bits in left.items()}
                continue
            for block, bits in self._looked_up(missing).items():
                found[block] |= bits
            left = {block: bits & found[block] for block, bits in left.items() if found[block]}
        for block in sorted(left, reverse=True):
            base = block << BLOCK_BITS
            for place in _descending(left[block]):
                if part.bottom <= base + place <= part.top:
                    yield base + place

    def _marks(self, blocks: Iterable[int]) -> dict[int, bytes]:
        """The marks of those of these blocks that are sealed."""
        wanted = {_id(block): block for block in blocks}
        found = self._kept.find({"_id": {"$in": list(wanted)}, "whole": True}, {"by": 1})
        return {wanted[one["_id"]]: bytes(one["by"]) for one in found}

    def _read(self, part: Part, keys: Iterable[int]) -> dict[tuple[int, int], int]:
        wanted = {_id(block, key): (block, key) for key in keys for block in part.marks}
        found = self._kept.find({"_id": {"$in": list(wanted)}})
        bitmaps = {}
        for one in found.to_list():
            block, key = wanted[one["_id"]]
            if bytes(one["by"]) == part.marks[block]:
                bitmaps[block, key] = int.from_bytes(zlib.decompress(one["bits"]), "little")
        return bitmaps

    def _looked_up(self, keys: Mapping[int, Sequence[int]]) -> dict[int, int]:
        """By block, the places of keys as the index has them, as a bitmap."""
        asked = [
            {"keys": {"$in": sorted(said)}, "_id": _span(block, block + 1)}
            for block, said in keys.items()
        ]
        if not asked:
            return {}
        found = self._records.find({"$or": asked}, {"_id": 1}, hint=INDEX, batch_size=BATCH + 1)
        places: defaultdict[int, list[int]] = defaultdict(list)
        for one in found.to_list():
            places[one["_id"] >> BLOCK_BITS].append(one["_id"] & ((1 << BLOCK_BITS) - 1))
        return {block: int.from_bytes(_bitmap(said), "little") for block, said in places.items()}


def _id(block: int, key: int | None = None) -> str:
    return f"{block:012x}/" + ("" if key is None else f"{key:016x}")


def _ids(first: int, end: int) -> Document:
    """What is written of blocks."""
    return {"$gte": _id(first), "$lt": _id(end)}


def _span(first: int, end: int) -> Document:
    """The places of blocks."""
    return {"$gte": first << BLOCK_BITS, "$lt": end << BLOCK_BITS}


def _bitmap(places: Iterable[int]) -> bytes:
    bits = bytearray((1 << BLOCK_BITS) // 8)
    for place in places:
        bits[place >> 3] |= 1 << (place & 7)
    return bytes(bits)


def _descending(bits: int) -> Iterator[int]:
    """Which bits are set, the highest first."""
    text = f"{bits:b}"
    last = len(text) - 1
    found = text.find("1") if bits else -1
    while found >= 0:
        yield last - found
        found = text.find("1", found + 1)
