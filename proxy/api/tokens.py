"""Personal access tokens: mint, list, end. Those of virtual accounts are in `account_tokens.py`.

A secret leaves in the answer that made it, and never again. Nobody mints for another user with a personal token: that takes a service identity
that was granted the very action. A restricted token mints only narrower ones. The subject comes from the
credential or from a gate, never from the body alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta

from authz.errors import GatewardenError
from authz.vocabulary import Action, Kind, make_id
from identity.issue import Issued, issue
from identity.principal import CredentialKind
from policies.documents import Restriction
from policies.estate import Stored
from policies.naming import EVERYONE, id_of, plain
from policies.truefoundry import actions_of
from proxy.api.changing import carry_out
from proxy.api.collections import TEAMS, USERS
from proxy.api.credentials import (
    credential_in,
    end,
    kept,
    origin,
    page_of,
    stored_credential,
    token_answer,
)
from proxy.api.find import find
from proxy.api.models import EmailQuery
from proxy.api.paging import PageQuery
from proxy.api.problem import BadBody, Refused
from proxy.api.routes import (
    PERSON,
    SELF,
    SERVICE,
    Answer,
    Body,
    Call,
    Gate,
    Gates,
    Route,
    gate,
)
from proxy.api.token_models import (
    RestrictionBody,
    RevokedAnswer,
    TokenBody,
    TokenCreated,
    TokenForUserBody,
    TokenPage,
)

SELF_READ = Restriction(actions=(Action.SELF_READ.value,), resources=(SELF,))


# Personal access tokens


async def list_own(call: Call) -> Answer:
    """The caller's own tokens, by id."""
    return await page_of(call, "personal-access-tokens", call.principal.id)


async def create_own(call: Call) -> Answer:
    """A token of the caller's own; a restricted token makes a narrower one only."""
    body = call.body_as(TokenBody)
    restrictions = _restrictions(body.restrictions)
    expires_at = _ends(body.expiration_date)
    if call.principal.token is not None:
        await _narrower(call, restrictions, expires_at)
    return await _create(call, call.principal.id, body, restrictions, expires_at)


async def _narrower(
    call: Call, restrictions: tuple[Restriction, ...] | None, expires_at: datetime | None
) -> None:
    """INVARIANT: a restricted token makes no token that may more, or lives longer, than itself."""
    own = await stored_credential(call, call.principal.credential_id)
    held = _pairs(credential_in(own).restrictions or ()) if own is not None else set()
    if restrictions is None or not _pairs(restrictions) <= held:
        raise Refused(
            "this token may only make tokens that are restricted as it is, or more",
            hint="name actions and resources that its own restrictions hold",
        )
    ends = call.principal.expires_at
    if ends is not None and (expires_at is None or expires_at > ends):
        raise Refused(
            "this token may not make a token that outlives it",
            hint=f"set `expirationDate` to {ends.isoformat()} or earlier",
        )


async def for_user_gates(call: Call) -> Gates:
    """Another user's tokens: asked on that user; an unknown e-mail looks like one without access."""
    stored = await find(call, USERS, call.body_as(TokenForUserBody).email)
    call.kept["stored"] = stored
    return (_on_user(stored, call.body_as(TokenForUserBody).email),)


def _on_user(stored: Stored | None, email: str) -> tuple[Gate, ...]:
    thing = id_of(stored.document) if stored is not None else make_id(Kind.USER, email)
    return (Gate(Action.USER_MANAGE_TOKENS, thing, Action.USER_READ),)


async def create_for_user(call: Call) -> Answer:
    """A token for another user."""
    body = call.body_as(TokenForUserBody)
    stored = kept(call)
    subject = id_of(stored.document)
    return await _create(
        call, subject, body, _restrictions(body.restrictions), _ends(body.expiration_date)
    )


async def _create(
    call: Call,
    subject: str,
    body: TokenBody,
    restrictions: tuple[Restriction, ...] | None,
    expires_at: datetime | None,
) -> Answer:
    team = await _team(call, subject, body.team_name) if body.team_name else None
    issued = issue(
        subject,
        origin(call),
        now=call.now,
        label=body.name,
        expires_at=expires_at,
        team=team,
        restrictions=restrictions,
    )
    outcome = await carry_out(call, issued.change)
    return Answer(await created_answer(call, issued, outcome.epoch), 201, epoch=outcome.epoch)


async def created_answer(call: Call, issued: Issued, epoch: int) -> TokenCreated:
    """A new token with its secret, as it was stored."""
    stored = await stored_credential(call, issued.credential.name)
    shown = token_answer(credential_in(stored) if stored is not None else issued.credential)
    return TokenCreated(**shown.model_dump(), token=issued.secret, epoch=epoch)


async def _team(call: Call, subject: str, name: str) -> str:
    """The team that a token is counted for.

    Raises:
        BadBody: the token's owner is not a member of it.
    """
    stored = await find(call, TEAMS, name)
    groups = call.runtime.changes.engine.groups_of(subject)
    if stored is None or id_of(stored.document) not in groups or id_of(stored.document) == EVERYONE:
        raise BadBody(
            f"the owner of the token is no member of a team `{name[:80]}`",
            hint="leave out `teamName`, or name a team of theirs",
        )
    return plain(stored.document.name)


async def revoke_gates(call: Call) -> Gates:
    """One's own token, or `user:manage-tokens` on its owner."""
    token_id = call.path("id")
    stored = await stored_credential(call, token_id)
    if stored is not None and credential_in(stored).token_kind == CredentialKind.VAT.value:
        stored = None
    call.kept["stored"] = stored
    if stored is None:
        thing = make_id(Kind.CREDENTIAL, token_id)
    elif credential_in(stored).subject == call.principal.id:
        return ((Gate(Action.SELF_MANAGE_TOKENS, SELF),),)
    else:
        thing = credential_in(stored).subject
    return ((Gate(Action.USER_MANAGE_TOKENS, thing, Action.USER_READ),),)


async def revoke_one(call: Call) -> Answer:
    """End one token at once."""
    return await end(call, [kept(call).document.name])


async def revoke_all_gates(call: Call) -> Gates:
    """All tokens of a user: one's own, or `user:manage-tokens` on that user."""
    email = call.query_as(EmailQuery).email
    stored = await find(call, USERS, email)
    call.kept["stored"] = stored
    if stored is not None and id_of(stored.document) == call.principal.id:
        return ((Gate(Action.SELF_MANAGE_TOKENS, SELF),),)
    return (_on_user(stored, email),)


async def revoke_all(call: Call) -> Answer:
    """End every token of a user at once."""
    subject = id_of(kept(call).document)
    return await end(call, call.runtime.directory.credentials_of(subject))


# What the bodies say


def _ends(value: datetime | date | None) -> datetime | None:
    """The instant of an expiry; a day ends at the following 00:00 UTC."""
    if value is None or isinstance(value, datetime):
        return value
    if value == date.max:
        return None
    return datetime.combine(value + timedelta(days=1), time(0), UTC)


def _restrictions(given: list[RestrictionBody] | None) -> tuple[Restriction, ...] | None:
    """The restrictions to store. A token that may anything at all may also ask who it is.

    Raises:
        BadBody: an action that does not exist.
    """
    if given is None:
        return None
    made: list[Restriction] = []
    for item in given:
        try:
            names = {action.value for name in item.actions for action in actions_of(name)}
        except GatewardenError as error:
            raise BadBody(error.message, hint=error.hint) from error
        made.append(Restriction(actions=tuple(sorted(names)), resources=tuple(item.resources)))
    return (*made, SELF_READ) if made and SELF_READ not in made else tuple(made)


def _pairs(restrictions: Iterable[Restriction]) -> set[tuple[str, str]]:
    return {
        (action, resource)
        for item in restrictions
        for action in item.actions
        for resource in item.resources
    }


_BODY = {"name": "laptop", "expirationDate": "2030-01-31"}
_OWN = (Action.SELF_MANAGE_TOKENS,)
_OTHERS = (Action.USER_MANAGE_TOKENS,)
_TAG = "tokens"

ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/personal-access-tokens",
        "list_tokens",
        "List your own tokens, without their secrets",
        _TAG,
        _OWN,
        list_own,
        TokenPage,
        gates=gate(Action.SELF_MANAGE_TOKENS, SELF),
        credentials=PERSON,
        query=PageQuery,
    ),
    Route(
        "POST",
        "/personal-access-tokens",
        "create_token",
        "Make a token of your own; its secret is shown once",
        _TAG,
        _OWN,
        create_own,
        TokenCreated,
        gates=gate(Action.SELF_MANAGE_TOKENS, SELF),
        credentials=PERSON,
        body=Body(model=TokenBody, example=_BODY),
        created=True,
        mutates=True,
        description="It has your live rights, less its restrictions. A restricted token makes only "
        "tokens that are narrower and end no later.",
    ),
    Route(
        "POST",
        "/personal-access-tokens/for-user",
        "create_token_for_user",
        "Make a token for another user",
        _TAG,
        _OTHERS,
        create_for_user,
        TokenCreated,
        gates=for_user_gates,
        credentials=SERVICE,
        body=Body(model=TokenForUserBody, example={**_BODY, "email": "ann@example.com"}),
        created=True,
        mutates=True,
    ),
    Route(
        "DELETE",
        "/personal-access-tokens/revoke/all",
        "revoke_all_tokens",
        "End every token of a user at once",
        _TAG,
        (*_OWN, *_OTHERS),
        revoke_all,
        RevokedAnswer,
        gates=revoke_all_gates,
        query=EmailQuery,
        mutates=True,
    ),
    Route(
        "DELETE",
        "/personal-access-tokens/{id}",
        "revoke_token",
        "End one token at once",
        _TAG,
        (*_OWN, *_OTHERS),
        revoke_one,
        RevokedAnswer,
        gates=revoke_gates,
        mutates=True,
    ),
)
