"""The collector's rest."""

from __future__ import annotations

import gc

import pytest

from authz.collector import paused, settle


@pytest.mark.parametrize("was_on", [True, False])
def test_the_collector_is_afterwards_as_it_was(was_on: bool) -> None:
    had = gc.isenabled()
    try:
        (gc.enable if was_on else gc.disable)()
        with pytest.raises(ValueError), paused():
            assert not gc.isenabled()
            raise ValueError
        assert gc.isenabled() == was_on
    finally:
        (gc.enable if had else gc.disable)()


def test_settling_freezes_what_is_alive() -> None:
    thresholds, frozen = gc.get_threshold(), gc.get_freeze_count()
    try:
        settle()
        assert gc.get_freeze_count() > frozen
    finally:
        gc.unfreeze()
        gc.set_threshold(*thresholds)
