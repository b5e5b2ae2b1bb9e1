"""`PUT /apply`: many documents as one change, all or nothing.

Takes `{"manifests": […]}`, TrueFoundry's `{"manifest": …}`, or YAML text with `---` between documents.
Every document passes the gate that its own PUT would; then the committer authorises each row. With
`prune`, what `gitops` asserts and the manifests no longer name is deleted in the same change. Tokens are
not made here: an answer that scripts print is no place for a secret.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, replace

from authz.vocabulary import Action
from policies.change import Source
from policies.documents import Document, User
from policies.estate import Stored
from policies.loader import Loaded
from policies.naming import Key, label, plain_key
from proxy.api.body import YAML_TYPES, off_loop
from proxy.api.changing import carry_out, change_of, documents_of, manifests_of, plan_answer
from proxy.api.collections import COLLECTIONS, OF_FAMILY, Collection
from proxy.api.documents import BATCH, put_gates
from proxy.api.find import find, resource_of
from proxy.api.models import ApplyAnswer, ApplyBody, ApplyQuery
from proxy.api.problem import BadBody, BadQuery
from proxy.api.routes import ESTATE, Answer, Body, Call, Gate, Gates, Route


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a call asks for, once read."""

    loaded: Loaded
    dry_run: bool
    source: Source
    prune: bool
    comment: str
    deletes: tuple[Key, ...] = ()

    @property
    def documents(self) -> tuple[Document, ...]:
        return tuple(located.document for located in self.loaded.documents)


async def gates(call: Call) -> Gates:
    """One gate for each document; the text of a refusal is the same whether the thing exists or not."""
    wanted = await _read(call)
    if not wanted.documents:
        raise BadBody("there is no document in the body")
    if wanted.prune and wanted.source is not Source.GITOPS:
        raise BadBody("`prune` deletes what `gitops` asserts", hint="set `source` to `gitops`")
    asked: list[tuple[Gate, ...]] = []
    kept: set[Key] = set()
    for document in wanted.documents:
        collection = OF_FAMILY[document.key[0]]
        stored = await find(call, collection, document.name)
        kept.add(stored.document.key if stored is not None else document.key)
        said = f"you may not write `{label(document.key)}`"
        asked.append(
            tuple(
                Gate(item.action, item.resource, said=said)
                for item in put_gates(collection, stored, document)
            )
        )
    deletes: list[Key] = []
    if wanted.prune:
        async for collection, stored in _asserted(call):
            key = stored.document.key
            if key not in kept:
                thing = resource_of(collection, stored, stored.document.name)
                said = f"you may not delete `{label(plain_key(key))}`"
                asked.append((Gate(collection.delete, thing, said=said),))
                deletes.append(key)
    call.kept["wanted"] = replace(wanted, deletes=tuple(deletes))
    return tuple(asked)


async def _read(call: Call) -> _Wanted:
    query = call.query_as(ApplyQuery)
    if call.media in YAML_TYPES:
        loaded = await off_loop(len(call.raw), lambda: documents_of(call))
        return _Wanted(loaded, query.dry_run, Source(query.source), query.prune, query.comment)
    if query != ApplyQuery():
        raise BadQuery("with a JSON body, the switches stand in the body")
    body = call.body_as(ApplyBody)
    if (body.manifests is None) == (body.manifest is None):
        raise BadBody("give either `manifests` or `manifest`")
    given = body.manifests if body.manifests is not None else [body.manifest or {}]
    loaded = await off_loop(len(call.raw), lambda: manifests_of(given))
    return _Wanted(loaded, body.dry_run, Source(body.source), body.prune, body.comment)


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


async def apply(call: Call) -> Answer:
    """Plan and commit the documents as one change."""
    wanted = call.kept["wanted"]
    assert isinstance(wanted, _Wanted)
    change = change_of(
        call,
        puts=wanted.documents,
        deletes=wanted.deletes,
        source=wanted.source,
        comment=wanted.comment,
    )
    outcome = await carry_out(call, change, dry_run=wanted.dry_run, loaded=wanted.loaded)
    body = ApplyAnswer(
        epoch=outcome.epoch,
        changed=outcome.changed,
        dry_run=wanted.dry_run,
        plan=plan_answer(outcome, [document.key for document in wanted.documents]),
    )
    return Answer(body, epoch=outcome.epoch)


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
        _actions(COLLECTIONS),
        apply,
        ApplyAnswer,
        gates=gates,
        query=ApplyQuery,
        body=Body(
            limit=ESTATE,
            model=ApplyBody,
            yaml=True,
            example={"manifests": [_MANIFEST], "dry_run": True},
        ),
        mutates=True,
        description="With a YAML body the switches are query parameters. A dry run answers the plan "
        "and is authorised like the change itself.",
    ),
)
