"""`bench/decide.py` runs, at a size that takes a moment, and its figures are there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_benchmark_of_decisions_runs(tmp_path: Path) -> None:
    report = tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, "-m", "bench.decide", "--sizes", "1000", "--json", str(report)],
        check=True,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert "question, p50 us" in done.stdout and "stock Casbin" in done.stdout
    figures = json.loads(report.read_text())["sizes"][0]
    assert figures["grants"] == 1000 and figures["rows"] > 1000
    for name in ("enforce", "decide", "decide_cold"):
        assert 0 < figures[name]["p50_us"] <= figures[name]["p99_us"]
    assert 0 < figures["allowed_share"] < 1
    assert figures["policy_mb"] > 0 and figures["small_change"]["stall_ms"] > 0
