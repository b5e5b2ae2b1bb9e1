"""A plan whose cases would fail: it is shown with them, and its exit code stops a pipeline."""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.conftest import Demo
from tests.e2e.test_gitops import run

POLICY = """\
type: policy
name: gated
rules: []
cases:
  - name: nobody outside reaches the echo
    as: user:alice@example.com
    action: model:use
    resource: model:echo/small
    expect: {expect}
"""


async def test_a_plan_whose_cases_would_fail_shows_them_and_exits_with_1(
    gateway: Demo, tmp_path: Path
) -> None:
    file = tmp_path / "gated.yaml"
    codes = {}
    for expect in ("allow", "deny"):
        file.write_text(POLICY.format(expect=expect))
        for words in (("plan",), ("apply", "--dry-run")):
            done = await run(gateway, *words, "-f", str(file))
            shown = "would be refused: case `nobody outside reaches the echo`" in done.output
            codes[expect, words[0]] = (done.exit_code, shown)
        told = await run(gateway, "plan", "-f", str(file), "--json")
        assert bool(json.loads(told.stdout)["plan"]["cases_failed"]) is (told.exit_code == 1)
    assert sorted(codes.values()) == [(1, True)] * 2 + [(2, False)] * 2
    assert codes["allow", "plan"] == codes["allow", "apply"]
