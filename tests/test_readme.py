"""The README's examples, run as they stand against a fresh gateway (only addresses and paths differ)."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.test_process import Served, served

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.M | re.S)


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path / "var", GATEWARDEN_DEMO="true") as running:
        yield running


async def run(gateway: Served, folder: Path, program: str, *arguments: str, text: str) -> str:
    """What a program prints, given `text`, with the variables of `demo.env`; it must exit with 0."""
    lines = (gateway.data / "demo.env").read_text().splitlines()
    variables = dict(line.removeprefix("export ").split("=", 1) for line in lines)
    process = await asyncio.create_subprocess_exec(
        program,
        *arguments,
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONPATH": str(ROOT),
            "GATEWARDEN_DATA": str(gateway.data),
            **variables,
        },
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(60):
        output, _ = await process.communicate(text.encode())
    assert process.returncode == 0, output.decode()
    return output.decode()


def shell(text: str, gateway: Served) -> str:
    """A shell block with the paths of this test instead of a newcomer's."""
    return text.replace("var/demo.env", str(gateway.data / "demo.env")).replace(
        ".venv/bin/gatewarden", f"{sys.executable} -m proxy.cli"
    )


async def test_the_python_examples_run_with_unmodified_sdks(
    gateway: Served, tmp_path: Path
) -> None:
    programs = [text for language, text in BLOCKS if language == "python"]
    assert len(programs) == 3
    openai_says = await run(gateway, tmp_path, sys.executable, "-", text=programs[0])
    assert "'echo/small'" in openai_says
    assert "hello" in openai_says.splitlines()[-1]
    assert "hello" in await run(gateway, tmp_path, sys.executable, "-", text=programs[1])
    assert await run(gateway, tmp_path, sys.executable, "-", text=programs[2]) == "['say']\n"


async def test_the_shell_examples_run_in_order(gateway: Served, tmp_path: Path) -> None:
    (grant,) = (text for language, text in BLOCKS if language == "yaml")
    (tmp_path / "grant.yaml").write_text(grant)
    commands = [text for language, text in BLOCKS if language == "sh" and "make run" not in text]
    said = [
        await run(gateway, tmp_path, "bash", "-e", text=shell(text, gateway)) for text in commands
    ]
    first, refused, granted, logged = said
    assert '"content":"hello"' in first
    assert '"code":"model_not_found"' in refused
    assert "created  role-binding/search-secret" in granted
    assert "deleted  role-binding/search-secret" in granted
    assert "deny: no_grant" in granted
    assert "whole:" in logged
