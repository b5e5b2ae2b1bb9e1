"""The key set of a record: short texts that say who made it, for whom, with what and how it ended.

One pure function, `keys_of`, serves the writer (which indexes the keys), the stores (which match filters
against them) and the check of a single record, so that the three cannot drift apart. A record is stamped
when it is written and never again; only ids stand in a stamp, so a name that is taken again inherits
nothing. What rules make of keys: `filters` and `scopes`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec

from authz.vocabulary import Kind, kind_of

EVERYONE: Final = (
    f"{Kind.TEAM.value}:everyone"  # every active user: as a stamp it would mean nothing
)
HAS_TEAM: Final = "teams"  # at least one team is stamped


class Stamp(msgspec.Struct, frozen=True, gc=False):
    """What a record says about itself for good. `pinned` is ours, `claimed` what the caller said.

    `owner_team` counts for a virtual account only. Text fields are "" and `status` is 0 where there is
    nothing to say.
    """

    created_by: str
    owner_team: str = ""
    teams: tuple[str, ...] = ()
    account: str = ""
    model: str = ""
    server: str = ""
    tool: str = ""
    method: str = ""
    outcome: str = ""
    status: int = 0
    request: str = ""
    action: str = ""
    resource: str = ""
    effect: str = ""
    reason: str = ""
    rules: tuple[str, ...] = ()
    pinned: dict[str, str] = {}
    claimed: dict[str, str] = {}

    @property
    def owner(self) -> str:
        """The team that owns the account that made the record, or ""."""
        account = kind_of(self.created_by) == Kind.VIRTUAL_ACCOUNT.value
        return self.owner_team if account and self.owner_team != EVERYONE else ""

    @property
    def every_team(self) -> tuple[str, ...]:
        """The stamped teams and the owner, each once; `team:everyone` is none."""
        named = dict.fromkeys((*self.teams, self.owner))
        return tuple(team for team in named if team and team != EVERYONE)


Metadata = Callable[..., str]  # `pinned` or `claimed`
_quoted = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode

# --- one key ---------------------------------------------------------------------------------------


def creator(subject: str) -> str:
    return f"c:{subject}"


def owner(team: str) -> str:
    return f"o:{team}"


def team(team: str) -> str:
    return f"t:{team}"


def plain(field: str, value: str) -> str:
    """The key of a plain field, such as `model`; the names of its fields are those of `Stamp`."""
    return f"{_LETTERS[field]}:{value}"


def pinned(name: str, value: str | None = None) -> str:
    """That pinned metadata has this key; with `value`, that it says this."""
    return _pair("pin", name, value)


def claimed(name: str, value: str | None = None) -> str:
    """The same of metadata that the caller merely claimed."""
    return _pair("claim", name, value)


def status_class(status: int) -> str:
    """`4xx` for 404."""
    return f"{status // 100}xx"


_LETTERS: Final[Mapping[str, str]] = {
    "account": "p",
    "action": "a",
    "effect": "e",
    "method": "x",
    "model": "m",
    "outcome": "n",
    "reason": "w",
    "request": "q",
    "resource": "r",
    "rule": "u",
    "server": "v",
    "status": "s",
    "tool": "f",
}
_SINGLE: Final = tuple(
    (name, letter) for name, letter in _LETTERS.items() if name not in ("rule", "status")
)
# A text in the body of a record, and the field of its stamp.
_TEXTS: Final = (
    ("principal", "created_by"),
    ("owner_team", "owner_team"),
    *((name, name) for name, _ in _SINGLE),
)


def _pair(space: str, name: str, value: str | None) -> str:
    # Quoted, because both may hold any character: no name and value can be taken for another pair.
    said = [name] if value is None else [name, value]
    return space + _quoted(said)


# --- all of a record -------------------------------------------------------------------------------


def keys_of(stamp: Stamp) -> tuple[str, ...]:
    """Every key of a record, each once."""
    found = [*_who(stamp.created_by, stamp.owner_team, stamp.teams)]
    found += [f"{letter}:{value}" for name, letter in _SINGLE if (value := getattr(stamp, name))]
    if stamp.status:
        found.append(plain("status", status_class(stamp.status)))
        found.append(plain("status", str(stamp.status)))
    found += [plain("rule", rule) for rule in stamp.rules]
    for make, said in ((pinned, stamp.pinned), (claimed, stamp.claimed)):
        for name, value in said.items():
            found += (make(name), make(name, value))
    return tuple(dict.fromkeys(found))


@lru_cache(maxsize=10_000)  # most records are made by who made the ones before
def _who(created_by: str, owner_team: str, teams: tuple[str, ...]) -> tuple[str, ...]:
    stamp = Stamp(created_by, owner_team, teams)
    every = stamp.every_team
    return (
        creator(created_by),
        *([owner(stamp.owner)] if stamp.owner else ()),
        *([HAS_TEAM] if every else ()),
        *(team(one) for one in every),
    )


def stamp_of(body: Mapping[str, Any], aside: Mapping[str, Any] | None = None) -> Stamp:
    """The stamp of a request or decision as it stands in the journal.

    A resource that was not in the catalogue, and what the caller claimed, stand in the `aside`; once
    that is erased they are no longer known.
    """
    kept = aside or {}
    # What is no text counts as absent. Each record comes through here: a call for each field would tell.
    said = {"created_by": "", "resource": _text(kept.get("resource"))}
    said |= {
        field: value for name, field in _TEXTS if isinstance(value := body.get(name), str) and value
    }
    return Stamp(
        **said,
        teams=tuple([_text(one) for one in body.get("teams") or ()]),
        status=status if isinstance(status := body.get("status"), int) else 0,
        rules=tuple([_text(one) for one in body.get("rules") or ()]),
        pinned=_texts(body.get("pinned")),
        claimed=_texts(kept.get("claimed")),
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        return {}
    return {str(name): said for name, said in value.items() if isinstance(said, str)}
