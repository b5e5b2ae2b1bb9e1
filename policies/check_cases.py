"""What is wrong with the cases of a policy document: who, what and which field they name.

What does not exist is an error, because a case that expects a refusal would hold for the wrong reason; one
that is about a thing that does not exist says so (`reason: unknown_resource`). One part of `validate`.
"""

from __future__ import annotations

from authz.conditions import root_of
from authz.decision import Reason
from authz.vocabulary import ACTIONS, Action
from policies import globs
from policies.case import Case, fields_of
from policies.documents import Document, Policy
from policies.fits import fits
from policies.loader import Located
from policies.mentions import Mentions
from policies.nearest import did_you_mean

MAX_CASES = 1_000  # in all policies together; `case_gate` counts those that are stored
MAX_FIELDS = 64  # of a context
_ASKERS = ("user:", "team:", "virtualaccount:", "serviceaccount:", "role:")
_REASONS = tuple(reason.value for reason in Reason)

Path = tuple[str | int, ...]
Doc = Located[Document]


def check_cases(doc: Doc, policy: Policy, refs: Mentions) -> None:
    """Every case of a policy document."""
    if len(policy.cases) > MAX_CASES:
        message = f"{len(policy.cases)} cases; a policy has at most {MAX_CASES}"
        hint = "keep the rest in a file `<name>.cases.yaml`, for `gatewarden test`"
        refs.found.error(doc, ("cases",), "too_many_cases", message, hint)
        return
    seen: set[str] = set()
    for index, case in enumerate(policy.cases):
        path: Path = ("cases", index)
        if case.name and case.name in seen:
            message = f"the case `{case.name[:80]}` stands twice"
            refs.found.warn(doc, (*path, "name"), "repeated", message, "rename one")
        seen.add(case.name)
        _case(doc, path, case, refs)


def _case(doc: Doc, path: Path, case: Case, refs: Mentions) -> None:
    if case.asker.startswith(_ASKERS):
        refs.subject(doc, (*path, "as"), case.asker)
    else:
        message = f"`{case.asker[:80]}` cannot ask"
        hint = "write `user:<e-mail>`, `virtualaccount:<name>`, `team:<name>` or `role:<name>`"
        refs.found.error(doc, (*path, "as"), "bad_subject", message, hint)
    if case.bound is not None:
        refs.team(doc, (*path, "bound"), case.bound)
    known = case.action in ACTIONS
    if not known:
        hint = did_you_mean(case.action, sorted(ACTIONS), "name one action")
        message = f"`{case.action[:80]}` is not an action"
        refs.found.error(doc, (*path, "action"), "unknown_action", message, hint)
    _resource(doc, path, case, refs, known=known)
    if case.reason is not None and case.reason not in _REASONS:
        hint = did_you_mean(case.reason, _REASONS, "one of " + ", ".join(_REASONS))
        message = f"`{case.reason[:80]}` is not a reason"
        refs.found.error(doc, (*path, "reason"), "wrong_value", message, hint)
    fields = fields_of(case.context)
    if len(fields) > MAX_FIELDS:
        message = f"a context has at most {MAX_FIELDS} fields"
        refs.found.error(doc, (*path, "context"), "too_many", message)
    for name in fields:
        if not root_of(name):
            message = f"`{name[:80]}` is not a field that a request can have"
            refs.found.error(doc, (*path, "context"), "unknown_field", message)


def _resource(doc: Doc, path: Path, case: Case, refs: Mentions, *, known: bool) -> None:
    at = (*path, "resource")
    if globs.is_glob(case.resource):
        message = f"`{case.resource[:80]}` is a pattern; a case asks about one thing"
        refs.found.error(doc, at, "bad_resource", message, "name one, or write a `matrix`")
        return
    if case.reason == Reason.UNKNOWN_RESOURCE:
        return
    resource = refs.resource(doc, at, case.resource, bound=True)
    asked = (
        case.action != Action.DECISION_ASK
    )  # on whoever is asked about, so on nothing of its own
    if resource and known and asked and not fits(case.action, resource):
        message = f"`{case.action}` is never asked on `{resource[:80]}`"
        refs.found.error(doc, at, "action_mismatch", message, "name a thing of that kind")
