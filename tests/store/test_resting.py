"""The collector rests during a large change, and does not look through it afterwards."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from store.resting import resting


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_what_is_made_in_a_large_change_is_out_of_sight_afterwards() -> None:
    with resting(True):
        assert not gc.isenabled()
        with resting(True):
            made = [[number] for number in range(5_000)]
        assert not gc.isenabled()
    assert gc.isenabled()
    assert gc.get_freeze_count() > len(made)
    seen = {id(one) for one in gc.get_objects()}
    assert seen.isdisjoint(map(id, made))


def test_a_small_change_leaves_the_collector_alone() -> None:
    before = gc.get_freeze_count()
    with resting(False):
        assert gc.isenabled()
    assert gc.get_freeze_count() == before


def test_it_ends_with_an_error_as_well() -> None:
    with pytest.raises(LookupError), resting(True):
        raise LookupError
    assert gc.isenabled()
