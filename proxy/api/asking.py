"""What questions have in common: whom they are about, the ids behind names, and the moment they are about."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol
from urllib.parse import unquote

from authz.conditions import instant
from authz.errors import GatewardenError
from authz.vocabulary import MCP_KINDS, Action, Kind, make_id, mcp_id, model_id, split_id
from policies.documents import VirtualAccount
from policies.naming import id_of
from policies.truefoundry import subject_of
from proxy.api.body import nearest
from proxy.api.collections import COLLECTIONS
from proxy.api.find import find
from proxy.api.problem import ApiError
from proxy.api.routes import SELF, Call, Gate, Gates
from proxy.inquiry import Inquiries
from proxy.questions import Asked
from store.errors import StoreUnavailable

_COLLECTION_OF = {
    collection.kind.value: collection for collection in COLLECTIONS if not collection.fixed_name
}
_SUBJECTS = ("user", "virtualaccount", "team", "role")
_MOST_DIGITS = 15


class Bad(Protocol):
    """The error of a part of the call: `BadBody` or `BadQuery`."""

    def __call__(self, message: str, *, hint: str = "") -> ApiError: ...


async def subject_gates(
    call: Call, written: str | None, bad: Bad, kinds: tuple[str, ...] = _SUBJECTS
) -> tuple[Asked, Gates]:
    """Whom a question is about, and its gates: `self:read` for oneself, `decision:ask` on anybody else.

    Raises:
        What `bad` makes: not a subject.
    """
    principal = call.principal
    subject = await thing(call, written, bad) if written else principal.id
    if subject == principal.id:
        asked = Asked(principal.id, principal.bound, principal.token)
        return asked, ((Gate(Action.SELF_READ, SELF),),)
    kind, name = split_id(subject)
    if kind.value not in kinds:
        raise bad(
            f"`{subject[:80]}` is not a subject", hint="a subject is one of " + ", ".join(kinds)
        )
    bound = None
    if kind is Kind.VIRTUAL_ACCOUNT:
        stored = await find(call, _COLLECTION_OF[kind.value], name)
        document = stored.document if stored is not None else None
        if isinstance(document, VirtualAccount) and document.bounded_by:
            bound = make_id(Kind.BOUND, document.bounded_by)
    return Asked(subject, bound), ((Gate(Action.DECISION_ASK, subject, Action.DECISION_ASK),),)


async def thing(call: Call, text: str, bad: Bad) -> str:
    """The id of now of what is called `text` (`team:search`, `user:<e-mail>`, `model:<account>/<model>`).

    What does not exist keeps the id that it would have.

    Raises:
        What `bad` makes: not an id.
    """
    try:
        kind_text, _, name = subject_of(text).partition(":")
        if kind_text == Kind.MODEL.value:
            account, _, model = name.partition("/")
            stored = await find(call, _COLLECTION_OF[Kind.PROVIDER_ACCOUNT.value], account)
            return model_id(stored.document.name if stored else account, model)
        if kind_text in MCP_KINDS:
            server, _, rest = name.partition("/")
            stored = await find(call, _COLLECTION_OF[Kind.MCP_SERVER.value], server)
            called = unquote(rest)  # written as it is called, or as ids are
            return mcp_id(Kind(kind_text), stored.document.name if stored else server, called)
        collection = _COLLECTION_OF.get(kind_text)
        if collection is None:
            return make_id(Kind(kind_text), name)
        found = await find(call, collection, name)
        return id_of(found.document) if found else make_id(collection.kind, name)
    except (GatewardenError, ValueError) as error:
        if isinstance(error, StoreUnavailable):
            raise
        raise bad(
            f"`{text[:80]}` is not an id", hint="write `<kind>:<name>`, as `team:search`"
        ) from error


def action_of(written: str, bad: Bad) -> str:
    """The action that is called so. Raises: what `bad` makes."""
    try:
        return Action(written).value
    except ValueError as error:
        raise bad(
            f"`{written[:80]}` is not an action",
            hint=nearest(written, [a.value for a in Action]),
        ) from error


def moment_of(written: str | int | None, now: datetime, bad: Bad) -> int | datetime | None:
    """The epoch or the time that `at` names; None if it is not given.

    Raises:
        What `bad` makes: neither, or a time to come.
    """
    if written is None or written == "":
        return None
    hint = "write an epoch such as `42`, or a time such as `2030-01-31T12:00:00Z`"
    text = str(written).strip()
    if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS:
        return int(text)
    found = instant(text)
    if found is None:
        raise bad(f"`at` is neither an epoch nor a time with its offset: `{text[:40]}`", hint=hint)
    if found > now:
        raise bad("`at` is a time to come", hint="what will be allowed then is not known yet")
    return found


def inquiries(call: Call) -> Inquiries:
    """Whom long questions are put to. Raises: StoreUnavailable, nobody is there."""
    found = call.runtime.inquiries
    if found is None:
        raise StoreUnavailable("long questions are not answered here")
    return found
