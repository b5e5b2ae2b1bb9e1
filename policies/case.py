"""One decision case: who asks for what, and what must come of it.

The same shape in a case file (`case_file`) and in a `policy` document, where it is kept with the rules that
it is about and gates the changes to them (`case_gate`). A case makes no rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import Field

from authz.conditions import FIELDS, MISSING, Context, instant
from policies.parts import Name, Part, Subject, Text

# A Wednesday at noon: what the clock says in a case that does not say `now`.
DEFAULT_NOW = datetime(2026, 1, 7, 12, tzinfo=UTC)


class Case(Part):
    """One question and what must come of it."""

    name: Text = ""
    asker: Subject = Field(alias="as")
    bound: Name | None = None  # the team that the asker's account is bound to
    action: Text
    resource: Text
    context: Mapping[str, Any] = Field(default_factory=dict)
    now: datetime | None = None
    expect: Literal["allow", "deny"]
    reason: Text | None = None
    rule: Text | None = None
    message: Text | None = None
    shadow: Literal["allow", "deny"] | None = None

    @property
    def title(self) -> str:
        """Its name, or what it asks."""
        return self.name or f"{self.asker} {self.action} {self.resource}"


def context_of(values: Mapping[str, Any], now: datetime | None) -> Context:
    """What the request would supply: `{body: {max_tokens: 5}}` and `{"body.max_tokens": 5}` are one."""
    at = now or DEFAULT_NOW
    flat: dict[str, object] = {"time.now": at if at.tzinfo is not None else at.replace(tzinfo=UTC)}
    flat.update(fields_of(values))
    moment = instant(flat["time.now"])
    if moment is not None:
        flat["time.now"] = moment
    return Context(flat, lazy=lambda _: MISSING)


def fields_of(values: Mapping[str, Any]) -> dict[str, object]:
    """The fields of a written context, by their full names."""
    flat: dict[str, object] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            for inner, each in value.items():
                full = f"{name}.{inner}"
                flat.update(_within(full, each) if f"{full}." in FIELDS else {full: each})
        else:
            flat[name] = value
    return flat


def _within(name: str, value: object) -> dict[str, object]:
    """What a path may find below `name`: arguments of a tool lie inside each other."""
    found: dict[str, object] = {name: value}
    if isinstance(value, Mapping):
        for inner, each in value.items():
            found |= _within(f"{name}.{inner}", each)
    return found
