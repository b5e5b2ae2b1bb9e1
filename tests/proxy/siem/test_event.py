from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.chain import GENESIS, Link, read_line, seal
from authz.recording import request_record
from authz.records import canonical
from policies.change import DocumentChange, Entry, Source
from proxy.siem.event import of_entry, of_line, plain

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


def line(text: str) -> bytes:
    record = request_record(
        request_id=text,
        decision_id="d",
        principal="p",
        credential="c",
        status=200,
        claimed={"customer": text},
    )
    raw, _ = seal(record, Link(), writer="a@b@0", at=1, record_id="0" * 26, salt="s")
    return raw


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_any_text_leaves_as_one_line_of_printable_ascii_with_the_same_value(text: str) -> None:
    raw = line(text)
    event = of_line(read_line(raw), texts=True)
    assert event.line.isascii() and event.line.decode().isprintable()
    assert json.loads(event.line) == json.loads(raw)


@pytest.mark.parametrize("text", ["a\nb", "\x1b[2J", "\x7f", "\u2028", "\u202e", "\x9b31m", "é"])
def test_a_line_break_or_an_escape_code_is_escaped(text: str) -> None:
    made = plain(canonical({"x": text}))
    assert text.encode() not in made and json.loads(made) == {"x": text}


def test_what_callers_claimed_leaves_only_if_asked_for_and_the_hash_holds_without() -> None:
    whole = read_line(line("Ada"))
    bare = of_line(whole, texts=False)
    assert b"claimed" not in bare.line and b"Ada" in of_line(whole, texts=True).line
    assert read_line(canonical(json.loads(bare.line))).hash == whole.hash


def test_an_entry_says_who_changed_what_and_holds_no_document() -> None:
    document = {"type": "team", "name": "ml", "canary": "sk-canary"}
    entry = Entry(
        epoch=3,
        at=NOON,
        actor="user:u-1",
        source=Source.GITOPS,
        request_id="r",
        comment="line\nbreak",
        documents=(
            DocumentChange(("team", "ml"), None, document, 1),
            DocumentChange(("team", "ops"), document, None, 2),
            DocumentChange(("team", "web"), document, document, 3),
        ),
        added=(),
        removed=(),
        digest="d",
        previous=GENESIS,
        hash="h",
    )
    event = of_entry(entry)
    told = json.loads(event.line)
    assert (event.type, told["seq"], told["body"]["actor"]) == ("change", 3, "user:u-1")
    assert [d["change"] for d in told["body"]["documents"]] == ["created", "deleted", "updated"]
    assert b"canary" not in event.line and b"\n" not in event.line
