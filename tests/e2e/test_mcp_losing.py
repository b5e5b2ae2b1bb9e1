"""The transcript in the documentation is what happens."""

from __future__ import annotations

import re
from pathlib import Path

from tests.e2e.losing import GRANTED, transcript

PAGE = Path(__file__).parents[2] / "docs/mcp.md"


async def test_a_client_that_loses_a_grant_is_told_and_the_tool_is_gone(tmp_path: Path) -> None:
    text = PAGE.read_text("utf-8")
    (shown,) = (b for b in re.findall(r"^```text\n(.*?)^```", text, re.M | re.S) if "$ " in b)
    assert await transcript(tmp_path) == shown.splitlines()
    assert "notifications/tools/list_changed" in shown
    assert GRANTED in text
