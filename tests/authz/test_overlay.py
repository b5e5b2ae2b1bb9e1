"""Changes to a dict, built aside."""

from __future__ import annotations

import random

import pytest

from authz.overlay import LARGE, SHARE, Overlay


@pytest.mark.parametrize("size", [0, 3, 100, 2 * LARGE])
def test_it_reads_as_the_dict_will_and_the_dict_stays_until_then(size: int) -> None:
    rnd = random.Random(size)
    base = {f"k{n}": n + 1 for n in range(size)}
    before, wanted, overlay = dict(base), dict(base), Overlay(base)
    for _ in range(300):
        key = f"k{rnd.randrange(size + 20)}"
        value = rnd.choice([None, rnd.randrange(1, 99)])
        overlay.put(key, value)
        if value is None:
            wanted.pop(key, None)
        else:
            wanted[key] = value
        assert overlay.get(key) == value
    assert base == before and sorted(overlay) == sorted(wanted)
    assert overlay.commit() == wanted


def test_a_small_dict_is_copied_and_a_large_one_only_when_much_of_it_changes() -> None:
    small = {f"k{n}": 1 for n in range(LARGE)}
    overlay = Overlay(small)
    assert overlay.put("new", 1) == LARGE + 1 and overlay.put("newer", 1) == 0
    assert overlay.commit() is not small and "new" not in small
    large = {f"k{n}": 1 for n in range(2 * LARGE)}
    overlay = Overlay(large)
    few = 2 * LARGE // SHARE - 1
    assert sum(overlay.put(f"k{n}", None) for n in range(few)) == 0
    assert len(large) == 2 * LARGE and overlay.get("k0") is None
    assert overlay.commit() is large and len(large) == 2 * LARGE - few
    overlay = Overlay(large)
    assert sum(overlay.put(f"new{n}", 2) for n in range(2 * LARGE // SHARE + 1)) > len(large)
    assert overlay.commit() is not large
