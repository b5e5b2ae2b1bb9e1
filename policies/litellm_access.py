"""LiteLLM's teams and keys to teams, people, virtual accounts and what they may use.

An empty `models` list means every model there. Here an empty list is nothing, so what was meant is written
out: the models of this import, one by one, and the report says so. A model that is added later is granted
to nobody by that. Keys are not carried over; who holds one gets what it could be used for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from policies.litellm_models import Deployed
from policies.litellm_notes import Notes, shown
from policies.naming import is_email

_ALL = ("*", "all-proxy-models")
_TEAM_MODELS = "all-team-models"
_NONE = "no-default-models"
_ADMIN = "default_user_id"  # whom LiteLLM names for keys that its master key made
_ROLE = "provider-account-access"
_TEAM_READ = frozenset(
    {"team_id", "team_alias", "members_with_roles", "members", "admins", "models", "blocked"}
    | {"created_at", "updated_at", "spend", "organization_id", "object_permission_id", "keys"}
    | {"budget_reset_at", "model_id", "object_permission", "litellm_model_table", "members_count"}
)
_KEY_READ = frozenset(
    {"token", "token_id", "key", "key_name", "key_alias", "user_id", "team_id", "models", "expires"}
    | {"blocked", "metadata", "spend", "created_at", "created_by", "updated_at", "updated_by"}
    | {"model_spend", "budget_reset_at", "last_used_at", "org_id", "organization_id", "user"}
    | {"litellm_budget_table", "object_permission_id", "object_permission", "last_rotation_at"}
)


@dataclass(slots=True)
class _Team:
    name: str
    models: tuple[str, ...]


@dataclass(slots=True)
class Access:
    """Who may use what, as it grows."""

    notes: Notes
    by_name: Mapping[str, list[Deployed]]
    now: datetime | None = None  # keys that have ended by then grant nothing
    teams: dict[str, _Team] = field(default_factory=dict)
    documents: list[dict[str, Any]] = field(default_factory=list)
    _people: dict[str, str] = field(default_factory=dict)  # user id -> e-mail

    # -- teams ---------------------------------------------------------------------------------------

    def team(self, entry: object, where: str) -> None:
        """One team of `/team/list`."""
        if not isinstance(entry, Mapping) or not entry.get("team_id"):
            self.notes.left(where, "an entry without `team_id`")
            return
        team_id = str(entry["team_id"])
        alias = str(entry.get("team_alias") or team_id)
        name = self.notes.name("team", alias, f"{where}.team_alias")
        members, managers = self._members(entry, where)
        document: dict[str, Any] = {"type": "team", "name": name, "displayName": alias[:1024]}
        if managers:
            document["managers"] = managers
        self.documents.append({**document, "members": members})
        models = self._models(entry.get("models"), f"{where}.models", team_id, None)
        if entry.get("blocked"):
            self.notes.changed(
                f"{where}.blocked", f"the team `{name}` is blocked: it is granted nothing"
            )
            models = ()
        self._unread(entry, _TEAM_READ, where)
        self.teams[team_id] = _Team(name, models)
        self._grant("team", name, f"team-{name}", models)
        self.notes.carried(
            where, f"the team `{name}` with {len(members)} members, {len(models)} models"
        )

    def _members(self, entry: Mapping[str, Any], where: str) -> tuple[list[str], list[str]]:
        members: list[str] = []
        managers: list[str] = []
        admins = {str(each) for each in _list(entry.get("admins"))}
        for index, member in enumerate(_list(entry.get("members_with_roles"))):
            at = f"{where}.members_with_roles[{index}]"
            said = member if isinstance(member, Mapping) else {}
            user_id = str(said.get("user_id") or "")
            email = next(
                (e for e in (str(said.get("user_email") or ""), user_id) if is_email(e)), None
            )
            if email is None:
                todo = "Add the person to the team by e-mail."
                self.notes.left(at, "a member without an e-mail address", todo)
                continue
            self._people.setdefault(user_id, email)
            if email.casefold() not in {each.casefold() for each in members}:
                members.append(email)
                if said.get("role") == "admin" or user_id in admins:
                    managers.append(email)
        return members, managers

    # -- keys ----------------------------------------------------------------------------------------

    def key(self, entry: object, where: str) -> None:
        """One key of `/key/list`; it is no secret that is read here, only what it is for."""
        if not isinstance(entry, Mapping):
            todo = "Export with `return_full_object=true`."
            self.notes.left(where, "a key of which only its number is known", todo)
            return
        team_id = str(entry["team_id"]) if entry.get("team_id") else None
        team = self.teams.get(team_id) if team_id else None
        if team_id and team is None:
            todo = "Give the team export along (--teams)."
            self.notes.left(
                where, f"a key of the team `{shown(team_id)}`, which is not known", todo
            )
            return
        models = self._models(entry.get("models"), f"{where}.models", team_id, team)
        user_id = str(entry.get("user_id") or "")
        metadata = entry.get("metadata")
        service = isinstance(metadata, Mapping) and bool(metadata.get("service_account_id"))
        self._unread(entry, _KEY_READ, where)
        if isinstance(metadata, Mapping) and metadata:
            self.notes.left(
                f"{where}.metadata", "metadata of a key", "Pin it in a gateway-metadata-config."
            )
        if user_id in ("", _ADMIN) or service:
            self._service(entry, team, models, where)
        else:
            self._personal(entry, user_id, team, models, where)

    def _service(
        self, entry: Mapping[str, Any], team: _Team | None, models: tuple[str, ...], where: str
    ) -> None:
        alias = str(entry.get("key_alias") or "key")
        name = self.notes.name("virtual-account", alias, f"{where}.key_alias")
        document: dict[str, Any] = {
            "type": "virtual-account",
            "name": name,
            "permissions": [
                {"resource_fqn": f"model:{model}", "resource_type": "model", "role_id": _ROLE}
                for model in models
            ],
        }
        if team is not None:
            document["ownedBy"] = {"team": team.name}
        if entry.get("blocked"):
            document["state"] = "suspended"
        expires = self._last_day(entry.get("expires"), f"{where}.expires")
        if expires is not None:
            document["expiration_date"] = expires.isoformat()
        self.documents.append(document)
        self.notes.carried(
            where,
            f"the virtual account `{name}` with {len(models)} models",
            f"Make its token: `gatewarden token create --for virtualaccount:{name}`.",
        )

    def _personal(
        self,
        entry: Mapping[str, Any],
        user_id: str,
        team: _Team | None,
        models: tuple[str, ...],
        where: str,
    ) -> None:
        email = user_id if is_email(user_id) else self._people.get(user_id)
        if email is None:
            todo = "Invite the person by e-mail, or make a virtual account."
            self.notes.left(where, "a key of somebody whose e-mail address is not known", todo)
            return
        if entry.get("blocked"):
            self.notes.left(where, f"a blocked key of `{shown(email)}`")
            return
        if entry.get("expires"):
            ends = _instant(entry["expires"])
            if ends is None or (self.now is not None and ends <= self.now):
                self.notes.left(where, f"a key of `{shown(email)}` that has ended")
                return
            todo = "Remove the grant then, or write a policy rule with `until`."
            self.notes.changed(
                f"{where}.expires", "the key ends; the person's grant does not", todo
            )
        todo = (
            "The person makes a token; what a key narrowed, its restrictions narrow."
            " Look whether LiteLLM allowed the person fewer models (`/user/list`)."
        )
        if team is not None:
            # What the team may use is granted to it, and the person is a member or is to be one.
            self.notes.changed(where, f"a key of `{shown(email)}` for the team `{team.name}`", todo)
            return
        self._grant("user", email, f"user-{email}", models, where)
        self.notes.changed(where, f"a key of `{shown(email)}`: granted to the person", todo)

    def _last_day(self, expires: object, where: str) -> date | None:
        if not expires:
            return None
        instant = _instant(expires)
        if instant is None:
            todo = "Set `expiration_date` by hand."
            self.notes.left(where, "an expiry that is no date", todo)
            return date(1970, 1, 1)  # never longer than it was: it has ended until somebody looks
        # `expiration_date` is the last whole day: one day earlier, so that nothing lives longer.
        day = instant.date() - timedelta(days=1)
        self.notes.changed(where, f"ends with {day.isoformat()} (UTC), the last whole day before")
        return day

    # -- what may be used ----------------------------------------------------------------------------

    def _models(
        self, written: object, where: str, team_id: str | None, team: _Team | None
    ) -> tuple[str, ...]:
        """The models that a list stands for, written out; those of the team at most."""
        listed = [str(each) for each in _list(written)]
        everything = [
            d for found in self.by_name.values() for d in found if d.team in (None, team_id)
        ]
        bound = set(team.models) if team is not None else {each.name for each in everything}
        names: set[str] = set()
        if not listed or set(_ALL) & set(listed) or (_TEAM_MODELS in listed and team is not None):
            names |= {each.name for each in everything}
            said = f"`{shown(listed[0])}`" if listed else "an empty list, which meant every model"
            if team is None:
                said += f": granted are the {len(names & bound)} models of now, not those to come"
            else:
                said += f": granted are the {len(names & bound)} models of its team"
            self.notes.changed(where, said)
        for each in listed:
            if each in (*_ALL, _TEAM_MODELS, _NONE):
                continue
            found = [d for d in self.by_name.get(each, ()) if d.team in (None, team_id)]
            found += [d for d in everything if each in d.groups]
            names |= {deployed.name for deployed in found}
            if not found:
                todo = "Grant what it stood for by hand."
                self.notes.left(
                    where, f"`{shown(each)}`, which is none of the models carried over", todo
                )
        if names - bound:
            self.notes.changed(where, "models that the team may not use were left out")
        return tuple(sorted(names & bound))

    def _grant(
        self, kind: str, name: str, called: str, models: Collection[str], where: str = ""
    ) -> None:
        if not models:
            return
        binding = self.notes.name("role-binding", called, where or f"models of {shown(name)}")
        self.documents.append(
            {
                "type": "role-binding",
                "name": binding,
                "subjects": [{"type": kind, "name": name}],
                "permissions": [
                    {"resourceType": "model", "resourceFqn": f"model:{model}", "role": _ROLE}
                    for model in models
                ],
            }
        )

    def _unread(self, entry: Mapping[str, Any], read: Iterable[str], where: str) -> None:
        for key in sorted(set(map(str, entry)) - set(read)):
            if entry[key] not in (None, [], {}, "", False, 0):
                self.notes.left(f"{where}.{shown(key)}", "budgets, limits and settings of LiteLLM")


def _instant(value: object) -> datetime | None:
    """In UTC, which no zone means too; None for what is no date or has no day before it."""
    try:
        instant = datetime.fromisoformat(str(value))
        aware = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
        return aware.astimezone(UTC) if instant.year > 1 else None
    except (ValueError, OverflowError):
        return None


def _list(value: object) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []
