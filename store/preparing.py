"""From a plan to what is written: the entry, chained to the head, and the tables that follow from it.

`drive` makes a plan while loading what it asks for from the store; `batch_of` turns it into one batch.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Generator, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from authz.rows import Row, digest_after, digest_text
from policies.change import Change, Entry, Plan, Source
from policies.documents import parse_json
from policies.drafting import MayGrant
from policies.estate import Estate, Names, Stored, fact_of_stored
from policies.naming import Key, label
from policies.planning import Wants, plan_steps
from policies.references import mentions_of
from policies.secrets import SEALED
from policies.upcast import stamped
from store.entries import READER, SCHEMA, encode, hash_of
from store.facts import encode_fact
from store.port import Batch, Head, RawDocument, RawEntry, RawSecret, Store
from store.sealed import Sealer

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
        await _load(store, estate, made)


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


async def _load(store: Store, estate: Estate, wants: Wants) -> None:
    """Fills the partial estate with what the plan asks for."""
    if wants == _NOTHING:  # the plan only lets others have their turn
        await asyncio.sleep(0)
        return
    if wants.emails:
        for person in await store.people_by_email(wants.emails):
            estate.add_person(person)
    unknown = [user_id for user_id in wants.people if user_id not in estate.people]
    if unknown:
        for person in await store.people(unknown):
            estate.people.setdefault(person.id, person)
    keys = set(wants.documents)
    if wants.tokens:
        for token in wants.tokens:
            estate.dependents.setdefault(token, set())
        for token, key in await store.dependents(wants.tokens):
            estate.dependents[token].add(key)
            keys.add(key)
    missing = [key for key in keys if key not in estate.documents]
    if missing:
        for raw in await store.documents(missing):
            estate.documents[raw.key] = stored_of(raw)
    if wants.rows:
        by_text = {row.text(): row for row in wants.rows}
        for text, key in await store.assertions(by_text):
            estate.assertions.setdefault(by_text[text], set()).add(key)


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
    added = tuple(sorted({*plan.added, *structure_added}))
    removed = tuple(sorted({*plan.removed, *structure_removed}))
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
