"""The transcripts in the documentation are what happens."""

from __future__ import annotations

import re
from pathlib import Path

from tests.e2e.five_readers import ESTATE, transcripts

PAGE = Path(__file__).parents[2] / "docs/five-readers.md"


async def test_readers_and_a_spoiled_log_come_out_as_the_page_says(tmp_path: Path) -> None:
    text = PAGE.read_text("utf-8")
    read, spoiled = await transcripts(tmp_path)
    shown = re.findall(r"^```text\n(.*?)^```", text, re.M | re.S)
    assert [one.splitlines() for one in shown] == [read, spoiled]
    assert f"```yaml\n{ESTATE}```" in text
