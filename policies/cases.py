"""Decision cases: what a policy must decide, written beside it in YAML, and run offline by the real engine.

A file `<name>.cases.yaml` holds one mapping: `fixture` (files or folders, relative to the file), `documents`
(written out), `enable` (rules to switch on, `<policy>/<rule>`) and `cases`. Each case says who (`as`) asks
for which `action` on which `resource`, what is expected, and may say the reason, the rule, the message and
the effect that shadow rules would have. The shipped documents are always there. Nothing is stored.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from authz.conditions import MISSING, Context, instant
from authz.decision import Decision
from authz.engine import Engine
from policies import yaml_nodes
from policies.documents import Document, Policy
from policies.errors import InvalidDocuments, Problem
from policies.estate import Estate
from policies.loader import CASE_SUFFIXES, Loaded, load_paths, read_text, shipped
from policies.planning import offline
from policies.positions import START, Node
from policies.shape import shape_as
from policies.truefoundry import subject_of
from policies.validate import validate

# A Wednesday at noon: what the clock says in a case that does not say `now`.
DEFAULT_NOW = datetime(2026, 1, 7, 12, tzinfo=UTC)

_PERSON = re.compile(r"user:([^/\s]+@[^/\s]+)")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Case(_Strict):
    """One question and what must come of it."""

    name: str = ""
    asker: str = Field(alias="as")
    bound: str | None = None  # the team that the asker's account is bound to
    action: str
    resource: str
    context: Mapping[str, Any] = Field(default_factory=dict)
    now: datetime | None = None
    expect: Literal["allow", "deny"]
    reason: str | None = None
    rule: str | None = None
    message: str | None = None
    shadow: Literal["allow", "deny"] | None = None


class CaseFile(_Strict):
    description: str = ""
    fixture: str | tuple[str, ...] = ()
    documents: tuple[Any, ...] = ()
    enable: tuple[str, ...] = ()
    cases: tuple[Case, ...]


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What became of one case; `failures` is empty when it holds."""

    file: str
    line: int
    name: str
    failures: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return not self.failures


@dataclass(frozen=True, slots=True)
class CaseReport:
    """All cases of all files; `problems` are what kept a file from running."""

    results: tuple[CaseResult, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def failed(self) -> tuple[CaseResult, ...]:
        return tuple(result for result in self.results if not result.passed)

    @property
    def exit_code(self) -> int:
        wrong = any(problem.severity == "error" for problem in self.problems)
        return 1 if wrong or self.failed else 0

    def lines(self) -> Iterable[str]:
        """The report as text: what failed, then what it comes to."""
        for problem in self.problems:
            yield problem.text()
        for result in self.failed:
            for failure in result.failures:
                yield f"{result.file}:{result.line}: {result.name}: {failure}"
        yield f"{len(self.results)} cases, {len(self.failed)} failed"

    def to_json(self) -> dict[str, Any]:
        """The report for `--json`."""
        return {
            "ok": self.exit_code == 0,
            "cases": len(self.results),
            "failed": [
                {"file": r.file, "line": r.line, "name": r.name, "failures": list(r.failures)}
                for r in self.failed
            ],
            "problems": [problem.text() for problem in self.problems],
        }


def run(paths: Iterable[str | Path], model_text: str) -> CaseReport:
    """Every case of the files named and of the case files in the folders named. Blocking."""
    results: list[CaseResult] = []
    problems: list[Problem] = []
    for file in _files(paths, problems):
        text = read_text(file, problems)
        for node in yaml_nodes.documents(text, str(file), problems) if text is not None else ():
            _run_file(file, node, model_text, results, problems)
    return CaseReport(tuple(results), tuple(sorted(problems)))


def _files(paths: Iterable[str | Path], problems: list[Problem]) -> list[Path]:
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            found += sorted(f for f in path.rglob("*") if f.name.lower().endswith(CASE_SUFFIXES))
        elif path.exists():
            found.append(path)
        else:
            problems.append(Problem(str(path), *START, "no_such_file", "there is no such file"))
    return list(dict.fromkeys(found))


def _run_file(
    file: Path, node: Node, model_text: str, results: list[CaseResult], problems: list[Problem]
) -> None:
    parsed, found = shape_as(node, str(file), CaseFile)
    problems += found
    if parsed is None:
        return
    try:
        table = _Table.build(file, node, parsed, model_text)
    except InvalidDocuments as refused:
        problems += refused.problems
        return
    entry = node.entries["cases"].node
    for index, case in enumerate(parsed.cases):
        line = entry.items[index].place.line
        name = case.name or f"{case.asker} {case.action} {case.resource}"
        results.append(CaseResult(str(file), line, name, tuple(table.failures(case))))


@dataclass(frozen=True, slots=True)
class _Asker:
    id: str
    bound: str | None = None
    token: str | None = None


@dataclass(slots=True)
class _Table:
    """The fixture of one file, loaded into an engine."""

    estate: Estate
    engine: Engine
    problems: list[Problem] = field(default_factory=list)

    @classmethod
    def build(cls, file: Path, node: Node, parsed: CaseFile, model_text: str) -> _Table:
        """Raises: InvalidDocuments when the fixture has errors or `enable` names no rule."""
        fixture = (parsed.fixture,) if isinstance(parsed.fixture, str) else parsed.fixture
        loaded = load_paths([file.parent / path for path in fixture])
        _written_out(node, file, loaded)
        found = validate(loaded, None)
        if any(problem.severity == "error" for problem in found):
            raise InvalidDocuments(tuple(found))
        documents = {document.key: document for document in shipped()}
        documents.update((each.document.key, each.document) for each in loaded.documents)
        _enable(documents, parsed.enable, file, node)
        estate = offline(documents.values())
        return cls(estate, Engine.load(model_text, estate.rows(), 1))

    def failures(self, case: Case) -> list[str]:
        """How the decision differs from what the case expects; [] when it does not."""
        try:
            asker = _Asker(self.id_of(case.asker), f"bound:{case.bound}" if case.bound else None)
            resource = self.id_of(case.resource)
        except LookupError as error:
            return [str(error.args[0])]
        context = _context(case)
        decision = self.engine.decide(asker, case.action, resource, context)
        wrong = list(self._differences(case, decision))
        listed = self.engine.visible(asker, case.action, [resource], context)
        if decision and not listed:
            wrong.append("it is allowed but a list would not show it")
        return wrong

    def _differences(self, case: Case, decision: Decision) -> Iterable[str]:
        if decision.effect.value != case.expect:
            why = f"{decision.reason.value}, {', '.join(decision.rules) or 'no rule'}"
            yield f"expected {case.expect}, got {decision.effect.value} ({why})"
        elif case.reason is not None and decision.reason.value != case.reason:
            yield f"expected the reason {case.reason}, got {decision.reason.value}"
        if case.rule is not None:
            rule = _PERSON.sub(lambda found: self.id_of(found[0]), case.rule)
            if rule not in decision.rules:
                yield f"expected the rule {case.rule}, got {', '.join(decision.rules) or 'none'}"
        if case.message is not None and case.message != decision.message:
            yield f"expected the message `{case.message}`, got `{decision.message}`"
        if case.shadow is not None:
            first = decision.verdicts[0].shadow if decision.verdicts else None
            shown = first.value if first is not None else "none"
            if shown != case.shadow:
                yield f"expected the shadow effect {case.shadow}, got {shown}"

    def id_of(self, written: str) -> str:
        """The id of what a case names; people by their e-mail.

        Raises:
            LookupError: no document mentions that person.
        """
        text = subject_of(written)
        kind, _, name = text.partition(":")
        if kind != "user" or "@" not in name:
            return text
        person = self.estate.person(name)
        if person is None:
            raise LookupError(f"no document mentions `{name}`")
        return f"user:{person.id}"


def _written_out(node: Node, file: Path, loaded: Loaded) -> None:
    entry = node.entries.get("documents")
    for item in entry.node.items if entry is not None else ():
        loaded.add(item, str(file), skip_unsupported=False)


def _enable(
    documents: dict[tuple[str, str], Document], names: tuple[str, ...], file: Path, node: Node
) -> None:
    for index, name in enumerate(names):
        policy_name, _, rule_id = name.partition("/")
        key = ("policy", policy_name)
        policy = documents.get(key)
        if not isinstance(policy, Policy) or rule_id not in [rule.id for rule in policy.rules]:
            place = node.entries["enable"].node.items[index].place
            message = f"there is no rule `{name[:80]}`"
            hint = "write `<policy>/<rule>`"
            raise InvalidDocuments((Problem(str(file), *place, "dangling", message, hint),))
        rules = tuple(
            rule.model_copy(update={"enabled": True}) if rule.id == rule_id else rule
            for rule in policy.rules
        )
        documents[key] = policy.model_copy(update={"rules": rules})


def _context(case: Case) -> Context:
    """What the request would supply: `{body: {max_tokens: 5}}` and `{"body.max_tokens": 5}` are one."""
    values: dict[str, object] = {"time.now": case.now or DEFAULT_NOW}
    for name, value in case.context.items():
        if isinstance(value, Mapping):
            values.update((f"{name}.{inner}", each) for inner, each in value.items())
        else:
            values[name] = value
    moment = instant(values["time.now"])
    if moment is not None:
        values["time.now"] = moment
    return Context(values, lazy=lambda _: MISSING)
