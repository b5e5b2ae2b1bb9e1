"""Figures at their limits; that they are right otherwise is a contract of the stores."""

from __future__ import annotations

import subprocess
import sys

import msgspec
import pytest

from store.aggregates import Grouping, TooManyGroups
from store.figures import Figures
from store.request_records import Row


def rows(*bodies: dict[str, object]) -> list[Row]:
    return [
        Row(n, f"r{n}", n, msgspec.json.encode({"body": {"type": "request", **body}}))
        for n, body in enumerate(bodies)
    ]


def test_sums_beyond_64_bits_are_exact() -> None:
    figures = Figures(Grouping(sums=("cost", "input_tokens")))
    most = (1 << 62) - 1
    for _ in range(3):
        figures.add(rows({"cost": most, "input_tokens": 1}, {"cost": most}))
    (group,) = figures.totals().groups
    assert group.requests == 6
    assert group.sums == {"cost": 6 * most, "input_tokens": 3}


def test_groups_by_many_columns_with_many_texts_stay_apart() -> None:
    names = ("model", "account", "server", "tool", "error", "pin:a", "pin:b", "claim:c")
    figures = Figures(Grouping(names, sums=()))
    said = [
        {
            **{name: f"{name}{n * 7 % 997}" for name in names[:5]},
            "pinned": {"a": str(n), "b": str(n % 3)},
        }
        for n in range(1000)
    ]
    figures.add(rows(*said))
    figures.add(rows(*said[::2]))
    found = {one.by: one.requests for one in figures.totals().groups}
    assert len(found) == 1000
    assert found["model7", "account7", "server7", "tool7", "error7", "1", "1", None] == 1
    assert sum(found.values()) == 1500


def test_durations_without_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.figures.MAX_GROUPS", 3)
    figures = Figures(Grouping(durations=("total_ms",)))
    figures.add(rows(*({"total_ms": n} for n in range(20))))
    with pytest.raises(TooManyGroups):
        figures.add(rows(*({"total_ms": n} for n in range(40))))


def test_a_command_that_adds_nothing_up_does_not_load_numpy() -> None:
    code = "import proxy.cli, sys; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
