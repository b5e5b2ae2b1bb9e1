from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.chain import (
    COUNTERS,
    GENESIS,
    BrokenLine,
    Ids,
    Link,
    follows,
    new_id,
    read_line,
    seal,
    time_of,
)
from authz.recording import request_record
from authz.records import RefusalCount, RequestRecord


def sealed(record: object = None, link: Link | None = None) -> tuple[bytes, Link]:
    record = record or RefusalCount(code="missing_credential", minute=60, count=3, address="::1")
    return seal(
        record,  # type: ignore[arg-type]
        link or Link(),
        writer="a@b@0",
        at=1_000_001,
        record_id=new_id(1_000_001, 0, "0a0b0c0d"),
        salt="ff" * 16,
    )


def with_aside() -> RequestRecord:
    return request_record(
        request_id="r\n",
        decision_id="d",
        principal="p",
        credential="c",
        status=200,
        claimed={"customer": "Ada\nL"},
    )


def test_any_language_can_recompute_the_hash() -> None:
    raw, link = sealed(with_aside())
    found = json.loads(raw)
    digest, aside = found.pop("hash"), found.pop("aside")
    rest = json.dumps(found, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert hashlib.sha256(rest.encode()).hexdigest() == digest == link.hash
    text = json.dumps(aside, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert hashlib.sha256(text.encode()).hexdigest() == found["body"]["aside_digest"]
    assert aside["salt"] == "ff" * 16


def test_a_record_is_one_line_however_it_is_written() -> None:
    raw, _ = sealed(with_aside())
    assert raw.count(b"\n") == 1 and raw.endswith(b"\n")


def test_an_aside_can_be_erased_and_the_line_still_proves_itself() -> None:
    raw, link = sealed(with_aside())
    found = json.loads(raw)
    del found["aside"]
    erased = json.dumps(found, sort_keys=True, separators=(",", ":")).encode()
    line = read_line(erased)
    assert line.hash == link.hash and line.aside is None


def test_lines_follow_each_other() -> None:
    first, link = sealed()
    second, _ = sealed(link=link)
    one, two = read_line(first), read_line(second)
    assert one.prev == GENESIS and one.seq == 1
    assert not follows(two, Link(one.seq, one.hash))
    assert follows(two, Link()) == "record 1 expected, record 2 found"
    assert "does not continue" in follows(two, Link(1, "00"))


def test_lone_surrogates_of_a_header_do_not_stop_the_record() -> None:
    record = RefusalCount(code="x", minute=0, count=1, address="\udcff\ud800")
    line = read_line(sealed(record)[0])
    assert line.body["address"] == "\\udcff\\ud800"


def test_a_value_without_json_form_is_refused() -> None:
    with pytest.raises(TypeError):
        sealed(RefusalCount(code=object(), minute=0, count=1))  # type: ignore[arg-type]


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_every_changed_byte_is_found(data: st.DataObject) -> None:
    raw = sealed(with_aside())[0][:-1]
    at = data.draw(st.integers(0, len(raw) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda b: b != raw[at]))
    with pytest.raises(BrokenLine):
        read_line(raw[:at] + bytes([byte]) + raw[at + 1 :])


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw[:-1],
        lambda raw: raw + b" ",
        lambda raw: b" " + raw,
        lambda raw: raw.replace(b'"code"', b'"code":"allow","code"'),  # a reader may take the first
        lambda raw: raw.replace(b'"at":', b'"at": '),
        lambda raw: raw.replace(b'"at":1000001', b'"at":1000001.0'),
        lambda raw: b"{}",
        lambda raw: b"",
        lambda raw: b"\x00" * 50,
        lambda raw: b"[]",
    ],
)
def test_what_is_not_whole_or_not_canonical_is_broken(change: object) -> None:
    raw = sealed()[0][:-1]
    with pytest.raises(BrokenLine):
        read_line(change(raw))  # type: ignore[operator]


def test_ids_sort_by_time_and_never_go_back() -> None:
    ids = Ids("0a0b0c0d")
    clock = [10, 11, 11, 11, 5, 3, 12, 4, 400]
    made = [ids.next(now) for now in clock]
    assert made == sorted(set(made))
    assert time_of(made[-1]) == 400 and len(made[0]) == 26


def test_ids_go_on_after_the_floor_of_an_earlier_run_and_over_a_full_counter() -> None:
    ids = Ids("0a0b0c0d", floor=1000)
    last = new_id(1000, COUNTERS - 1, "ffffffff")
    made = [ids.next(7) for _ in range(COUNTERS + 3)]
    assert made[0] > last
    assert made == sorted(set(made))
