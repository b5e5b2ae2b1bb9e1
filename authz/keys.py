"""The key set of a record: short texts that say who made it, for whom, with what and how it ended.

One pure function, `keys_of`, serves the writer (which indexes the keys), the stores (which match filters
against them) and the check of a single record, so that the three cannot drift apart. A record is stamped
when it is written and never again; only ids stand in a stamp, so a name that is taken again inherits
nothing. What rules make of keys: `filters` and `scopes`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from authz.vocabulary import Kind, kind_of

EVERYONE: Final = (
    f"{Kind.TEAM.value}:everyone"  # every active user: as a stamp it would mean nothing
)
HAS_TEAM: Final = "teams"  # at least one team is stamped


@dataclass(frozen=True, slots=True)
class Stamp:
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
    pinned: Mapping[str, str] = field(default_factory=dict)
    claimed: Mapping[str, str] = field(default_factory=dict)

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
_SINGLE: Final = (
    *("account", "action", "effect", "method", "model", "outcome", "reason", "request"),
    *("resource", "server", "tool"),
)


def _pair(space: str, name: str, value: str | None) -> str:
    # Quoted, because both may hold any character: no name and value can be taken for another pair.
    said = [name] if value is None else [name, value]
    return space + _quoted(said)


# --- all of a record -------------------------------------------------------------------------------


def keys_of(stamp: Stamp) -> tuple[str, ...]:
    """Every key of a record, each once."""
    found = [creator(stamp.created_by)]
    if stamp.owner:
        found.append(owner(stamp.owner))
    teams = stamp.every_team
    if teams:
        found.append(HAS_TEAM)
        found += [team(one) for one in teams]
    found += [plain(name, value) for name in _SINGLE if (value := getattr(stamp, name))]
    if stamp.status:
        found.append(plain("status", status_class(stamp.status)))
        found.append(plain("status", str(stamp.status)))
    found += [plain("rule", rule) for rule in stamp.rules]
    for make, said in ((pinned, stamp.pinned), (claimed, stamp.claimed)):
        for name, value in said.items():
            found += (make(name), make(name, value))
    return tuple(dict.fromkeys(found))


def stamp_of(body: Mapping[str, Any], aside: Mapping[str, Any] | None = None) -> Stamp:
    """The stamp of a request or decision as it stands in the journal.

    A resource that was not in the catalogue, and what the caller claimed, stand in the `aside`; once
    that is erased they are no longer known.
    """
    kept = aside or {}
    return Stamp(
        created_by=_text(body.get("principal")),
        owner_team=_text(body.get("owner_team")),
        teams=tuple(_text(one) for one in body.get("teams") or ()),
        account=_text(body.get("account")),
        model=_text(body.get("model")),
        server=_text(body.get("server")),
        tool=_text(body.get("tool")),
        method=_text(body.get("method")),
        outcome=_text(body.get("outcome")),
        status=status if isinstance(status := body.get("status"), int) else 0,
        request=_text(body.get("request")),
        action=_text(body.get("action")),
        resource=_text(body.get("resource")) or _text(kept.get("resource")),
        effect=_text(body.get("effect")),
        reason=_text(body.get("reason")),
        rules=tuple(_text(one) for one in body.get("rules") or ()),
        pinned=_texts(body.get("pinned")),
        claimed=_texts(kept.get("claimed")),
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        return {}
    return {str(name): said for name, said in value.items() if isinstance(said, str)}
