"""The chain: how a record becomes a line, and how a line is checked.

A line is canonical JSON with `at` (UTC microseconds), `body` (the record), `hash`, `id`, `prev`, `seq`,
`writer` and sometimes `aside`. The rule for any language: take `aside` and `hash` away, write the rest
with sorted keys and no spaces, SHA-256 of that is `hash`; `prev` is the hash of the line before; the
`aside` may be missing, and if it is there its SHA-256 is `aside_digest` of the body. Pure.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Final, NamedTuple

import msgspec

from authz.errors import AuthzError
from authz.records import Record, canonical

GENESIS: Final = "0" * 64  # `prev` of the first record of a writer
COUNTERS: Final = 1 << 16


class BrokenLine(AuthzError):
    """A line is not whole, not canonical, or is not what its hash says."""

    code = "broken_line"


class Link(NamedTuple):
    """The end of a chain: the seq and the hash of its last record.

    A named tuple as in `decision`: one is made for each record.
    """

    seq: int = 0
    hash: str = GENESIS


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A checked line. `body` includes its `type`; `aside` is None when there is none (or no more).

    Canonical JSON of it is the line as it stands, without its line break.
    """

    at: int
    body: dict[str, Any]
    hash: str
    id: str
    prev: str
    seq: int
    writer: str
    aside: dict[str, Any] | None = None

    @property
    def type(self) -> str:
        return str(self.body.get("type", ""))


class Ids:
    """Time-ordered ids that never go back, whatever the clock does.

    `tag` (8 hex digits, drawn by who opens the journal) keeps the ids of two writers apart.
    """

    __slots__ = ("_counter", "_last", "_tag")

    def __init__(self, tag: str, floor: int = 0) -> None:
        self._tag = tag
        self._last = floor
        self._counter = COUNTERS  # the floor itself may have been used up

    def next(self, now_us: int) -> str:
        """The next id; its time is `now_us`, or the last one's when the clock went back."""
        if now_us > self._last:
            self._last = now_us
            self._counter = 0
        else:
            self._counter += 1
            if self._counter >= COUNTERS:
                self._last += 1
                self._counter = 0
        return new_id(self._last, self._counter, self._tag)


def new_id(now_us: int, counter: int, tag: str = "00000000") -> str:
    """26 hex digits that sort by time: 14 of microseconds, 4 of a counter, 8 of the writer's tag."""
    return f"{now_us:014x}{counter:04x}{tag}"


def time_of(record_id: str) -> int:
    """The microseconds inside an id."""
    return int(record_id[:14], 16)


def seal(
    record: Record, link: Link, *, writer: str, at: int, record_id: str, salt: str = ""
) -> tuple[bytes, Link]:
    """The line (with its line break) of `record` after `link`, and the new end of the chain.

    `salt` (hex, random) is needed for a record with an aside. Text that has no UTF-8 form (lone
    surrogates from a header) is written with backslashes.

    Raises:
        TypeError: a value has no JSON form.
    """
    aside = b""
    if record.aside:
        aside = _encode({"salt": salt, **record.aside})
        record = msgspec.structs.replace(record, aside=None, aside_digest=sha256(aside).hexdigest())
    seq = link.seq + 1
    head = b'{"at":%d,"body":%b' % (at, _encode(record))
    tail = f',"id":"{record_id}","prev":"{link.hash}","seq":{seq},"writer":"{writer}"}}'.encode()
    digest = sha256(head + tail).hexdigest()
    if aside:
        head = b'{"aside":%b,%b' % (aside, head[1:])
    return b'%b,"hash":"%b"%b\n' % (head, digest.encode(), tail), Link(seq, digest)


def _encode(value: object) -> bytes:
    try:
        return canonical(value)
    except UnicodeEncodeError:
        return canonical(_clean(msgspec.to_builtins(value)))


def _clean(value: object) -> object:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {str(_clean(key)): _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return value


_decoder = msgspec.json.Decoder(Line)


class _End(msgspec.Struct, gc=False):
    """What stands after the hash in a line."""

    id: str
    prev: str
    seq: int
    writer: str


def read_line(raw: bytes) -> Line:
    """The checked line; `raw` may end in its line break.

    Checked: it is whole, it is canonical (so that no reader can read it otherwise), its hash and the
    digest of its aside are right. Not checked: that it follows the line before.

    Raises:
        BrokenLine: with what is wrong.
    """
    raw = raw.removesuffix(b"\n")
    try:
        line = _decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise BrokenLine("not the fields of a record") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BrokenLine("not a whole line of JSON") from error
    if canonical(line) != raw:
        raise BrokenLine("not in canonical form")
    start = 1
    if line.aside is not None:
        aside = canonical(line.aside)
        if sha256(aside).hexdigest() != line.body.get("aside_digest"):
            raise BrokenLine("the aside is not what its digest says")
        start = len(b'{"aside":,') + len(aside)
    # What the hash covers is the line without the aside at its begin and the hash near its end. Its keys
    # are sorted, so where those stand is known, and nothing has to be encoded once more.
    end = b"," + canonical(_End(line.id, line.prev, line.seq, line.writer))[1:]
    stop = len(raw) - len(end) - len(b',"hash":""') - len(line.hash.encode())
    if sha256(b"{" + raw[start:stop] + end).hexdigest() != line.hash:
        raise BrokenLine("the record is not what its hash says")
    return line


def follows(line: Line, link: Link) -> str:
    """Why `line` does not follow `link` (empty when it does)."""
    if line.seq != link.seq + 1:
        return f"record {link.seq + 1} expected, record {line.seq} found"
    if line.prev != link.hash:
        return f"record {line.seq} does not continue the record before it"
    return ""
