"""`PUT /apply`: many documents as one change, all or nothing.

Takes `{"manifests": […]}`, TrueFoundry's `{"manifest": …}`, or YAML text with `---` between documents.
Every document passes the gate that its own PUT would; then the committer authorises each row. With
`prune`, what `gitops` asserts and the manifests no longer name is deleted in the same change. Tokens are
not made here: an answer that scripts print is no place for a secret.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, replace

from authz.vocabulary import Action
from policies.change import Source
from policies.documents import Document, User
from policies.errors import GuardRefused
from policies.estate import Stored
from policies.loader import Loaded
from policies.naming import Key, label, plain_key
from proxy.api import preview
from proxy.api.body import YAML_TYPES, off_loop
from proxy.api.changing import (
    Outcome,
    carry_out,
    change_of,
    documents_of,
    manifests_of,
    plan_answer,
)
from proxy.api.collections import COLLECTIONS, OF_FAMILY, Collection
from proxy.api.documents import BATCH, put_gates
from proxy.api.find import find_all, resource_of
from proxy.api.models import ApplyAnswer, ApplyBody, ApplyQuery
from proxy.api.problem import BadBody, BadQuery, Unready
from proxy.api.routes import ESTATE, LARGE_ESTATE, Answer, Body, Call, Gate, Gates, Route
from store.errors import StoreUnavailable

DECISIONS = "data:decisions/all"
TURN = 500  # documents that are looked at before others have their turn
FEW, PART = (
    10,
    0.3,
)  # `prune` deletes up to so many, or this part of what there is, without more ado


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a call asks for, once read."""

    loaded: Loaded
    dry_run: bool
    source: Source
    prune: bool
    comment: str
    yes_delete: int
    revision: str
    access: bool
    replay: int
    take_over: bool
    deletes: tuple[Key, ...] = ()
    owned: int = 0  # documents that `gitops` asserts, when `prune` counted them

    @property
    def documents(self) -> tuple[Document, ...]:
        return tuple(located.document for located in self.loaded.documents)


async def gates(call: Call) -> Gates:
    """One gate for each document; the text of a refusal is the same whether the thing exists or not."""
    wanted = await _read(call)
    if not wanted.documents:
        raise BadBody(
            "there is no document in the body",
            hint="an empty body never prunes; delete what is left by name" if wanted.prune else "",
        )
    if wanted.prune and wanted.source is not Source.GITOPS:
        raise BadBody("`prune` deletes what `gitops` asserts", hint="set `source` to `gitops`")
    if (wanted.access or wanted.replay) and not wanted.dry_run:
        raise BadBody("`access` and `replay` are about a plan", hint="set `dry_run`")
    documents = wanted.documents
    asked: list[tuple[Gate, ...]] = []
    kept: set[Key] = set()
    call.progress.at("authorise", 0, len(documents))
    named = [(OF_FAMILY[document.key[0]], document.name) for document in documents]
    everything = await find_all(call, named)
    for number, (document, stored) in enumerate(zip(documents, everything, strict=True)):
        collection = named[number][0]
        if number % TURN == 0:
            await asyncio.sleep(0)
        kept.add(stored.document.key if stored is not None else document.key)
        said = f"you may not write `{label(document.key)}`"
        asked.append(
            tuple(
                Gate(item.action, item.resource, said=said)
                for item in put_gates(collection, stored, document)
            )
        )
    deletes: list[Key] = []
    owned = 0
    if wanted.replay:
        asked.append((Gate(Action.DATA_READ, DECISIONS, said="you may not read decisions"),))
    if wanted.prune:
        async for collection, stored in _asserted(call):
            owned += 1
            key = stored.document.key
            if key not in kept:
                thing = resource_of(collection, stored, stored.document.name)
                said = f"you may not delete `{label(plain_key(key))}`"
                asked.append((Gate(collection.delete, thing, said=said),))
                deletes.append(key)
    call.kept["wanted"] = replace(wanted, deletes=tuple(deletes), owned=owned)
    return tuple(asked)


async def _read(call: Call) -> _Wanted:
    query = call.query_as(ApplyQuery)
    if call.media in YAML_TYPES:
        loaded = await off_loop(len(call.raw), lambda: documents_of(call))
        return _wanted(loaded, query)
    if query != ApplyQuery():
        raise BadQuery("with a JSON body, the switches stand in the body")
    body = call.body_as(ApplyBody)
    if (body.manifests is None) == (body.manifest is None):
        raise BadBody("give either `manifests` or `manifest`")
    given = body.manifests if body.manifests is not None else [body.manifest or {}]
    progress, of = call.progress, len(given)
    progress.at("read", 0, of)
    loaded = await off_loop(
        len(call.raw), lambda: manifests_of(given, lambda done: progress.at("read", done, of))
    )
    return _wanted(loaded, body)


def _wanted(loaded: Loaded, given: ApplyBody | ApplyQuery) -> _Wanted:
    return _Wanted(
        loaded,
        given.dry_run,
        Source(given.source),
        given.prune,
        given.comment,
        given.yes_delete,
        given.revision,
        given.access,
        given.replay,
        given.take_over,
    )


async def _asserted(call: Call) -> AsyncIterator[tuple[Collection, Stored]]:
    """Every document that `gitops` asserts."""
    for collection in COLLECTIONS:
        after = ""
        while batch := await call.runtime.changes.documents(collection.family, after, BATCH):
            for stored in batch:
                # Somebody invited by being mentioned was never written down, so nothing misses him.
                invited = isinstance(stored.document, User) and stored.document.state == "invited"
                if stored.source is Source.GITOPS and not invited:
                    yield collection, stored
            after = batch[-1].document.name
            if len(batch) < BATCH:
                break


def _much(wanted: _Wanted) -> str:
    """Why so many deletions need another word, as a message; "" if they do not.

    A folder that was moved, or half a checkout, looks like a wish to delete everything.
    """
    count = len(wanted.deletes)
    if count <= FEW or count <= PART * wanted.owned or count <= wanted.yes_delete:
        return ""
    return f"`prune` would delete {count} of the {wanted.owned} documents that `gitops` owns"


async def apply(call: Call) -> Answer:
    """Plan and commit the documents as one change.

    Raises:
        GuardRefused: `prune` would delete a great part of what there is, and nobody said so.
    """
    wanted = call.kept["wanted"]
    assert isinstance(wanted, _Wanted)
    much = _much(wanted)
    if much and not wanted.dry_run:
        raise GuardRefused(
            much,
            hint=f"look at the plan; if that is meant, set `yes_delete` to {len(wanted.deletes)}",
        )
    change = change_of(
        call,
        puts=wanted.documents,
        deletes=wanted.deletes,
        source=wanted.source,
        comment=wanted.comment,
        revision=wanted.revision,
        take_over=wanted.take_over,
    )
    outcome = await carry_out(call, change, dry_run=wanted.dry_run, loaded=wanted.loaded)
    body = ApplyAnswer(
        epoch=outcome.epoch,
        changed=outcome.changed,
        dry_run=wanted.dry_run,
        plan=plan_answer(outcome, [document.key for document in wanted.documents]),
    )
    if much:
        told = f"{much}: it needs `yes_delete` {len(wanted.deletes)}"
        body.plan.alarms.append(told)
    if wanted.access:
        await _compare(call, outcome, body)
    if wanted.replay:
        call.progress.at("replay", 0, wanted.replay)
        body.replay = await preview.replay_of(call, outcome.plan, outcome.epoch, wanted.replay)
    return Answer(body, epoch=outcome.epoch)


async def _compare(call: Call, outcome: Outcome, body: ApplyAnswer) -> None:
    """Adds who gains and loses what; where that takes too long, an alarm says so, and the plan stands."""
    call.progress.at("compare", 0, 0)
    try:
        body.access = await preview.access_of(call, outcome.plan, outcome.epoch)
    except (StoreUnavailable, Unready) as error:
        body.plan.alarms.append(f"who gains and loses what is not known: {error.message}")


def _actions(collections: Iterable[Collection]) -> tuple[Action, ...]:
    found: dict[Action, None] = {}
    for collection in collections:
        found.update(dict.fromkeys((*collection.actions, collection.delete)))
    return tuple(found)


_MANIFEST = {"type": "team", "name": "search", "members": ["ann@example.com"]}

ROUTES: tuple[Route, ...] = (
    Route(
        "PUT",
        "/apply",
        "apply",
        "Create and replace many documents, all or nothing",
        "apply",
        tuple(dict.fromkeys((*_actions(COLLECTIONS), *preview.ACTIONS))),
        apply,
        ApplyAnswer,
        gates=gates,
        query=ApplyQuery,
        body=Body(
            limit=ESTATE,
            large=LARGE_ESTATE,
            large_for=tuple((item.create, item.asked_on or item.container) for item in COLLECTIONS),
            model=ApplyBody,
            yaml=True,
            example={"manifests": [_MANIFEST], "dry_run": True},
        ),
        mutates=True,
        streams=True,
        description="With a YAML body the switches are query parameters. A dry run answers the plan "
        "and is authorised like the change itself. With `Accept: application/x-ndjson` the answer is "
        'lines, `{"progress": {"stage", "done", "of"}}` and at last `{"result"}` or `{"problem"}`.',
    ),
)
