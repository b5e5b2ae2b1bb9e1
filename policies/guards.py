"""What a change must leave standing: somebody active who can still administer.

Asked of the engine as it would be after the change. A change that only takes away commits all the same;
what it breaks becomes an alarm (`store.changes`).
"""

from __future__ import annotations

from collections.abc import Iterable

from authz.conditions import Context
from authz.decision import Somebody
from authz.engine import Engine
from authz.vocabulary import Action
from policies.naming import EVERYONE

_NEEDED = ((Action.POLICY_WRITE, "any:policy"), (Action.ROLE_ASSIGN, "any:role"))


def administers(engine: Engine, user: str, context: Context) -> bool:
    """Whether this user is active and can write policy and assign roles."""
    asker = Somebody(user)
    return EVERYONE in engine.groups_of(user) and all(
        engine.decide(asker, action, thing, context) for action, thing in _NEEDED
    )


def administrator(engine: Engine, users: Iterable[str], context: Context) -> str | None:
    """The first of `users` who can administer by what his groups may, or None.

    Groups are asked first, each once, so that many users cost little. Somebody whose rights are rows of
    his own, without any group, is not found: the guard then does not count on him.
    """
    answers: dict[tuple[str, str], bool] = {}

    def holds(group: str, action: Action, thing: str) -> bool:
        if (group, action) not in answers:
            answers[group, action] = bool(engine.decide(Somebody(group), action, thing, context))
        return answers[group, action]

    for user in users:
        groups = engine.groups_of(user)
        if all(any(holds(group, *need) for group in groups) for need in _NEEDED) and administers(
            engine, user, context
        ):
            return user
    return None
