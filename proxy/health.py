"""Whether the process is alive and whether it should get traffic, with the reasons.

Alive means that the loop turns. Ready means that it decides by a policy that is fresh enough and can
write down what it decides; a process that cannot is taken out of rotation, never answered 401 for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """One condition of readiness."""

    name: str
    ok: bool
    detail: str


class Health:
    """The conditions of readiness, each a callable that answers (ok, detail)."""

    def __init__(self) -> None:
        self._checks: dict[str, Callable[[], tuple[bool, str]]] = {}
        self.draining = False

    def require(self, name: str, check: Callable[[], tuple[bool, str]]) -> None:
        """Add a condition."""
        self._checks[name] = check

    def checks(self) -> list[Check]:
        """All conditions now; a check that raises counts as failed."""
        found = [Check("accepting", not self.draining, "draining" if self.draining else "")]
        for name, check in self._checks.items():
            try:
                ok, detail = check()
            except Exception as exc:  # a broken check must show as not ready, not as a 500
                ok, detail = False, type(exc).__name__
            found.append(Check(name, ok, detail))
        return found

    @property
    def ready(self) -> bool:
        return all(check.ok for check in self.checks())
