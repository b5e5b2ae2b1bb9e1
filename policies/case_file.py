"""The shape of a case file, and what its matrices stand for.

A file `<name>.cases.yaml` holds one mapping: `fixture` (files or folders, relative to the file), `documents`
(written out), `enable` (rules to switch on, `<policy>/<rule>`), `cases` and `matrix`. A matrix asks every
subject for every action on every resource; what `allowed` does not list is expected to be denied.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from pydantic import Field

from policies.case import Case
from policies.errors import Problem
from policies.parts import Name, Part
from policies.positions import Node

MAX_CELLS = 50_000  # of one matrix


class MatrixAllowed(Part):
    """Cells that are expected to be allowed; a field that is left out means all of the matrix."""

    subjects: tuple[str, ...] | None = None
    actions: tuple[str, ...] | None = None
    resources: tuple[str, ...] | None = None

    def has(self, subject: str, action: str, resource: str) -> bool:
        """Whether a cell is among them."""
        return (
            (self.subjects is None or subject in self.subjects)
            and (self.actions is None or action in self.actions)
            and (self.resources is None or resource in self.resources)
        )


class Matrix(Part):
    """Subjects × actions × resources, with what of it is allowed."""

    name: str = ""
    subjects: tuple[str, ...]
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    allowed: tuple[MatrixAllowed, ...]
    bound: Name | None = None
    context: Mapping[str, Any] = Field(default_factory=dict)
    now: datetime | None = None

    @property
    def cells(self) -> int:
        return len(self.subjects) * len(self.actions) * len(self.resources)

    def cases(self) -> Iterator[Case]:
        """A case for each cell, in the order in which they are written."""
        prefix = f"{self.name}: " if self.name else ""
        for subject in self.subjects:
            for action in self.actions:
                for resource in self.resources:
                    allowed = any(one.has(subject, action, resource) for one in self.allowed)
                    yield Case(
                        name=f"{prefix}{subject} {action} {resource}"[:1024],
                        asker=subject,
                        bound=self.bound,
                        action=action,
                        resource=resource,
                        context=self.context,
                        now=self.now,
                        expect="allow" if allowed else "deny",
                    )


class CaseFile(Part):
    description: str = ""
    fixture: str | tuple[str, ...] = ()
    documents: tuple[Any, ...] = ()
    enable: tuple[str, ...] = ()
    cases: tuple[Case, ...] = ()
    matrix: tuple[Matrix, ...] = ()


def matrix_problems(matrix: Matrix, node: Node, file: str) -> Iterator[Problem]:
    """What is wrong with a matrix: an axis without values, one that is too large, a cell outside."""
    for axis in ("subjects", "actions", "resources"):
        values: tuple[str, ...] = getattr(matrix, axis)
        if not values:
            place = node.entries[axis].place
            yield Problem(
                file, *place, "empty_list", f"`{axis}` is empty, so nothing is asked", "name some"
            )
        for index, one in enumerate(matrix.allowed):
            named: tuple[str, ...] | None = getattr(one, axis)
            for place_in, value in enumerate(named or ()):
                if value not in values:
                    items = node.entries["allowed"].node.items[index].entries[axis].node.items
                    yield Problem(
                        file,
                        *items[place_in].place,
                        "outside_matrix",
                        f"`{value[:80]}` is not among the `{axis}` of the matrix",
                        f"add it to `{axis}`, or remove it here",
                    )
    if matrix.cells > MAX_CELLS:
        message = f"a matrix of {matrix.cells} cells; at most {MAX_CELLS} are asked"
        yield Problem(file, *node.place, "too_many", message, "split it")
