"""What is written down: one struct for each type of record. How they are made: `recording.py`.

Records are immutable and chained (`chain`), so they hold ids, codes and counts: no secret, no payload,
no text that a person wrote. Text of a caller that a condition read, or that a caller claimed, goes into
the `aside` of the line: the chain holds only its salted digest, so it can be erased later without
breaking the proof. A field is only ever added, with a default that means "absent"; a field that has its
default is not written. Pure: id, time and salt are given by `store/journal.py`.
"""

from __future__ import annotations

from typing import Any

import msgspec

Plain = str | int | bool | None | list["Plain"]


class Record(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag_field="type"
):
    """The base of every record. `aside` leaves the body when the line is sealed (`chain.seal`)."""

    aside: dict[str, Any] | None = None
    aside_digest: str = ""


class ConditionRecord(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What a named condition of a rule came to: true, false or unknown."""

    rule: str
    name: str
    met: str


class QuestionRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One question of the conjunction and Casbin's answer."""

    part: str
    subject: str
    action: str
    resource: str
    effect: str
    reason: str
    rules: tuple[str, ...] = ()
    path: str = ""
    conditions: tuple[ConditionRecord, ...] = ()
    shadow: str = ""
    shadow_rules: tuple[str, ...] = ()


class DecisionRecord(Record, frozen=True, kw_only=True, tag="decision"):
    """One question that a caller asked: a list or a batch is one record with `count` and `result_digest`.

    `context` holds the stamped values that conditions read, `masked` names those that went aside.
    `us` is the time the decision took, in microseconds. `arguments` is the keyed digest of a tool call's
    arguments: it tells whether two calls were the same, and nothing else. Teams and pinned metadata are
    those at the time of the question, as in a request record.
    """

    effect: str
    reason: str
    epoch: int
    digest: str
    principal: str
    credential: str
    action: str
    resource: str
    on_behalf_of: str = ""
    questions: tuple[QuestionRecord, ...] = ()
    rules: tuple[str, ...] = ()
    path: str = ""
    context: dict[str, Any] = {}
    masked: tuple[str, ...] = ()
    request: str = ""
    trace: str = ""
    client: str = ""
    route: str = ""
    us: int = 0
    count: int = 0
    result_digest: str = ""
    arguments: str = ""
    teams: tuple[str, ...] = ()
    owner_team: str = ""
    pinned: dict[str, str] = {}


class RequestRecord(Record, frozen=True, kw_only=True, tag="request"):
    """What came of a request. Teams are those at the time of the request and are never rewritten.

    Times are in milliseconds, `None` where there was no such moment; tokens are None where unknown.
    """

    request: str
    decision: str  # the id of its decision record
    principal: str
    credential: str
    status: int
    route: str = ""
    teams: tuple[str, ...] = ()
    owner_team: str = ""
    model: str = ""
    account: str = ""
    dialect: str = ""
    upstream_status: int | None = None
    stream: bool = False
    input_tokens: int | None = None
    output_tokens: int | None = None
    first_byte_ms: int | None = None
    total_ms: int | None = None
    error: str = ""  # a stable code
    pinned: dict[str, str] = {}
    server: str = ""  # of an MCP request: the server's name as stored
    method: str = ""
    tool: str = ""  # tool, prompt or resource, only if it is in the catalogue
    outcome: str = ""  # of an MCP request that was answered: result, tool_error, error
    upstream_ms: int | None = None
    cost: int | None = None  # 10⁻⁹ US dollars, by `price`; None where it is not known
    price: str = ""  # which price that was: it never changes afterwards


class PayloadRecord(Record, frozen=True, kw_only=True, tag="payload"):
    """That what was said in a request is kept, apart from here: SHA-256 of it as it is kept, its salt included.

    `redacted`: how often something was cut out of it before.
    """

    request: str  # the id of the request record
    digest: str
    size: int
    redacted: int = 0


class Erasure(Record, frozen=True, kw_only=True, tag="erasure"):
    """What a person said, and the text that a person wrote, was removed on request: how much, and by whom."""

    subject: str
    by: str
    payloads: int
    asides: int
    person: bool = False  # whether name and address went, now


class RefusalCount(Record, frozen=True, kw_only=True, tag="refusals"):
    """Refusals that are no decisions (401, 429), counted by address or principal and minute."""

    code: str
    minute: int  # UTC microseconds of its start
    count: int
    address: str = ""
    principal: str = ""


class Opened(Record, frozen=True, kw_only=True, tag="opened"):
    """A process took the chain over: the first record of it, and one at each restart."""

    key: str  # id of the signing key
    version: str = ""


class Closed(Record, frozen=True, kw_only=True, tag="closed"):
    """The process let go of the chain on purpose."""

    reason: str = "shutdown"


class Recovered(Record, frozen=True, kw_only=True, tag="recovered"):
    """A restart found a tail that is not whole and cut it: how much, its SHA-256, line breaks in it.

    `kept`: lines before the tail are broken; that is no torn write, so they were left as they are.
    """

    segment: str
    offset: int
    length: int
    digest: str
    lines: int = 0
    kept: bool = False


class Gap(Record, frozen=True, kw_only=True, tag="gap"):
    """The journal could not be written. `begin` is written into reserved space, `end` has the count.

    The counts are of records that are lost for good, by effect; records that were held in memory
    meanwhile are written before the `end`.
    """

    phase: str  # begin | end
    cause: str  # errno name
    since: int
    until: int = 0
    allowed: int = 0
    denied: int = 0
    other: int = 0


class ClockStep(Record, frozen=True, kw_only=True, tag="clock-step"):
    """The wall clock moved by more than a second against the steady one (microseconds)."""

    expected: int
    found: int


class Checkpoint(Record, frozen=True, kw_only=True, tag="checkpoint"):
    """Signed: the chain up to the record before this one is `count` records long and ends in `head`.

    `peers` are the newest checkpoints of the other writers in the folder, so that a chain cannot
    vanish whole. At most `every` records follow until the next one.
    """

    writer: str
    count: int
    head: str
    at: int
    every: int
    change_epoch: int
    change_head: str
    key: str
    peers: dict[str, tuple[int, str]] = {}
    signature: str = ""


class KeyRotation(Record, frozen=True, kw_only=True, tag="key-rotation"):
    """Signed with the old key: from here on checkpoints are signed with `public`."""

    key: str  # id of the old key
    public: str  # the new key, hex
    at: int
    signature: str = ""


class Prune(Record, frozen=True, kw_only=True, tag="prune"):
    """Signed: whole segments are to be removed. `cuts` = (last seq, its hash) of each, oldest first."""

    writer: str
    cuts: tuple[tuple[int, str], ...]
    at: int
    key: str
    signature: str = ""


Signed = Checkpoint | KeyRotation | Prune

_encoder = msgspec.json.Encoder(order="sorted")


def canonical(value: object) -> bytes:
    """Canonical JSON: UTF-8, sorted keys, no spaces, no line break.

    Raises:
        TypeError, UnicodeEncodeError: the value has no JSON form (see `chain.seal`).
    """
    return _encoder.encode(value)
