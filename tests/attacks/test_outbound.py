"""Attacks on the way out: docs/attacks.md 5.2 (B1-B8), 5.5 I1 and A3, and upstreams that lie."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from proxy.connections import tls_context
from proxy.providers.base import (
    Headers,
    Operation,
    Upstream,
    UpstreamError,
    UpstreamInvalid,
    UpstreamRefusedByGuard,
    UpstreamUnreachable,
)
from proxy.wire import Limits
from tests.peers.calls import CALLER
from tests.peers.certificates import self_signed
from tests.peers.estate import KEY, client, upstream_of
from tests.peers.providers import AnthropicPeer, OpenAIPeer, serving
from tests.peers.raw import Play, raw_server, read_request, saying

CHAT = Operation.CHAT_COMPLETIONS
JSON: Headers = [("content-type", "application/json")]
BODY = b'{"model":"peer-model"}'


def at(port: int, host: str = "127.0.0.1", scheme: str = "http") -> Upstream:
    return upstream_of("openai", base_url=f"{scheme}://{host}:{port}/v1", auth_data=KEY)


class Names(AbstractResolver):
    """A name server under an attacker's control: each look-up gets the next answer."""

    def __init__(self, *answers: list[str]) -> None:
        self._answers = list(answers)
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        answer = self._answers[min(self.asked, len(self._answers) - 1)]
        self.asked += 1
        return [
            ResolveResult(
                hostname=host,
                host=text,
                port=port,
                family=socket.AF_INET6 if ":" in text else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for text in answer
        ]

    async def close(self) -> None:
        pass


async def fetch(
    upstream: Upstream,
    headers: Headers = JSON,
    *,
    allow: tuple[str, ...] = ("127.0.0.1",),
    limits: Limits | None = None,
    resolver: AbstractResolver | None = None,
    tls: ssl.SSLContext | None = None,
) -> bytes:
    async with (
        client(allow=allow, limits=limits, resolver=resolver, tls=tls) as outbound,
        outbound.call(upstream, CHAT, headers, BODY) as answer,
    ):
        return await answer.read()


# --- B1: the upstream comes from the document only -----------------------------------------------------

STEERING = [
    ("Host", "evil.example"),
    ("X-Forwarded-Host", "evil.example"),
    ("x-portkey-custom-host", "http://evil.example"),
    ("x-tfy-base-url", "http://evil.example"),
    ("x-gatewarden-upstream", "http://evil.example"),
    ("X-Envoy-Original-Path", "/admin"),
    ("X-Original-URL", "/admin"),
    ("X-Rewrite-URL", "/admin"),
    ("Forwarded", "host=evil.example"),
]


@pytest.mark.parametrize("header", STEERING, ids=lambda header: header[0])
async def test_b1_no_header_chooses_the_upstream(header: tuple[str, str]) -> None:
    async with serving(OpenAIPeer()) as peer:
        await fetch(at(peer.port), [*JSON, header])
    assert peer.refusals == []
    assert peer.seen[0].get("host") == f"127.0.0.1:{peer.port}"
    assert peer.seen[0].path == "/v1/chat/completions"
    assert not any("evil" in value or "admin" in value for _, value in peer.seen[0].headers)


# --- B2: no part of an address moves the host ------------------------------------------------------------

MOVING: list[tuple[str, Mapping[str, object]]] = [
    ("aws-bedrock", {"region": "x.evil.example/#"}),
    ("aws-bedrock", {"region": "evil.example#"}),
    ("aws-bedrock", {"region": "evil@x"}),
    ("azure-openai", {"base_url": "https://a.example#.openai.azure.com"}),
    ("azure-openai", {"base_url": "https://a.example?.openai.azure.com"}),
    ("azure-openai", {"base_url": "https://acme.openai.azure.com@evil.example"}),
    ("openai", {"base_url": "https://api.openai.com\\@evil.example/v1"}),
    ("openai", {"base_url": "https://api.openai.com%2f@evil.example"}),
    ("openai", {"base_url": "https://api.openai.com%00.evil.example"}),
    ("openai", {"base_url": "https://api.openai.com\t.evil.example"}),
    ("openai", {"base_url": "https:///v1"}),
    ("openai", {"base_url": "//evil.example/v1"}),
    ("openai", {"base_url": "https://[::1/v1"}),
    ("openai", {"base_url": "https://a.example:99999/v1"}),
    ("openai", {"base_url": "file:///etc/passwd"}),
    ("openai", {"base_url": "unix:///run/x.sock"}),
]


@pytest.mark.parametrize(("kind", "fields"), MOVING)
async def test_b2_a_document_that_moves_the_host_makes_no_address(
    kind: str, fields: Mapping[str, object]
) -> None:
    upstream = upstream_of(kind, auth_data=KEY, **fields)
    assert upstream.problem is not None and upstream.routes == {}
    async with client() as outbound:
        for operation in Operation:
            with pytest.raises(UpstreamError):
                async with outbound.call(upstream, operation, JSON, BODY):
                    pass


# --- B3, B7: redirects ---------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_b3_b7_a_redirect_is_never_followed(status: int) -> None:
    async with serving(OpenAIPeer()) as target:
        location = f"{target.url}/v1/chat/completions".encode()
        head = b"HTTP/1.1 %d Moved\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % (
            status,
            location,
        )
        async with raw_server(saying(head)) as port:
            with pytest.raises(UpstreamInvalid, match="redirect"):
                await fetch(at(port))
    assert target.seen == []


# --- B4: internal addresses, however they are written or resolved ---------------------------------------

WRITTEN = ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "169.254.169.254", "10.0.0.1",
           "2130706433", "0x7f000001", "017700000001", "127.1", "127.0.0.1.", "[::127.0.0.1]",
           "[2002:7f00:1::]", "[64:ff9b::7f00:1]", "[fec0::1]", "[fe80::1]"]  # fmt: skip


@pytest.mark.parametrize("host", WRITTEN)
async def test_b4_an_internal_address_is_not_dialled_however_it_is_written(host: str) -> None:
    async with serving(OpenAIPeer()) as peer:
        with pytest.raises(UpstreamError) as caught:
            await fetch(at(peer.port, host), allow=())
    assert peer.seen == []
    assert caught.value.code in ("upstream_refused", "upstream_misconfigured")


@pytest.mark.parametrize(
    "answer", [["127.0.0.1"], ["::1"], ["::ffff:127.0.0.1"], ["0.0.0.0"], ["64:ff9b::7f00:1"]]
)
async def test_b4_a_public_name_that_points_inside_is_not_dialled(answer: list[str]) -> None:
    async with serving(OpenAIPeer()) as peer:
        with pytest.raises(UpstreamRefusedByGuard):
            await fetch(at(peer.port, "a.example"), allow=(), resolver=Names(answer))
    assert peer.seen == []


async def test_b4_localhost_is_a_name_that_points_inside() -> None:
    async with serving(OpenAIPeer()) as peer:
        with pytest.raises(UpstreamRefusedByGuard):
            await fetch(at(peer.port, "localhost"), allow=(), resolver=Names(["127.0.0.1"]))
    assert peer.seen == []


async def test_b4_a_name_is_resolved_once_so_nothing_changes_between_check_and_connect() -> None:
    # Only 127.0.0.1 is allowed; a second look-up would lead to 127.0.0.2, where somebody listens.
    async with serving(OpenAIPeer()) as peer, raw_server(saying(b""), host="127.0.0.2"):
        names = Names(["127.0.0.1"], ["127.0.0.2"])
        await fetch(at(peer.port, "a.example"), resolver=names)
    assert names.asked == 1
    assert peer.seen[0].get("host") == f"a.example:{peer.port}"


async def test_b4_a_rebound_name_is_refused_at_the_next_connection() -> None:
    async with serving(OpenAIPeer()) as peer:
        names = Names(["127.0.0.1"], ["127.0.0.2"])
        await fetch(at(peer.port, "a.example"), resolver=names)
        with pytest.raises(UpstreamRefusedByGuard):
            await fetch(at(peer.port, "a.example"), resolver=names)
    assert len(peer.seen) == 1


async def test_b4_of_several_addresses_only_the_allowed_ones_are_dialled() -> None:
    async with serving(OpenAIPeer()) as peer:
        names = Names(["127.0.0.2", "10.0.0.1", "127.0.0.1"])
        await fetch(at(peer.port, "a.example"), resolver=names)
    assert len(peer.seen) == 1


@pytest.mark.parametrize(
    ("name", "trusted"), [("a.example", True), ("a.example", False), ("b.example", True)]
)
async def test_b4_tls_is_verified_for_the_name_although_the_address_is_pinned(
    tmp_path: Path, name: str, trusted: bool
) -> None:
    context = self_signed(tmp_path, name)
    asked: list[str | None] = []
    context.sni_callback = lambda connection, server, _: asked.append(server)
    known = tls_context()
    if trusted:
        known.load_verify_locations(tmp_path / f"{name}.pem")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(HEAD + b"Content-Length: 2\r\n\r\n{}")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        upstream = at(server.sockets[0].getsockname()[1], "a.example", "https")
        if trusted and name == "a.example":
            assert await fetch(upstream, resolver=Names(["127.0.0.1"]), tls=known) == b"{}"
        else:
            with pytest.raises(UpstreamUnreachable):
                await fetch(upstream, resolver=Names(["127.0.0.1"]), tls=known)
    assert asked == ["a.example"]


# --- B8: what an operator allows works --------------------------------------------------------------------


async def test_b8_a_listed_network_is_reached_by_name_and_by_address() -> None:
    async with serving(OpenAIPeer()) as peer:
        await fetch(at(peer.port), allow=("127.0.0.0/8",))
        names = Names(["127.0.0.1"])
        await fetch(at(peer.port, "model.svc.cluster.local"), resolver=names)
    assert peer.refusals == [] and len(peer.seen) == 2


# --- A3, H3: nothing of the caller's credentials or identity goes out --------------------------------------


async def test_a3_h3_a_callers_worst_headers_leave_only_what_the_provider_needs() -> None:
    async with serving(AnthropicPeer()) as peer:
        upstream = upstream_of("anthropic", base_url=peer.url, auth_data=KEY)
        worst = [
            *CALLER,
            ("AUTHORIZATION", "Bearer second"),
            ("authorization", "Bearer third"),
            ("X-API-KEY", "second"),
            ("x_api_key", "third"),
            ("X_Amzn_Oidc_Data", "forged"),
            ("x-ms-client-principal-id", "forged"),
            ("X-Goog-Authenticated-User-Email", "forged"),
            ("REMOTE_USER", "forged"),
        ]
        async with (
            client() as outbound,
            outbound.call(upstream, Operation.MESSAGES, worst, BODY) as answer,
        ):
            assert answer.status == 200
    assert peer.refusals == []
    assert not any("gw_pat" in value or "forged" in value for _, value in peer.seen[0].headers)


async def test_a_cookie_of_the_upstream_reaches_nobody() -> None:
    head = (
        b"HTTP/1.1 200 OK\r\nSet-Cookie: s=1\r\nContent-Type: application/json\r\n"
        b"Content-Length: 2\r\n\r\n{}"
    )
    seen: list[bytes] = []

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            seen.append(await read_request(reader))
            writer.write(head)

    async with raw_server(play) as port, client() as outbound:
        for _ in range(2):
            async with outbound.call(at(port), CHAT, JSON, BODY) as answer:
                await answer.read()
                assert not any("cookie" in name.lower() for name, _ in answer.headers)
    assert len(seen) == 2 and not any(b"cookie" in request.lower() for request in seen)


async def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with serving(OpenAIPeer()) as peer:
        await fetch(at(peer.port))
    assert len(peer.seen) == 1


# --- I1: smuggling in what we send -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        ("Transfer-Encoding", "chunked"),
        ("Transfer_Encoding", "chunked"),
        ("Content-Length", "0"),
        ("Content-Length", "99999"),
        ("Expect", "100-continue"),
        ("Upgrade", "websocket"),
        ("Connection", "Content-Length, Host, Authorization"),
        ("x-custom", "a\r\nContent-Length: 0\r\n\r\nGET /admin HTTP/1.1"),
    ],
)
async def test_i1_framing_is_never_the_callers(header: tuple[str, str]) -> None:
    async with serving(OpenAIPeer()) as peer:
        await fetch(at(peer.port), [*JSON, header])
    (seen,) = peer.seen
    assert peer.refusals == []
    assert seen.body == BODY and seen.get("content-length") == str(len(BODY))
    assert seen.get("transfer-encoding") is None and seen.get("upgrade") is None


# --- upstreams that lie ----------------------------------------------------------------------------------------

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
LIES: dict[str, bytes] = {
    "shorter than declared": HEAD + b"Content-Length: 10\r\n\r\n{}",
    "two lengths": HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x",
    "length and chunked": HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "negative length": HEAD + b"Content-Length: -1\r\n\r\n{}",
    "length in words": HEAD + b"Content-Length: two\r\n\r\n{}",
    "chunk size in words": HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "chunked cut off": HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{}",
    "chunked without end": HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
    "not HTTP": b"220 mail.example ESMTP\r\n",
    "HTTP/0.9": b"{}",
    "NUL in a header": HEAD + b"X-A: b\x00c\r\nContent-Length: 2\r\n\r\n{}",
    "switching protocols": b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    "endless header line": HEAD + b"X-A: " + b"a" * 200_000 + b"\r\n\r\n{}",
    "too many headers": HEAD + b"".join(b"X-%d: a\r\n" % n for n in range(500)) + b"\r\n",
    "compressed": HEAD + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
    "compressed in an odd way": HEAD + b"Content-Encoding: br, gzip\r\nContent-Length: 2\r\n\r\n{}",
    "a status out of range": b"HTTP/1.1 999 What\r\nContent-Length: 2\r\n\r\n{}",
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
async def test_an_upstream_that_lies_is_caught(lie: str) -> None:
    async with raw_server(saying(LIES[lie])) as port:
        with pytest.raises(UpstreamError) as caught:
            await fetch(at(port), limits=Limits(answer=5))
    assert caught.value.code in ("upstream_invalid", "upstream_unreachable")


@pytest.mark.parametrize(
    "line", [b"X-A: b\r\n c: d", b"X-A : b", b"X A: b", b"X-\xff: b", b"X-A: \xff"]
)
async def test_an_odd_header_is_written_again_as_one_line_or_not_at_all(line: bytes) -> None:
    head = HEAD + line + b"\r\nContent-Length: 2\r\n\r\n{}"
    async with raw_server(saying(head)) as port, client() as outbound:
        try:
            async with outbound.call(at(port), CHAT, JSON, BODY) as answer:
                assert await answer.read() == b"{}"
        except UpstreamInvalid:
            return
    for name, value in answer.headers:
        assert name.isascii() and " " not in name and "\n" not in value
        (name + value).encode()


async def test_an_endless_answer_is_cut_at_the_limit() -> None:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(HEAD + b"\r\n")
        while True:
            writer.write(b"x" * 10_000)
            await writer.drain()

    async with raw_server(play) as port:
        with pytest.raises(UpstreamInvalid, match="more than 100000 bytes"):
            await fetch(at(port), limits=Limits(max_answer=100_000))


async def test_endless_informational_answers_end_at_the_deadline() -> None:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        while True:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)
            await writer.drain()
            await asyncio.sleep(0)

    async with raw_server(play) as port, asyncio.timeout(10):
        with pytest.raises(UpstreamError):
            await fetch(at(port), limits=Limits(total=0.1))


def surplus(late: asyncio.Event, sent: asyncio.Event) -> Play:
    """Answers, then sends a second answer that nobody asked for."""
    ok = HEAD + b"Content-Length: 2\r\n\r\n{}"

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(ok)
        await late.wait()
        writer.write(HEAD + b'Content-Length: 8\r\n\r\n{"bad":1')
        await writer.drain()
        sent.set()
        while True:
            await read_request(reader)
            writer.write(ok)

    return play


@pytest.mark.parametrize("when", ["with the answer", "after it"])
async def test_a_surplus_answer_is_never_given_to_the_next_caller(when: str) -> None:
    late, sent = asyncio.Event(), asyncio.Event()
    if when == "with the answer":
        late.set()
    async with raw_server(surplus(late, sent)) as port, client() as outbound, asyncio.timeout(10):
        upstream = at(port)
        async with outbound.call(upstream, CHAT, JSON, BODY) as answer:
            assert await answer.read() == b"{}"
        late.set()
        await sent.wait()
        for _ in range(5):  # let what was sent arrive at the idle connection
            await asyncio.sleep(0)
        async with outbound.call(upstream, CHAT, JSON, BODY) as answer:
            assert await answer.read() == b"{}"


async def test_a_broken_event_stream_passes_byte_for_byte_and_ends_as_broken() -> None:
    broken = b'data: {"a\n\n\xff\xfe event:\r\rdata: [DONE'
    head = (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    said = head + b"%x\r\n%b\r\n" % (len(broken), broken)
    seen = b""
    async with (
        raw_server(saying(said)) as port,
        client() as outbound,
        outbound.call(at(port), CHAT, JSON, BODY) as answer,
    ):
        with pytest.raises(UpstreamError):
            async for chunk in answer.chunks():
                seen += chunk
    assert seen == broken
