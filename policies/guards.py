"""What a change must leave standing: somebody active who can still administer.

Asked of the engine as it would be after the change. A change that only takes away commits all the same;
what it breaks becomes an alarm (`store.changes`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from authz.conditions import Context
from authz.engine import Engine
from authz.vocabulary import Action
from policies.naming import EVERYONE

_NEEDED = ((Action.POLICY_WRITE, "any:policy"), (Action.ROLE_ASSIGN, "any:role"))


@dataclass(frozen=True, slots=True)
class _User:
    id: str
    bound: None = None
    token: None = None


def administers(engine: Engine, user: str, context: Context) -> bool:
    """Whether this user is active and can write policy and assign roles."""
    asker = _User(user)
    return EVERYONE in engine.groups_of(user) and all(
        engine.decide(asker, action, thing, context) for action, thing in _NEEDED
    )


def administrator(engine: Engine, users: Iterable[str], context: Context) -> str | None:
    """The first of `users` who can administer, or None.

    Users who belong to the same groups mostly come to the same answer, so those who stand in a group
    besides everybody's are tried first.
    """
    plain: list[str] = []
    for user in users:
        if set(engine.groups_of(user)) - {EVERYONE}:
            if administers(engine, user, context):
                return user
        else:
            plain.append(user)
    return next((user for user in plain if administers(engine, user, context)), None)
