"""The stream: everything leaves at least once, in order, whatever fails in between."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from policies.change import Entry, Source
from proxy.siem.event import Event
from proxy.siem.sinks import FileSink, SinkError
from proxy.siem.stream import PAUSES, Stream
from store.journal import Journal
from store.outbox import settled_in
from tests.store.change_kit import NOW
from tests.store.journal_kit import decision, open_journal


class Taking:
    """A sink that fails while told to."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.fails = 0
        self.closed = False

    async def send(self, events: Sequence[Event]) -> None:
        if self.fails:
            self.fails -= 1
            raise SinkError("gone")
        self.events += events

    async def close(self) -> None:
        self.closed = True

    def seqs(self) -> list[int]:
        return [json.loads(one.line)["seq"] for one in self.events if one.type != "change"]


async def no_entries(after: int, limit: int) -> list[Entry]:
    return []


def entry(epoch: int) -> Entry:
    return Entry(epoch, NOW, "host", Source.HOST, "r", "", (), (), (), "d", "p", f"h{epoch}")


def streaming(folder: Path, sink: Any, **more: Any) -> Stream:
    given: dict[str, Any] = {"records": ("all",), "entries": no_entries, **more}
    entries = given.pop("entries")
    return Stream(folder / "journal", folder / "siem.json", sink, entries, **given)


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    made = open_journal(tmp_path / "journal")
    yield made
    await made.close()


async def drain(stream: Stream) -> None:
    while await stream.step() == 0.0:
        pass


async def test_every_record_leaves_in_order_and_once_while_nothing_fails(
    journal: Journal, tmp_path: Path
) -> None:
    sink = Taking()
    stream = streaming(tmp_path, sink)
    for n in range(5):
        await journal.append(decision(number=n)).durable()
        await drain(stream)
    assert sink.seqs() == list(range(1, journal.seq + 1)) and stream.sent == len(sink.events)
    assert settled_in(tmp_path / "siem.json", journal.writer) == journal.seq
    await stream.close()
    assert sink.closed


async def test_a_sink_that_fails_gets_the_same_events_again_with_growing_pauses(
    journal: Journal, tmp_path: Path
) -> None:
    sink = Taking()
    stream = streaming(tmp_path, sink)
    await journal.append(decision()).durable()
    sink.fails = 3
    pauses = [await stream.step() for _ in range(3)]
    assert pauses == list(PAUSES[:3]) and stream.failures == 3 and not sink.events
    await drain(stream)
    assert sink.seqs() == list(range(1, journal.seq + 1)) and stream.failures == 0
    await stream.close()


async def test_a_process_that_starts_anew_goes_on_where_the_last_one_had_settled(
    journal: Journal, tmp_path: Path
) -> None:
    first, second = Taking(), Taking()
    await journal.append(decision()).durable()
    stream = streaming(tmp_path, first)
    await drain(stream)
    await journal.append(decision(number=1)).durable()
    first.fails = 1
    await stream.step()
    await stream.close()  # with a batch that nobody took
    stream = streaming(tmp_path, second)
    await drain(stream)
    await stream.close()
    assert first.seqs() + second.seqs() == list(range(1, journal.seq + 1))


async def test_only_one_process_streams_and_another_takes_over(
    journal: Journal, tmp_path: Path
) -> None:
    first, second = Taking(), Taking()
    one, two = streaming(tmp_path, first), streaming(tmp_path, second)
    await journal.append(decision()).durable()
    await drain(one)
    assert await two.step() > 0 and not second.events
    await one.close()
    await journal.append(decision(number=1)).durable()
    await drain(two)
    assert first.seqs() + second.seqs() == list(range(1, journal.seq + 1))
    await two.close()


async def test_changes_leave_in_the_same_stream_while_decisions_keep_coming(
    journal: Journal, tmp_path: Path
) -> None:
    log = [entry(n) for n in range(1, 121)]

    async def entries(after: int, limit: int) -> list[Entry]:
        return log[after : after + limit]

    sink = Taking()
    stream = streaming(tmp_path, sink, entries=entries, records=("decision", "change"))
    for n in range(3):
        await journal.append(decision(number=n)).durable()
        await stream.step()
    changes = [one for one in sink.events if one.type == "change"]
    assert [one.id for one in changes] == [f"change-{n}" for n in range(1, 121)]
    assert {one.type for one in sink.events} == {"decision", "change"}
    await stream.close()
    stream = streaming(tmp_path, sink, entries=entries, records=("change",))
    await drain(stream)
    assert len([one for one in sink.events if one.type == "change"]) == 120
    await stream.close()


async def test_a_store_that_is_gone_does_not_end_the_stream(
    journal: Journal, tmp_path: Path
) -> None:
    from store.errors import StoreUnavailable

    async def entries(after: int, limit: int) -> list[Entry]:
        raise StoreUnavailable("gone")

    stream = streaming(tmp_path, Taking(), entries=entries)
    assert await stream.step() == PAUSES[0]
    await stream.close()


async def test_a_file_rotates_by_size_and_keeps_only_so_many(
    journal: Journal, tmp_path: Path
) -> None:
    path = tmp_path / "siem" / "events.jsonl"
    stream = streaming(tmp_path, FileSink(path, most=3000, keep=2))
    for n in range(12):
        await journal.append(decision(number=n)).durable()
        await drain(stream)
    await stream.close()
    names = sorted(found.name for found in path.parent.iterdir())
    assert names == ["events.jsonl", "events.jsonl.1", "events.jsonl.2"]
    texts = [path.with_name(name).read_text() for name in reversed(names)]
    seqs = [json.loads(raw)["seq"] for text in texts for raw in text.splitlines()]
    assert seqs == list(range(seqs[0], journal.seq + 1))
    assert path.stat().st_mode & 0o077 == 0


async def test_half_a_line_of_a_crash_is_cut_before_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    sink = FileSink(path, most=1 << 20, keep=1)
    event = Event("i", 1, "decision", "allow", "", b'{"whole":1}')
    await sink.send([event])
    path.write_bytes(path.read_bytes() + b'{"half":')
    await sink.send([event])
    assert path.read_bytes() == b'{"whole":1}\n' * 2


async def test_a_file_that_cannot_be_written_is_a_failure_of_the_sink(tmp_path: Path) -> None:
    sink = FileSink(tmp_path / "folder", most=1 << 20, keep=1)
    (tmp_path / "folder").mkdir()
    with pytest.raises(SinkError):
        await sink.send([Event("i", 1, "decision", "allow", "", b"{}")])
