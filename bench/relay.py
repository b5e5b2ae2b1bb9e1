"""The gateway with everything on, against a bare aiohttp relay (and LiteLLM's proxy where installed).

Every server is a process of its own; the load goes to them in turn, in short slices forwards and then
backwards, so that what the machine does meanwhile falls on all alike. Ratios are medians over rounds.
`bare` is what one would write without tuning; `bare, tuned` has the collector settings that the gateway
uses. LiteLLM is this environment's, or the executable that `--litellm` or BENCH_LITELLM names. Load comes
from `wrk` where it is installed, else from this file. Prints a table, and JSON with `--json FILE`. Never
part of a test: run `python -m bench.relay`, on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench import litellm_side
from bench.servers import (
    Roles,
    Server,
    Upstream,
    add_arguments,
    end,
    free_port,
    hold,
    launch,
    run_role,
    serve_relay,
)

PAIRS = 64  # (token, model) pairs that the load goes through
PATH = "/v1/chat/completions"
CHUNKS = 5
ANSWER = json.dumps(
    {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-bench",
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": "x" * 420},
            }
        ],
        "usage": {"prompt_tokens": 120, "completion_tokens": 80, "total_tokens": 200},
    }
).encode()
EVENT = b'data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"word "}}]}\n\n'
LAST = b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":5}}\n\ndata: [DONE]\n\n'


def request_body(model: str, stream: bool = False) -> bytes:
    """A chat request of about 830 bytes, as an SDK sends it."""
    return json.dumps(
        {
            "messages": [
                {"role": "system", "content": "You are a helpful assistant. " * 4},
                {"role": "user", "content": "Tell me about authorization. " * 16},
            ],
            "model": model,
            "max_tokens": 200,
            "temperature": 0.2,
            **({"stream": True, "stream_options": {"include_usage": True}} if stream else {}),
        }
    ).encode()


def request_headers(token: str) -> dict[str, str]:
    """The headers that an SDK sends."""
    return {
        "Accept": "application/json",
        "Content-Type": "application/json",
        "User-Agent": "OpenAI/Python 3.57.0",
        "Authorization": f"Bearer {token}",
        "X-Stainless-Lang": "python",
        "X-Stainless-Package-Version": "3.57.0",
        "X-Stainless-OS": "Linux",
        "X-Stainless-Arch": "x64",
        "X-Stainless-Runtime": "CPython",
        "X-Stainless-Runtime-Version": "3.11.2",
        "X-Stainless-Async": "false",
        "x-stainless-retry-count": "0",
        "x-stainless-read-timeout": "600",
    }


# --- the servers ----------------------------------------------------------------------------------------


class Completions(Upstream):
    """Answers a POST; a stream sends its first event after `delay` seconds."""

    delay = 0.0

    def answer(self, head: bytes, body: bytes) -> None:
        if b'"stream": true' in body or b'"stream":true' in body:
            asyncio.get_running_loop().call_later(self.delay, self.stream)
        else:
            self.transport.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
                % (len(ANSWER), ANSWER)
            )

    def stream(self) -> None:
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in [EVENT] * CHUNKS + [LAST])
        self.transport.write(head + body + b"0\r\n\r\n")


async def serve_upstream(port: int, options: argparse.Namespace) -> None:
    Completions.delay = options.delay
    await asyncio.get_running_loop().create_server(Completions, "127.0.0.1", port)


async def serve_bare(port: int, options: argparse.Namespace) -> None:
    url = f"http://127.0.0.1:{options.upstream}{PATH}"
    await serve_relay(port, PATH, url, Authorization="Bearer sk-bench")


async def serve_gateway(port: int, options: argparse.Namespace) -> None:
    """The whole process, as `gatewarden serve` runs it; it also sets the collector itself."""
    from bench.gateway_parts import gateway

    await hold(gateway(Path(options.folder), port, options.upstream, PAIRS))


ROLES: Roles = {
    "upstream": serve_upstream,
    "bare": serve_bare,
    "gateway": serve_gateway,
}


# --- the load -------------------------------------------------------------------------------------------


@dataclass
class Slice:
    rate: float  # requests a second
    p50: float  # ms
    p99: float  # ms
    failed: int = 0


@dataclass
class Measured(Server):
    pairs: list[tuple[str, str]] = field(
        default_factory=list
    )  # where it takes none of the gateway's
    slices: list[Slice] = field(default_factory=list)
    first_byte: list[float] = field(default_factory=list)  # ms


LUA = """
local n = 0
function request()
  n = n + 1
  return requests[n % #requests + 1]
end
"""


def wrk(
    server: Measured, pairs: list[tuple[str, str]], seconds: float, callers: int, folder: Path
) -> Slice:
    script = folder / f"load-{server.port}.lua"
    if not script.exists():
        lines = ["requests = {}"]
        for index, (token, model) in enumerate(pairs):
            headers = ",".join(
                f"[{json.dumps(k)}]={json.dumps(v)}" for k, v in request_headers(token).items()
            )
            body = json.dumps(request_body(model).decode())
            lines.append(
                f'requests[{index + 1}] = wrk.format("POST", "/v1/chat/completions", {{{headers}}}, {body})'
            )
        # `wrk.format` needs the target, which is known only when a thread starts
        script.write_text("function init(args)\n" + "\n".join(lines) + "\nend\n" + LUA)
    command = ["wrk", "-t1", f"-c{callers}", f"-d{seconds}s", "--timeout=30s", "--latency"]
    command += ["-s", str(script)]
    text = subprocess.run(
        [*command, f"http://127.0.0.1:{server.port}"], capture_output=True, text=True, check=True
    ).stdout
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    assert rate is not None, text
    return Slice(float(rate[1]), _ms(text, "50"), _ms(text, "99"), int(failed[1]) if failed else 0)


def _ms(text: str, percentile: str) -> float:
    found = re.search(rf"{percentile}(?:\.000)?%\s+([\d.]+)(us|ms|s)", text)
    if not found:
        return 0.0
    return float(found[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[found[2]]


async def python_load(
    server: Measured, pairs: list[tuple[str, str]], seconds: float, callers: int
) -> Slice:
    """The same load from this process; it shares the machine's cores, so rates are lower."""
    requests = [raw_request(token, request_body(model)) for token, model in pairs]
    times: list[float] = []
    failed = 0
    started = time.perf_counter()
    ends = started + seconds

    async def caller(number: int) -> None:
        nonlocal failed
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        while (begun := time.perf_counter()) < ends:
            number += 1
            writer.write(requests[number % len(requests)])
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: *(\d+)", head, re.I)
            await reader.readexactly(int(length[1]) if length else 0)
            failed += not head.startswith(b"HTTP/1.1 200")
            times.append(time.perf_counter() - begun)
        writer.close()

    async with asyncio.TaskGroup() as group:
        for number in range(callers):
            group.create_task(caller(number))
    seconds = time.perf_counter() - started  # the last answers come later
    times.sort()
    pick = [times[int(len(times) * share)] * 1000 for share in (0.5, 0.99)]
    return Slice(len(times) / seconds, pick[0], pick[1], failed)


def raw_request(token: str, body: bytes) -> bytes:
    lines = [f"{k}: {v}" for k, v in request_headers(token).items()]
    head = "\r\n".join(["POST /v1/chat/completions HTTP/1.1", "Host: 127.0.0.1", *lines])
    return f"{head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def first_bytes(server: Measured, pairs: list[tuple[str, str]], count: int) -> list[float]:
    """Milliseconds to the first event of `count` streams, one after the other on one connection."""
    found = []
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    for number in range(count):
        token, model = pairs[number % len(pairs)]
        begun = time.perf_counter()
        writer.write(raw_request(token, request_body(model, stream=True)))
        await reader.readuntil(b"data: ")
        found.append((time.perf_counter() - begun) * 1000)
        await reader.readuntil(b"0\r\n\r\n")
    writer.close()
    return found


# --- the comparison -------------------------------------------------------------------------------------


def compare(loop: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One table: every server on one kind of loop."""
    running: list[Measured] = []
    try:
        return measure(loop, options, folder, running)
    finally:
        end(running)


def measure(
    loop: str, options: argparse.Namespace, folder: Path, running: list[Measured]
) -> dict[str, Any]:
    """As `compare`; puts every server that it starts into `running`."""

    def start(role: str, name: str, loop: str, tuned: bool, **more: object) -> Measured:
        started = launch("bench.relay", role, name, loop, tuned, **more)
        running.append(Measured(started.name, started.port, started.process))
        return running[-1]

    def start_litellm(upstream: Measured, home: Path) -> Measured:
        port = free_port()
        process, pairs = litellm_side.start(options.litellm, port, upstream.port, home)
        running.append(Measured("litellm", port, process, pairs))
        return running[-1]

    upstream = start("upstream", "upstream", options.fast_loop, True)
    slow = start("upstream", "upstream", options.fast_loop, True, delay=0.02)
    data = folder / loop
    servers = [
        start("bare", "bare", loop, False, upstream=upstream.port),
        start("bare", "bare, tuned", loop, True, upstream=upstream.port),
        start("gateway", "gateway", loop, False, upstream=upstream.port, folder=data / "a"),
    ]
    streaming = [
        slow,
        start("bare", "bare", loop, False, upstream=slow.port),
        start("gateway", "gateway", loop, False, upstream=slow.port, folder=data / "b"),
    ]
    if options.litellm:
        servers.append(start_litellm(upstream, data / "litellm"))
        streaming.append(start_litellm(slow, data / "litellm-streaming"))
    by_name = {server.name: server for server in servers}
    pairs = read_pairs(data / "a")
    stream_pairs = read_pairs(data / "b")
    for number in range(options.rounds + 1):
        for server in servers if number % 2 else servers[::-1]:
            taken = server.pairs or pairs
            seconds = options.seconds * (litellm_side.STRETCH if server.pairs else 1)
            if options.load == "wrk":
                got = wrk(server, taken, seconds, options.callers, folder)
            else:
                got = asyncio.run(python_load(server, taken, seconds, options.callers))
            if server.pairs:
                litellm_side.settle(server.process.pid)
            if number:  # the first round warms up
                server.slices.append(got)
        for server in streaming:
            taken = server.pairs or stream_pairs
            found = asyncio.run(first_bytes(server, taken, options.streams))
            server.first_byte += found if number else []
    direct = statistics.median(slow.first_byte)
    for server in streaming[1:]:
        by_name[server.name].first_byte = [value - direct for value in server.first_byte]
    return report(loop, servers)


def read_pairs(folder: Path) -> list[tuple[str, str]]:
    return [(token, model) for token, model in json.loads((folder / "pairs.json").read_text())]


def report(loop: str, servers: list[Measured]) -> dict[str, Any]:
    gateway = next(server for server in servers if server.name == "gateway")
    table: dict[str, Any] = {"loop": loop, "servers": {}, "ratios": {}}
    print(
        f"\n{loop:12}{'req/s':>10}{'p50 ms':>10}{'p99 ms':>10}{'first byte +ms':>16}{'RSS MB':>9}{'failed':>8}"
    )
    for server in servers:
        row = {
            "rate": statistics.median(item.rate for item in server.slices),
            "p50": statistics.median(item.p50 for item in server.slices),
            "p99": statistics.median(item.p99 for item in server.slices),
            "first_byte": statistics.median(server.first_byte) if server.first_byte else None,
            "rss": server.rss() // 1024,
            "failed": sum(item.failed for item in server.slices),
            "slices": [asdict(item) for item in server.slices],
        }
        table["servers"][server.name] = row
        added = "" if row["first_byte"] is None else f"{row['first_byte']:.2f}"
        print(
            f"{server.name:12}{row['rate']:10.0f}{row['p50']:10.2f}{row['p99']:10.2f}"
            f"{added:>16}{row['rss']:9}{row['failed']:8}"
        )
        if server is not gateway:
            ratios = [
                mine.rate / other.rate
                for mine, other in zip(gateway.slices, server.slices, strict=True)
            ]
            table["ratios"][server.name] = statistics.median(ratios)
    for name, ratio in table["ratios"].items():
        print(f"gateway / {name}: {ratio:.2f}")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=2, help="length of one slice")
    parser.add_argument("--callers", type=int, default=128)
    parser.add_argument("--streams", type=int, default=20, help="streams a round and server")
    parser.add_argument("--loops", default="asyncio,uvloop")
    parser.add_argument("--python-load", action="store_true", help="do not use wrk")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--litellm", default=os.environ.get("BENCH_LITELLM", ""), metavar="PATH")
    parser.add_argument("--delay", type=float, default=0.0, help=argparse.SUPPRESS)
    add_arguments(parser, ROLES)
    options = parser.parse_args()
    has_uvloop = importlib.util.find_spec("uvloop") is not None
    if options.role:
        run_role(ROLES, options)
        return
    options.litellm = litellm_side.find(options.litellm)
    options.fast_loop = "uvloop" if has_uvloop else "asyncio"
    loops = [loop for loop in options.loops.split(",") if loop != "uvloop" or has_uvloop]
    options.load = "python" if options.python_load or not shutil.which("wrk") else "wrk"
    print(
        f"{platform.python_version()}, {os.cpu_count()} cores, load by {options.load}, {options.callers} callers, "
        f"{options.rounds} rounds of {options.seconds} s"
    )
    with tempfile.TemporaryDirectory() as folder:
        tables = [compare(loop, options, Path(folder)) for loop in loops]
    if options.json:
        options.json.write_text(json.dumps({"tables": tables, "load": options.load}, indent=1))


if __name__ == "__main__":
    main()
