"""What became of each thing in a LiteLLM installation: the notes of an import, and the report of them.

No note holds a value that may be a secret: it names the place, and says what to do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Fate(StrEnum):
    CARRIED = "carried"
    CHANGED = "changed"  # carried, and not quite the same: look at it
    LEFT = "left"  # not carried over


@dataclass(frozen=True, slots=True, order=True)
class Note:
    """What became of one thing, and what to do about it."""

    fate: Fate
    where: str  # as `model_list[2].litellm_params.rpm`
    what: str
    todo: str = ""


@dataclass(slots=True)
class Notes:
    """Notes in the making, and names that must be unique."""

    found: list[Note] = field(default_factory=list)
    _taken: set[tuple[str, str]] = field(default_factory=set)

    def carried(self, where: str, what: str, todo: str = "") -> None:
        self.found.append(Note(Fate.CARRIED, where, what, todo))

    def changed(self, where: str, what: str, todo: str = "") -> None:
        self.found.append(Note(Fate.CHANGED, where, what, todo))

    def left(self, where: str, what: str, todo: str = "") -> None:
        self.found.append(Note(Fate.LEFT, where, what, todo))

    def name(self, family: str, wanted: str, where: str) -> str:
        """A name that a document of the family can have, which no other has; a change of it is noted."""
        made = re.sub(r"[^A-Za-z0-9._-]+", "-", wanted).strip("-._")[:56] or family
        if (family, made.casefold()) in {("team", "everyone"), ("team", "any")} or made == "v1":
            made += "-imported"
        free, number = made, 1
        while (family, free.casefold()) in self._taken:
            number += 1
            free = f"{made}-{number}"
        self._taken.add((family, free.casefold()))
        if free != wanted:
            self.changed(where, f"`{shown(wanted)}` is called `{free}` here")
        return free


def shown(text: object) -> str:
    """A name from the outside for a message: short, and no markup."""
    return re.sub(r"[^\w .:@/+*-]", "_", str(text))[:80]


@dataclass(frozen=True, slots=True)
class Migration:
    """The documents of an import, the names that models have now, and what became of everything."""

    documents: tuple[Mapping[str, Any], ...]
    models: Mapping[str, tuple[str, ...]]  # LiteLLM's name -> `<account>/<model>`
    variables: tuple[str, ...]  # environment variables that the accounts read
    notes: tuple[Note, ...]

    def to_json(self) -> dict[str, Any]:
        """The report for `--json`."""
        return {
            "documents": len(self.documents),
            "models": {name: list(found) for name, found in self.models.items()},
            "variables": list(self.variables),
            "notes": [
                {"fate": n.fate.value, "where": n.where, "what": n.what, "todo": n.todo}
                for n in self.notes
            ],
        }

    def report(self) -> str:
        """The report as Markdown."""
        lines = [
            "# Import from LiteLLM",
            "",
            f"{len(self.documents)} documents. Tokens are not carried",
        ]
        lines[-1] += " over: people and virtual accounts get new ones (`gatewarden token create`)."
        lines += ["", "## What callers say now", "", "| LiteLLM | here |", "| --- | --- |"]
        for name, found in sorted(self.models.items()):
            lines.append(f"| `{shown(name)}` | {', '.join(f'`{each}`' for each in found)} |")
        lines += ["", "## Environment variables to set", ""]
        lines += [f"- `{name}`" for name in self.variables] or ["None."]
        for fate, title in _TITLES.items():
            lines += ["", f"## {title}", ""]
            lines += list(_told(note for note in self.notes if note.fate is fate)) or ["Nothing."]
        return "\n".join(lines) + "\n"


_TITLES = {
    Fate.LEFT: "Not carried over",
    Fate.CHANGED: "Carried over, and not quite the same",
    Fate.CARRIED: "Carried over",
}


def _told(notes: Iterable[Note]) -> Iterable[str]:
    for note in notes:
        yield f"- `{note.where}`: {note.what}" + (f". {note.todo}" if note.todo else "")
