"""Credentials as the token routes show and end them, whoever they belong to.

Shared by personal tokens (`tokens.py`), those of virtual accounts (`account_tokens.py`) and `whoami`. An
answer never has a digest or a secret.
"""

from __future__ import annotations

from collections.abc import Iterable

from identity.issue import Origin, revoke
from policies.documents import Credential
from policies.estate import Stored
from proxy.api.changing import carry_out
from proxy.api.paging import PageQuery, decode_cursor, encode_cursor
from proxy.api.routes import Answer, Call
from proxy.api.token_models import RevokedAnswer, TokenAnswer, TokenPage
from proxy.middleware.access import missing


async def stored_credential(call: Call, token_id: str) -> Stored | None:
    """The credential with this id, while it stands."""
    return await call.runtime.changes.document(("credential", token_id))


def credential_in(stored: Stored) -> Credential:
    assert isinstance(stored.document, Credential)
    return stored.document


def kept(call: Call) -> Stored:
    """What the gates found.

    Raises:
        Missing: nothing.
    """
    stored = call.kept["stored"]
    if not isinstance(stored, Stored):
        raise missing(call)
    return stored


def origin(call: Call) -> Origin:
    """Who asks, as a change of tokens is recorded with."""
    return Origin(actor=call.principal.id, request_id=call.request_id)


async def page_of(call: Call, listing: str, subject: str) -> Answer:
    """One page of a subject's tokens, by id; `listing` names the list that cursors belong to."""
    query = call.query_as(PageQuery)
    after = decode_cursor(listing, query.cursor)
    ids = [one for one in call.runtime.directory.credentials_of(subject) if one > after]
    page = ids[: query.limit]
    found = [stored for stored in [await stored_credential(call, item) for item in page] if stored]
    following = encode_cursor(listing, page[-1]) if len(ids) > len(page) else None
    data = [token_answer(credential_in(stored)) for stored in found]
    return Answer(TokenPage(data=data, next=following))


async def end(call: Call, token_ids: Iterable[str]) -> Answer:
    """Ends tokens at once, as one change."""
    ids = sorted(token_ids)
    epoch = call.runtime.changes.engine.epoch
    if ids:
        epoch = (await carry_out(call, revoke(ids, origin(call)))).epoch
    return Answer(RevokedAnswer(epoch=epoch, revoked=ids), epoch=epoch)


def token_answer(document: Credential) -> TokenAnswer:
    """A credential as its owner sees it: no digest, no secret."""
    return TokenAnswer(
        id=document.name,
        kind=document.token_kind,
        name=document.label,
        subject=document.subject,
        created_at=document.created_at,
        created_by=document.created_by,
        expires_at=document.expires_at,
        team=document.team,
        restrictions=restrictions_answer(document),
    )


def restrictions_answer(document: Credential) -> list[dict[str, list[str]]] | None:
    """What a token may still do; None = unrestricted."""
    if document.restrictions is None:
        return None
    return [
        {"actions": list(item.actions), "resources": list(item.resources)}
        for item in document.restrictions
    ]
