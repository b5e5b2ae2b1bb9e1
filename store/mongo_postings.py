"""Where common keys lie on a shelf of MongoDB: what finds the records that have several of them at once.

An index on an array serves one test of it. Where two common keys hardly ever come together, that is tens of
thousands of places looked at for nothing. So places that have come to rest are sealed in blocks: a bitmap
for every key that many records of the block have. Keys that few have are looked up in the index, and so is
whatever has no bitmap, which is therefore never wrong to leave out.

How a block is sealed, and what ends that: `mongo_seals.py`.
"""

from __future__ import annotations

import itertools
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from pymongo.database import Database

from authz.filters import Sense
from store.filters import Test
from store.mongo_client import Found as Document
from store.mongo_seals import MongoSeals
from store.scanning import PIECE_BITS

INDEX: Final = [("keys", 1), ("_id", -1)]
BATCH: Final = 16_000  # places of one answer of the server
BLOCK_BITS: Final = 16  # of a place: which block it belongs to
FEWEST: Final = 128  # records of a block that have a key for which there is a bitmap
_BLOCKS: Final = (1, 4, 16)  # looked at together: at first, then, and from then on


class Part(NamedTuple):
    """Places from `bottom` to `top`; with `blocks`, those of these, all of which are sealed."""

    bottom: int
    top: int
    blocks: range


class MongoPostings:
    """The bitmaps of one shelf. Raises: PyMongoError, from its methods."""

    def __init__(self, db: Database[Document], shelf: str) -> None:
        """`shelf`: the name of the collection that has the records."""
        self._records = db[shelf]
        self._seals = MongoSeals(db[f"{shelf}_postings"])

    # --- sealing ------------------------------------------------------------------------------------

    def seal(self, head: int, most: int) -> int:
        """Seals at most so many blocks that are full, the newest first; how many that was.

        `head`: the place of the record that came last.
        """
        full = max(0, head - (1 << PIECE_BITS)) >> BLOCK_BITS  # most that comes late comes sooner

        def known() -> range:
            lowest = self._records.find_one({}, {"_id": 1}, sort=[("_id", 1)])
            return range(full if lowest is None else lowest["_id"] >> BLOCK_BITS, full)

        def made(block: int) -> Iterator[tuple[str, bytes]]:
            return ((_name(key), bits) for key, bits in self._bitmaps(block))

        return self._seals.seal(full, known, made, most)

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
        self._seals.unseal(place >> BLOCK_BITS for place in places)

    def forget(self, floor: int) -> None:
        """Drops the blocks that lie wholly below a place."""
        self._seals.forget(floor >> BLOCK_BITS)

    # --- finding ------------------------------------------------------------------------------------

    def parts(self, bottom: int, top: int) -> Iterator[Part]:
        """These places in parts, the newest first: those of sealed blocks, and those between."""
        whole = self._seals.whole(range(bottom >> BLOCK_BITS, (top >> BLOCK_BITS) + 1))
        sizes = itertools.chain(_BLOCKS, itertools.repeat(_BLOCKS[-1]))
        blocks = range(top >> BLOCK_BITS, (bottom >> BLOCK_BITS) - 1, -1)
        for sealed, group in itertools.groupby(blocks, whole.__contains__):
            alike = list(group)
            while alike:
                size = next(sizes) if sealed else len(alike)
                some, alike = alike[:size], alike[size:]
                first, end = some[-1], some[0] + 1
                yield Part(
                    max(bottom, first << BLOCK_BITS),
                    min(top, (end << BLOCK_BITS) - 1),
                    range(first, end if sealed else first),
                )

    def meeting(self, part: Part, tests: Sequence[Test]) -> Iterator[int]:
        """The places of a sealed part that may pass all of these tests, the newest first.

        A key that has no bitmap only counts where it is wanted.
        """
        bitmaps = self._read(part.blocks, {key for test in tests for key in test.keys})
        left = dict.fromkeys(part.blocks, (1 << (1 << BLOCK_BITS)) - 1)
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

    def _read(self, blocks: range, keys: Iterable[int]) -> dict[tuple[int, int], int]:
        """The bitmaps of these blocks and keys; none of a block that is not sealed any more."""
        names = {_name(key): key for key in keys}
        return {
            (block, names[name]): int.from_bytes(zlib.decompress(bits), "little")
            for block, made in self._seals.read(blocks, names).items()
            for name, bits in made.items()
        }

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


def _name(key: int) -> str:
    return f"{key:016x}"


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
