"""MCP messages and headers that two readers could read in two ways: refused before anything goes on.

Numbers are those of docs/attacks.md (5.4 H1, H8, H9; 3.7 P2).
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.attacks.mcp_house import (
    TOOLS,
    URI,
    clients,
    from_callers,
    github,
    headers_of,
    meta,
    policy,
    raw,
    rule,
    server,
)
from tests.proxy.mcp.house import House, Scripted, house, tool

HIDDEN = -32602


@pytest.fixture
async def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    async with house(tmp_path, monkeypatch) as made:
        yield made


def ran(made: Scripted) -> list[str]:
    return [body["params"]["name"] for body in made.called("tools/call")]


def as_header(name: str) -> str:
    return f"=?base64?{base64.b64encode(name.encode('utf-8', 'surrogatepass')).decode()}?="


SPELLINGS = [
    "Close_issue", "CLOSE_ISSUE", "close_issue ", " close_issue", "close_issue\t", "close_issue\n", "close_issue\x00",
    "close_issue\u0000.png", "close%5Fissue", "close%5fissue", "clo%73e_issue", "close_issu\u0435", "ｃlose_issue",
    "close\u200b_issue", "close_issue\ufeff", "close＿issue", "close-issue", "close.issue", "close_issue/",
    "/close_issue", "./close_issue", "github/close_issue", "github__close_issue", "github~1/close_issue",
    "mcp-tool:github/close_issue", "list_issues/../close_issue", "list_issues;close_issue", "list_issues,close_issue",
    "list_issues\nclose_issue", "list_issues close_issue", "*", "close_*", "close_issu?", "any:mcp-tool", "c" * 5000,
    "close_i\u017f\u017fue", "close_\u0131ssue", "clos\u00e9_issue", "close_issue\u0301", "../github/close_issue",
    "tools__say", "__proto__", "constructor", "$ne", "",
]  # fmt: skip


@pytest.mark.parametrize("generation", ["2025", "2026"])
async def test_p2_a_name_has_one_spelling(gate: House, generation: str) -> None:
    """P2: a deny on one tool and a grant on all the others; no other spelling of it is run, or reaches the server."""
    deny = rule("no", "any:subject", "mcp-tool:call", "mcp-tool:github/close_issue", effect="deny")
    async with github(gate, generation) as made:
        await gate.apply(policy("fence", deny))
        for client in await clients(gate, "alice"):
            made.asked.clear()
            for name in SPELLINGS:
                more = {"mcp_name": as_header(name)} if client.modern else {}
                said = await client.ask("tools/call", {"name": name, "arguments": {}}, **more)
                assert "error" in said.message, (name, said.raw)
            assert ran(made) == []
            for whole in [c for c in await clients(gate, "alice", "") if c.modern == client.modern]:
                for name in SPELLINGS:
                    for spelt in (
                        f"github__{name}",
                        f"github_{name}",
                        f"GitHub__{name}",
                        f"github____{name}",
                    ):
                        more = {"mcp_name": as_header(spelt)} if client.modern else {}
                        said = await whole.ask("tools/call", {"name": spelt}, **more)
                        assert "error" in said.message, (spelt, said.raw)
            assert ran(made) == []


async def test_p2_names_that_differ_in_spelling_are_different_things(gate: House) -> None:
    """P2: a server with names that are alike: a grant on one is none on the other."""
    alike = ["read", "Read", "re\u0061d\u0301", "read ", "re%61d", "rea\u0501"]
    async with Scripted(tools=[tool(name) for name in alike]) as made:
        await gate.apply(made.manifest("alike"))
        await gate.apply(
            policy("p", rule("r", "team:support", "mcp-tool:call", "mcp-tool:alike/read"))
        )
        for client in await clients(gate, "bob", "alike"):
            assert await client.names() == ["read"]
            made.asked.clear()
            for name in alike:
                more = {"mcp_name": as_header(name)} if client.modern else {}
                said = await client.ask("tools/call", {"name": name}, **more)
                assert ("result" in said.message) == (name == "read"), name
            assert ran(made) == ["read"]


BODIES = [
    b'{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call","params":{"name":"close_issue"}}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_issues","name":"close_issue"}}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_issues"},"params":{"name":"close_issue"}}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_issues","arguments":{"a":1,"a":2}}}',
    b'{"jsonrpc":"2.0","id":1,"id":2,"method":"tools/call","params":{"name":"list_issues"}}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_issues","Name":"close_issue"}}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","Params":{"name":"close_issue"},"params":{"name":"list_issues"}}',
    b'{"jsonrpc":"2.0","id":1,"Method":"tools/call","method":"ping","params":{"name":"close_issue"}}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_issues","\\u006eame":"close_issue"}}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":["close_issue"]}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":"close_issue"}',
    b'{"jsonrpc":"2.0","id":null,"method":"tools/call","params":{"name":"list_issues"}}',
    b'{"jsonrpc":"2.0","id":true,"method":"tools/call","params":{"name":"list_issues"}}',
    b'{"jsonrpc":"2.0","id":1.5,"method":"tools/call","params":{"name":"list_issues"}}',
    b'{"jsonrpc":"2.0","id":[1],"method":"tools/call","params":{"name":"list_issues"}}',
    b'{"jsonrpc":"2.0","id":{},"method":"tools/call","params":{"name":"list_issues"}}',
    b'{"jsonrpc":"2.0","id":"' + b"x" * 2000 + b'","method":"tools/call","params":{"name":"list_issues"}}',
    b'{"jsonrpc":"1.0","id":1,"method":"tools/call","params":{"name":"list_issues"}}',
    b'{"jsonrpc":2.0,"id":1,"method":"tools/call","params":{"name":"list_issues"}}',
    b'{"id":1,"method":"tools/call","params":{"name":"list_issues"}}',
    b'{"jsonrpc":"2.0","id":1,"method":["tools/call"],"params":{"name":"list_issues"}}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","result":{},"params":{"name":"list_issues"}}',
    b'[{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_issues"}}]',
    b'[]',
    b'[[{"jsonrpc":"2.0","id":1,"method":"tools/list"}]]',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_issues"}}{"jsonrpc":"2.0"}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_issues"}}\n{"jsonrpc":"2.0","id":2}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_issues","x":NaN}}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_issues",}}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call",/*x*/"params":{"name":"list_issues"}}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_issues","x":"\\ud800"}}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_issues","x":"\xff"}}',
    b'\xef\xbb\xbf{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_issues"}}',
    '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_issues"}}'.encode("utf-16"),
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_issues","arguments":' + b'{"a":' * 5000
    + b"1" + b"}" * 5000 + b"}}",
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_issues","arguments":' + b"[" * 200
    + b"]" * 200 + b"}}",
    b"",
    b"null",
    b'"tools/call"',
    b"7",
]  # fmt: skip


@pytest.mark.parametrize("generation", ["2025", "2026"])
async def test_h8_what_could_be_read_in_two_ways_is_refused_and_goes_nowhere(
    gate: House, generation: str
) -> None:
    """H8: keys twice, other case, batches, odd ids, two messages, other encodings, depth; an error, and no call."""
    async with github(gate, generation) as made:
        for client in await clients(gate, "alice"):
            made.asked.clear()
            for body in BODIES:
                if client.modern and b'"params":{' in body:
                    told = json.dumps(meta()).encode()
                    body = body.replace(b'"params":{', b'"params":{"_meta":' + told + b",")
                said = await raw(
                    gate, client.path, body, headers_of(client, "tools/call", "list_issues")
                )
                assert said.status == 400, (body[:150], said.raw)
                assert said.error["code"] in (-32700, -32600, -32602, -32020), said.raw
                assert said.message.get("id") in (None, 1)
            big = json.dumps(
                {"jsonrpc": "2.0", "id": 1, "method": "tools/call",
                 "params": {"_meta": meta(), "name": "list_issues", "arguments": {"a": "x" * (5 << 20)}}}
            ).encode()  # fmt: skip
            said = await raw(
                gate, client.path, big, headers_of(client, "tools/call", "list_issues")
            )
            assert said.status == 413
            assert made.called("tools/call") == []
            for media in (
                "text/plain",
                "application/x-www-form-urlencoded",
                "multipart/form-data",
                "",
            ):
                sent = [
                    (n, media if n == "content-type" else v) for n, v in headers_of(client, "ping")
                ]
                said = await raw(
                    gate, client.path, b'{"jsonrpc":"2.0","id":1,"method":"ping"}', sent
                )
                assert said.status == 415, media
            assert from_callers(made) == []


async def test_h8_a_message_that_is_no_request_runs_nothing(gate: House) -> None:
    """H8, H9: a call without an id, an answer to what nobody asked, an error with a method."""
    async with github(gate) as made:
        for client in await clients(gate, "alice"):
            made.asked.clear()
            for body in (
                {"jsonrpc": "2.0", "method": "tools/call", "params": {"name": "close_issue"}},
                {"jsonrpc": "2.0", "method": "resources/subscribe", "params": {"uri": URI}},
                {"jsonrpc": "2.0", "method": "logging/setLevel", "params": {"level": "debug"}},
                {"jsonrpc": "2.0", "method": "completion/complete", "params": {}},
            ):
                if client.modern:
                    body = {**body, "params": {**body["params"], "_meta": meta()}}  # type: ignore[dict-item]
                method = str(body["method"])
                sent = headers_of(client, method, "close_issue" if method == "tools/call" else "")
                said = await raw(gate, client.path, json.dumps(body).encode(), sent)
                assert said.status == 202 and said.raw == b""
            assert from_callers(made) == []


async def test_h8_header_and_body_must_agree(gate: House) -> None:
    """H8: what routes by the header and what reads the body see one message, or none."""
    async with github(gate, "2026") as made:
        alice = gate.modern("alice", "github")
        params = {"name": "close_issue", "arguments": {}}
        cases: list[dict[str, str]] = [
            {"mcp_name": "list_issues"},
            {"mcp_name": ""},
            {"mcp_name": "Close_issue"},
            {"mcp_name": as_header("list_issues")},
            {"mcp_name": "=?base64?!!?="},
            {"mcp_name": "=?base64?/w==?="},
            {"mcp_method": "tools/list"},
            {"mcp_method": "Tools/Call"},
            {"mcp_method": ""},
            {"mcp_protocol_version": "2025-11-25"},
            {"mcp_protocol_version": "2025-06-18"},
            {"mcp_protocol_version": ""},
            {"mcp_protocol_version": "2099-01-01"},
        ]
        for case in cases:
            said = await alice.ask("tools/call", params, **case)
            assert said.status == 400, (case, said.raw)
            assert said.error["code"] in (-32020, -32022, -32600), said.raw
        body = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {**params, "_meta": meta()},
        }
        text = json.dumps(body).encode()
        whole = headers_of(alice, "tools/call", "close_issue")
        for twice in (("mcp-name", "list_issues"), ("mcp-method", "ping"), ("mcp-name", "close_issue"),
                      ("mcp-protocol-version", "2025-11-25")):  # fmt: skip
            assert (await raw(gate, alice.path, text, [*whole, twice])).status == 400
        for left in ("mcp-name", "mcp-method", "mcp-protocol-version"):
            sent = [one for one in whole if one[0] != left]
            assert (await raw(gate, alice.path, text, sent)).status == 400, left
        assert made.called("tools/call") == []
        # The generations do not mix: a session beside the stateless version is no session, and the reverse.
        legacy = await gate.session("alice", "github")
        mixed = [*headers_of(legacy), ("mcp-method", "tools/call"), ("mcp-name", "list_issues")]
        said = await raw(gate, alice.path, text, mixed)
        assert said.status == 400 and made.called("tools/call") == []


async def test_h8_arguments_that_a_header_repeats_must_agree(gate: House) -> None:
    """H8: `Mcp-Param-…`, as the tool's schema declares it."""
    schema = {
        "type": "object",
        "properties": {"region": {"type": "string", "x-mcp-header": "Region"}},
    }
    async with server("2026", tools=[tool("query", inputSchema=schema)]) as made:
        await gate.apply(made.manifest("db", ["team:search"]))
        alice = gate.modern("alice", "db")
        for headers in (
            {},
            {"mcp_param_region": "us"},
            {"mcp_param_region": ""},
            {"mcp_param_region": as_header("us")},
        ):
            said = await alice.ask(
                "tools/call", {"name": "query", "arguments": {"region": "eu"}}, **headers
            )
            assert said.status == 400 and said.error["code"] == -32020, headers
        assert made.called("tools/call") == []
        good = await alice.ask(
            "tools/call", {"name": "query", "arguments": {"region": "eu"}}, mcp_param_region="eu"
        )
        assert "result" in good.message


async def test_h8_a_condition_judges_what_the_tool_gets(gate: House) -> None:
    """H8: dots, case and unicode in the names of arguments do not make one value stand for another."""
    test = {"field": "tool.args.repo.name", "operator": "EQUAL", "value": "open"}
    async with github(gate) as made:
        one = rule(
            "one", "team:support", "mcp-tool:call", "mcp-tool:github/close_issue", when=[test]
        )
        await gate.apply(policy("args", one))
        bob = await gate.session("bob", "github")
        for arguments in (
            {"repo.name": "open"},
            {"repo": {"name": "secret"}, "repo.name": "open"},
            {"repo": {"Name": "open", "name": "secret"}},
            {"repo": [{"name": "open"}]},
            {"repo": {"name": ["open"]}},
            {"repo": {"name": "open\u0000"}},
            {"repo": {"name": "ope\u0578"}},
            {"repo": {"name": True}},
        ):
            said = await bob.ask("tools/call", {"name": "close_issue", "arguments": arguments})
            assert said.error["code"] in (HIDDEN, -31403), arguments
        assert ran(made) == []


URIS = [
    "FILE:///notes/b.txt", "file:///notes/../notes/b.txt", "file:///notes/./b.txt", "file:///notes/%62.txt",
    "file:///notes/b.txt?", "file:///notes/b.txt#x", "file:///notes//b.txt", "file://localhost/notes/b.txt",
    "file:/notes/b.txt", "file:///notes/b.txt ", "file:///notes/b.txt\x00", "file:///NOTES/b.txt",
    "file:///notes/a.txt/../b.txt", "file:///notes/a.txt%2f..%2fb.txt", "file:///notes\\b.txt", " file:///notes/b.txt",
    "db://rows/1/../2", "db://rows/..", "db://rows/%2e%2e", "db://rows/%252e%252e", "db://rows/1/2", "DB://rows/1",
    "db://rows/", "db://rows", "db://rows/1?x=1", "db://rows/1#x", "db://other/db://rows/1",
    "db://rows/" + "1" * 5000, "http://169.254.169.254/latest", "file:///etc/passwd", "",
]  # fmt: skip


@pytest.mark.parametrize("generation", ["2025", "2026"])
async def test_a_uri_has_one_spelling_and_a_template_no_more_than_it_says(
    gate: House, generation: str
) -> None:
    """P2, H9: dots, escapes, case, length, over-matching; a deny on one resource is not passed by another name."""
    deny = rule(
        "no",
        "any:subject",
        "mcp-resource:read",
        "mcp-resource:github/file:///notes/b.txt",
        effect="deny",
    )
    async with github(gate, generation) as made:
        await gate.apply(policy("fence", deny))
        for client in await clients(gate, "alice"):
            made.asked.clear()
            for uri in URIS:
                for method in ("resources/read", "resources/subscribe"):
                    if client.modern and method == "resources/subscribe":
                        continue
                    more = {"mcp_name": as_header(uri)} if client.modern else {}
                    said = await client.ask(method, {"uri": uri}, **more)
                    assert "error" in said.message, (uri, said.raw)
            assert made.called("resources/read") == made.called("resources/subscribe") == []
            assert "result" in (await client.ask("resources/read", {"uri": "db://rows/1"})).message


# --- browsers ---------------------------------------------------------------------------------------


async def test_h1_a_page_that_was_rebound_reaches_nothing(gate: House) -> None:
    """H1: Host and Origin are looked at before anything else, on every path and method, with a good token too."""
    async with github(gate) as made:
        alice = await gate.session("alice", "github")
        made.asked.clear()
        port = gate.url.rpartition(":")[2]
        good = headers_of(alice)
        for path in ("/mcp", "/mcp/github", "/mcp/v1/github/mcp", "/mcp/never"):
            for method in ("POST", "GET", "DELETE", "OPTIONS"):
                body = (
                    b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}' if method == "POST" else b""
                )
                for odd in (("host", f"evil.example:{port}"), ("host", "evil.example"), ("host", "localhost.evil.example"),
                            ("host", f"127.0.0.1.evil.example:{port}"), ("host", "0.0.0.0"), ("host", "127.0.0.1@evil.example"),
                            ("origin", "https://evil.example"), ("origin", "null"), ("origin", "http://localhost.evil.example"),
                            ("origin", f"http://127.0.0.1:{port}@evil.example"), ("origin", "file://"),
                            ("origin", "chrome-extension://abc"), ("origin", "http://[::1"), ("origin", "")):  # fmt: skip
                    said = await raw(gate, path, body, [*good, odd], method)
                    wanted = (400, 403) if odd[0] == "host" else (403,)
                    assert said.status in wanted, (path, method, odd, said.status, said.raw)
                    assert "access-control-allow-origin" not in said.headers
        assert from_callers(made) == []
        for origin in ("http://localhost:6274", "http://127.0.0.1:8080"):
            said = await raw(
                gate,
                alice.path,
                b'{"jsonrpc":"2.0","id":1,"method":"ping"}',
                [*good, ("origin", origin)],
            )
            assert said.status == 200 and said.headers["access-control-allow-origin"] == origin
            assert "access-control-allow-credentials" not in said.headers
            assert "mcp-session-id" in said.headers["access-control-expose-headers"]


async def test_h1_a_preflight_tells_what_may_be_sent_and_nothing_of_what_is_there(
    gate: House,
) -> None:
    """H1: the same answer for a server that is there and one that is not, without a token."""
    async with github(gate) as made:
        made.asked.clear()
        asked = [("origin", "http://localhost:6274"), ("access-control-request-method", "POST"),
                 ("access-control-request-headers", "authorization,mcp-session-id")]  # fmt: skip
        told = []
        for path in ("/mcp", "/mcp/github", "/mcp/never"):
            said = await raw(gate, path, b"", asked, "OPTIONS")
            assert said.status == 204 and said.raw == b""
            names = (
                "access-control-allow-origin",
                "access-control-allow-methods",
                "access-control-allow-headers",
            )
            told.append([said.headers[name] for name in names])
        assert told[0] == told[1] == told[2]
        assert "authorization" in told[0][2] and "mcp-session-id" in told[0][2]
        assert from_callers(made) == []


def test_the_spellings_are_others() -> None:
    assert not set(SPELLINGS) & set(TOOLS)
