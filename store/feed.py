"""What this process knows of the log: the live engine, the names, and who else follows.

An entry is applied in one synchronous step (engine, names, appliers), so that no request sees half of it.
Large entries are built aside first. Entries come from our own commits and from a poll of the store that
sees other processes' commits. Whatever does not follow from what we have stops the feed: the process
stays at its epoch and says that it is not ready. Where one part of the process missed an entry, nothing
is decided any more until all of it is loaded anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from authz.engine import Engine
from authz.errors import AuthzError
from authz.rows import Row
from policies.change import Entry
from policies.documents import Document, parse_json
from policies.estate import Fact, Names, fact_of_stored
from policies.naming import Key
from store.entries import decode
from store.errors import LogDamaged, StoreError, StoreRestored, StoreTooNew
from store.facts import decode_fact
from store.memory import Revocation, revocation_of
from store.port import Head, RawDocument, RawEntry, Store
from store.rebuild import rebuild, structure_of
from store.remembering import Keeps, Remembering
from store.resting import resting

_log = logging.getLogger("gatewarden.store")

POLL_SECONDS = 0.1
STEP_ROWS = 1_000  # in one step (3 to 4 ms at a million grants); more are built aside, between turns of the loop
_ENTRIES = 200  # read at once
_LARGE_BODY = 200_000  # bytes of an entry that take some ms to read
_FAILED = "the log cannot be followed"  # for a reason that nobody expected; until a poll succeeds

Alarm = Callable[[str], None]
Clock = Callable[[], datetime]


class Documents:
    """The documents of a snapshot. Parsed as they are read, each time, so that few are held at once."""

    def __init__(self, raw: list[RawDocument]) -> None:
        self._raw = raw

    def __len__(self) -> int:
        return len(self._raw)

    def __iter__(self) -> Iterator[Document]:
        return (parse_json(one.family, one.body) for one in self._raw)

    def of(self, *families: str) -> Iterator[Document]:
        """Those of some families only."""
        wanted = frozenset(families)
        return (parse_json(o.family, o.body) for o in self._raw if o.family in wanted)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What an applier starts from: every document as stored, at one epoch."""

    documents: Documents
    epoch: int
    digest: str


class Applier(Protocol):
    """Somebody who follows the log. Both are synchronous and must not fail."""

    def load(self, snapshot: Snapshot) -> None: ...
    def apply(self, entry: Entry) -> None: ...


class Feed:
    """The log as this process has it."""

    def __init__(
        self,
        store: Store,
        model_text: str,
        clock: Clock,
        alarm: Alarm,
        memory: Keeps | None = None,
    ) -> None:
        self._store = store
        self.remembering = Remembering(store, memory)
        self._model_text = model_text
        self._clock = clock
        self._alarm = alarm
        self._appliers: list[Applier] = []
        self.applying = asyncio.Lock()  # held while entries are applied, perhaps in many steps
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._unread = True  # whether the store may have entries that we have not applied
        self._last_poll: datetime | None = None
        self._missed = False  # whether an applier lacks an entry, and so may hold what was revoked
        self.engine = Engine(model_text)
        self.names = Names()
        self.head = Head()
        self.structure: frozenset[Row] = frozenset()  # rows that no document asserts, at the start
        self.known = 0  # the highest epoch that was seen in the store
        self.rebuilds = 0  # how often what was held differed from the log and was made anew
        self.doubt: str | None = None  # why the store is not the one that was applied here
        self.problem: str | None = "the policy is not loaded yet"

    def subscribe(self, applier: Applier) -> None:
        """Lets `applier` follow: it is loaded with the snapshot, then hears each entry."""
        self._appliers.append(applier)

    # --- start ----------------------------------------------------------------------------------

    async def load(self) -> None:
        """Starts over from the store: engine, names and appliers at the store's head.

        Raises:
            StoreError: the store cannot be read, or its log is damaged. AuthzError: so are its rows.
        """
        async with self.applying:
            await self._load()

    async def _load(self) -> None:
        remembered = (
            await self.remembering.read()
        )  # before the store, which may only be ahead of it
        async with self._store.snapshot() as snapshot:
            head = snapshot.head
            built = await snapshot.rows(lambda texts: _build(self._model_text, texts, head.epoch))
            if built is None or built.engine.digest != head.digest:
                self.rebuilds += 1
                self._alarm(f"the rows at epoch {head.epoch} do not match the log: rebuilt from it")
                texts = await rebuild(self._store, head)
                await self._store.rematerialise(head.epoch, texts)
                built = _build(self._model_text, texts, head.epoch)
            names = Names()
            for key in await snapshot.ended():
                names.note(key, None, ended=True)
            for key, fact in await snapshot.facts():
                names.note(key, decode_fact(fact))
            raw = await snapshot.documents()
        # What a newer version wrote is not guessed at: the last entry says whether we may read it.
        for newest in await self._store.entries(head.epoch - 1, 1) if head.epoch else ():
            self.read(newest)
        if built is None or built.engine.digest != head.digest:
            raise LogDamaged(f"the digest at epoch {head.epoch} is not what the log says")
        self.engine, self.structure = built.engine, built.structure
        self.names, self.head = names, head
        self.known = head.epoch
        loaded = Snapshot(Documents(raw), head.epoch, head.digest)
        self._missed = True
        for applier in self._appliers:
            applier.load(loaded)
        self._missed = False
        self._doubt(await self.remembering.doubt(remembered))
        if self.doubt is None:
            self.remembering.loaded(head)
        self._polled()

    # --- a store that went back -----------------------------------------------------------------

    def _doubt(self, text: str | None) -> None:
        """INVARIANT: while there is a doubt nothing is decided (`age`) and nothing is committed."""
        if text is not None and text != self.doubt:
            self._alarm(text)
        self.doubt = self.problem = text

    async def _look_back(self) -> bool:
        """Whether the store is the one that was applied here, or has been confirmed to be.

        Raises:
            StoreRestored: it has just been found that it is not.
        """
        if self.doubt is not None:
            if await self.remembering.doubt(await self.remembering.read()) is not None:
                return False
            await self._load()
            return self.doubt is None
        if not self._unread or not self.head.epoch:
            return True
        if await self._store.hash_at(self.head.epoch) == self.head.hash:
            return True
        with contextlib.suppress(OSError):
            await self.remembering.keep()  # first of all, so that a restart knows it, too
        # What another process of this data folder has applied counts as well as what this one has.
        remembered = await self.remembering.read()
        self._doubt(
            await self.remembering.doubt(remembered)
            or f"the store was restored: entry {self.head.epoch}, which was applied here, is gone;"
            " run `gatewarden restore confirm` on the host"
        )
        raise StoreRestored("the store was restored", hint="gatewarden restore confirm")

    # --- entries --------------------------------------------------------------------------------

    async def poll(self) -> int:
        """Applies what others committed; how many entries that was.

        Raises:
            StoreError: the store does not answer, or an entry cannot be read (`problem` says so).
        """
        async with self.applying:
            if self._missed:
                await self._load()
            if await self._store.changed():
                self._unread = True
            if not await self._look_back():
                return 0
            count = 0
            while self._unread:
                raw = await self._store.entries(self.head.epoch, _ENTRIES)
                self.known = raw[-1].epoch if raw else self.head.epoch
                for one in raw:
                    await self._apply(await self._read(one))
                    count += 1
                self._unread = len(raw) == _ENTRIES
            self._polled()
            return count

    def look_again(self) -> None:
        """Lets the next poll read entries although the store does not say that it changed."""
        self._unread = True

    async def take(self, entries: Iterable[Entry]) -> None:
        """Applies entries of our own, which are durable; those that a poll already had are skipped."""
        async with self.applying:
            for entry in entries:
                if entry.epoch > self.head.epoch:
                    await self._apply(entry)

    def read(self, raw: RawEntry) -> Entry:
        """The entry that the store keeps. Raises: StoreError, and the feed stops."""
        try:
            return decode(raw.epoch, raw.hash, raw.body)
        except StoreError as error:
            self._stop(error)
            raise

    async def _read(self, raw: RawEntry) -> Entry:
        """The same; a large one is read in a thread, because the loop would stand still."""
        if len(raw.body) <= _LARGE_BODY:
            return self.read(raw)
        try:
            return await asyncio.to_thread(decode, raw.epoch, raw.hash, raw.body)
        except StoreError as error:
            self._stop(error)
            raise

    def _stop(self, error: StoreError) -> None:
        if self.problem != error.message:
            self.problem = error.message
            self._alarm(f"the feed stopped at epoch {self.head.epoch}: {error.message}")

    async def _apply(self, entry: Entry) -> None:
        if (entry.epoch, entry.previous) != (self.head.epoch + 1, self.head.hash):
            error = LogDamaged(f"entry {entry.epoch} does not follow entry {self.head.epoch}")
            self._stop(error)
            raise error
        try:
            if len(entry.added) + len(entry.removed) <= STEP_ROWS:
                known = _known(entry)
                self.engine.apply(entry.added, entry.removed, entry.epoch)
                self._follow(entry, known)
            else:
                with resting(True):
                    await self._apply_in_steps(entry)
        except Exception as error:
            self._alarm(f"entry {entry.epoch} could not be applied and is loaded anew: {error!r}")
            self._missed = True
            await self._load()
        if self.engine.digest != self.head.digest:
            self.rebuilds += 1
            self._alarm(f"the digest after epoch {self.head.epoch} differs: loaded anew")
            await self._load()

    async def _apply_in_steps(self, entry: Entry) -> None:
        followed = False
        # A hundred thousand documents take seconds to look at, and not one turn of the loop to note.
        known = await asyncio.to_thread(_known, entry)
        for _ in self.engine.apply_in_steps(entry.added, entry.removed, entry.epoch):
            if not followed and self.engine.epoch == entry.epoch:
                # The swap was in this step: directory and rows move together.
                followed = True
                self._follow(entry, known)
            await asyncio.sleep(0)
        if not followed:
            self._follow(entry, known)

    def _follow(self, entry: Entry, known: _Known) -> None:
        for key, fact in known.facts:
            self.names.note(key, fact)
        self.head = Head(entry.epoch, entry.hash, entry.digest)
        self.remembering.applied(entry, known.taken)
        for applier in self._appliers:
            try:
                applier.apply(entry)
            except Exception as error:
                # INVARIANT: one that failed may hold what was revoked, so nothing is decided (`age`)
                # until the next poll has loaded all of them anew.
                self._missed = True
                self.problem = f"entry {entry.epoch} was not applied everywhere"
                self._alarm(f"{type(applier).__name__} failed on entry {entry.epoch}: {error!r}")
                _log.exception("an applier failed")
        reached = [future for epoch, future in self._waiting if epoch <= entry.epoch]
        self._waiting = [(e, f) for e, f in self._waiting if e > entry.epoch]
        for future in reached:
            if not future.done():
                future.set_result(None)

    # --- how far, how old -----------------------------------------------------------------------

    def _polled(self) -> None:
        self._last_poll = self._clock()

    def age(self, now: datetime) -> float:
        """Seconds since the store was last read with success.

        Infinite before the first time, while a part of this process lacks an entry, and while the store
        is not the one that was applied here.
        """
        if self._last_poll is None or self._missed or self.doubt is not None:
            return float("inf")
        return max(0.0, (now - self._last_poll).total_seconds())

    async def wait(self, epoch: int, timeout: float) -> bool:
        """Whether this process has applied `epoch`, waiting for it at most `timeout` seconds."""
        if self.head.epoch >= epoch:
            return True
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((epoch, future))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await future
        self._waiting = [(e, f) for e, f in self._waiting if f is not future]
        return self.head.epoch >= epoch

    async def reach(self, epoch: int, timeout: float) -> bool:
        """The same, but asks the store at once. Raises: StoreError, it does not answer."""
        if self.head.epoch < epoch and not self.applying.locked():
            await self.poll()
        return self.head.epoch >= epoch or (
            (self.applying.locked() or epoch <= self.known) and await self.wait(epoch, timeout)
        )

    async def run(self, stop: asyncio.Event, seconds: float = POLL_SECONDS) -> None:
        """Polls until `stop` is set. A store that fails is tried again; `age` tells how long it has."""
        while not stop.is_set():
            try:
                await self.poll()
                if self.problem == _FAILED:
                    self.problem = None
            except StoreTooNew:
                pass  # said once; a newer version must take over
            except StoreError as error:
                _log.warning("the store was not read: %s", error)
            except Exception as error:
                # What nobody expected must not end the feed: an old policy would be served for ever.
                if self.problem is None:
                    self.problem = _FAILED
                    self._alarm(f"the feed failed at epoch {self.head.epoch}: {error!r}")
                _log.exception("the feed failed")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await stop.wait()


@dataclass(frozen=True, slots=True)
class _Known:
    """What an entry says beside its rows: the facts of its documents, and what it took away."""

    facts: tuple[tuple[Key, Fact | None], ...]
    taken: Revocation | None


def _known(entry: Entry) -> _Known:
    facts = (
        (one.key, fact_of_stored(one.key, one.after) if one.after else None)
        for one in entry.documents
    )
    return _Known(tuple(facts), revocation_of(entry))


@dataclass(frozen=True, slots=True)
class _Built:
    engine: Engine
    structure: frozenset[Row]


def _build(model_text: str, texts: Iterable[str], epoch: int) -> _Built | None:
    """An engine of the rows; None if a row cannot be taken. Runs off the loop."""
    try:
        engine = Engine.load_texts(model_text, texts, epoch)
    except (AuthzError, ValueError, LookupError, TypeError):
        return None
    return _Built(engine, structure_of(engine))
