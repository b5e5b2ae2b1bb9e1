"""Whether everything that one rule names is also named by another: the same, or something wider.

Certain where it says yes: memberships are those of the documents at hand, groups that always exist are
those of `compile`. Serves `lint`; nothing is decided by it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator

from authz.vocabulary import MCP_KINDS, WILD_ACTION, Action, Kind, kind_of
from policies import globs
from policies.compile import STRUCTURE_ROWS
from policies.documents import Document, PolicyRule, ResourceGroup, Team, User, VirtualAccount
from policies.naming import id_of
from policies.truefoundry import subject_of


class Covering:
    """Who belongs to what in some documents, as written."""

    def __init__(self, documents: Iterable[Document]) -> None:
        self._subjects: dict[str, set[str]] = {}
        self._objects: dict[str, set[str]] = {}
        self._members: dict[str, tuple[str, ...]] = {}  # of a resource group
        for row in STRUCTURE_ROWS:
            self._objects.setdefault(row.values[0], set()).add(row.values[1])
        for document in documents:
            self._note(document)

    def _note(self, document: Document) -> None:
        match document:
            case User() | VirtualAccount():
                held = self._subjects.setdefault(_subject(id_of(document)), set())
                held.update(f"role:{name}" for name in document.roles)
            case Team():
                team = id_of(document)
                for member in document.members:
                    name = member.removeprefix("user:")
                    self._subjects.setdefault(_subject(f"user:{name}"), set()).add(team)
                self._subjects.setdefault(team, set()).update(f"role:{r}" for r in document.roles)
            case ResourceGroup():
                group = id_of(document)
                self._members[group] = document.resources
                for member in document.resources:
                    self._objects.setdefault(member, set()).add(group)

    def covers(
        self, wide: PolicyRule, wide_actions: Collection[str], rule: PolicyRule, actions: list[str]
    ) -> bool:
        """Whether `wide` names everybody, every action and everything that `rule` names."""
        return (
            all(WILD_ACTION in wide_actions or action in wide_actions for action in actions)
            and all(self._is_subject(each, wide.subjects) for each in rule.subjects)
            and all(
                self._is_object(thing, wide.resources, action)
                for thing in rule.resources
                for action in actions
            )
        )

    def _is_subject(self, subject: str, wide: Iterable[str]) -> bool:
        named = {_subject(each) for each in wide}
        if "any:subject" in named or {"any:user", "any:virtualaccount"} <= named:
            return True
        return not named.isdisjoint(_closure(_subject(subject), self._groups_of))

    def _groups_of(self, subject: str) -> Iterator[str]:
        yield from self._subjects.get(subject, ())
        kind = kind_of(subject)
        if kind in (Kind.USER, Kind.TEAM):  # only people are in teams
            yield "any:user"
        elif kind == Kind.VIRTUAL_ACCOUNT:
            yield "any:virtualaccount"

    def _is_object(self, thing: str, wide: Collection[str], action: str) -> bool:
        if any(self._reaches(thing, each, action) for each in wide):
            return True
        members = self._members.get(thing)
        return bool(members) and all(
            any(self._reaches(member, each, action) for each in wide) for member in members or ()
        )

    def _reaches(self, thing: str, wide: str, action: str) -> bool:
        kind = kind_of(thing)
        models = kind == Kind.PROVIDER_ACCOUNT and action == Action.MODEL_USE
        if models and (wide == "any:model" or _is_all_of(wide, thing.partition(":")[2])):
            return True
        if globs.is_glob(wide) and (kind == Kind.MODEL or kind in MCP_KINDS):
            if _is_all_of(wide, thing.partition(":")[2].partition("/")[0], kind):
                return True
            return not globs.is_glob(thing) and globs.matches(wide, thing)
        return wide in _closure(thing, self._holders_of)

    def _holders_of(self, thing: str) -> Iterator[str]:
        yield from self._objects.get(thing, ())
        kind, _, name = thing.partition(":")
        if kind == Kind.MODEL:
            yield "any:model"
            account = name.partition("/")[0]
            if not globs.is_glob(account):
                yield f"{Kind.PROVIDER_ACCOUNT.value}:{account}"
        elif kind in MCP_KINDS:
            yield f"any:{Kind.MCP_SERVER.value}"
            server = name.partition("/")[0]
            if not globs.is_glob(server):
                yield f"{Kind.MCP_SERVER.value}:{server}"
        elif kind not in (Kind.ANY, Kind.DATA, Kind.SELF, Kind.SETTINGS):
            yield f"any:{kind}"


def _is_all_of(pattern: str, account: str, of: str = Kind.MODEL.value) -> bool:
    """Whether a pattern names every model of the account, or all of its kind that the server offers."""
    kind, _, rest = pattern.partition(":")
    wanted, slash, model = rest.partition("/")
    return kind == of and slash == "/" and wanted in (account, "*") and model == "*"


def _closure(start: str, parents: Callable[[str], Iterable[str]]) -> set[str]:
    seen, left = {start}, [start]
    while left:
        for parent in parents(left.pop()):
            if parent not in seen:
                seen.add(parent)
                left.append(parent)
    return seen


def _subject(text: str) -> str:
    named = subject_of(text)
    return named.casefold() if named.startswith("user:") else named
