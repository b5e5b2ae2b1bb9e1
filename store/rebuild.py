"""The rows as the log says they are: every entry from the first, each checked against the one before."""

from __future__ import annotations

from authz.engine import Engine
from authz.rows import Row, digest_after, digest_text
from policies.compile import DATA_TYPES
from store.entries import decode
from store.errors import LogDamaged
from store.port import Head, Store

_ENTRIES = 200
_STRUCTURAL = ("any:", "self:", "settings:", *(f"data:{data}/" for data in DATA_TYPES))


def structure_of(engine: Engine) -> frozenset[Row]:
    """The rows that no document asserts (`compile.STRUCTURE_ROWS`, of this version or an older)."""
    links = engine.enforcer.objects.links()
    return frozenset(Row("g2", link) for link in links if link[0].startswith(_STRUCTURAL))


async def rebuild(store: Store, head: Head) -> list[str]:
    """The text of all rows at `head`, from the entries alone.

    Raises:
        LogDamaged: the chain of hashes or a digest does not hold. StoreTooNew, StoreUnavailable.
    """
    rows: set[str] = set()
    at = Head()
    digest = 0
    while at.epoch < head.epoch:
        raw = await store.entries(at.epoch, _ENTRIES)
        for one in raw:
            if one.epoch > head.epoch:
                break
            entry = decode(one.epoch, one.hash, one.body)
            if (entry.epoch, entry.previous) != (at.epoch + 1, at.hash):
                raise LogDamaged(f"entry {one.epoch} does not follow entry {at.epoch}")
            digest = digest_after(digest, entry.added, entry.removed)
            rows.difference_update(row.text() for row in entry.removed)
            rows.update(row.text() for row in entry.added)
            if digest_text(digest) != entry.digest:
                raise LogDamaged(f"the digest of entry {one.epoch} is not that of its rows")
            at = Head(entry.epoch, entry.hash, entry.digest)
        if not raw:
            break
    if at != head:
        raise LogDamaged(f"the log ends at entry {at.epoch}, not at {head.epoch}")
    return sorted(rows)
