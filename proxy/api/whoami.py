"""`GET /whoami`: who the credential is, what it belongs to, and what narrows it."""

from __future__ import annotations

from authz.vocabulary import Action, kind_of
from policies.documents import Credential
from policies.naming import plain
from proxy.api.credentials import restrictions_answer
from proxy.api.routes import SELF, Answer, Call, Route, gate
from proxy.api.token_models import CredentialAnswer, WhoamiAnswer


async def whoami(call: Call) -> Answer:
    """The caller, as the directory and the rows know it now."""
    principal, changes = call.principal, call.runtime.changes
    engine = changes.engine
    stored = await changes.document(("credential", principal.credential_id))
    document = stored.document if stored is not None else None
    name = principal.id.partition(":")[2]
    if kind_of(principal.id) == "user":
        person = await changes.person(name)
        name = person.email if person is not None else name
    groups = engine.groups_of(principal.id)
    closure = engine.subject_closure(principal.id)
    return Answer(
        WhoamiAnswer(
            id=principal.id,
            kind="user" if kind_of(principal.id) == "user" else "virtualaccount",
            name=plain(name),
            credential=CredentialAnswer(
                id=principal.credential_id,
                kind=principal.credential_kind.value,
                expires_at=principal.expires_at,
                restrictions=restrictions_answer(document)
                if isinstance(document, Credential)
                else None,
            ),
            teams=_names("team:", groups),
            roles=_names("role:", closure),
            bound=_name(principal.bound),
            owner_team=_name(principal.owner_team),
            epoch=engine.epoch,
        )
    )


def _names(prefix: str, ids: tuple[str, ...] | frozenset[str]) -> list[str]:
    return sorted(plain(item.removeprefix(prefix)) for item in ids if item.startswith(prefix))


def _name(thing: str | None) -> str | None:
    return plain(thing.partition(":")[2]) if thing else None


ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/whoami",
        "whoami",
        "Who you are, what you belong to, and what narrows your credential",
        "questions",
        (Action.SELF_READ,),
        whoami,
        WhoamiAnswer,
        gates=gate(Action.SELF_READ, SELF),
    ),
)
