"""Findings about documents, put back to where the documents were written.

A plan knows a document by its key and a value by its path; whoever loaded it knows file, line and column.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from policies.documents import Document
from policies.errors import Problem
from policies.loader import REQUEST, Loaded, Located

_NUMBERED = re.compile(rf"{REQUEST}\[([0-9]{{1,6}})\]\Z")


def numbered(number: int) -> str:
    """The file name of the document that came as the one of this number, counted from 0."""
    return f"{REQUEST}[{number}]"


def placed(problems: Iterable[Problem], loaded: Loaded) -> tuple[Problem, ...]:
    """The problems, sorted; those about a document of `loaded` at its file, line and column."""
    written = {located.document.key: located for located in loaded.documents}
    return tuple(
        sorted(
            _at(problem, written.get(problem.key) if problem.key is not None else None)
            for problem in problems
        )
    )


def placed_by_number(problems: Iterable[Problem], loaded: Loaded) -> tuple[Problem, ...]:
    """The same for problems of a service that was sent the documents of `loaded` in their order."""
    return tuple(sorted(_at(problem, _sent(problem, loaded)) for problem in problems))


def _sent(problem: Problem, loaded: Loaded) -> Located[Document] | None:
    found = _NUMBERED.match(problem.file)
    number = int(found[1]) if found else len(loaded.documents)
    return loaded.documents[number] if number < len(loaded.documents) else None


def _at(problem: Problem, located: Located[Document] | None) -> Problem:
    if located is None:
        return problem
    line, column = located.at(*problem.path)
    return replace(problem, file=located.file, line=line, column=column)
