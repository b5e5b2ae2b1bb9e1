"""What the gateway adds to MCP: tools/call and tools/list, many sessions at once, memory of a session.

A server with 500 tools is asked directly, through a bare aiohttp relay, and through the whole gateway, where each
caller may use 40 of them (over an estate of 10,000 other grants). Requests go to the three in turn, one after the
other, so that what the machine does meanwhile falls on all alike; then sessions of 2025 call at the same time, against
each of both relays in turn. A tool call is synced to the disk before it goes upstream: a bare fdatasync of the same
run stands beside it. Prints a table, and JSON with `--json FILE`. Never part of a test: run `python -m bench.mcp`, on a
machine that does nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.mcp_client import INFO, META, NAME, SESSIONS, STATELESS, Client
from bench.servers import (
    Roles,
    Server,
    Upstream,
    add_arguments,
    end,
    hold,
    launch,
    run_role,
    serve_relay,
)

TOOLS = 500
VISIBLE = 40
CALLERS = 64  # principals that the sessions belong to
SYNCS = 200
KEPT = 1_000  # sessions that memory is looked at with, after some first ones
WARM = 20


def _tool(number: int) -> dict[str, Any]:
    text = {"type": "string", "description": "What is looked for, in the words of a person."}
    return {
        "name": f"tool_{number}",
        "description": f"Looks for things of kind {number}, and says what there is to know of them.",
        "inputSchema": {
            "type": "object",
            "properties": {"query": text, "limit": {"type": "integer"}},
            "required": ["query"],
        },
    }


CALLED = json.dumps(
    {"resultType": "complete", "content": [{"type": "text", "text": "x" * 420}]}
).encode()
LISTED = json.dumps(
    {
        "resultType": "complete",
        "ttlMs": 0,
        "cacheScope": "public",
        "tools": [_tool(number) for number in range(TOOLS)],
    }
).encode()
DISCOVERED = json.dumps(
    {
        "resultType": "complete",
        "supportedVersions": [STATELESS],
        "capabilities": {"tools": {}},
        "_meta": {f"{META}serverInfo": INFO},
    }
).encode()
STARTED = json.dumps(
    {"protocolVersion": SESSIONS, "capabilities": {"tools": {}}, "serverInfo": INFO}
).encode()
RESULTS = {
    "tools/call": CALLED,
    "tools/list": LISTED,
    "server/discover": DISCOVERED,
    "initialize": STARTED,
}


# --- the servers ----------------------------------------------------------------------------------------


class McpUpstream(Upstream):
    """A server of both generations."""

    numbers = 0

    def answer(self, head: bytes, body: bytes) -> None:
        self.transport.write(self.reply(head, body))

    def reply(self, head: bytes, body: bytes) -> bytes:
        if head.startswith(b"GET"):
            return b"HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\n\r\n"
        if not head.startswith(b"POST"):
            return b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
        message = json.loads(body)
        result = RESULTS.get(message["method"], b"{}")
        if "id" not in message:
            return b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n"
        answer = b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (
            json.dumps(message["id"]).encode(),
            result,
        )
        more = b""
        if message["method"] == "initialize":
            McpUpstream.numbers += 1
            more = b"mcp-session-id: upstream-%d\r\n" % McpUpstream.numbers
        return (
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n%bcontent-length: %d\r\n\r\n%b"
            % (more, len(answer), answer)
        )


async def serve_upstream(port: int, options: argparse.Namespace) -> None:
    await asyncio.get_running_loop().create_server(McpUpstream, "127.0.0.1", port)


async def serve_bare(port: int, options: argparse.Namespace) -> None:
    await serve_relay(port, f"/mcp/{NAME}", f"http://127.0.0.1:{options.upstream}/mcp")


async def serve_gateway(port: int, options: argparse.Namespace) -> None:
    """The whole process, as `gatewarden serve` runs it, over the estate of `bench/relay.py` and a server."""
    from bench.gateway_parts import CALLERS as PEOPLE
    from bench.gateway_parts import gateway

    documents: list[dict[str, object]] = [
        {
            "type": "mcp-server/remote",
            "name": NAME,
            "url": f"http://127.0.0.1:{options.upstream}/mcp",
        },
        {
            "type": "team",
            "name": "bench",
            "members": [f"user:app{number}@example.com" for number in range(PEOPLE)],
        },
        {
            "type": "policy",
            "name": "bench",
            "rules": [
                {
                    "id": "some",
                    "effect": "allow",
                    "subjects": ["team:bench"],
                    "actions": ["mcp-tool:call"],
                    "resources": [
                        f"mcp-tool:{NAME}/tool_{number * TOOLS // VISIBLE}"
                        for number in range(VISIBLE)
                    ],
                }
            ],
        },
    ]
    await hold(gateway(Path(options.folder), port, options.upstream, CALLERS, documents))


ROLES: Roles = {
    "upstream": serve_upstream,
    "bare": serve_bare,
    "gateway": serve_gateway,
}


# --- what is measured --------------------------------------------------------------------------------------

CALL = {"arguments": {"query": "what is there?", "limit": 10}}


def _one_of_the_visible(number: int) -> str:
    return f"tool_{number % VISIBLE * TOOLS // VISIBLE}"


async def one_after_the_other(
    servers: list[Server], token: str, rounds: int, each: int
) -> dict[str, dict[str, list[float]]]:
    """Milliseconds of each request, by method and server."""
    found: dict[str, dict[str, list[float]]] = {"tools/call": {}, "tools/list": {}}
    clients = [await Client(server, token, _path(server)).connect() for server in servers]
    for number in range(rounds + 1):
        for client in clients if number % 2 else clients[::-1]:
            for method, times in found.items():
                for nth in range(each):
                    params = (
                        {"name": _one_of_the_visible(nth), **CALL} if method == "tools/call" else {}
                    )
                    begun = time.perf_counter()
                    await client.ask(method, params)
                    spent = (time.perf_counter() - begun) * 1000
                    if number:  # the first round warms up
                        times.setdefault(client.server.name, []).append(spent)
    for client in clients:
        client.writer.close()
    return found


def _path(server: Server) -> str:
    return "/mcp" if server.name == "direct" else f"/mcp/{NAME}"


async def in_parallel(
    server: Server, tokens: list[str], sessions: int, seconds: float
) -> tuple[float, list[float]]:
    """Calls a second, and milliseconds of each, with so many sessions that each call all the time."""
    clients = []
    for number in range(sessions):
        client = await Client(server, tokens[number % len(tokens)]).connect()
        await client.start()
        clients.append(client)
    times: list[float] = []
    started = time.perf_counter()
    ends = started + seconds

    async def calling(client: Client, number: int) -> None:
        while (begun := time.perf_counter()) < ends:
            number += 1
            params = {"name": _one_of_the_visible(number), **CALL}
            await client.ask("tools/call", params, modern=False)
            times.append((time.perf_counter() - begun) * 1000)

    async with asyncio.TaskGroup() as group:
        for number, client in enumerate(clients):
            group.create_task(calling(client, number))
    rate = len(times) / (time.perf_counter() - started)
    for client in clients:
        client.writer.close()
    return rate, times


async def memory(server: Server, tokens: list[str], sessions: int) -> tuple[float, float]:
    """KiB that a session takes: one that has called, and what its open stream adds (two connections each)."""
    clients: list[Client] = []

    async def begin(count: int) -> None:
        for number in range(count):
            client = await Client(server, tokens[number % len(tokens)]).connect()
            await client.start()
            params = {"name": _one_of_the_visible(number), **CALL}
            await client.ask("tools/call", params, modern=False)
            clients.append(client)

    await begin(WARM)
    before = server.rss()
    await begin(sessions)
    idle = server.rss()
    streams = []
    for client in clients[WARM:]:
        stream = Client(server, client.token, client.path, client.session)
        await stream.connect()
        await stream.listen()
        streams.append(stream)
    after = server.rss()
    for client in [*clients, *streams]:
        client.writer.close()
    return (idle - before) / sessions, (after - idle) / sessions


async def until_known(server: Server, token: str) -> None:
    """Returns once the gateway has asked the server what it offers."""
    client = await Client(server, token).connect()
    async with asyncio.timeout(30):
        while (await client.ask("tools/list", {}, fails=True)).count(b'"inputSchema"') != VISIBLE:
            await asyncio.sleep(0.1)
    client.writer.close()


def fdatasync(folder: Path) -> float:
    """Milliseconds of one small write that is synced, p50."""
    times = []
    with (folder / "sync").open("wb", buffering=0) as file:
        for _ in range(SYNCS):
            begun = time.perf_counter()
            file.write(b"x" * 1024)
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - begun) * 1000)
    return statistics.median(times)


# --- the comparison -------------------------------------------------------------------------------------


def compare(loop: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Both tables, on one kind of loop."""
    running: list[Server] = []

    def start(role: str, name: str, **more: object) -> Server:
        # The gateway sets the collector itself.
        tuned = role != "gateway"
        running.append(launch("bench.mcp", role, name, loop, tuned, **more))
        return running[-1]

    try:
        direct = start("upstream", "direct")
        bare = start("bare", "bare", upstream=direct.port)
        data = folder / loop
        gateway = start("gateway", "gateway", upstream=direct.port, folder=data)
        tokens = [token for token, _ in json.loads((data / "pairs.json").read_text())]
        asyncio.run(until_known(gateway, tokens[0]))
        single = asyncio.run(
            one_after_the_other([direct, bare, gateway], tokens[0], options.rounds, options.each)
        )
        # Before the crowd, whose memory it would get again.
        kept = asyncio.run(memory(gateway, tokens, KEPT))
        parallel: dict[str, list[tuple[float, list[float]]]] = {"bare": [], "gateway": []}
        for number in range(options.rounds + 1):
            for server in (bare, gateway) if number % 2 else (gateway, bare):
                got = asyncio.run(in_parallel(server, tokens, options.sessions, options.seconds))
                if number:
                    parallel[server.name].append(got)
        return report(loop, options.sessions, single, parallel, kept, fdatasync(data))
    finally:
        end(running)


def report(
    loop: str,
    sessions: int,
    single: dict[str, dict[str, list[float]]],
    parallel: dict[str, list[tuple[float, list[float]]]],
    kept: tuple[float, float],
    sync: float,
) -> dict[str, Any]:
    table: dict[str, Any] = {"loop": loop, "fdatasync": sync, "single": {}, "parallel": {}}
    print(f"\n{loop}: one client, one request after the other (ms)")
    print(f"{'':14}{'direct':>16}{'bare':>16}{'gateway':>16}{'added':>16}{'ratio':>8}")
    for method, by_name in single.items():
        shown = {name: (_at(times, 0.5), _at(times, 0.95)) for name, times in by_name.items()}
        added = tuple(g - b for g, b in zip(shown["gateway"], shown["bare"], strict=True))
        ratio = shown["gateway"][0] / shown["bare"][0]
        table["single"][method] = {**shown, "added": added, "ratio": ratio}
        cells = [f"{p50:.2f} / {p95:.2f}" for p50, p95 in [*shown.values(), added]]
        print(f"{method:14}" + "".join(f"{cell:>16}" for cell in cells) + f"{ratio:8.2f}")
    print(f"p50 / p95; a bare fdatasync takes {sync:.2f} ms")
    print(f"\n{sessions} sessions that call at the same time")
    print(f"{'':14}{'calls/s':>10}{'p50 ms':>10}{'p95 ms':>10}")
    for name, rounds in parallel.items():
        rate = statistics.median(rate for rate, _ in rounds)
        times = [value for _, taken in rounds for value in taken]
        row = {"rate": rate, "p50": _at(times, 0.5), "p95": _at(times, 0.95)}
        table["parallel"][name] = row
        print(f"{name:14}{rate:10.0f}{row['p50']:10.1f}{row['p95']:10.1f}")
    ratios = [
        mine[0] / other[0]
        for mine, other in zip(parallel["gateway"], parallel["bare"], strict=True)
    ]
    table["parallel"]["ratio"] = statistics.median(ratios)
    print(f"gateway / bare: {table['parallel']['ratio']:.2f}")
    table["memory"] = {"session": kept[0], "stream": kept[1]}
    print(f"memory: {kept[0]:.0f} KiB a session, {kept[1]:.0f} KiB more with its stream open")
    return table


def _at(times: list[float], share: float) -> float:
    return sorted(times)[int(len(times) * share)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--each", type=int, default=100, help="requests a round, server and method")
    parser.add_argument("--sessions", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one parallel slice")
    parser.add_argument("--loops", default="uvloop")
    parser.add_argument("--json", type=Path)
    add_arguments(parser, ROLES)
    options = parser.parse_args()
    if options.role:
        run_role(ROLES, options)
        return
    print(
        f"{platform.python_version()}, {os.cpu_count()} cores, {TOOLS} tools, {VISIBLE} visible, "
        f"{options.sessions} sessions, {options.rounds} rounds"
    )
    with tempfile.TemporaryDirectory() as folder:
        tables = [compare(loop, options, Path(folder)) for loop in options.loops.split(",")]
    if options.json:
        options.json.write_text(json.dumps({"tables": tables}, indent=1))


if __name__ == "__main__":
    main()
