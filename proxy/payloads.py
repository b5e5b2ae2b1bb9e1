"""Keeps what is said in requests, where a rule says so: taken as it passes, sealed, apart from the log.

A `Capture` takes the bytes of one request and its answer up to a limit, which costs a copy. The rest is done in
a thread, after the answer: what is to be hidden is cut out, what is left is sealed and laid into the spool
(`store/payload_spool.py`), and a record in the chain holds its salted digest. Nobody waits for any of it.
What is too much, in memory or on the disk, is lost and counted.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import threading
import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, Protocol

from authz.records import PayloadRecord, Record
from identity.principal import Principal
from policies.redaction import Counted, Redactor
from proxy import logs
from proxy.exchange import Exchange
from proxy.logging_rules import LoggingRules, Said
from proxy.payload_text import Body, kept
from proxy.ports import Decides
from proxy.usage import Meter
from store.errors import SealBroken
from store.payload_spool import Spool
from store.request_records import Payload
from store.sealed import Sealer

BATCH_BYTES: Final = 512 << 10  # of bodies that go into one file
BATCH_SECONDS: Final = 0.25  # that the first of them waits for others
HELD_BYTES: Final = 32 << 20  # that wait for the thread; what comes on top is lost
END_SECONDS: Final = 10.0  # that the end of the process waits for the thread
MAX_PLAIN: Final = 64 << 20  # of what one payload unpacks to

KEPT, LOST_MEMORY, LOST_SPOOL, LOST_ERROR = "kept", "lost_memory", "lost_spool", "lost_error"

log = logs.get("payloads")


class Counts(Protocol):
    def count(self, name: str, *labels: str, by: float = 1) -> None: ...


@dataclass(frozen=True, slots=True)
class PayloadLimits:
    """`conf/settings.py` has the same defaults and a sentence for each."""

    body_bytes: int = 64 << 10  # of each body that are kept


class Capture:
    """What is taken of one request. For one task."""

    __slots__ = ("_answer", "_length", "_limit", "answer_type", "asked", "principal", "redactor")

    def __init__(
        self, redactor: Redactor, principal: str, raw: bytes, content_type: str, limit: int
    ) -> None:
        self.redactor = redactor
        self.principal = principal
        self.asked = Body(raw[:limit], content_type, len(raw))
        self.answer_type = ""
        self._answer = bytearray()
        self._length = 0
        self._limit = limit

    def feed(self, chunk: bytes) -> None:
        """Takes a piece of the answer as it passes."""
        left = self._limit - len(self._answer)
        if left > 0:
            self._answer += chunk[:left]
        self._length += len(chunk)

    def whole(self, raw: bytes, content_type: str) -> None:
        """Takes an answer that is there as a whole."""
        self.answer_type = content_type
        self.feed(raw)

    def meter(self, content_type: str) -> Meter:
        """What meters a streamed answer, and lets it be taken as it passes."""
        self.answer_type = content_type
        return _TakingMeter(self)

    @property
    def answer(self) -> Body:
        return Body(bytes(self._answer), self.answer_type, self._length)

    @property
    def size(self) -> int:
        return len(self.asked.raw) + len(self._answer)


class _TakingMeter(Meter):
    __slots__ = ("_capture",)

    def __init__(self, capture: Capture) -> None:
        super().__init__()
        self._capture = capture

    def feed(self, chunk: bytes) -> None:
        super().feed(chunk)
        self._capture.feed(chunk)


class Payloads:
    """Takes, redacts, seals and spools. Belongs to one event loop, but for its thread."""

    def __init__(
        self,
        rules: LoggingRules,
        sealer: Sealer,
        spool: Callable[[], Spool],
        *,
        note: Callable[[Record], object],
        call: Callable[[Callable[[], None]], object],
        metrics: Counts,
        limits: PayloadLimits | None = None,
    ) -> None:
        """`note` takes records on the loop, `call` has something done there. `spool` is opened in the thread."""
        self._rules = rules
        self._sealer = sealer
        self._open = spool
        self._note = note
        self._call = call
        self._metrics = metrics
        self._limit = (limits or PayloadLimits()).body_bytes
        self._waiting: deque[tuple[str, int, Capture]] = deque()
        self._held = 0
        self._changed = threading.Condition()
        self._ending = False
        self._thread: threading.Thread | None = None

    def begin(
        self,
        exchange: Exchange,
        principal: Principal,
        engine: Decides,
        raw: bytes,
        *,
        server: str = "",
    ) -> None:
        """Sets what takes the answer (`exchange.capture`) of a request that was allowed, if it is kept."""
        headers = exchange.request.headers
        if self._rules.silent(headers):
            return
        said = Said(
            principal.id,
            lambda: engine.subject_closure(principal.id),
            exchange.pinned,
            exchange.metadata,
            exchange.model,
            server,
        )
        redactor = self._rules.keeps(said, headers)
        if redactor is not None:
            kind = headers.get("content-type", "application/json")
            exchange.capture = Capture(redactor, principal.id, raw, kind, self._limit)

    def keep(self, record_id: str, at: int, capture: Capture) -> None:
        """Hands over what was taken, once the request record has its id. Never waits, never raises."""
        with self._changed:
            if self._ending or self._held + capture.size > HELD_BYTES:
                self._metrics.count("gatewarden_payloads", LOST_MEMORY)
                return
            self._held += capture.size
            self._waiting.append((record_id, at, capture))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="payloads", daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self) -> None:
        """Lets the thread finish what waits. Blocking; before the journal closes."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(END_SECONDS)

    # --- the thread -----------------------------------------------------------------------------------

    def _run(self) -> None:
        spool: Spool | None = None
        while True:
            batch = self._batch()
            if not batch:
                return
            try:
                spool = spool or self._open()
                self._store(spool, batch)
            except (
                Exception
            ) as error:  # whatever it is: requests go on, and the next batch is tried
                log.warning("what was said is not kept", cause=type(error).__name__)
                self._count(LOST_ERROR, len(batch))

    def _batch(self) -> list[tuple[str, int, Capture]]:
        with self._changed:
            while not self._waiting and not self._ending:
                self._changed.wait()
            if not self._ending and self._held < BATCH_BYTES:
                self._changed.wait_for(
                    lambda: self._ending or self._held >= BATCH_BYTES, BATCH_SECONDS
                )
            batch: list[tuple[str, int, Capture]] = []
            size = 0
            while self._waiting and size < BATCH_BYTES:
                size += self._waiting[0][2].size
                batch.append(self._waiting.popleft())
            self._held -= size
            return batch

    def _store(self, spool: Spool, batch: list[tuple[str, int, Capture]]) -> None:
        made: list[tuple[Payload, str]] = []
        records: list[PayloadRecord] = []
        for record_id, at, capture in batch:
            plain, redacted = _plain(capture)
            body = self._sealer.seal(zlib.compress(plain, 1), _place(record_id))
            made.append((Payload(record_id, at, body), capture.principal))
            digest = sha256(plain).hexdigest()
            records.append(
                PayloadRecord(request=record_id, digest=digest, size=len(plain), redacted=redacted)
            )
        if not spool.put(made):
            self._count(LOST_SPOOL, len(batch))
            return
        self._count(KEPT, len(batch))
        for record in records:
            self._later(lambda record=record: self._note(record))  # type: ignore[misc]

    def _count(self, outcome: str, by: int) -> None:
        self._later(lambda: self._metrics.count("gatewarden_payloads", outcome, by=by))

    def _later(self, work: Callable[[], object]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._call(lambda: (work(), None)[1])


def open_payload(sealer: Sealer, record_id: str, sealed: bytes) -> dict[str, Any]:
    """What was kept of a request: `request`, `response`, and what was `cut` off or `redacted`.

    Raises:
        SealBroken: it was sealed with another key, or belongs to another record.
    """
    unpacking = zlib.decompressobj()
    try:
        plain = unpacking.decompress(sealer.open(sealed, _place(record_id)), MAX_PLAIN)
        found: dict[str, Any] = json.loads(plain)
    except (zlib.error, ValueError) as error:
        raise SealBroken("a payload has an unknown form") from error
    return found


def digest_of(payload: dict[str, Any]) -> str:
    """The digest that the chain holds of an opened payload."""
    return sha256(_encoded(payload)).hexdigest()


def _place(record_id: str) -> str:
    return f"payload:{record_id}"


def _plain(capture: Capture) -> tuple[bytes, int]:
    counted = Counted()
    bodies = {"request": capture.asked, "response": capture.answer}
    said = {name: kept(body, capture.redactor, counted) for name, body in bodies.items()}
    cut = {name: body.length for name, body in bodies.items() if body.cut}
    whole = {**said, "cut": cut, "redacted": counted.found, "salt": secrets.token_hex(16)}
    return _encoded(whole), sum(counted.found.values())


def _encoded(payload: dict[str, Any]) -> bytes:
    text = json.dumps(payload, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace")
