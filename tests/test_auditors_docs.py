"""Every command of `docs/auditors.md` runs, in its order, against the demo estate."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from conf.settings import load
from proxy import app, installation
from proxy.cli import main
from proxy.runtime import Clock

PAGE = (Path(__file__).parents[1] / "docs" / "auditors.md").read_text("utf-8")


def commands() -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines()]


async def test_the_commands_on_the_page_do_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in {"DATA": str(tmp_path / "var"), "PORT": "0", "DEMO": "true"}.items():
        monkeypatch.setenv(f"GATEWARDEN_{name}", value)
    settings = load()
    keys = installation.keys_of(settings)
    await installation.bootstrap(settings, keys, Clock())
    written = (settings.data / "demo.env").read_text()
    found = re.search(r"^(?:export )?GATEWARDEN_TOKEN=['\"]?([^'\"\n]+)", written, re.MULTILINE)
    assert found is not None
    day = datetime.now(UTC) + timedelta(milliseconds=1)
    monkeypatch.setenv("DAY", day.isoformat())
    monkeypatch.setenv("GATEWARDEN_TOKEN", found[1])
    async with app.running(settings, keys) as process:
        monkeypatch.setenv("GATEWARDEN_URL", f"http://127.0.0.1:{process.port}")
        assert len(commands()) >= 9
        for line in commands():
            program, *words = [os.path.expandvars(word) for word in shlex.split(line)]
            assert program == "gatewarden"
            got = await asyncio.to_thread(CliRunner().invoke, main, words)
            assert got.exit_code == 0, f"{line}: {got.output}"
    assert (tmp_path / "review.csv").read_text().startswith("subject,effect,action,resource")


def test_every_column_of_the_review_is_on_the_page() -> None:
    from proxy.review_text import COLUMNS

    for column in COLUMNS:
        family = column.partition("_")[0]
        assert f"`{column}`" in PAGE or f"`{family}_…`" in PAGE, column
