"""Looking through a shelf: nothing is passed over, and a deadline says how far it came."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from store.request_records import Entry, Row, Shelf
from store.scanning import PIECE_BITS, pieces, places, walk


def row(seq: int) -> Row:
    return Row(seq, str(seq), seq, b"")


@given(st.sets(st.integers(1, 5_000_000), max_size=40), st.integers(1, 50))
def test_every_match_between_two_places_comes_once_and_in_order(
    matches: set[int], limit: int
) -> None:
    def fetch(bottom: int, top: int, number: int, left: float) -> tuple[list[Row], bool]:
        inside = sorted((seq for seq in matches if bottom <= seq <= top), reverse=True)
        return [row(seq) for seq in inside[:number]], False

    listed: list[int] = []
    top = 5_000_000
    while True:
        found = walk(fetch, 1, top, limit, 60.0, lambda: 0.0)
        listed += [one.seq for one in found.rows]
        assert len(found.rows) <= limit
        if found.done:
            break
        top = found.reached - 1
    assert listed == sorted(matches, reverse=True)


def test_a_deadline_between_two_windows_says_how_far_it_came() -> None:
    ticks = itertools.count()
    found = walk(lambda *_: ([], False), 1, 10_000_000, 5, 2.0, lambda: float(next(ticks)))
    assert found.struck
    assert not found.done
    assert 1 < found.reached < 10_000_000


def test_a_deadline_within_a_window_keeps_what_was_found() -> None:
    found = walk(lambda *_: ([row(90), row(80)], True), 1, 100, 5, 2.0, lambda: 0.0)
    assert (found.reached, found.struck, len(found.rows)) == (80, True, 2)
    found = walk(lambda *_: ([], True), 1, 100, 5, 2.0, lambda: 0.0)
    assert (found.reached, found.struck) == (101, True)


def test_nothing_to_look_through_is_done_at_once() -> None:
    lowest, highest = places(None, 3)
    assert walk(lambda *_: 1 / 0, lowest, highest, 5, 1.0, lambda: 0.0).done  # type: ignore[arg-type]


def test_a_piece_knows_its_oldest_and_newest_time() -> None:
    edge = 1 << PIECE_BITS
    given_entries = [
        (seq, Entry(Shelf.REQUESTS, "w", seq, "", at, (), b""))
        for seq, at in ((1, 50), (2, 10), (edge, 70), (edge + 1, 60))
    ]
    assert pieces(given_entries) == {0: (10, 50), 1: (60, 70)}
    assert places(0, 1) == (0, 2 * edge - 1)
