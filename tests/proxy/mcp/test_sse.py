"""A stream gives the same events however it is cut into chunks, and what is written is read back."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.mcp.sse import Event, EventTooLong, Splitter, encode


def events(raw: bytes, limit: int = 1 << 20) -> list[Event]:
    return Splitter(limit).feed(raw)


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_each_kind_of_line_end_is_read(end: str) -> None:
    raw = end.join(["event: message", "id: 7", "retry: 250", 'data: {"a":', "data:1}", "", ""])
    assert events(raw.encode()) == [Event(b'{"a":\n1}', "7", "message", 250)]


def test_empty_data_and_no_data_are_told_apart() -> None:
    assert events(b"id: x\ndata:\n\n") == [Event(b"", "x")]  # the priming event
    assert events(b"id: x\nretry: 5\n\n") == [Event(None, "x", None, 5)]
    assert events(b"data\n\n") == [Event(b"")]


def test_comments_are_kept_and_end_no_event() -> None:
    assert events(b": ping\n\n:\n\ndata: a\n: inner\ndata: b\n\n") == [
        Event(comment="ping"),
        Event(comment=""),
        Event(comment="inner"),
        Event(b"a\nb"),
    ]


def test_a_byte_order_mark_counts_at_the_start_only() -> None:
    assert events(b"\xef\xbb\xbfdata: a\n\n\xef\xbb\xbfdata: b\n\n") == [Event(b"a")]
    splitter = Splitter()
    found = [e for byte in b"\xef\xbb\xbfdata: a\n\n" for e in splitter.feed(bytes([byte]))]
    assert found == [Event(b"a")]


def test_what_no_reader_takes_is_dropped() -> None:
    assert events(b"id: a\0b\nretry: 1x\nretry: -1\nother: 1\n\n\n\n") == []
    assert events(b"data:  two spaces\n\n") == [Event(b" two spaces")]


def test_what_does_not_end_is_pending_and_no_event() -> None:
    splitter = Splitter()
    assert splitter.feed(b"data: a\n") == []
    assert splitter.pending
    assert splitter.feed(b"\n") == [Event(b"a")]
    assert not splitter.pending


@pytest.mark.parametrize(
    "raw",
    [
        b"data: " + b"x" * 100,  # a line that does not end
        b"data: " + b"x" * 100 + b"\n\n",
        b"data: xxxxx\n" * 10,  # an event that does not end
        b":" + b"x" * 100,
    ],
)
def test_an_event_is_bounded(raw: bytes) -> None:
    for cut in (1, 7, len(raw)):
        splitter = Splitter(64)
        with pytest.raises(EventTooLong):
            for at in range(0, len(raw), cut):
                splitter.feed(raw[at : at + cut])


def test_comments_without_end_do_not_add_up() -> None:
    splitter = Splitter(64)
    for _ in range(100):
        assert splitter.feed(b": ping\n") == [Event(comment="ping")]
    for _ in range(100):
        assert splitter.feed(b"unknown: field\n\n") == []


LINES = st.sampled_from(
    [
        b"data",
        b"data:",
        b"data: a",
        b"data:\xc3\xbc",
        b"id: 1",
        b"id",
        b"event: e",
        b"event:",
        b"retry: 9",
        b": c",
        b":",
        b"",
        b"",
        b"x: y",
        b"\xef\xbb\xbfdata: z",
        b"data: \xff",
    ]
)


@given(
    st.lists(st.tuples(LINES, st.sampled_from([b"\n", b"\r", b"\r\n"])), max_size=25),
    st.lists(st.integers(0, 200), max_size=20),
)
def test_any_chunking_gives_the_events_of_the_whole(
    lines: list[tuple[bytes, bytes]], cuts: list[int]
) -> None:
    raw = b"".join(line + end for line, end in lines)
    splitter = Splitter()
    found: list[Event] = []
    edges = [0, *sorted(cut for cut in cuts if cut < len(raw)), len(raw)]
    for start, end in pairwise(edges):
        found += splitter.feed(raw[start:end])
    assert found == events(raw)
    single = Splitter()
    assert [e for byte in raw for e in single.feed(bytes([byte]))] == found


TEXT = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), max_size=20)


@given(
    st.builds(
        Event,
        data=st.none() | st.binary(max_size=60).map(lambda b: b.replace(b"\r", b"")),
        id=st.none() | TEXT,
        event=st.none() | TEXT.filter(bool),
        retry=st.none() | st.integers(0, 999_999_999),
    ).filter(lambda e: e != Event())
)
def test_what_is_written_is_read_back(event: Event) -> None:
    assert events(encode(event)) == [event]


def test_line_breaks_in_data_become_lines_and_are_refused_elsewhere() -> None:
    assert encode(Event(b"a\r\nb\rc")) == b"data: a\ndata: b\ndata: c\n\n"
    assert encode(Event(comment="a\nb")) == b": a\n: b\n\n"
    for bad in (Event(id="a\nb"), Event(id="a\0"), Event(event="a\rb"), Event(b"", retry=-1)):
        with pytest.raises(ValueError):
            encode(bad)
