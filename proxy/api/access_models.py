"""Bodies and answers of questions about access: explain, who may, what may somebody (`models.py` for all others)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from proxy.api.models import Answer, Given
from proxy.api.paging import PageQuery


class ExplainBody(Given):
    subject: Annotated[str, StringConstraints(min_length=3, max_length=320)] | None = Field(
        default=None, description="`user:<e-mail>`, `virtualaccount:<name>`, …; yourself if absent."
    )
    action: Annotated[str, StringConstraints(min_length=3, max_length=64)]
    resource: Annotated[str, StringConstraints(min_length=3, max_length=512)]
    context: dict[
        Annotated[str, StringConstraints(max_length=128)],
        Annotated[str, StringConstraints(max_length=1024)] | int | bool,
    ] = Field(default_factory=dict, max_length=64, description="Fields that conditions may read.")
    at: Annotated[str, StringConstraints(min_length=1, max_length=40)] | int | None = Field(
        default=None,
        description="What would have been answered: an epoch, or a time with its offset; now if absent.",
    )


class ExplainAnswer(Answer):
    effect: Literal["allow", "deny"]
    reason: str
    rules: list[str]
    message: str
    epoch: int
    at: datetime | None = Field(
        default=None, description="When that epoch's entry was written, if `at` was given."
    )
    explanation: dict[str, Any] | None = Field(
        description="Every candidate rule and why it did or did not count; null where only those "
        "with `decision:ask` may see it."
    )
    people: dict[str, str] = Field(
        description="E-mails of the user ids (`u-…`) in the explanation whom you may read."
    )


# Who may, and what may somebody

At = Annotated[
    str,
    Field(
        max_length=40,
        description="As it was: an epoch, or a time with its offset (`2030-01-31T12:00:00Z`); now if empty.",
    ),
]


class _AccessQuery(PageQuery):
    at: At = ""
    cursor: Annotated[
        str,
        Field(
            max_length=2048,
            pattern="^[A-Za-z0-9_-]*$",
            description="`next` of the page before, with the same parameters; empty = the first.",
        ),
    ] = ""


class WhoQuery(_AccessQuery):
    action: Annotated[str, StringConstraints(min_length=3, max_length=64)]
    resource: Annotated[str, StringConstraints(min_length=3, max_length=512)]


class CanQuery(_AccessQuery):
    subject: Annotated[
        str,
        Field(max_length=320, description="A user or virtual account; yourself if empty."),
    ] = ""
    action: Annotated[str, Field(max_length=64, description="Only this one; all if empty.")] = ""


class HolderAnswer(Answer):
    subject: str
    path: str = Field(description="The memberships that lead there: subject | resource.")
    rules: list[str]


class AbilityAnswer(Answer):
    action: str
    resource: str
    path: str = Field(description="As for a holder; empty where only `decision:ask` shows it.")
    rules: list[str]


class _AccessPage(Answer):
    epoch: int = Field(description="All pages are true at this entry of the change log.")
    at: datetime | None = Field(description="When that entry was written.")
    next: str | None = Field(description="The cursor of the next page; null on the last.")
    people: dict[str, str] = Field(description="E-mails of the user ids whom you may read.")


class WhoPage(_AccessPage):
    """Users and virtual accounts that may, each confirmed by a decision."""

    data: list[HolderAnswer]


class CanPage(_AccessPage):
    """What the subject may do, each confirmed by a decision."""

    subject: str
    data: list[AbilityAnswer]
