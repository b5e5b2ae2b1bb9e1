"""What a deleted team leaves behind: things without an owner, tokens that end, people without the team.

Things that it owns go to another team (`reassign_to`) or, virtual accounts only, end with it (`cascade`).
A provider account or a team is never deleted without being named: others use it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from policies.change import Ending
from policies.documents import Credential, Document, Team, VirtualAccount, dump

MAX_NAMED = 20  # things in the message that refuses to delete the team which owns them


def owner_of(document: Document | None) -> str | None:
    """The stored name of the team that owns what a document describes."""
    owner = getattr(document, "owned_by", None)
    return owner.team if owner is not None else None


def cascades(document: Document) -> bool:
    """Whether a thing may end with the team that owns it."""
    return isinstance(document, VirtualAccount)


def moved(document: Document, old: str, new: str) -> dict[str, Any]:
    """The mapping of an owned thing under its new owner. What the old team bounded, the new one bounds."""
    data = dump(document)
    data["ownedBy"] = {**data["ownedBy"], "team": new}
    if data.get("bounded_by") == old:
        data["bounded_by"] = new
    return data


def blast_radius(
    team: str,
    before: Team,
    credentials: Iterable[Credential],
    *,
    accounts: Iterable[str] = (),
    reassigned: Iterable[str] = (),
) -> Ending:
    """What ends with a team. `credentials` are those of the team and of accounts that end."""
    return Ending(
        team=team,
        accounts=tuple(sorted(accounts)),
        reassigned=tuple(sorted(reassigned)),
        tokens=len({one.name for one in credentials}),
        people=len({*before.members, *before.managers}),
    )


def still_owns(left: Mapping[str, Iterable[str]], endings: Iterable[Ending]) -> str:
    """Why teams cannot be deleted: what would be left without an owner, and what would end."""
    by_team = {ending.team: ending for ending in endings}
    return "; ".join(_still_owns(team, left[team], by_team.get(team)) for team in sorted(left))


def _still_owns(team: str, owned: Iterable[str], ending: Ending | None) -> str:
    names = sorted(owned)
    shown = names[:MAX_NAMED]
    more = len(names) - len(shown)
    tail = f" and {more} more" if more else ""
    text = f"the team `{team}` still owns {_count(len(names), 'thing', 'things')}: {', '.join(shown)}{tail}"
    if ending is None:
        return text
    ends = []
    if ending.people:
        ends.append(_count(ending.people, "person loses", "people lose") + " the membership")
    if ending.tokens:
        ends.append(_count(ending.tokens, "token ends", "tokens end"))
    return f"{text} ({', '.join(ends)})" if ends else text


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
