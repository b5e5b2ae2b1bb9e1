"""The demo gateway as an attacker and its operator have it: calls over HTTP, changes as the host."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from conf.settings import MODEL_PATH
from identity.directory import Directory
from identity.issue import Issued, Origin, issue
from policies.change import Change, Entry, Source
from policies.documents import Restriction
from policies.loader import load_mapping, shipped
from proxy.catalogue import Catalogue
from store.changes import ChangeLog
from store.sealed import Sealer
from store.sqlite import SqliteStore
from tests.e2e.conftest import Demo

USE = "provider-account-access"
MESSAGES = [{"role": "user", "content": "hi"}]


@dataclass
class Got:
    status: int
    headers: dict[str, str]
    raw: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.raw)

    @property
    def code(self) -> str:
        """The stable code of an error, whichever plane and dialect it came from."""
        said = self.json
        found: str = said["error"]["code"] if isinstance(said.get("error"), dict) else said["code"]
        return found


class House:
    """A demo gateway. `who` is a demo person or account, or a token itself."""

    def __init__(self, demo: Demo, session: aiohttp.ClientSession) -> None:
        self.demo = demo
        self.runtime = demo.process.runtime
        self.session = session

    def token(self, who: str) -> str:
        return who if who.startswith("gw_") else self.demo.token(who)

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        who: str | None = "alice",
        headers: dict[str, str] | None = None,
        data: bytes | None = None,
    ) -> Got:
        sent = dict(headers or {})
        if who is not None:
            sent["authorization"] = f"Bearer {self.token(who)}"
        if body is not None:
            data = json.dumps(body).encode()
        if data is not None:
            sent.setdefault("content-type", "application/json")
        async with self.session.request(
            method, self.demo.url + path, data=data, headers=sent, allow_redirects=False
        ) as answer:
            names = {name.lower(): value for name, value in answer.headers.items()}
            return Got(answer.status, names, await answer.read())

    async def chat(self, model: str = "echo/small", who: str = "alice", **more: Any) -> Got:
        body = {"model": model, "messages": MESSAGES, **more}
        return await self.call("POST", "/v1/chat/completions", body, who=who)

    async def models(self, who: str = "alice") -> list[str]:
        got = await self.call("GET", "/v1/models", who=who)
        assert got.status == 200, got.raw
        return [item["id"] for item in got.json["data"]]

    async def commit(
        self, *documents: dict[str, Any], deletes: Sequence[tuple[str, str]] = ()
    ) -> Entry:
        """Puts and deletes as the host, whom no row judges."""
        puts = load_mapping(list(documents)).plain()
        change = Change("host", Source.HOST, "attack", puts=puts, deletes=tuple(deletes))
        return await self.runtime.changes.commit(change, None, self.runtime.clock.now())

    async def mint(
        self, subject: str, restrictions: Sequence[Restriction] | None = None, **more: Any
    ) -> Issued:
        now = self.runtime.clock.now()
        issued = issue(
            subject, Origin("host", "attack"), now=now, restrictions=restrictions, **more
        )
        await self.runtime.changes.commit(issued.change, None, now)
        return issued

    def files(self) -> dict[str, bytes]:
        """Every file of the data folder but the keys and what is shown on purpose."""
        folder = self.demo.settings.data
        shown = {"demo.env", "first-admin"}
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.name not in shown and "keys" not in path.parts
        }

    async def records(self, until: str = "", kind: str = "") -> list[dict[str, Any]]:
        """The records that are on the disk, once one of them holds `until`."""
        for _ in range(200):
            texts = [
                line
                for name, text in self.files().items()
                if name.startswith("journal")
                for line in text.splitlines()
                if line.startswith(b"{") and line.endswith(b"}")
            ]
            if any(until.encode() in line for line in texts):
                found = [json.loads(line) for line in texts]
                return [one for one in found if not kind or _body(one).get("type") == kind]
            await asyncio.sleep(0.02)
        raise AssertionError(until)


def _body(line: dict[str, Any]) -> dict[str, Any]:
    inner = line.get("body", line)
    return inner if isinstance(inner, dict) else line


@asynccontextmanager
async def house_of(demo: Demo) -> AsyncIterator[House]:
    async with aiohttp.ClientSession() as session:
        yield House(demo, session)


@dataclass
class Other:
    """A second process on the same store: what another worker holds in memory."""

    changes: ChangeLog
    directory: Directory
    catalogue: Catalogue


@asynccontextmanager
async def other_process(folder: Path, sealing: bytes = bytes(range(32))) -> AsyncIterator[Other]:
    """Follows only when `changes.poll` is called."""
    changes = ChangeLog(
        SqliteStore(folder / "gatewarden.db"),
        model_text=MODEL_PATH.read_text(),
        shipped=shipped(),
        sealer=Sealer(sealing),
    )
    other = Other(changes, Directory(), Catalogue())
    changes.subscribe(other.directory)
    changes.subscribe(other.catalogue)
    await changes.start()
    try:
        yield other
    finally:
        await changes.close()
