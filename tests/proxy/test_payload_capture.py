"""What is said to a model on its way through real parts: kept where a rule says so, and never held up."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from policies.documents import LoggingConfig, parse
from proxy.logging_rules import LoggingRules
from proxy.payloads import Payloads, digest_of, open_payload
from store import payload_spool
from store.payload_spool import Spool
from store.sealed import Sealer
from store.sqlite_request_records import SqliteShelves
from tests.proxy.world import CHAT, World, world

SEALER = Sealer(bytes(range(32)))
YES = {"x-gatewarden-logging-config": '{"enabled": true}'}
SAID = {**CHAT, "messages": [{"role": "user", "content": "I am ann@example.com"}]}


@dataclass
class Kept:
    world: World
    payloads: Payloads
    folder: Path

    async def opened(self) -> list[tuple[dict[str, Any], dict[str, Any] | None]]:
        """Every request record with what was said in it, if that was kept."""
        self.payloads.close()
        store = SqliteShelves(self.folder / "records.db")
        payload_spool.ship(self.folder / "payloads", store)
        found = []
        for record in await self.world.records("request"):
            sealed = store.payload(record["id"])
            opened = None if sealed is None else open_payload(SEALER, record["id"], sealed)
            found.append((record, opened))
        store.close()
        return found


@dataclass(frozen=True)
class Snapshot:
    documents: tuple[LoggingConfig, ...]


@asynccontextmanager
async def keeping(folder: Path, *rules: dict[str, Any]) -> AsyncIterator[Kept]:
    made = [{"id": f"r{number}", **rule} for number, rule in enumerate(rules)]
    config = parse({"type": "gateway-logging-config", "name": "logging", "rules": made})
    assert isinstance(config, LoggingConfig)
    logging_rules = LoggingRules()
    logging_rules.load(Snapshot((config,)))
    worlds: list[World] = []
    payloads = Payloads(
        logging_rules,
        SEALER,
        lambda: Spool(folder / "payloads", "w@h@0", 1 << 20),
        note=lambda record: worlds[0].journal.note(record),
        call=lambda work: work(),
        metrics=Counting(),
    )
    async with world(folder, payloads=payloads) as w:
        worlds.append(w)
        yield Kept(w, payloads, folder)
        payloads.close()


class Counting:
    def count(self, name: str, *labels: str, by: float = 1) -> None:
        assert labels == ("kept",)


ALWAYS = {"log": "always", "redact_with": {"presets": ["email"]}}


async def test_a_request_and_its_answer_are_kept_without_what_is_hidden(tmp_path: Path) -> None:
    async with keeping(tmp_path, ALWAYS) as kept:
        assert (await kept.world.call(json_body=SAID)).status == 200
        assert b"ann@example.com" in kept.world.seen[0].body  # the provider got what was sent
        ((record, payload),) = await kept.opened()
        assert payload is not None
        assert payload["request"]["messages"][0]["content"] == "I am [email]"
        assert payload["response"]["id"] == "chatcmpl-1"
        (link,) = await kept.world.records("payload")
        assert (link["request"], link["digest"]) == (record["id"], digest_of(payload))


async def test_a_stream_is_kept_as_it_passes(tmp_path: Path) -> None:
    pieces = ["I am an", "n@exam", "ple.com"]

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for one in pieces:
            event = {"choices": [{"index": 0, "delta": {"content": one}}]}
            await response.write(b"data: %b\n\n" % json.dumps(event).encode())
        await response.write(b"data: [DONE]\n\n")
        await response.write_eof()
        return response

    async with keeping(tmp_path, ALWAYS) as kept:
        kept.world.answers(answer)
        got = await kept.world.call(json_body={**SAID, "stream": True})
        assert b"n@exam" in got.body  # the caller got what was sent
        ((_, payload),) = await kept.opened()
        assert payload is not None
        assert payload["response"]["said"] == {"choices[0].delta.content": "I am [email]"}


async def test_an_upstream_s_error_is_kept_too(tmp_path: Path) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response({"error": {"message": "no ann@example.com"}}, status=400)

    async with keeping(tmp_path, ALWAYS) as kept:
        kept.world.answers(answer)
        assert (await kept.world.call(json_body=SAID)).status == 400
        ((_, payload),) = await kept.opened()
        assert payload is not None
        assert payload["response"] == {"error": {"message": "no [email]"}}


async def test_nothing_is_kept_unless_somebody_says_so(tmp_path: Path) -> None:
    async with keeping(tmp_path) as kept:
        await kept.world.call(json_body=SAID)
        await kept.world.call(json_body=SAID, headers=YES)
        assert [payload is not None for _, payload in await kept.opened()] == [False, True]
        assert not any("logging" in name.lower() for name, _ in kept.world.seen[1].headers)


async def test_never_wins_over_the_header(tmp_path: Path) -> None:
    never = {"log": "never", "when": {"subjects": {"in": ["team:search"]}}}
    async with keeping(tmp_path, never) as kept:
        assert (await kept.world.call(json_body=SAID, headers=YES)).status == 200
        assert [payload for _, payload in await kept.opened()] == [None]
        assert not (tmp_path / "payloads").exists()


async def test_what_was_refused_is_not_kept(tmp_path: Path) -> None:
    async with keeping(tmp_path, ALWAYS) as kept:
        assert (await kept.world.call(json_body={**SAID, "model": "acme/banned"})).status == 403
        assert (await kept.world.call(json_body=SAID, who="ben")).status == 404
        assert [payload for _, payload in await kept.opened()] == [None, None]
