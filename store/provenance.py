"""Who wrote a row: the entry of the change log that added it, without all that the entry holds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import msgspec

from store.errors import LogDamaged
from store.port import RawEntry, Store

_LARGE = 256 * 1024  # bytes of a body that is better not read on the loop


@dataclass(frozen=True, slots=True)
class Written:
    """What an entry says of itself. `revision` is the git commit of the files, "" if there is none."""

    epoch: int
    at: datetime
    actor: str
    source: str
    comment: str
    revision: str


class _Header(msgspec.Struct):
    epoch: int
    at: datetime
    actor: str
    source: str
    comment: str
    digest: str
    revision: str = ""


_header = msgspec.json.Decoder(_Header).decode  # what it does not name is skipped, never made


async def written_by(store: Store, rows: Iterable[str], epoch: int) -> dict[str, Written]:
    """The entry that added each of these rows (as text), as of `epoch`; what did not hold is left out.

    Raises:
        StoreUnavailable. LogDamaged: an entry is not there or cannot be read.
    """
    origins = await store.origins(rows, epoch)
    entries = {one: (await header_at(store, one))[0] for one in set(origins.values())}
    return {row: entries[one] for row, one in origins.items()}


async def header_at(store: Store, epoch: int) -> tuple[Written, str]:
    """What the entry at `epoch` says of itself, and the digest of all rows after it.

    Raises:
        StoreUnavailable. LogDamaged: it is not there or cannot be read.
    """
    found = await store.entries(epoch - 1, 1)
    if not found or found[0].epoch != epoch:
        raise LogDamaged(f"entry {epoch} of the change log is not there")
    raw = found[0]
    if len(raw.body) > _LARGE:
        return await asyncio.to_thread(_read, raw)
    return _read(raw)


def _read(raw: RawEntry) -> tuple[Written, str]:
    try:
        header = _header(raw.body)
    except msgspec.DecodeError as error:
        raise LogDamaged(f"entry {raw.epoch} of the change log cannot be read") from error
    told = Written(
        header.epoch, header.at, header.actor, header.source, header.comment, header.revision
    )
    return told, header.digest
