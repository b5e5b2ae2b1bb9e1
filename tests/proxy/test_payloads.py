"""What was said goes a way of its own: taken, redacted, sealed, spooled, with its digest in the chain."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from authz.records import PayloadRecord, Record
from policies.logging_config import RedactWith
from policies.redaction import Redactor
from proxy import payloads as module
from proxy.logging_rules import LoggingRules
from proxy.payloads import Capture, Payloads, digest_of, open_payload
from store import payload_spool
from store.errors import SealBroken
from store.payload_spool import Spool
from store.sealed import Sealer
from store.sqlite_request_records import SqliteShelves

SEALER = Sealer(bytes(range(32)))
EMAIL = Redactor([RedactWith(presets=("email",))])


class Kept:
    """Payloads with a spool of their own, and what came of them."""

    def __init__(self, folder: Path, limit: int = 1 << 20) -> None:
        self.folder = folder / "payloads"
        self.noted: list[Record] = []
        self.counts: Counter[str] = Counter()
        self.payloads = Payloads(
            LoggingRules(),
            SEALER,
            lambda: Spool(self.folder, "w@h@0", limit),
            note=self.noted.append,
            call=lambda work: work(),
            metrics=self,
        )
        self._shelves = SqliteShelves(folder / "records.db")

    def count(self, name: str, *labels: str, by: float = 1) -> None:
        assert name == "gatewarden_payloads"
        self.counts[labels[0]] += int(by)

    def sealed(self, record_id: str) -> bytes | None:
        payload_spool.ship(self.folder, self._shelves)
        return self._shelves.payload(record_id)

    def opened(self, record_id: str) -> dict[str, Any]:
        sealed = self.sealed(record_id)
        assert sealed is not None
        return open_payload(SEALER, record_id, sealed)


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


def capture(asked: object = "hi", answer: bytes = b'"there"', limit: int = 1 << 16) -> Capture:
    made = Capture(EMAIL, "user:u-1", json.dumps(asked).encode(), "application/json", limit)
    made.whole(answer, "application/json")
    return made


def test_what_was_said_comes_out_as_it_went_in_but_for_what_is_hidden(kept: Kept) -> None:
    kept.payloads.keep("id-1", 5, capture({"text": "I am ann@example.com"}, b'{"ok":true}'))
    kept.payloads.close()
    found = kept.opened("id-1")
    assert (found["request"], found["response"]) == ({"text": "I am [email]"}, {"ok": True})
    assert (found["cut"], found["redacted"]) == ({}, {"email": 1})
    assert kept.counts == {"kept": 1}


def test_the_chain_holds_the_salted_digest_of_what_is_kept_and_nothing_else(kept: Kept) -> None:
    for name in ("id-1", "id-2"):
        kept.payloads.keep(name, 5, capture("the same"))
    kept.payloads.close()
    records = [one for one in kept.noted if isinstance(one, PayloadRecord)]
    assert [one.request for one in records] == ["id-1", "id-2"]
    assert [one.digest for one in records] == [
        digest_of(kept.opened(one.request)) for one in records
    ]
    assert (
        records[0].digest != records[1].digest
    )  # the salt: what was said cannot be guessed from it


def test_nothing_lies_on_the_disk_in_the_clear(kept: Kept, tmp_path: Path) -> None:
    kept.payloads.keep("id-1", 5, capture("canary-0123456789"))
    kept.payloads.close()
    assert kept.sealed("id-1") is not None
    raw = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"canary" not in raw


def test_a_payload_opens_only_as_that_of_its_record(kept: Kept) -> None:
    kept.payloads.keep("id-1", 5, capture())
    kept.payloads.close()
    sealed = kept.sealed("id-1")
    assert sealed is not None
    with pytest.raises(SealBroken):
        open_payload(SEALER, "id-2", sealed)
    with pytest.raises(SealBroken):
        open_payload(Sealer(bytes(range(1, 33))), "id-1", sealed)


def test_a_long_body_is_cut_off_and_its_length_is_said(kept: Kept) -> None:
    taken = capture("x" * 5000, b"", limit=2000)
    for _ in range(5):
        taken.feed(b"y" * 1000)
    kept.payloads.keep("id-1", 5, taken)
    kept.payloads.close()
    found = kept.opened("id-1")
    assert found["cut"] == {"request": 5002, "response": 5000}
    assert len(found["request"]) < 2000 and len(found["response"]) < 2000


def test_what_is_too_much_for_the_memory_is_lost_and_counted(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HELD_BYTES", 100)
    kept.payloads.keep("id-1", 5, capture("x" * 200))
    kept.payloads.close()
    assert kept.counts == {"lost_memory": 1} and kept.noted == []


def test_what_is_too_much_for_the_disk_is_lost_and_counted(tmp_path: Path) -> None:
    kept = Kept(tmp_path, limit=10)
    kept.payloads.keep("id-1", 5, capture())
    kept.payloads.close()
    assert kept.counts == {"lost_spool": 1} and kept.noted == []


def broken(folder: Path) -> Callable[[], None]:
    def make() -> None:
        folder.write_text("a file where the folder should be")

    return make


def test_a_disk_that_fails_stops_nothing_and_is_counted(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    broken(kept.folder)()
    kept.payloads.keep("id-1", 5, capture())
    kept.payloads.close()
    assert kept.counts == {"lost_error": 1}


def test_after_the_end_nothing_is_taken(kept: Kept) -> None:
    kept.payloads.close()
    kept.payloads.keep("id-1", 5, capture())
    assert kept.counts == {"lost_memory": 1} and not kept.folder.exists()
