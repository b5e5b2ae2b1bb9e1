"""Policy as data: a row, its digest, and a delta of rows.

A row is what the change log adds and removes and what Casbin judges by. The digest of a set of rows
is the sum of SHA-256(row) modulo 2^256, so that a delta updates it without touching the other rows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple, TypeVar

import msgspec

from authz.errors import InvalidRow

T = TypeVar("T")
DIGEST_MODULUS = 1 << 256
_PART = 4096

# How many values follow the type of a row.
ARITY = {
    "p": 6,  # subject, object, action, effect, condition name or "", rule id
    "p2": 6,  # the same, judged in shadow only
    "g": 2,  # subject -> group of subjects
    "g2": 2,  # object -> group of objects
    "g3": 2,  # action -> bundle of actions
    "a": 2,  # alias -> the object it stands for
    "c": 2,  # condition name -> its canonical JSON (see `conditions`)
    "m": 2,  # rule id -> its public message
}


class Row(NamedTuple):
    """One row: its type (a key of `ARITY`) and its values."""

    ptype: str
    values: tuple[str, ...]

    def text(self) -> str:
        """The row as canonical JSON: what is hashed and what the change log holds."""
        return json.dumps([self.ptype, *self.values], ensure_ascii=False, separators=(",", ":"))


def row(ptype: str, *values: str) -> Row:
    """A checked row.

    Raises:
        InvalidRow: unknown type, wrong number of values, or an effect that is neither allow nor deny.
    """
    if len(values) != ARITY.get(ptype, -1):
        raise InvalidRow(f"a row of type `{ptype}` cannot have {len(values)} values")
    if ptype in ("p", "p2"):
        if values[3] not in ("allow", "deny"):
            raise InvalidRow(f"the effect `{values[3]}` is neither allow nor deny")
        if values[2] == "*" and values[3] != "deny":
            raise InvalidRow("`*` as an action is legal on a deny only")
    return Row(ptype, values)


# Byte for byte what `Row.text` gives (tested), at a tenth of its price.
_encode = msgspec.json.Encoder().encode_lines
_decode = msgspec.json.Decoder(list[tuple[str, ...]]).decode


def flat_rows(texts: Sequence[str]) -> list[tuple[str, ...]]:
    """Rows from their canonical texts: the type of each, and its values.

    Raises:
        InvalidRow: a text is not that of one row.
    """
    try:
        # In one go: at a million rows, a call of the decoder for each takes half a second more.
        found = _decode(f"[{','.join(texts)}]")
    except (msgspec.DecodeError, UnicodeError) as error:
        raise InvalidRow("a text is not that of a row") from error
    if len(found) != len(texts) or not all(found):
        raise InvalidRow("a text is not that of one row")
    return found


def digest_of(item: Row) -> int:
    """SHA-256 of the canonical row as a number."""
    return digest_sum((item,))


def digest_sum(rows: Iterable[Row]) -> int:
    """The sum of the digests of rows, not reduced."""
    return _digest_sum(_encode([(ptype, *values) for ptype, values in rows]))


def digest_of_texts(texts: Iterable[str]) -> int:
    """The same, from the texts of the rows: a text that is not canonical gives another sum.

    Raises:
        UnicodeEncodeError: a text has no UTF-8 form.
    """
    return _digest_sum("".join([f"{text}\n" for text in texts]).encode())


def _digest_sum(lines: bytes) -> int:
    # Canonical JSON has no newline of its own, so that rows can be written and told apart in one go.
    sha256, number = hashlib.sha256, int.from_bytes
    return sum([number(sha256(line).digest(), "big") for line in lines.split(b"\n")[:-1]])


def in_parts(items: Iterable[T]) -> Iterator[list[T]]:
    """Some thousands at a time: what is worth doing in one go, and no more than that at once."""
    source = iter(items)
    while part := list(islice(source, _PART)):
        yield part


def read_texts(texts: Iterable[str]) -> Iterator[tuple[list[tuple[str, ...]], int]]:
    """Parts of the rows, each as `flat_rows`, with the sum of their digests. Raises: InvalidRow."""
    for part in in_parts(texts):
        yield flat_rows(part), digest_of_texts(part)


def digest_after(digest: int, added: Iterable[Row], removed: Iterable[Row]) -> int:
    """The digest of a set of rows once a delta is applied to it."""
    return (digest + digest_sum(added) - digest_sum(removed)) % DIGEST_MODULUS


def digest_text(digest: int) -> str:
    """The digest as 64 hex digits."""
    return f"{digest:064x}"
