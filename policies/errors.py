"""Errors of the policy folder. A `Problem` is one finding in a file; all are reported at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from authz.errors import GatewardenError


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One finding: where (1-based), what, and how to mend it. Sorts by file, line, column.

    `key` and `path` say which document and which value of it, for those who know where it was written
    (`placing`); two findings that differ in these alone are the same.
    """

    file: str
    line: int
    column: int
    code: str
    message: str
    hint: str = ""
    severity: Literal["error", "warning"] = "error"
    path: tuple[str | int, ...] = field(default=(), compare=False)
    key: tuple[str, str] | None = field(default=None, compare=False)  # (family, name) as written

    def text(self) -> str:
        tail = f"; {self.hint}" if self.hint else ""
        return f"{self.file}:{self.line}:{self.column}: {self.severity} {self.code}: {self.message}{tail}"

    def to_json(self) -> dict[str, str | int]:
        """The finding for `--json`."""
        return {
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "severity": self.severity,
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
        }


class PolicyError(GatewardenError):
    code = "policy_error"


class InvalidDocuments(PolicyError):
    """One or more documents are wrong; `problems` has them all, sorted."""

    code = "invalid_documents"

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        errors = [p for p in problems if p.severity == "error"]
        first = errors[0] if errors else problems[0]
        super().__init__(
            f"{len(errors)} problem(s) in the documents: {first.message}", hint=first.hint
        )
        self.problems = problems


class NotAuthorised(PolicyError):
    """The actor may not make this change; `missing` names each (action, object) that he lacks."""

    code = "not_authorised"

    def __init__(
        self, message: str, missing: tuple[tuple[str, str], ...], *, hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.missing = missing


class Conflict(PolicyError):
    """The thing changed since it was read, or belongs to another source."""

    code = "conflict"


class ManagedBy(Conflict):
    """Another source (`owner`) owns what the change would edit, and nobody said to take it over."""

    code = "managed_by"

    def __init__(self, message: str, owner: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.owner = owner


class NotFound(PolicyError):
    code = "not_found"


class GuardRefused(PolicyError):
    """The change would leave nobody able to administer, or breaks a reference."""

    code = "guard_refused"


class CasesFailed(PolicyError):
    """The change would break stored cases, or brings cases that do not hold; `problems` has each."""

    code = "case_failed"

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        count = len(problems)
        cases = "1 case" if count == 1 else f"{count} cases"
        super().__init__(
            f"{cases} would fail: {problems[0].message}",
            hint="correct the change, or change the cases with it if this is meant",
        )
        self.problems = problems
