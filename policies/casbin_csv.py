"""Casbin's CSV to nodes: `p, sub, obj, act[, eft]` and `g, member, group`, each cell with its place.

One file becomes one `policy` document named after it, whose rule ids are its line numbers (`line-12`).
Memberships become what holds them here: `g, user:…, team:…` a team with these members, `g, …, role:…` a role
binding, `g2, model:…, resource-group:…` a resource group. `p2` is a rule in shadow mode. Cells are names as
in every other document and are checked like those (`shape`, `validate`); nothing in a cell is evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import NamedTuple

from policies.errors import Problem
from policies.positions import (
    MAX_NODES,
    START,
    Entry,
    Kind,
    Node,
    Place,
    Style,
    bad_character_at,
)

MAX_ROWS = MAX_NODES // 20  # a rule is about fourteen values
_LINE_END = re.compile(r"\r\n|\n|\r")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_RULE = "write `p, <subject>, <resource>, <action>[, allow|deny]`"
_GROUPING = (
    "write `g, user:<e-mail>, team:<name>`, `g, <user, team or virtual account>, role:<name>`"
    " or `g2, <model or provider account>, resource-group:<name>`"
)
_BOUND = ("user", "team", "virtualaccount")


class Cell(NamedTuple):
    text: str
    place: Place


def documents(text: str, file: str, problems: list[Problem]) -> Iterator[Node]:
    """Yields the root node of each document that the rows come to; adds what is wrong to `problems`."""
    reading = _Reading(file, problems)
    text = text.removeprefix("\ufeff")
    found, offset = bad_character_at(text)
    if found:
        before = len(_LINE_END.findall(text, 0, offset))
        start = max((end.end() for end in _LINE_END.finditer(text, 0, offset)), default=0)
        message = f"the text holds the character {found}"
        place = Place(before + 1, offset - start + 1)
        problems.append(Problem(file, *place, "bad_character", message, "remove it"))
        return
    rows = 0
    for number, line in enumerate(_LINE_END.split(text), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        rows += 1
        if rows > MAX_ROWS:
            message = f"a file of more than {MAX_ROWS} rows"
            problems.append(Problem(file, number, 1, "too_large", message, "split it"))
            return
        cells = reading.cells(line, number)
        if cells is not None:
            reading.take(cells)
    yield from reading.documents()


@dataclass(slots=True)
class _Reading:
    """The rows of one file, sorted into what they become."""

    file: str
    problems: list[Problem]
    rules: list[Node] = field(default_factory=list)
    teams: dict[str, tuple[Place, list[Node]]] = field(default_factory=dict)
    roles: dict[str, tuple[Place, list[Node]]] = field(default_factory=dict)
    groups: dict[str, tuple[Place, list[Node]]] = field(default_factory=dict)

    def problem(self, place: Place, code: str, message: str, hint: str) -> None:
        self.problems.append(Problem(self.file, *place, code, message, hint))

    def cells(self, line: str, number: int) -> list[Cell] | None:
        """The cells of a line, without the blanks around them; None when a quote is wrong."""
        cells: list[Cell] = []
        at = 0
        while True:
            at += len(line[at:]) - len(line[at:].lstrip())
            place = Place(number, at + 1)
            if line.startswith('"', at):
                end = _closing(line, at + 1)
                rest = line[end + 1 :].lstrip() if end >= 0 else ""
                if end < 0 or (rest and not rest.startswith(",")):
                    hint = 'close the quote on this line; a quote inside is written `""`'
                    self.problem(place, "csv_syntax", "a quoted cell that does not end well", hint)
                    return None
                cells.append(Cell(line[at + 1 : end].replace('""', '"').strip(), place))
                comma = line.find(",", end)
            else:
                comma = line.find(",", at)
                cells.append(Cell(line[at : comma if comma >= 0 else None].strip(), place))
            if comma < 0:
                return cells
            at = comma + 1

    def take(self, cells: list[Cell]) -> None:
        """Sort one row in; a row that is wrong is reported and left out."""
        kind = cells[0]
        match kind.text:
            case "p" | "p2":
                self._rule(cells)
            case "g" | "g2":
                if self._has(cells, 3, 3, _GROUPING):
                    self._membership(cells)
            case "g3":
                self.problem(
                    kind.place,
                    "unsupported",
                    "a `g3` row is not read",
                    "write a `role` document with these actions under `permissions`",
                )
            case _:
                hint = f"{_RULE}, or {_GROUPING[6:]}; a comment starts with `#`"
                if len(cells) == 1 and (";" in kind.text or "\t" in kind.text):
                    hint = "separate the cells with commas"
                elif "ptype" in (cell.text.casefold() for cell in cells):
                    hint = "remove the heading"
                message = f"`{kind.text[:80]}` is not a kind of row"
                self.problem(kind.place, "unknown_row", message, hint)

    def _has(self, cells: list[Cell], least: int, most: int, hint: str) -> bool:
        """Whether a row has as many cells as it must, none of them empty."""
        if len(cells) < least:
            message = f"a `{cells[0].text}` row of {len(cells)} cells"
            self.problem(cells[0].place, "missing_field", message, hint)
            return False
        for cell in cells[most:]:
            if cell.text:
                message = f"a `{cells[0].text}` row with a cell too many"
                self.problem(cell.place, "unknown_field", message, hint)
                return False
        for cell in cells[1:least]:
            if not cell.text:
                self.problem(cell.place, "no_value", "an empty cell", hint)
                return False
        return True

    def _rule(self, cells: list[Cell]) -> None:
        hint = f"{_RULE}; conditions stand in a `policy` document"
        if not self._has(cells, 4, 5, hint):
            return
        kind, subject, resource, action = cells[:4]
        effect = cells[4] if len(cells) > 4 and cells[4].text else Cell("allow", kind.place)
        fields = {
            "id": _text(Cell(f"line-{kind.place.line}", kind.place)),
            "effect": _text(effect),
            "subjects": _list(subject.place, [_text(subject)]),
            "actions": _list(action.place, [_text(action)]),
            "resources": _list(resource.place, [_text(resource)]),
        }
        if kind.text == "p2":
            fields["mode"] = _text(Cell("shadow", kind.place))
        self.rules.append(_mapping(kind.place, fields))

    def _membership(self, cells: list[Cell]) -> None:
        row, member, group = cells[:3]
        who, _, name = member.text.partition(":")
        what, _, group_name = group.text.partition(":")
        name_cell = Cell(name, Place(member.place.line, member.place.column + len(who) + 1))
        if (row.text, who, what) == ("g", "user", "team"):
            into, node = self.teams, _text(member)
        elif row.text == "g" and what == "role" and who in _BOUND:
            fields = {"type": _text(Cell(who, member.place)), "name": _text(name_cell)}
            into, node = self.roles, _mapping(member.place, fields)
        elif row.text == "g2" and what == "resource-group":
            into, node = self.groups, _text(member)
        else:
            message = f"`{member.text[:80]}` cannot be put into `{group.text[:80]}`"
            hint = _GROUPING
            if what == "team":
                hint = (
                    "a team holds people only, written `user:<e-mail>`; a group of groups is a role"
                )
            self.problem(member.place, "bad_membership", message, hint)
            return
        place = Place(group.place.line, group.place.column + len(what) + 1)
        into.setdefault(group_name, (place, []))[1].append(node)

    def documents(self) -> Iterator[Node]:
        """The documents, in the order of their kinds: teams, role bindings, groups, the policy."""
        stem = PurePath(self.file).name.rsplit(".", 1)[0]
        if (self.rules or self.roles) and not _NAME.match(stem):
            message = f"a policy cannot be called `{stem[:80]}`, as the file is"
            hint = "name the file with letters, digits, `.`, `_` and `-` only, at most 64"
            self.problem(START, "bad_name", message, hint)
            return
        for name, (place, members) in self.teams.items():
            yield _document("team", Cell(name, place), {"members": _list(place, members)})
        for name, (place, subjects) in self.roles.items():
            permission = {
                "resourceType": _text(Cell("tenant", place)),
                "resourceFqn": _text(Cell("tenant", place)),
                "role": _text(Cell(name, place)),
            }
            fields = {
                "subjects": _list(place, subjects),
                "permissions": _list(place, [_mapping(place, permission)]),
            }
            yield _document("role-binding", Cell(f"{stem}-{name}"[:64], place), fields)
        for name, (place, members) in self.groups.items():
            fields = {"resources": _list(place, members)}
            yield _document("resource-group", Cell(name, place), fields)
        if self.rules:
            place = self.rules[0].place
            yield _document("policy", Cell(stem, place), {"rules": _list(place, self.rules)})


def _closing(line: str, at: int) -> int:
    """Where the quote that was opened before `at` closes, or -1."""
    while (end := line.find('"', at)) >= 0:
        if not line.startswith('"', end + 1):
            return end
        at = end + 2
    return -1


def _document(kind: str, name: Cell, fields: dict[str, Node]) -> Node:
    return _mapping(
        name.place, {"type": _text(Cell(kind, name.place)), "name": _text(name), **fields}
    )


def _text(cell: Cell) -> Node:
    return Node(cell.place, Kind.SCALAR, Style.TEXT, cell.text)


def _list(place: Place, items: list[Node]) -> Node:
    return Node(place, Kind.LIST, items=items, size=1 + sum(item.size for item in items))


def _mapping(place: Place, fields: dict[str, Node]) -> Node:
    entries = {name: Entry(node.place, node) for name, node in fields.items()}
    return Node(place, Kind.MAPPING, entries=entries, size=1 + sum(n.size for n in fields.values()))
