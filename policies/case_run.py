"""A case put to an engine: what was decided, and how that differs from what the case expects.

Ids in, ids out: whoever asks has resolved names, and turns ids in the answer back into names (`shown`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from authz.conditions import Context
from authz.decision import Asker, Decision, Reason
from authz.engine import Engine
from policies.case import Case

_GENERATION = re.compile(r"~[0-9]+(?=[/#]|\Z)")
_SHOWN_RULES = 5


@dataclass(frozen=True, slots=True)
class Judged:
    """What an engine answered to a case. `failures` is empty when the case holds."""

    failures: tuple[str, ...]
    decision: Decision

    @property
    def hit(self) -> frozenset[str]:
        """The rules that matched, those of shadow mode included."""
        found: set[str] = set()
        for verdict in self.decision.verdicts:
            if verdict.reason is not Reason.CONDITION_NOT_MET:
                found.update(verdict.rules)
            found.update(verdict.shadow_rules)
        return frozenset(found)


def judge(
    engine: Engine,
    case: Case,
    asker: Asker,
    context: Context,
    shown: Callable[[str], str] = str,
    *,
    listed: bool = True,
) -> Judged:
    """What the engine decides on a case whose names are ids; `listed`: what is allowed must be listed."""
    decision = engine.decide(asker, case.action, case.resource, context)
    failures = [shown(text) for text in _differences(case, decision)]
    if listed and decision and not engine.visible(asker, case.action, [case.resource], context):
        failures.append("it is allowed but a list would not show it")
    return Judged(tuple(failures), decision)


def _differences(case: Case, decision: Decision) -> Iterator[str]:
    if decision.effect.value != case.expect:
        by = f"; path {decision.path}" if decision.path else ""
        why = f"{decision.reason.value}, {_rules(decision) or 'no rule'}{by}"
        yield f"expected {case.expect}, got {decision.effect.value} ({why})"
    elif case.reason is not None and decision.reason.value != case.reason:
        yield f"expected the reason {case.reason}, got {decision.reason.value}"
    if case.rule is not None and _plain(case.rule) not in map(_plain, decision.rules):
        yield f"expected the rule {case.rule}, got {_rules(decision) or 'none'}"
    if case.message is not None and case.message != decision.message:
        yield f"expected the message `{case.message}`, got `{decision.message}`"
    if case.shadow is not None:
        first = decision.verdicts[0].shadow if decision.verdicts else None
        effect = first.value if first is not None else "none"
        if effect != case.shadow:
            yield f"expected the shadow effect {case.shadow}, got {effect}"


def _plain(rule: str) -> str:
    """A rule's id without generations: a case names rules as people write them."""
    return _GENERATION.sub("", rule)


def _rules(decision: Decision) -> str:
    more = len(decision.rules) - _SHOWN_RULES
    tail = f" and {more} more" if more > 0 else ""
    return ", ".join(decision.rules[:_SHOWN_RULES]) + tail
