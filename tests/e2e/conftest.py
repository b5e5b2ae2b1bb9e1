"""A whole gateway in this process: the demo estate on a temporary folder, a free port, real parts."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from conf.settings import Settings, load
from proxy import app, demo, installation
from proxy.host import Places
from proxy.runtime import Clock
from tests.peers.mcp.fixtures import everything_server, node_peers, public_server

__all__ = ["everything_server", "node_peers", "public_server"]


@dataclass
class Demo:
    """A running gateway with the demo estate, and the variables of its `demo.env`."""

    process: app.Process
    settings: Settings
    variables: dict[str, str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.process.port}"

    def token(self, name: str) -> str:
        """The token of a demo person or account; `operator` holds tenant-admin."""
        key = "GATEWARDEN_TOKEN" if name == "operator" else f"DEMO_TOKEN_{name.upper()}"
        return self.variables[key]


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("GATEWARDEN_", "OPENAI_", "ANTHROPIC_")):
            monkeypatch.delenv(name)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    monkeypatch.setenv("GATEWARDEN_DATA", str(tmp_path / "var"))
    monkeypatch.setenv("GATEWARDEN_PORT", "0")
    monkeypatch.setenv("GATEWARDEN_DEMO", "true")
    yield load()


@pytest.fixture
async def gateway(settings: Settings) -> AsyncIterator[Demo]:
    keys = installation.keys_of(settings)
    await installation.bootstrap(settings, keys, Clock())
    async with app.running(settings, keys) as process:
        yield Demo(process, settings, demo.read(Places(settings.data).demo))
