"""The examples of `docs/mcp.md`, run as they stand against a fresh gateway; its documents load."""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from policies.loader import load_text
from policies.validate import validate
from proxy.mcp import bridge, lists, questions, remote, uris
from proxy.mcp.endpoint import MAX_BODY
from proxy.mcp.names import LIMIT
from proxy.mcp.sessions import KEEP, MAX_CLIENT
from tests.e2e.test_process import Served, served
from tests.peers.mcp import node
from tests.peers.mcp.fixtures import node_peers
from tests.test_readme import run

__all__ = ["node_peers"]

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs/mcp.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.M | re.S)


def blocks(language: str) -> list[str]:
    return [text for of, text in BLOCKS if of == language]


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path / "var", GATEWARDEN_DEMO="true") as running:
        yield running


async def test_the_python_example_shows_what_bob_may_use(gateway: Served, tmp_path: Path) -> None:
    (program,) = blocks("python")
    said = await run(gateway, tmp_path, sys.executable, "-", text=program)
    assert said.splitlines() == ["['say']", "hello"]


async def test_the_javascript_example_shows_the_same(
    gateway: Served, tmp_path: Path, node_peers: None
) -> None:
    (program,) = blocks("js")
    (tmp_path / "node_modules").symlink_to(node.folder() / "node_modules")
    found = node.binary()
    assert found is not None
    said = await run(gateway, tmp_path, found, "-", text=program)
    assert said.splitlines() == ["[ 'say' ]", "hello"]


async def test_the_catalogue_is_shown_and_approved_by_the_commands(
    gateway: Served, tmp_path: Path
) -> None:
    (commands,) = (text for text in blocks("sh") if "curl" in text)
    said = await run(gateway, tmp_path, "bash", "-e", text=commands)
    assert '"enabled"' in said
    assert "problem" not in said


@pytest.mark.parametrize("text", blocks("yaml"))
def test_its_documents_load_without_an_error(text: str) -> None:
    loaded = load_text(text, "mcp.md")
    found = [problem for problem in validate(loaded) if problem.code != "dangling"]
    assert loaded.documents
    assert not found


def test_its_limits_are_those_of_the_code() -> None:
    assert MAX_BODY == 4 << 20 and MAX_CLIENT == 64 << 10 and remote.MAX_MESSAGE == 16 << 20
    assert f"| {lists.MAX_PAGES}; {lists.MAX_ITEMS:,} |" in PAGE
    assert f"| {uris.MAX_URI:,} characters |" in PAGE
    assert f"| {LIMIT} characters; longer ones" in PAGE
    assert f"| {bridge.MAX_ROUNDS}; {questions.PATIENCE / 60:.0f} minutes |" in PAGE
    assert KEEP.days == 7 and "seven days after their last use" in PAGE
