"""From a plan to what is written: the entry, chained to the head, and the tables that follow from it.

`drive` makes a plan while loading what it asks for from the store; `batch_of` turns it into one batch.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import pairwise
from typing import Any, TypeVar

from authz.rows import Row, digest_after, digest_text
from policies.change import Change, Entry, Person, Plan, Source
from policies.documents import parse_json
from policies.drafting import MayGrant
from policies.estate import Estate, Names, Stored, fact_of_stored
from policies.naming import Key, label
from policies.ordering import in_order
from policies.planning import Wants, plan_steps
from policies.references import mentions_of
from policies.secrets import SEALED
from policies.upcast import stamped
from store.entries import READER, SCHEMA, encode, hash_of
from store.facts import encode_fact
from store.port import Batch, Head, RawDocument, RawEntry, RawSecret, Store
from store.sealed import Sealer

T = TypeVar("T")
_NOTHING = Wants()
LARGE = 50  # documents in a change that is worked on in a thread


def new_user_id(email: str) -> str:
    """A fresh opaque user id; it says nothing about the person."""
    del email
    return f"u-{secrets.token_hex(10)}"


def secret_aad(key: Key, field_name: str, origin: str) -> str:
    """What a sealed secret is bound to: document, field and origin."""
    return f"{label(key)}|{field_name}|{origin}"


@dataclass(slots=True)
class SealingVault:
    """Seals secrets while a change is planned; `sealed` is written with the commit.

    The id is a keyed digest, so that the same secret in the same place is the same reference: a document
    that is applied again is no change, and the log holds nothing that can be turned back.
    """

    sealer: Sealer
    sealed: dict[str, RawSecret] = field(default_factory=dict)

    def seal(self, key: Key, field: str, origin: str, secret: str) -> str:
        aad = secret_aad(key, field, origin)
        secret_id = self.sealer.digest(secret, aad)[:40]
        if secret_id not in self.sealed:
            blob = self.sealer.seal(secret, aad)
            self.sealed[secret_id] = RawSecret(secret_id, *key, field, blob)
        return f"{SEALED}{secret_id}"


def stored_of(raw: RawDocument) -> Stored:
    """A document as the estate holds it."""
    document = parse_json(raw.family, raw.body)
    return Stored(document, raw.version, Source(raw.source), raw.epoch)


async def drive(
    store: Store,
    names: Names,
    change: Change,
    vault: SealingVault,
    may_grant: MayGrant | None,
    executor: Executor,
) -> Plan:
    """The plan of a change on the stored estate. A large change is planned in the executor's thread.

    Raises:
        InvalidDocuments, Conflict, NotFound, GuardRefused (see `planning`); StoreUnavailable.
    """
    estate = Estate(names=names)
    loop = asyncio.get_running_loop()
    large = len(change.puts) > LARGE
    judged = _on_loop(loop, may_grant) if large and may_grant is not None else may_grant
    steps: Generator[Wants, None, Plan] = plan_steps(
        estate, change, new_id=new_user_id, vault=vault, may_grant=judged
    )
    while True:
        step = partial(_next, steps, skip=large)
        made = await loop.run_in_executor(executor, step) if large else step()
        if isinstance(made, Plan):
            return made
        await _load(store, estate, made, executor)


def _next(steps: Generator[Wants, None, Plan], *, skip: bool) -> Wants | Plan:
    """What the plan wants next, or the plan. `skip`: it need not let others have their turn."""
    try:
        wants = next(steps)
        while skip and wants == _NOTHING:
            wants = next(steps)
    except StopIteration as done:
        plan: Plan = done.value
        return plan
    return wants


def _on_loop(loop: asyncio.AbstractEventLoop, may_grant: MayGrant) -> MayGrant:
    """`may_grant` for another thread: the engine belongs to the loop, which answers."""

    async def ask(thing: str) -> bool:
        return may_grant(thing)

    return lambda thing: asyncio.run_coroutine_threadsafe(ask(thing), loop).result()


async def _load(store: Store, estate: Estate, wants: Wants, executor: Executor) -> None:
    """Fills the partial estate with what the plan asks for."""
    if wants == _NOTHING:  # the plan only lets others have their turn
        await asyncio.sleep(0)
        return
    if wants.emails:
        named = await store.people_by_email(wants.emails)
        await _aside(partial(_add_people, estate, named), len(named), executor)
    if wants.people:
        unknown = [user_id for user_id in wants.people if user_id not in estate.people]
        known = await store.people(unknown) if unknown else ()
        await _aside(partial(_keep_people, estate, known), len(known), executor)
    keys = wants.documents
    if wants.tokens:
        pairs = await store.dependents(wants.tokens)
        note = partial(_add_dependents, estate, wants.tokens, pairs)
        keys |= await _aside(note, len(wants.tokens) + len(pairs), executor)
    if keys:
        missing = [key for key in keys if key not in estate.documents]
        found = await store.documents(missing) if missing else ()
        parsed = partial(_stored_by_key, found)
        estate.documents.update(await _aside(parsed, len(found), executor))
    if wants.rows:
        texts = partial(_by_text, wants.rows)
        by_text = await _aside(texts, len(wants.rows), executor)
        for text, key in await store.assertions(by_text):
            estate.assertions.setdefault(by_text[text], set()).add(key)


def _add_people(estate: Estate, found: Iterable[Person]) -> None:
    for person in found:
        estate.add_person(person)


def _keep_people(estate: Estate, found: Iterable[Person]) -> None:
    for person in found:
        estate.people.setdefault(person.id, person)


def _add_dependents(
    estate: Estate, tokens: Iterable[str], pairs: Iterable[tuple[str, Key]]
) -> frozenset[Key]:
    """Who depends on the tokens."""
    for token in tokens:
        estate.dependents.setdefault(token, set())
    for token, key in pairs:
        estate.dependents[token].add(key)
    return frozenset(key for _, key in pairs)


async def _aside(work: Callable[[], T], size: int, executor: Executor) -> T:
    """What `work` gives; in the executor's thread where it would hold up the loop."""
    if size <= LARGE:
        return work()
    return await asyncio.get_running_loop().run_in_executor(executor, work)


def _stored_by_key(found: Iterable[RawDocument]) -> dict[Key, Stored]:
    return {raw.key: stored_of(raw) for raw in found}


def _by_text(rows: Iterable[Row]) -> dict[str, Row]:
    return {row.text(): row for row in rows}


@dataclass(frozen=True, slots=True)
class Prepared:
    """A change that is ready to be written after `head`."""

    plan: Plan
    entry: Entry
    batch: Batch
    after: Head


def prepare(
    plan: Plan,
    head: Head,
    now: datetime,
    sealed: Mapping[str, RawSecret],
    *,
    structure_added: Iterable[Row] = (),
    structure_removed: Iterable[Row] = (),
) -> Prepared:
    """The entry and the batch of a plan, as the successor of `head`."""
    change = plan.change
    added = _ordered(plan.added, structure_added)
    removed = _ordered(plan.removed, structure_removed)
    draft = Entry(
        epoch=head.epoch + 1,
        at=now,
        actor=change.actor,
        source=change.source,
        request_id=change.request_id,
        comment=change.comment,
        documents=plan.documents,
        added=added,
        removed=removed,
        digest=digest_text(digest_after(int(head.digest, 16), added, removed)),
        previous=head.hash,
        hash="",
        schema=SCHEMA,
        min_reader=READER,
        revision=change.revision,
    )
    body = encode(draft)
    entry = _with_hash(draft, hash_of(body))
    batch = Batch(
        entry=RawEntry(entry.epoch, entry.hash, body),
        digest=entry.digest,
        documents=tuple(_documents(plan, entry.epoch)),
        deleted=tuple(c.key for c in plan.documents if c.after is None),
        rows_added=tuple(row.text() for row in added),
        rows_removed=tuple(row.text() for row in removed),
        mentioned=tuple(_mentions(plan, new=True)),
        unmentioned=tuple(_mentions(plan, new=False)),
        asserted=tuple((row.text(), key) for row, key in plan.asserted),
        unasserted=tuple((row.text(), key) for row, key in plan.unasserted),
        people=plan.people,
        left=plan.left,
        secrets=tuple(_secrets(plan, sealed)),
        secrets_ended=tuple(text.removeprefix(SEALED) for text in plan.secrets_ended),
    )
    return Prepared(plan, entry, batch, Head(entry.epoch, entry.hash, entry.digest))


def _ordered(rows: tuple[Row, ...], more: Iterable[Row]) -> tuple[Row, ...]:
    """All of them, sorted, each once."""
    more = tuple(more)
    # A plan's rows are in order already: to sort many again would hold up every other thread.
    if not more and all(one < other for one, other in pairwise(rows)):
        return rows
    return tuple(in_order({*rows, *more}))


def _with_hash(entry: Entry, made: str) -> Entry:
    fields = {name: getattr(entry, name) for name in Entry.__dataclass_fields__}
    return Entry(**{**fields, "hash": made})


def _documents(plan: Plan, epoch: int) -> Iterable[RawDocument]:
    for change in plan.documents:
        if change.after is not None:
            yield RawDocument(
                *change.key,
                change.version,
                change.source.value,
                epoch,
                json.dumps(
                    stamped(change.key[0], change.after), ensure_ascii=False, separators=(",", ":")
                ).encode(),
                encode_fact(fact_of_stored(change.key, change.after)),
            )


def _mentions(plan: Plan, *, new: bool) -> Iterable[tuple[str, Key]]:
    for change in plan.documents:
        before = _mentioned(change.before)
        after = _mentioned(change.after)
        for token in sorted(after - before if new else before - after):
            yield token, change.key


def _mentioned(stored: Mapping[str, Any] | None) -> frozenset[str]:
    return mentions_of(stored) if stored is not None else frozenset()


def _secrets(plan: Plan, sealed: Mapping[str, RawSecret]) -> Iterable[RawSecret]:
    """The sealed secrets that a document of the plan really holds."""
    keys = {change.key for change in plan.documents if change.after is not None}
    return (one for one in sealed.values() if (one.family, one.name) in keys)
