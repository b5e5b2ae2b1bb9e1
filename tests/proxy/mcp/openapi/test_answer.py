"""What a service answers becomes the result of a tool."""

from __future__ import annotations

import base64

import pytest

from proxy.mcp.openapi.answer import MAX_BINARY, result, secrets_of


def test_an_object_is_text_and_structure() -> None:
    assert result("t", 200, "application/problem+json; charset=utf-8", b'{"a": 1}') == {
        "content": [{"type": "text", "text": '{"a": 1}'}],
        "structuredContent": {"a": 1},
    }


@pytest.mark.parametrize(
    ("media", "raw", "text"),
    [
        ("application/json", b"[1, 2]", "[1, 2]"),
        ("application/json", b'{"broken"', '{"broken"'),
        ("application/json", b"[" * 100_000, "[" * 100_000),
        ("text/plain", "ä".encode(), "ä"),
        ("text/plain; charset=ISO-8859-1", b"\xe4", "ä"),
        ("text/plain; charset=rot13", b"a", "a"),
        ("text/html; charset=utf-8", b"\xff", "�"),
        ("application/xml", b"<a/>", "<a/>"),
        ("", b"plain", "plain"),
        ("application/json", b"", "HTTP 200, without content"),
    ],
)
def test_texts_stay_texts(media: str, raw: bytes, text: str) -> None:
    assert result("t", 200, media, raw) == {"content": [{"type": "text", "text": text}]}


def test_bytes_are_embedded() -> None:
    data = base64.b64encode(b"\0\1").decode()
    assert result("t", 200, "image/png", b"\0\1")["content"] == [
        {"type": "image", "data": data, "mimeType": "image/png"}
    ]
    resource = {"uri": "openapi:///t/answer", "mimeType": "application/pdf", "blob": data}
    assert result("t", 200, "application/pdf", b"\0\1")["content"] == [
        {"type": "resource", "resource": resource}
    ]
    unknown = result("t", 200, "", b"\0\xff")["content"][0]["resource"]
    assert unknown["mimeType"] == "application/octet-stream"
    assert result("t", 200, "application/pdf", b"\0" * (MAX_BINARY + 1))["isError"] is True


def test_failures_say_their_status() -> None:
    made = result("t", 404, "application/json", b'{"detail": "no such thing"}')
    assert made["isError"] is True
    assert made["content"][0]["text"] == 'HTTP 404\n{"detail": "no such thing"}'
    assert "structuredContent" not in made
    assert result("t", 500, "image/png", b"\0")["content"][0]["text"] == "HTTP 500"
    assert len(result("t", 500, "text/plain", b"x" * 90_000)["content"][0]["text"]) < 5_000
    assert "redirect" in result("t", 302, "", b"")["content"][0]["text"]


def test_a_credential_that_comes_back_is_struck_out() -> None:
    pair = base64.b64encode(b"shed:pass-0123456789").decode()
    headers = [("authorization", f"Basic {pair}"), ("x-key", "key-0123456789"), ("x-v", "1")]
    secrets = secrets_of(headers)
    raw = f'{{"a": "Basic {pair}", "b": "pass-0123456789", "c": "key-0123456789", "d": 1}}'.encode()
    for status in (200, 401):
        text = str(result("t", status, "application/json", raw, secrets))
        assert pair not in text
        assert "0123456789" not in text
    assert secrets_of([("authorization", "Basic ***")]) == [b"Basic ***"]
