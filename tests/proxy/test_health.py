from __future__ import annotations

from proxy.health import Health


def test_a_process_without_failing_conditions_is_ready() -> None:
    health = Health()
    health.require("policy", lambda: (True, "epoch 3"))
    assert health.ready


def test_one_failing_condition_makes_it_not_ready_and_says_why() -> None:
    health = Health()
    health.require("policy", lambda: (True, "epoch 3"))
    health.require("journal", lambda: (False, "disk full"))
    assert not health.ready
    assert [c.detail for c in health.checks() if not c.ok] == ["disk full"]


def test_a_check_that_raises_counts_as_failed() -> None:
    def broken() -> tuple[bool, str]:
        raise OSError("x")

    health = Health()
    health.require("journal", broken)
    assert not health.ready


def test_a_draining_process_is_not_ready() -> None:
    health = Health()
    health.draining = True
    assert not health.ready
