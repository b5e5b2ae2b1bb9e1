"""`GET /changes`: the change log, who changed what and when, without secrets.

Whoever may read every policy sees every entry. What a document said is shown to those who may read that
document, and e-mails to those who may read that user; everybody else gets names and ids. A digest or a
secret is in no answer: secrets are references in the log itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from authz.errors import GatewardenError
from authz.vocabulary import Action, Kind, kind_of, make_id
from policies.change import DocumentChange, Entry
from policies.documents import parse
from policies.naming import Key, plain_key
from policies.references import Mention, rewrite
from policies.resolve import rendered
from proxy.api.collections import COLLECTIONS, MCP_SERVERS, OF_FAMILY
from proxy.api.models import ChangeActor, ChangeAnswer, ChangedDocument, ChangeListQuery, ChangePage
from proxy.api.paging import decode_cursor, encode_cursor
from proxy.api.people import PERSON, emails_of
from proxy.api.problem import BadQuery
from proxy.api.routes import Answer, Call, Route, gate
from proxy.middleware.access import visible_of

LISTING = "changes"
ANY_POLICY = f"{Kind.ANY.value}:{Kind.POLICY.value}"
MAX_DOCUMENTS = 1000  # of one entry; `documents_total` says how many there are
BUDGET = 2000  # documents of a page: then it ends early, and `next` goes on
_BATCH = 50  # entries read at a time


async def list_changes(call: Call) -> Answer:
    """One page: the newest first, or with `after` the entries behind an epoch, oldest first."""
    query = call.query_as(ChangeListQuery)
    forward, at = _start(query, call.runtime.changes.head)
    found: list[ChangeAnswer] = []
    budget = BUDGET
    ended = False
    while len(found) < query.limit and budget > 0 and not ended:
        size = min(_BATCH, query.limit - len(found))
        batch = await _batch(call, forward, at, size)
        ended = len(batch) < size
        for entry in batch:
            found.append(await _answer(call, entry))
            at = entry.epoch if forward else entry.epoch - 1
            budget -= min(len(entry.documents), MAX_DOCUMENTS)
            await asyncio.sleep(0)  # an entry of a directory sync is long
            if budget <= 0:
                break
    more = at < call.runtime.changes.head if forward else at > 0
    cursor = encode_cursor(LISTING, f"{'after' if forward else 'upto'} {at}") if more else None
    return Answer(ChangePage(data=found, next=cursor))


def _start(query: ChangeListQuery, head: int) -> tuple[bool, int]:
    """(whether oldest first, the epoch after which, or up to and with which, the page goes)."""
    where = decode_cursor(LISTING, query.cursor)
    if not where:
        return (False, head) if query.after is None else (True, query.after)
    direction, _, number = where.partition(" ")
    forward = direction == "after"
    if not number.isdigit() or len(number) > 15 or direction not in ("after", "upto"):
        raise BadQuery("the parameter `cursor` is not a cursor of this list")
    if forward != (query.after is not None):
        raise BadQuery("`cursor` goes on in the other direction", hint="keep `after` as it was")
    return forward, int(number)


async def _batch(call: Call, forward: bool, at: int, size: int) -> list[Entry]:
    changes = call.runtime.changes
    if forward:
        return await changes.entries(at, size)
    first = max(0, at - size)
    return list(reversed(await changes.entries(first, at - first)))


async def _answer(call: Call, entry: Entry) -> ChangeAnswer:
    """One entry, as far as the caller may see it."""
    documents = entry.documents[:MAX_DOCUMENTS]
    shown = _readable(call, documents)
    bodies = [
        body
        for change in documents
        if change.key in shown
        for body in (change.before, change.after)
        if body is not None
    ]
    email = (await emails_of(call, {entry.actor, *_people(documents, bodies)})).get
    return ChangeAnswer(
        epoch=entry.epoch,
        at=entry.at,
        actor=ChangeActor(id=entry.actor, name=_name_of_actor(entry.actor, email)),
        source=entry.source.value,
        request_id=entry.request_id,
        comment=entry.comment,
        revision=entry.revision,
        documents=[_document(change, change.key in shown, email) for change in documents],
        documents_total=len(entry.documents),
        rows_added=len(entry.added),
        rows_removed=len(entry.removed),
        rows_digest=entry.digest,
        previous=entry.previous,
        hash=entry.hash,
    )


def _document(
    change: DocumentChange, shown: bool, email: Callable[[str], str | None]
) -> ChangedDocument:
    family, name = plain_key(change.key)
    before, after = (
        _body(body, email) if shown else None for body in (change.before, change.after)
    )
    if change.before is None:
        verb = "created"
    else:
        verb = "updated" if change.after is not None else "deleted"
    return ChangedDocument(
        type=family,
        name=(email(name) or name) if family == "user" else name,
        change=verb,
        version=change.version,
        shown=before is not None or after is not None,
        before=before,
        after=after,
    )


def _body(
    stored: Mapping[str, Any] | None, email: Callable[[str], str | None]
) -> dict[str, Any] | None:
    """A stored document as a person writes it; None if this version cannot read it any more."""
    if stored is None:
        return None
    try:
        made = rendered(parse(stored), email)
    except (GatewardenError, ValidationError, LookupError):
        return None
    made.pop("digest", None)
    return made


def _name_of_actor(actor: str, email: Callable[[str], str | None]) -> str | None:
    kind, colon, name = actor.partition(":")
    if not colon:
        return actor  # the host itself
    return email(name) if kind == Kind.USER.value else plain_key((kind, name))[1]


# Who may see what


def _asked(change: DocumentChange) -> tuple[Action, str, str] | None:
    """(action, thing, container): what the caller must be allowed to see the document's text."""
    family, name = change.key
    if family == "credential":
        subject = str((change.after or change.before or {}).get("subject", ""))
        person = subject.startswith(PERSON)
        action = Action.USER_READ if person else Action.VIRTUAL_ACCOUNT_READ
        return action, subject, f"any:{kind_of(subject)}"
    if family == "mcp-catalogue":
        family = MCP_SERVERS.family  # what a server offers is for whoever may read the server
    collection = OF_FAMILY.get(family)
    if collection is None:
        # Chains of the decision log are for whoever reads this log; anything else only the server knows.
        return (Action.POLICY_READ, ANY_POLICY, ANY_POLICY) if family == "log-writer" else None
    thing = collection.asked_on or make_id(collection.kind, name)
    return collection.read, thing, collection.asked_on or collection.container


def _readable(call: Call, changes: Iterable[DocumentChange]) -> frozenset[Key]:
    """The keys of documents that the caller may read; what is gone is asked as its whole kind."""
    engine = call.runtime.changes.engine
    asked: dict[Action, dict[str, list[Key]]] = {}
    for change in changes:
        if (question := _asked(change)) is not None:
            action, thing, container = question
            known = thing if engine.knows(thing) else container
            asked.setdefault(action, {}).setdefault(known, []).append(change.key)
    return frozenset(
        key
        for action, things in asked.items()
        for thing in visible_of(call, action, things)
        for key in things[thing]
    )


def _people(changes: Iterable[DocumentChange], bodies: Iterable[Mapping[str, Any]]) -> set[str]:
    """The ids (`user:u-…`) of everybody whom documents name."""
    found = {PERSON + change.key[1] for change in changes if change.key[0] == "user"}

    def note(mention: Mention) -> str:
        if mention.text.startswith(PERSON):
            found.add(mention.text)
        return mention.text

    for body in bodies:
        rewrite(body, note)
    return found


ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/changes",
        "list_changes",
        "The change log: who changed what, and when",
        "changes",
        tuple(dict.fromkeys((Action.POLICY_READ, *(item.read for item in COLLECTIONS)))),
        list_changes,
        ChangePage,
        gates=gate(Action.POLICY_READ, ANY_POLICY),
        query=ChangeListQuery,
        description="Newest first; with `after`, oldest first from that epoch on. Takes `policy:read` on "
        "every policy. What a document said is shown if the caller may read it, and a person's e-mail if "
        "the caller may read that user.",
    ),
)
