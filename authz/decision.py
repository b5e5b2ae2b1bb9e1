"""The values that a decision is made of: the asker, the questions, the verdicts, the decision.

Named tuples where the house has frozen dataclasses elsewhere: they are made on every request, and a
named tuple is made in a third of the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple, Protocol

_NOTHING: Mapping[str, object] = MappingProxyType({})


class Effect(StrEnum):
    ALLOW = "allow"
    DENY = "deny"


class Reason(StrEnum):
    """Why a decision is what it is. A closed list: metrics and cases name these."""

    ALLOWED = "allowed"
    NO_GRANT = "no_grant"  # no allow row matches: looks like a thing that does not exist
    DENIED_BY_RULE = "denied_by_rule"  # a deny row matches
    CONDITION_NOT_MET = "condition_not_met"  # an allow row matches but for its condition
    OUTSIDE_BOUND = "outside_bound"  # the account's team may not
    OUTSIDE_TOKEN = "outside_token"  # the token's own restrictions leave it out
    TARGET_DENIED = "target_denied"  # the alias is allowed, its target is denied
    UNKNOWN_RESOURCE = "unknown_resource"  # not in the catalogue
    ERROR = "error"  # our own fault: 503


class Part(StrEnum):
    """Which question of the conjunction this is."""

    SUBJECT = "subject"
    BOUND = "bound"
    TOKEN = "token"
    TARGET = "target"  # what an alias stands for: no deny may match


class Asker(Protocol):
    """What the engine needs to know of a principal (`identity.principal.Principal` has it)."""

    @property
    def id(self) -> str: ...  # user:u-… or virtualaccount:…
    @property
    def bound(self) -> str | None: ...  # bound:<team>, or None
    @property
    def token(self) -> str | None: ...  # token:<id> of a restricted credential, or None


class Somebody(NamedTuple):
    """An asker of whom no more is known: in searches, differences, cases and guards."""

    id: str
    bound: str | None = None
    token: str | None = None


class Question(NamedTuple):
    """One question to Casbin."""

    part: Part
    subject: str
    action: str
    resource: str


class ConditionOutcome(NamedTuple):
    """What a condition came to: `met` is None when it was unknown."""

    rule: str
    name: str
    met: bool | None


class Verdict(NamedTuple):
    """What Casbin answered to one question, and by which rules.

    `rules` are all that matched: those that decided first (a deny, or the allow rows whose condition was
    not met), each kind in order of its ids. `path` is the membership chain of the decisive rule, from the subject to the rule's subject, then
    from the resource to the rule's object (`user:u-1 > team:ml | model:a/b > provider-account:a`).
    `shadow` is the effect that p and p2 together would have, or None when no shadow row was a candidate.
    """

    question: Question
    effect: Effect
    reason: Reason
    rules: tuple[str, ...] = ()
    path: str = ""
    conditions: tuple[ConditionOutcome, ...] = ()
    shadow: Effect | None = None
    shadow_rules: tuple[str, ...] = ()


class Decision(NamedTuple):
    """What the engine answered, and why. Falsy when denied.

    `rules`, `path` and `message` are those of the decisive verdict: the subject's own when allowed by
    all, else the one that refused (questions after it are not asked). `message` is "" whenever the
    caller must not learn that the thing exists. `context` holds the values that conditions read.
    """

    effect: Effect
    reason: Reason
    epoch: int
    digest: str
    verdicts: tuple[Verdict, ...] = ()
    rules: tuple[str, ...] = ()
    path: str = ""
    message: str = ""
    context: Mapping[str, object] = _NOTHING

    def __bool__(self) -> bool:
        return self.effect is Effect.ALLOW
