"""Reading, writing and deleting one document, and listing a kind: the same four routes for each kind.

What a caller may not read does not exist for him. PUT is an upsert by name; its gate lets in who may
write, create, or do part of it, and the committer judges row by row what he really changes. A secret is
never in an answer: it was sealed on the way in, and a document holds a reference.
"""

from __future__ import annotations

from collections.abc import Iterator

from authz.vocabulary import Action
from policies.documents import Document, VirtualAccount, dump
from policies.estate import Stored
from policies.loader import Loaded
from policies.naming import plain_key
from proxy.api.account_tokens import first_token
from proxy.api.body import off_loop
from proxy.api.changing import (
    carry_out,
    change_of,
    documents_of,
    etag,
    expected,
    not_modified,
    plan_answer,
)
from proxy.api.collections import COLLECTIONS, Collection
from proxy.api.find import find, resource_of
from proxy.api.models import (
    DeleteAnswer,
    DeleteQuery,
    DocumentAnswer,
    DocumentListQuery,
    DocumentPage,
    PutAnswer,
    PutQuery,
    TeamDeleteQuery,
)
from proxy.api.paging import decode_cursor, encode_cursor
from proxy.api.problem import BadBody, BadQuery
from proxy.api.routes import DOCUMENT, Answer, Body, Call, Gate, Gates, Route
from proxy.middleware.access import missing, record_list, visible_of

BATCH = 500  # documents read at a time while a page is filled
MAX_BATCHES = 20  # then the page ends early and `next` goes on


def put_gates(
    collection: Collection, stored: Stored | None, document: Document
) -> tuple[Gate, ...]:
    """What opens a PUT: any of the ways to write the thing, or to create it where it would stand."""
    if stored is not None:
        thing = resource_of(collection, stored, document.name)
        return tuple(
            Gate(action, thing, collection.read) for action in (collection.write, *collection.also)
        )
    container = collection.asked_on or collection.container
    gates = [Gate(collection.create, container, collection.read)]
    if isinstance(document, VirtualAccount) and document.owned_by and document.owned_by.team:
        team = f"team:{document.owned_by.team}"
        gates.append(Gate(collection.create, team, collection.read))
    return tuple(gates)


async def answer_of(call: Call, stored: Stored) -> DocumentAnswer:
    """One document as a caller sees it."""
    rendered = await call.runtime.changes.render(stored.document)
    return DocumentAnswer(
        document=dump(rendered),
        version=stored.version,
        epoch=stored.epoch,
        source=stored.source.value,
    )


class Handlers:
    """The handlers of one kind."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    @property
    def delete_query(self) -> type[DeleteQuery]:
        """The switches of DELETE."""
        return TeamDeleteQuery if self._collection.family == "team" else DeleteQuery

    def name_of(self, call: Call) -> str:
        """The name in the path; of a kind that has one document only, its fixed name."""
        return self._collection.fixed_name or call.path("name")

    async def see(self, call: Call) -> Gates:
        """Gates of GET."""
        return await self._one(call, self._collection.read)

    async def remove(self, call: Call) -> Gates:
        """Gates of DELETE."""
        return await self._one(call, self._collection.delete)

    async def _one(self, call: Call, action: Action) -> Gates:
        stored = await find(call, self._collection, self.name_of(call))
        call.kept["stored"] = stored
        thing = resource_of(self._collection, stored, self.name_of(call))
        return ((Gate(action, thing, self._collection.read),),)

    async def write(self, call: Call) -> Gates:
        """Gates of PUT: the body is read first, since it says where a new thing would stand."""
        loaded = await off_loop(len(call.raw), lambda: documents_of(call))
        if len(loaded.documents) != 1:
            raise BadBody(f"the body holds {len(loaded.documents)} documents, and one is put here")
        document = loaded.documents[0].document
        name = self.name_of(call)
        if document.key[0] != self._collection.family:
            raise BadBody(f"a `{document.type}` is no {self._collection.word}")
        stored = await find(call, self._collection, name)
        # INVARIANT: the gate asks about the very thing that is put; only an address has two spellings.
        if document.name != name and not _same_user(stored, document, name):
            raise BadBody(
                f"the document is called `{document.name}`, the path `{name[:80]}`",
                hint="a name never changes; put a new thing and delete the old one",
            )
        call.kept.update(stored=stored, document=document, loaded=loaded)
        return (put_gates(self._collection, stored, document),)

    async def list(self, call: Call) -> Answer:
        """GET of the kind: the visible documents, page by page."""
        query = call.query_as(DocumentListQuery)
        collection = self._collection
        after = decode_cursor(collection.path, query.cursor)
        found: list[DocumentAnswer] = []
        seen: list[str] = []
        more = True
        for _ in range(MAX_BATCHES):
            batch = await call.runtime.changes.documents(collection.family, after, BATCH)
            things = [resource_of(collection, item, item.document.name) for item in batch]
            visible = visible_of(call, collection.read, things)
            for stored, thing in zip(batch, things, strict=True):
                after = stored.document.name
                if thing in visible:
                    answer = await answer_of(call, stored)
                    if query.name.casefold() in str(answer.document["name"]).casefold():
                        found.append(answer)
                        seen.append(thing)
                        if len(found) == query.limit:
                            break
            else:
                more = len(batch) == BATCH
                if more:
                    continue
            break
        await record_list(call, collection.read, collection.asked_on or collection.container, seen)
        following = encode_cursor(collection.path, after) if more else None
        return Answer(DocumentPage(data=found, next=following))

    async def get(self, call: Call) -> Answer:
        """GET of one."""
        stored = _stored(call)
        if stored is None:
            raise missing(call)
        headers = {"ETag": etag(stored.version)}
        if not_modified(call, stored.version):
            return Answer(None, 304, headers)
        return Answer(await answer_of(call, stored), headers=headers)

    async def put(self, call: Call) -> Answer:
        """PUT: create or replace; nothing is written if nothing changes."""
        query = call.query_as(PutQuery)
        dry_run = query.dry_run
        stored, document = _stored(call), call.kept["document"]
        loaded = call.kept["loaded"]
        assert isinstance(document, Document) and isinstance(loaded, Loaded)
        key = (document.key[0], document.name)
        version = stored.version if stored is not None else 0
        change = change_of(
            call,
            puts=(document,),
            expect=expected(call, key, version),
            take_over=query.take_over,
        )
        outcome = await carry_out(call, change, dry_run=dry_run, loaded=loaded)
        now = await find(call, self._collection, self.name_of(call))
        created = outcome.changed and stored is None and not dry_run
        epoch, token = outcome.epoch, None
        if created and isinstance(document, VirtualAccount) and now is not None:
            token, epoch = await first_token(call, now)
        body = PutAnswer(
            document=(await answer_of(call, now)).document if now is not None else None,
            version=now.version if now is not None else 0,
            epoch=epoch,
            changed=outcome.changed,
            dry_run=dry_run,
            plan=plan_answer(outcome, [plain_key(key)]),
            token=token,
        )
        headers = {"ETag": etag(now.version)} if now is not None else {}
        return Answer(body, 201 if created else 200, headers, epoch)

    async def delete(self, call: Call) -> Answer:
        """DELETE: ends the thing and every grant on it."""
        query = call.query_as(self.delete_query)
        dry_run = query.dry_run
        stored = _stored(call)
        if stored is None:
            raise missing(call)
        key = stored.document.key
        reassign_to, cascade = "", False
        if isinstance(query, TeamDeleteQuery):
            reassign_to, cascade = query.reassign_to, query.cascade
            if reassign_to and cascade:
                raise BadQuery("give `reassign_to` or `cascade`, not both")
        change = change_of(
            call,
            deletes=(key,),
            expect=expected(call, key, stored.version),
            take_over=query.take_over,
            reassign_to=reassign_to,
            cascade=cascade,
        )
        outcome = await carry_out(call, change, dry_run=dry_run)
        body = DeleteAnswer(
            epoch=outcome.epoch,
            changed=outcome.changed,
            dry_run=dry_run,
            plan=plan_answer(outcome),
        )
        return Answer(body, epoch=outcome.epoch)


def _stored(call: Call) -> Stored | None:
    stored = call.kept["stored"]
    assert stored is None or isinstance(stored, Stored)
    return stored


def _same_user(stored: Stored | None, document: Document, name: str) -> bool:
    """Whether a user's document names the person of the path: by e-mail in any case, or by id."""
    if document.key[0] != "user":
        return False
    same = stored is not None and document.name == stored.document.name
    return same or document.name.casefold() == name.casefold()


def routes_of(collection: Collection) -> Iterator[Route]:
    """The four routes of a kind; no list for a kind that has one document only."""
    handlers = Handlers(collection)
    path, word = f"/{collection.path}", collection.word
    tag = collection.path.partition("/")[0]
    slug = collection.path.rpartition("/")[2].replace("-", "_")
    one = path if collection.fixed_name else f"{path}/{{name}}"
    example = collection.example
    if not collection.fixed_name:
        yield Route(
            "GET",
            path,
            f"list_{slug}",
            f"List each {word} that you may read",
            tag,
            (collection.read,),
            handlers.list,
            DocumentPage,
            filtered=True,
            query=DocumentListQuery,
        )
    yield Route(
        "GET",
        one,
        f"get_{slug}",
        f"Read one {word}",
        tag,
        (collection.read,),
        handlers.get,
        DocumentAnswer,
        gates=handlers.see,
        versioned=True,
    )
    yield Route(
        "PUT",
        one,
        f"put_{slug}",
        f"Create or replace one {word}",
        tag,
        collection.actions,
        handlers.put,
        PutAnswer,
        gates=handlers.write,
        query=PutQuery,
        body=Body(limit=DOCUMENT, documents=collection.types, yaml=True, example=example),
        created=True,
        versioned=True,
        mutates=True,
    )
    yield Route(
        "DELETE",
        one,
        f"delete_{slug}",
        f"Delete one {word}",
        tag,
        (collection.delete,),
        handlers.delete,
        DeleteAnswer,
        gates=handlers.remove,
        query=handlers.delete_query,
        versioned=True,
        mutates=True,
    )


ROUTES: tuple[Route, ...] = tuple(
    route for collection in COLLECTIONS for route in routes_of(collection)
)
