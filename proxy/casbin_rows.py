"""The policy of one moment for a stock Casbin, in pages: what `export --casbin` asks a gateway for.

Runs in the process that answers long questions. The text is made once for a moment and kept in an unnamed
file, because a million grants are some hundred pages; every page is a piece of it. What the text says and
why: `policies/casbin_export.py`.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from authz.errors import InvalidRow
from authz.rows import DIGEST_MODULUS, Row, digest_text, read_texts
from authz.vocabulary import Kind
from policies.casbin_export import CasbinPolicy, casbin_policy
from store.entries import row_of
from store.errors import LogDamaged
from store.past import Moment
from store.port import Store

PAGE_BYTES: Final = 1024 * 1024  # so that nobody waits for one to be written as JSON
PARTS: Final = ("readme", "model", "conditions", "policy")
_KEPT = 3  # moments; somebody may read each of them
_PEOPLE = 2000  # asked for at once
_USER = f"{Kind.USER.value}:"


@dataclass(frozen=True, slots=True)
class CasbinPiece:
    """The next piece of each part; most are empty on most pages."""

    parts: dict[str, str]
    stamp: str  # of the whole text: pages with another do not belong together
    next: int | None  # where the next page starts; None on the last


@dataclass(slots=True)
class _Text:
    """All parts one after the other, and where each ends."""

    file: BinaryIO
    ends: tuple[int, ...]
    stamp: str


class CasbinRows:
    """The texts of the moments that were asked for last."""

    def __init__(self, store: Store, model_text: str, *, page_bytes: int = PAGE_BYTES) -> None:
        """`store` is open; whoever opened it closes it."""
        self._store = store
        self._model_text = model_text
        self._page_bytes = page_bytes
        self._kept: dict[tuple[int, bool], _Text] = {}

    async def piece(self, moment: Moment, *, people: bool, start: int, stamp: str) -> CasbinPiece:
        """The page of the text of `moment` that begins at `start`; `people` are named by their e-mail.

        A text with another stamp than the caller's (somebody changed his address between two pages, and the
        first text is gone) gives an empty page with that stamp.

        Raises:
            LogDamaged: the rows are not those that the log names. StoreUnavailable. Unwritable.
        """
        text = await self._text(moment, people)
        if start and stamp != text.stamp:
            return CasbinPiece({}, text.stamp, None)
        parts = dict.fromkeys(PARTS, "")
        left, begin = self._page_bytes, 0
        for name, end in zip(PARTS, text.ends, strict=True):
            if begin <= start < end and left > 0:
                text.file.seek(start)
                raw = text.file.read(min(left, end - start))
                if start + len(raw) < end:
                    raw += text.file.readline()  # never half a line, nor half a character
                parts[name] = raw.decode()
                start += len(raw)
                left -= len(raw)
            begin = end
        return CasbinPiece(parts, text.stamp, start if start < text.ends[-1] else None)

    async def _text(self, moment: Moment, people: bool) -> _Text:
        key = (moment.epoch, people)
        found = self._kept.pop(key, None)
        if found is None:
            while len(self._kept) >= _KEPT:
                self._kept.pop(next(iter(self._kept))).file.close()
            found = _kept(await self._made(moment, people), self._model_text)
        self._kept[key] = found  # the last one asked for goes last
        return found

    async def _made(self, moment: Moment, people: bool) -> CasbinPolicy:
        addresses = await self._people(moment) if people else {}

        def consume(texts: Iterator[str]) -> tuple[CasbinPolicy, int]:
            digest = 0

            def rows() -> Iterator[Row]:
                nonlocal digest
                try:
                    for part, share in read_texts(texts):
                        digest += share
                        yield from (Row(one[0], one[1:]) for one in part)
                except InvalidRow as error:
                    raise LogDamaged(f"the rows at epoch {moment.epoch} cannot be read") from error

            return casbin_policy(rows(), people=addresses), digest

        made, digest = await self._store.rows_at(moment.epoch, consume)
        if digest_text(digest % DIGEST_MODULUS) != moment.digest:
            raise LogDamaged(f"the rows at epoch {moment.epoch} are not those of the log")
        return made

    async def _people(self, moment: Moment) -> dict[str, str]:
        """The e-mail of today of each user whom a row names; who was erased has none."""

        def consume(texts: Iterator[str]) -> set[str]:
            # The rows are read twice: to hold a million of them between would take far more than that.
            named = (row_of(text).values for text in texts if _USER in text)
            return {value for values in named for value in values if value.startswith(_USER)}

        ids = sorted(
            value.removeprefix(_USER) for value in await self._store.rows_at(moment.epoch, consume)
        )
        found: dict[str, str] = {}
        for first in range(0, len(ids), _PEOPLE):
            for person in await self._store.people(ids[first : first + _PEOPLE]):
                found[person.id] = person.email
        return found

    def close(self) -> None:
        """Lets go of the texts."""
        for text in self._kept.values():
            text.file.close()
        self._kept.clear()


def _kept(policy: CasbinPolicy, model: str) -> _Text:
    # Its owner can read it, and it has no name: it ends with the process.
    file = tempfile.TemporaryFile()  # noqa: SIM115
    stamp = hashlib.sha256()
    ends = []
    for lines in ((policy.readme,), (model,), (policy.conditions,), policy.lines):
        for line in lines:
            raw = line.encode()
            stamp.update(raw)
            file.write(raw)
        ends.append(file.tell())
    return _Text(file, tuple(ends), stamp.hexdigest()[:32])
