"""What is not wrong and yet hardly meant: rules that can never match, or that another one makes pointless.

Warnings only, each with a stable code and a way to mend it. `lint_policy` looks at one policy document and
is part of `validate`, so that a change is told too; `lint` compares the documents of an estate with each
other, which needs all of them, and is part of `check`. Pure.

Codes: `everyone_denied`, `never_matches`, `unconditional`, `duplicate_rule`, `shadowed`, `unused`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from authz.conditions import Item, Operator
from authz.vocabulary import WILD_ACTION
from policies.contradictions import Extent, contradiction
from policies.covering import Covering
from policies.documents import Document, Policy, PolicyRule, ResourceGroup, Role, dump
from policies.errors import PolicyError, Problem
from policies.loader import Loaded, Located, shipped
from policies.mentions import Findings
from policies.naming import EVERYONE, id_of, label
from policies.references import mentions_of
from policies.truefoundry import actions_of, subject_of

Doc = Located[Document]
Place = tuple[Doc, int, PolicyRule]

MAX_PAIRS: Final = 1_000_000
_EVERYBODY: Final = "it refuses administrators too, and no virtual account; name teams or roles, or `any:virtualaccount`"


def lint_policy(doc: Doc, policy: Policy, found: Findings) -> None:
    """What can be said of the rules of one policy without looking at other documents."""
    for index, rule in enumerate(policy.rules):
        path = ("rules", index)
        if rule.effect == "deny" and rule.mode == "enforce":
            for place, subject in enumerate(rule.subjects):
                if subject_of(subject) == EVERYONE:
                    at = (*path, "subjects", place)
                    message = f"the rule `{rule.id}` refuses `{EVERYONE}`"
                    found.warn(doc, at, "everyone_denied", message, _EVERYBODY)
        if rule.effect == "allow" and "when" in rule.model_fields_set and not rule.when:
            found.warn(
                doc,
                (*path, "when"),
                "unconditional",
                f"`when` is empty, so the rule `{rule.id}` allows without any condition",
                "write a condition, or leave `when` out",
            )
        _contradictory(doc, path, rule, found)


def _contradictory(doc: Doc, path: tuple[str, int], rule: PolicyRule, found: Findings) -> None:
    items = []
    for test in rule.when:
        try:
            operator = Operator(test.operator)
        except ValueError:
            return  # reported as unknown
        bare = operator is Operator.EXISTS and test.value == ""
        items.append(Item(test.field, operator, True if bare else test.value))
    clash = contradiction(items, rule.effect)
    if clash is None:
        return
    said = f"no value of `{clash.field}` meets all the tests of the rule `{rule.id}`"
    if clash.extent is Extent.NEVER:
        said += ", so it never matches"
    else:
        said += ", so it refuses only requests where that is missing or of another kind"
    hint = "all tests of a rule must hold; use IN for alternatives, or write two rules"
    found.warn(doc, (*path, "when", clash.second), "never_matches", said, hint)


def lint(loaded: Loaded, *, partial: bool = False) -> list[Problem]:
    """What can be said of all documents together, sorted.

    `partial`: the documents are a part of an estate, so nothing can be called unused.
    """
    found = Findings()
    rules = list(_rules(loaded))
    _duplicates(rules, found)
    _shadowed(rules, loaded, found)
    if not partial:
        _unused(loaded, found)
    return sorted(set(found.problems))


def _rules(loaded: Loaded) -> Iterator[Place]:
    """The rules that are switched on, each with its document and number."""
    for doc in loaded.documents:
        if isinstance(doc.document, Policy):
            for index, rule in enumerate(doc.document.rules):
                if rule.enabled:
                    yield doc, index, rule


def _duplicates(rules: list[Place], found: Findings) -> None:
    seen: dict[object, Place] = {}
    for doc, index, rule in rules:
        same = (
            (rule.effect, rule.trust, rule.mode, rule.valid_from, rule.valid_until),
            frozenset(subject_of(each).casefold() for each in rule.subjects),
            frozenset(_actions(rule)),
            frozenset(rule.resources),
            frozenset(repr((test.field, test.operator, test.value)) for test in rule.when),
        )
        first = seen.setdefault(same, (doc, index, rule))
        if first[2] is not rule:
            message = f"the rule `{rule.id}` says the same as {_called(first)}"
            found.warn(doc, ("rules", index), "duplicate_rule", message, "remove one of them")


def _shadowed(rules: list[Place], loaded: Loaded, found: Findings) -> None:
    """Allows that a deny without conditions overrides for everybody and everything they name."""
    bans = [
        (place, frozenset(_actions(place[2])))
        for place in rules
        if place[2].effect == "deny" and place[2].mode == "enforce" and not _limited(place[2])
    ]
    if not bans:
        return
    # Every allow is held against every ban: of an estate of ten thousands of rules, the first bans only.
    bans = bans[: max(1, MAX_PAIRS // len(rules))]
    covering = Covering(each.document for each in loaded.documents)
    for doc, index, rule in rules:
        if rule.effect != "allow" or not (rule.subjects and rule.resources and rule.actions):
            continue
        for ban, banned in bans:
            if covering.covers(ban[2], banned, rule, _actions(rule)):
                message = f"the rule `{rule.id}` allows nothing: {_called(ban)} refuses all of it"
                hint = "a deny beats every allow; narrow the deny, or remove the allow"
                found.warn(doc, ("rules", index), "shadowed", message, hint)
                break


def _limited(rule: PolicyRule) -> bool:
    return bool(rule.when) or rule.valid_from is not None or rule.valid_until is not None


def _unused(loaded: Loaded, found: Findings) -> None:
    """Groups and roles that no other document names; the shipped ones are there to be taken."""
    ours = {document.key for document in shipped()}
    named: dict[str, set[tuple[str, str]]] = {}
    for doc in loaded.documents:
        for token in mentions_of(dump(doc.document)):
            named.setdefault(token, set()).add(doc.document.key)
    for doc in loaded.documents:
        document = doc.document
        if not isinstance(document, ResourceGroup | Role) or document.key in ours:
            continue
        if not named.get(id_of(document), set()) - {document.key}:
            group = isinstance(document, ResourceGroup)
            word = "resource group" if group else "role"
            hint = "name it in a rule or a grant" if group else "give it to somebody"
            message = f"nothing uses the {word} `{document.name}`"
            found.warn(doc, ("name",), "unused", message, f"{hint}, or remove it")


def _actions(rule: PolicyRule) -> list[str]:
    names: set[str] = set()
    for written in rule.actions:
        if written == WILD_ACTION:
            names.add(WILD_ACTION)
            continue
        try:
            names |= {action.value for action in actions_of(written)}
        except PolicyError:
            names.add(written)  # reported as unknown
    return sorted(names)


def _called(place: Place) -> str:
    doc, index, rule = place
    line = doc.at("rules", index).line
    return f"`{label(doc.document.key)}#{rule.id}` ({doc.file}:{line})"
