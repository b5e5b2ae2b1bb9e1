"""The tokens of virtual accounts: the first, reading it again, rotation, their list, ending one; the bound.

A token may be read again by those with `virtualaccount:read-token`; the recorded decision of the gate is
the record of each reading. Rotation leaves the tokens before alive for a grace period. A bound
(`bounded_by`) is set by the committer and lifted here only.
"""

from __future__ import annotations

from datetime import timedelta

from authz.vocabulary import Action, Kind, make_id
from identity.errors import UnreadableToken
from identity.issue import Issued, issue, regenerate
from identity.principal import CredentialKind
from policies.change import Change, Source
from policies.documents import Credential
from policies.errors import NotAuthorised
from policies.estate import Stored
from policies.naming import id_of
from proxy.api.changing import carry_out, plan_answer
from proxy.api.collections import VIRTUAL_ACCOUNTS
from proxy.api.credentials import (
    credential_in,
    end,
    kept,
    origin,
    page_of,
    stored_credential,
)
from proxy.api.find import find
from proxy.api.models import ApplyAnswer
from proxy.api.paging import PageQuery
from proxy.api.problem import Missing
from proxy.api.routes import Answer, Body, Call, Gate, Gates, Route
from proxy.api.token_models import (
    RegenerateBody,
    RegeneratedAnswer,
    RevokedAnswer,
    TokenPage,
    VirtualAccountToken,
)
from proxy.middleware.access import missing


async def first_token(call: Call, account: Stored) -> tuple[str | None, int]:
    """(secret, epoch) of the first token of an account that was just created.

    A change of its own: a manager may rotate what the team owns, which the account is only now. Whoever
    may create but not rotate gets none.
    """
    issued = issue(id_of(account.document), origin(call), now=call.now, label="first")
    try:
        await _keep(call, issued)
        outcome = await carry_out(call, issued.change)
    except NotAuthorised:
        return None, account.epoch
    return issued.secret, outcome.epoch


async def account_gates(call: Call, action: Action) -> Gates:
    """A question on the virtual account in the path."""
    name = call.path("name")
    stored = await find(call, VIRTUAL_ACCOUNTS, name)
    call.kept["stored"] = stored
    thing = id_of(stored.document) if stored else make_id(Kind.VIRTUAL_ACCOUNT, name)
    return ((Gate(action, thing, VIRTUAL_ACCOUNTS.read),),)


async def read_gates(call: Call) -> Gates:
    return await account_gates(call, Action.VIRTUAL_ACCOUNT_READ_TOKEN)


async def rotate_gates(call: Call) -> Gates:
    return await account_gates(call, Action.VIRTUAL_ACCOUNT_ROTATE)


async def read_token(call: Call) -> Answer:
    """The current token again: the newest that has not ended. The gate's decision is its record."""
    current = await _current(call, id_of(kept(call).document))
    if not current:
        raise Missing("the account has no token", hint="POST …/regenerate-token makes one")
    newest = credential_in(current[0])
    return Answer(
        VirtualAccountToken(
            id=newest.name,
            token=await _read_kept(call, newest),
            expires_at=newest.expires_at,
        )
    )


async def regenerate_token(call: Call) -> Answer:
    """A new token; the ones before end after the grace period."""
    account = id_of(kept(call).document)
    days = call.body_as(RegenerateBody).grace_period_in_days
    current = await _current(call, account)
    issued = regenerate(
        account,
        [credential_in(stored) for stored in current],
        origin(call),
        now=call.now,
        grace=timedelta(days=days),
        versions={stored.key: stored.version for stored in current},
    )
    await _keep(call, issued)
    outcome = await carry_out(call, issued.change)
    ending = sorted(
        document.name for document in issued.change.puts if document != issued.credential
    )
    answer = RegeneratedAnswer(
        id=issued.credential.name,
        token=issued.secret,
        expires_at=issued.credential.expires_at,
        epoch=outcome.epoch,
        ending=ending,
    )
    return Answer(answer, epoch=outcome.epoch)


async def list_tokens(call: Call) -> Answer:
    """All tokens of the account, ended ones too while their documents stand."""
    account = kept(call)
    return await page_of(call, f"tokens-of/{account.document.name}", id_of(account.document))


async def end_token(call: Call) -> Answer:
    """End one token of the account, at once."""
    account = id_of(kept(call).document)
    stored = await stored_credential(call, call.path("id"))
    if stored is None or credential_in(stored).subject != account:
        # INVARIANT: the gate was about the account in the path; a token of anybody else is not its business.
        raise missing(call)
    return await end(call, [stored.document.name])


async def unbind_gates(call: Call) -> Gates:
    return await account_gates(call, Action.VIRTUAL_ACCOUNT_UNBIND)


async def unbind(call: Call) -> Answer:
    """Lift the bound: from now on the account has what it is granted, whatever its team may."""
    stored = kept(call)
    change = Change(
        actor=call.principal.id,
        source=Source.MANUAL,
        request_id=call.request_id,
        unbind=(stored.key,),
    )
    outcome = await carry_out(call, change)
    body = ApplyAnswer(
        epoch=outcome.epoch, changed=outcome.changed, dry_run=False, plan=plan_answer(outcome)
    )
    return Answer(body, epoch=outcome.epoch)


async def _keep(call: Call, issued: Issued) -> None:
    """Seal a new token, before its change is committed: a blob without a credential is of no use."""
    if call.kept_tokens is not None:
        await call.kept_tokens.keep(issued)


async def _read_kept(call: Call, credential: Credential) -> str:
    """The token again.

    Raises:
        Missing: it was never kept, or the sealing key is another one by now.
    """
    try:
        if call.kept_tokens is not None:
            return await call.kept_tokens.read(credential)
    except UnreadableToken as error:
        raise Missing(error.message, hint=error.hint) from error
    raise Missing("the token was not kept", hint="POST …/regenerate-token makes a new one")


async def _current(call: Call, account: str) -> list[Stored]:
    """The credentials of an account that have not ended, newest first."""
    ids = call.runtime.directory.credentials_of(account)
    found = [stored for stored in [await stored_credential(call, item) for item in ids] if stored]
    alive = [
        stored
        for stored in found
        if credential_in(stored).token_kind == CredentialKind.VAT.value
        and ((ends := credential_in(stored).expires_at) is None or ends > call.now)
    ]
    return sorted(alive, key=lambda stored: credential_in(stored).created_at, reverse=True)


_TAG = "tokens"

ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/virtual-accounts/{name}/token",
        "read_account_token",
        "Show the current token of a virtual account again",
        _TAG,
        (Action.VIRTUAL_ACCOUNT_READ_TOKEN,),
        read_token,
        VirtualAccountToken,
        gates=read_gates,
    ),
    Route(
        "POST",
        "/virtual-accounts/{name}/regenerate-token",
        "regenerate_account_token",
        "Make a new token of a virtual account and let the ones before end",
        _TAG,
        (Action.VIRTUAL_ACCOUNT_ROTATE,),
        regenerate_token,
        RegeneratedAnswer,
        gates=rotate_gates,
        body=Body(model=RegenerateBody, required=False, example={"gracePeriodInDays": 7}),
        mutates=True,
    ),
    Route(
        "GET",
        "/virtual-accounts/{name}/tokens",
        "list_account_tokens",
        "List the tokens of a virtual account, without their secrets",
        _TAG,
        (Action.VIRTUAL_ACCOUNT_ROTATE,),
        list_tokens,
        TokenPage,
        gates=rotate_gates,
        query=PageQuery,
    ),
    Route(
        "DELETE",
        "/virtual-accounts/{name}/tokens/{id}",
        "end_account_token",
        "End one token of a virtual account at once",
        _TAG,
        (Action.VIRTUAL_ACCOUNT_ROTATE,),
        end_token,
        RevokedAnswer,
        gates=rotate_gates,
        mutates=True,
    ),
    Route(
        "POST",
        "/virtual-accounts/{name}/unbind",
        "unbind_account",
        "Let a virtual account use what it is granted, whatever its team may",
        _TAG,
        (Action.VIRTUAL_ACCOUNT_UNBIND,),
        unbind,
        ApplyAnswer,
        gates=unbind_gates,
        mutates=True,
    ),
)
