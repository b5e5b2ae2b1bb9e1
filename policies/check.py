"""Checks files offline: what `gatewarden check PATH…` prints, as a value.

The same loader and the same checks as a change on a live service; what is stored there is not known here,
so the shipped documents and the files themselves are all that a name may refer to. Blocking (reads files).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from policies.errors import Problem
from policies.lint import lint
from policies.loader import load_paths
from policies.shape import Skipped
from policies.validate import validate

EXIT_OK = 0  # also with warnings
EXIT_ERRORS = 1


@dataclass(frozen=True, slots=True)
class Report:
    """What was checked and what was found, sorted by file, line and column."""

    files: tuple[str, ...]
    documents: int  # those without errors of their own
    problems: tuple[Problem, ...] = ()
    skipped: tuple[Skipped, ...] = ()

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.severity == "error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.severity == "warning")

    @property
    def exit_code(self) -> int:
        return EXIT_ERRORS if self.errors else EXIT_OK

    def lines(self) -> Iterator[str]:
        """The report as text: a line for each finding, then what it comes to."""
        for problem in self.problems:
            yield problem.text()
        for skip in self.skipped:
            yield f"{skip.file}:{skip.line}:{skip.column}: skipped: {skip.what} is not supported yet"
        yield (
            f"{_count(self.documents, 'document')} in {_count(len(self.files), 'file')}: "
            f"{_count(len(self.errors), 'error')}, {_count(len(self.warnings), 'warning')}"
        )

    def to_json(self) -> dict[str, Any]:
        """The report for `--json`."""
        return {
            "ok": not self.errors,
            "files": list(self.files),
            "documents": self.documents,
            "errors": len(self.errors),
            "warnings": len(self.warnings),
            "problems": [problem.to_json() for problem in self.problems],
            "skipped": [
                {"file": each.file, "line": each.line, "column": each.column, "what": each.what}
                for each in self.skipped
            ],
        }


def check(
    paths: Iterable[str | Path],
    *,
    now: datetime | None = None,
    skip_unsupported: bool = False,
    partial: bool = False,
) -> Report:
    """The report on files and folders. `now` turns on the warnings about what has expired.

    `partial` says that the files are a part of an estate: a name that they do not declare may exist on
    the service, so a dangling reference is a warning.
    """
    loaded = load_paths(paths, skip_unsupported=skip_unsupported)
    problems = sorted({*validate(loaded, None, now=now), *lint(loaded, partial=partial)})
    if partial:
        problems = [
            replace(found, severity="warning") if found.code == "dangling" else found
            for found in problems
        ]
    return Report(
        tuple(loaded.files), len(loaded.documents), tuple(problems), tuple(loaded.skipped)
    )


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
