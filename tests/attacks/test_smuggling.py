"""I1: where one request ends has one reading. Raw bytes to both planes; numbers are those of docs/attacks.md 5.5.

Every attempt carries a second request that would be answered with 200 if it were taken for one. Either
the first is refused and the connection ends, or the bytes are what the standard says they are.
"""

from __future__ import annotations

import asyncio
import json
import re

import pytest

from tests.attacks.house import House

CHAT = json.dumps({"model": "echo/small", "messages": []}).encode()
POST = b"POST /v1/chat/completions HTTP/1.1\r\n"
PUT = b"PUT /api/v1/teams/smuggled HTTP/1.1\r\n"
TEAM = b'{"type": "team", "name": "smuggled", "members": []}'
HEAD = b"Host: a\r\nAuthorization: Bearer @\r\nContent-Type: application/json\r\n"
HIDDEN = b"GET /v1/models HTTP/1.1\r\nHost: hidden\r\nAuthorization: Bearer @\r\n\r\n"
CHUNK = b"%x\r\n%b\r\n0\r\n\r\n" % (len(CHAT), CHAT)
PLAIN = b"Content-Length: %d\r\n\r\n" % len(CHAT) + CHAT


def chunked(header: bytes) -> bytes:
    return POST + HEAD + header + b"\r\n\r\n" + CHUNK + HIDDEN


def lengths(header: bytes, body: bytes = b"") -> bytes:
    return POST + HEAD + header + b"\r\n\r\n" + (body or CHAT) + HIDDEN


def chunks(body: bytes) -> bytes:
    return POST + HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + body + HIDDEN


SIZE = b"%x" % len(CHAT)
LENGTH = b"%d" % len(CHAT)

# What cannot be read, or could be in two ways: one refusal, and nothing after it.
REFUSED: dict[str, bytes] = {
    "length and chunked": chunked(b"Content-Length: 4\r\nTransfer-Encoding: chunked"),
    "chunked and length": chunked(b"Transfer-Encoding: chunked\r\nContent-Length: 4"),
    "chunked and length 0": chunked(b"Transfer-Encoding: chunked\r\nContent-Length: 0"),
    "an encoding after chunked": chunked(b"Transfer-Encoding: chunked, gzip"),
    "chunked twice": chunked(b"Transfer-Encoding: chunked, chunked"),
    "chunked in two headers": chunked(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
    "identity and chunked": chunked(b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked"),
    "identity": chunked(b"Transfer-Encoding: identity"),
    "nearly chunked": chunked(b"Transfer-Encoding: xchunked"),
    "chunked in quotes": chunked(b'Transfer-Encoding: "chunked"'),
    "chunked with a parameter": chunked(b"Transfer-Encoding: chunked;q=1"),
    "chunked with a vertical tab": chunked(b"Transfer-Encoding: \x0bchunked"),
    "chunked with a NUL": chunked(b"Transfer-Encoding: chunked\x00"),
    "blanks before chunked": chunked(b"Transfer-Encoding:  \tchunked \t"),
    "a length in a trailer": chunks(
        SIZE + b"\r\n" + CHAT + b"\r\n0\r\nContent-Length: 9\r\n\r\n"
    ),
    "chunked with a comma": chunked(b"Transfer-Encoding: chunked,"),
    "a blank before the colon": chunked(b"Transfer-Encoding : chunked"),
    "a blank before the name": chunked(b" Transfer-Encoding: chunked"),
    "a folded encoding": chunked(b"Transfer-Encoding:\r\n chunked"),
    "a folded header": chunked(b"X: a\r\n Transfer-Encoding: chunked"),
    "a folded length": lengths(b"Content-Length:\r\n 4"),
    "two lengths": lengths(b"Content-Length: 4\r\nContent-Length: " + LENGTH),
    "the same length twice": lengths(b"Content-Length: %b\r\nContent-Length: %b" % (LENGTH, LENGTH)),
    "a list of lengths": lengths(b"Content-Length: %b, %b" % (LENGTH, LENGTH)),
    "a length with a sign": lengths(b"Content-Length: +" + LENGTH),
    "a negative length": lengths(b"Content-Length: -1"),
    "a length in hex": lengths(b"Content-Length: 0x10"),
    "a length with an underscore": lengths(b"Content-Length: 1_0"),
    "a length with a blank": lengths(b"Content-Length: 4 4"),
    "a length with a vertical tab": lengths(b"Content-Length: 4\x0b"),
    "a length of other digits": lengths("Content-Length: \u0664".encode()),
    "a length beyond 64 bits": lengths(b"Content-Length: 18446744073709551620"),
    "no length": lengths(b"Content-Length:"),
    "a chunk size with a sign": chunks(b"+" + SIZE + b"\r\n" + CHAT + b"\r\n0\r\n\r\n"),
    "a chunk size in 0x": chunks(b"0x" + SIZE + b"\r\n" + CHAT + b"\r\n0\r\n\r\n"),
    "a negative chunk size": chunks(b"-1\r\n" + CHAT + b"\r\n0\r\n\r\n"),
    "a chunk size that overflows": chunks(b"1" + b"0" * 16 + SIZE + b"\r\n" + CHAT + b"\r\n0\r\n\r\n"),
    "a chunk size with a blank first": chunks(b" " + SIZE + b"\r\n" + CHAT + b"\r\n0\r\n\r\n"),
    "a chunk line without CR": chunks(SIZE + b"\n" + CHAT + b"\r\n0\r\n\r\n"),
    "a chunk extension with a bare LF": chunks(SIZE + b";a=\n1\r\n" + CHAT + b"\r\n0\r\n\r\n"),
    "a chunk extension with a bare CR": chunks(SIZE + b";a=\r1\r\n" + CHAT + b"\r\n0\r\n\r\n"),
    "a chunk longer than its size": chunks(b"2\r\n" + CHAT + b"\r\n0\r\n\r\n"),
    "a chunk without its end": chunks(SIZE + b"\r\n" + CHAT + b"0\r\n\r\n"),
    "a chunk that ends in LF": chunks(SIZE + b"\r\n" + CHAT + b"\n0\r\n\r\n"),
    "no chunk size": chunks(b"\r\n" + CHAT + b"\r\n0\r\n\r\n"),
    "a header without a colon": POST + HEAD + b"Content-Length\r\n" + PLAIN + HIDDEN,
    "a header without a name": POST + HEAD + b": x\r\n" + PLAIN + HIDDEN,
    "a NUL in a header": POST + HEAD + b"X: a\x00b\r\n" + PLAIN + HIDDEN,
    "a NUL in a name": POST + HEAD + b"X\x00: a\r\n" + PLAIN + HIDDEN,
    "a bare CR in a header": POST + HEAD + b"X: a\rTransfer-Encoding: chunked\r\n" + PLAIN + HIDDEN,
    "a name in brackets": POST + HEAD + b"X(a): b\r\n" + PLAIN + HIDDEN,
    "a name beyond ASCII": POST + HEAD + "X\u00e9: b\r\n".encode() + PLAIN + HIDDEN,
    "lines that end in LF": (POST + HEAD + PLAIN).replace(b"\r\n", b"\n") + HIDDEN,
    "a tab in the request line": POST.replace(b" /", b"\t/") + HEAD + PLAIN + HIDDEN,
    "two versions": POST.replace(b"HTTP", b"HTTP/1.1 HTTP") + HEAD + PLAIN + HIDDEN,
    "no version": POST.replace(b" HTTP/1.1", b"") + HEAD + PLAIN + HIDDEN,
    "another version": POST.replace(b"1.1", b"1.2") + HEAD + PLAIN + HIDDEN,
    "HTTP/2 without asking": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + HIDDEN,
    "TLS": b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + HIDDEN,
    "a method with a CR": b"PO\rST" + POST[4:] + HEAD + PLAIN + HIDDEN,
    "a target with a NUL": POST.replace(b"completions", b"comp\x00letions") + HEAD + PLAIN + HIDDEN,
    "a target in UTF-8": POST.replace(b"completions", "c\u00f6".encode()) + HEAD + PLAIN + HIDDEN,
}  # fmt: skip

# What the standard reads in one way, whatever it looks like; with the answers that it has then.
READ: dict[str, tuple[bytes, list[int]]] = {
    "two requests": (POST + HEAD + PLAIN + HIDDEN, [200, 200]),
    "chunked": (chunked(b"Transfer-Encoding: chunked"), [200, 200]),
    "chunked in capitals": (chunked(b"TRANSFER-ENCODING: Chunked"), [200, 200]),
    "two blanks in the request line": (
        POST.replace(b" /", b"  /") + HEAD + PLAIN + HIDDEN,
        [200, 200],
    ),
    "a chunk extension": (
        chunks(SIZE + b';a="b c"\r\n' + CHAT + b"\r\n0;x\r\n\r\n"),
        [200, 200],
    ),
    "leading zeros": (lengths(b"Content-Length: 00" + LENGTH), [200, 200]),
    "an empty line first": (b"\r\n" + POST + HEAD + PLAIN + HIDDEN, [200, 200]),
    # a trailer is no header: neither a credential nor a framing
    "trailers": (
        chunks(SIZE + b"\r\n" + CHAT + b"\r\n0\r\nAuthorization: Bearer x\r\nX: y\r\n\r\n"),
        [200, 200],
    ),
    # the hidden request is the body of a refused one, and is never answered
    "a refused body": (
        POST + HEAD + b"Content-Length: %d\r\n\r\n" % len(HIDDEN) + b"#" + HIDDEN,
        [400],
    ),
    "the body of a GET": (
        b"GET /v1/models HTTP/1.1\r\n" + HEAD + b"Content-Length: 76\r\n\r\n" + b"x" * 76 + HIDDEN,
        [200, 200],
    ),
    # the framing is clear, but not what the bytes are
    "an encoding before chunked": (chunked(b"Transfer-Encoding: gzip, chunked"), [415]),
    # underscores make another header: there is no body, and what follows is no request
    "an underscore": (chunked(b"Transfer_Encoding: chunked"), [400]),
}


class Answers(list[tuple[int, bytes]]):
    """(status, the whole of it) of every answer on a connection, and whether it has ended."""

    ended = False


async def exchange(house: House, request: bytes, wait: float = 0.3) -> Answers:
    token = house.token("alice").encode()
    if len(token) != 1:
        request = request.replace(b"Bearer @", b"Bearer " + token)
    reader, writer = await asyncio.open_connection("127.0.0.1", house.demo.process.port)
    writer.write(request)
    got = b""
    answers = Answers()
    try:
        while chunk := await asyncio.wait_for(reader.read(1 << 16), wait if got else 5):
            got += chunk
        answers.ended = True
    except TimeoutError:
        pass
    except ConnectionResetError:
        answers.ended = True
    finally:
        writer.close()
    found = re.split(rb"(?=HTTP/1\.[01] \d{3} )", got)
    answers.extend((int(one.split(b" ")[1]), one) for one in found if one)
    return answers


async def test_i1_what_could_be_read_in_two_ways_is_refused_once(house: House) -> None:
    """I1: and the connection ends, so that nothing behind it is taken for a request."""
    wrong = []
    for name, request in REFUSED.items():
        answers = await exchange(house, request)
        statuses = [status for status, _ in answers]
        json_ = all(b'"error"' in text for _, text in answers)
        if statuses != [400] or not answers.ended or not json_:
            wrong.append((name, statuses, answers.ended, json_))
    assert not wrong, "\n".join(map(repr, wrong))
    assert await house.models() and (await house.chat()).status == 200


async def test_i1_what_the_standard_reads_in_one_way_is_read_so(house: House) -> None:
    """I1: pipelined requests are answered in order, and a body is never a request."""
    wrong = []
    for name, (request, expected) in READ.items():
        statuses = [status for status, _ in await exchange(house, request)]
        if statuses != expected:
            wrong.append((name, statuses, expected))
    assert not wrong, "\n".join(map(repr, wrong))


@pytest.mark.parametrize(
    "first", ["no credential", "another's", "unknown model", "no route", "method"]
)
async def test_i1_a_request_behind_a_refused_one_stands_on_its_own(
    house: House, first: str
) -> None:
    """I1: nothing of the first one, credential or decision, is left for the second on the connection."""
    heads = {
        "no credential": (POST + HEAD.replace(b"Authorization", b"X-Nothing"), CHAT, 401),
        "another's": (POST + HEAD.replace(b"@", b"gw_pat_nobody"), CHAT, 401),
        "unknown model": (POST + HEAD, CHAT.replace(b"small", b"secret"), 404),
        "no route": (POST.replace(b"chat", b"chats") + HEAD, CHAT, 404),
        "method": (POST.replace(b"POST", b"DELETE") + HEAD, CHAT, 405),
    }
    start, body, status = heads[first]
    length = b"Content-Length: %d\r\n\r\n" % len(body)
    anonymous = HIDDEN.replace(b"Authorization", b"X-Nothing")
    for second, expected in ((HIDDEN, 200), (anonymous, 401), (POST + HEAD + PLAIN, 200)):
        answers = await exchange(house, start + length + body + second)
        statuses = [found for found, _ in answers]
        # where the body was not read the connection may end instead
        assert statuses in ([status, expected], [status]), (second, answers)
        assert len(statuses) == 2 or answers.ended


async def test_i1_both_planes_share_a_connection_and_nothing_else(house: House) -> None:
    """I1, A1: a request of one plane followed by one of the other, in both orders."""
    operator = house.token("operator").encode()
    put = PUT + HEAD.replace(b"@", operator) + b"Content-Length: %d\r\n\r\n" % len(TEAM) + TEAM
    anonymous = put.replace(b"Authorization", b"X-Nothing").replace(b"smuggled", b"smugglex")
    alices = PUT + HEAD + b"Content-Length: %d\r\n\r\n" % len(TEAM) + TEAM
    for request, expected in (
        (HIDDEN + alices, [200, 404]),
        (HIDDEN + anonymous, [200, 401]),
        (POST + HEAD + PLAIN + anonymous, [200, 401]),
        (put + HIDDEN, [201, 200]),
        (put + HIDDEN.replace(b"Authorization", b"X-Nothing"), [200, 401]),
        (put + anonymous, [200, 401]),
    ):
        statuses = [status for status, _ in await exchange(house, request)]
        assert statuses == expected, (request, statuses)


@pytest.mark.parametrize(
    "request_",
    [
        PUT + HEAD + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
        PUT + HEAD + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde" + HIDDEN,
        PUT + HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
        PUT + HEAD + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
        PUT + HEAD + b"X: a\r\n b\r\nContent-Length: 0\r\n\r\n" + HIDDEN,
        PUT + HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n" + TEAM + b"\r\n0\r\n\r\n" + HIDDEN,
        PUT + HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + TEAM + b"\r\n0\r\n\r\n" + HIDDEN,
        PUT + HEAD + b"X: \x00\r\nContent-Length: 0\r\n\r\n" + HIDDEN,
    ],
)
async def test_i1_the_control_plane_reads_by_the_same_parser(house: House, request_: bytes) -> None:
    """I1: the same refusals on the other plane's paths."""
    answers = await exchange(house, request_)
    assert [status for status, _ in answers] in ([400], [415])
    assert answers.ended
    assert b'"error"' in answers[0][1] or b'"code"' in answers[0][1]
    assert (await house.call("GET", "/api/v1/teams/smuggled", who="operator")).status == 404


async def test_i1_no_header_asks_for_another_protocol(house: House) -> None:
    """I1: neither a WebSocket nor HTTP/2 on any path."""
    for path in (
        b"/v1/chat/completions",
        b"/v1/models",
        b"/api/v1/whoami",
        b"/healthz",
        b"/metrics",
    ):
        for upgrade in (
            b"Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZQ==\r\nSec-WebSocket-Version: 13",
            b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
            b"Upgrade: TLS/1.0",
        ):
            request = b"GET %b HTTP/1.1\r\n%bConnection: Upgrade\r\n%b\r\n\r\n" % (
                path,
                HEAD,
                upgrade,
            )
            statuses = [status for status, _ in await exchange(house, request, wait=0.05)]
            assert statuses and 101 not in statuses, (path, upgrade)
    connect = b"CONNECT x.example:443 HTTP/1.1\r\n" + HEAD + b"\r\n"
    answers = await exchange(house, connect + HIDDEN)
    assert answers[0][0] in (400, 404, 405)
    trace = b"TRACE /v1/models HTTP/1.1\r\n" + HEAD + b"\r\n"
    answers = await exchange(house, trace)
    assert answers[0][0] in (400, 405) and b"Bearer" not in answers[0][1].replace(b"www-auth", b"")
