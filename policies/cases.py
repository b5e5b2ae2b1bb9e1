"""Decision cases run offline by the real engine: those of case files, and those inside policy documents.

A case file (`case_file`) brings its own fixture. The cases of `policy` documents are asked of all documents
of the paths together. The shipped documents are always there, and what is named of MCP servers counts as
found there. Nothing is stored. Blocking (reads files).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from authz.decision import Reason, Somebody
from authz.engine import Engine
from policies import yaml_nodes
from policies.assumed import assumed
from policies.case import Case, context_of
from policies.case_file import CaseFile, matrix_problems
from policies.case_report import CaseReport as CaseReport
from policies.case_report import CaseResult, Coverage
from policies.case_run import judge
from policies.compile import rows_of
from policies.documents import Document, Policy
from policies.errors import InvalidDocuments, Problem
from policies.estate import Estate
from policies.loader import CASE_SUFFIXES, SUFFIXES, Loaded, load_paths, read_text, shipped
from policies.naming import label
from policies.planning import offline
from policies.positions import START, Node
from policies.shape import shape_as
from policies.truefoundry import subject_of
from policies.validate import validate

_PERSON = re.compile(r"user:([^/\s]+@[^/\s]+)")
_USER_ID = re.compile(r"user:(u-[0-9A-Za-z]+)")


def run(paths: Iterable[str | Path], model_text: str) -> CaseReport:
    """Every case of the files named, of the case files in folders, and of the policies in both."""
    work = _Run(model_text)
    files, documents = _sorted_out([Path(path) for path in paths], work.problems)
    for file, nodes in files:
        for node in nodes:
            work.case_file(file, node)
    work.documents(documents)
    return CaseReport(
        tuple(work.results),
        tuple(sorted(set(work.problems))),
        Coverage(frozenset(work.rules), frozenset(work.hit)),
    )


_Nodes = list[Node]


def _sorted_out(
    paths: list[Path], problems: list[Problem]
) -> tuple[list[tuple[Path, _Nodes]], list[Path]]:
    """The case files with what they hold, and the paths that may hold documents."""
    files: list[tuple[Path, _Nodes]] = []
    documents: list[Path] = []
    for path in dict.fromkeys(paths):
        if path.is_dir():
            documents.append(path)
            found = [f for f in sorted(path.rglob("*")) if f.name.lower().endswith(CASE_SUFFIXES)]
            files += [(file, _read(file, problems)) for file in found]
        elif not path.exists():
            problems.append(Problem(str(path), *START, "no_such_file", "there is no such file"))
        elif path.name.lower().endswith(CASE_SUFFIXES) or not _is_document(path):
            files.append((path, _read(path, problems)))
        else:
            documents.append(path)
    unique = dict(files)
    return list(unique.items()), documents


def _is_document(path: Path) -> bool:
    """Whether a file says a `type`, as documents do and case files do not."""
    nodes = _read(path, []) if path.name.lower().endswith(SUFFIXES) else []
    return any("type" in node.entries for node in nodes)


def _read(file: Path, problems: list[Problem]) -> _Nodes:
    text = read_text(file, problems)
    return list(yaml_nodes.documents(text, str(file), problems)) if text is not None else []


class _Run:
    """One run: results, problems and what was hit gather here."""

    def __init__(self, model_text: str) -> None:
        self._model_text = model_text
        self.results: list[CaseResult] = []
        self.problems: list[Problem] = []
        self.rules: set[str] = set()
        self.hit: set[str] = set()

    def case_file(self, file: Path, node: Node) -> None:
        """All cases of one case file."""
        parsed, found = shape_as(node, str(file), CaseFile)
        self.problems += found
        if parsed is None:
            return
        if not parsed.cases and not parsed.matrix:
            self._problem(file, node, "missing_field", "there are neither `cases` nor a `matrix`")
            return
        matrices = node.entries["matrix"].node.items if parsed.matrix else ()
        wrong = [
            problem
            for matrix, at in zip(parsed.matrix, matrices, strict=True)
            for problem in matrix_problems(matrix, at, str(file))
        ]
        self.problems += wrong
        if wrong:
            return
        try:
            cases = [*parsed.cases, *(case for one in parsed.matrix for case in one.cases())]
            table = self._table(_fixture(file, node, parsed), file, node, parsed.enable, cases)
        except InvalidDocuments as refused:
            self.problems += refused.problems
            return
        places = node.entries["cases"].node.items if parsed.cases else ()
        for case, at in zip(parsed.cases, places, strict=True):
            self._ask(table, case, str(file), at.place.line)
        for matrix, at in zip(parsed.matrix, matrices, strict=True):
            for case in matrix.cases():
                self._ask(table, case, str(file), at.place.line)
        self.hit |= table.hit

    def documents(self, paths: list[Path]) -> None:
        """The cases inside the policies of these files and folders; nothing when there are none."""
        if not paths:
            return
        loaded = load_paths(paths)
        policies = [
            (doc, doc.document) for doc in loaded.documents if isinstance(doc.document, Policy)
        ]
        if not any(policy.cases for _, policy in policies):
            return
        try:
            cases = [case for _, policy in policies for case in policy.cases]
            table = self._table(loaded, cases=cases)
        except InvalidDocuments as refused:
            self.problems += refused.problems
            return
        for doc, policy in policies:
            for index, case in enumerate(policy.cases):
                self._ask(table, case, doc.file, doc.at("cases", index).line)
        self.hit |= table.hit

    def _table(
        self,
        loaded: Loaded,
        file: Path | None = None,
        node: Node | None = None,
        enable: tuple[str, ...] = (),
        cases: Iterable[Case] = (),
    ) -> _Table:
        """Raises: InvalidDocuments when there are errors or `enable` names no rule."""
        found = validate(loaded, None)
        if any(problem.severity == "error" for problem in found):
            raise InvalidDocuments(tuple(found))
        documents = {document.key: document for document in shipped()}
        documents.update((each.document.key, each.document) for each in loaded.documents)
        if file is not None and node is not None:
            _enable(documents, enable, file, node)
        named = (c.resource for c in cases if c.reason != Reason.UNKNOWN_RESOURCE)
        estate = offline([*documents.values(), *assumed(documents.values(), named)])
        table = _Table(estate, Engine.load(self._model_text, estate.rows(), 1))
        own = {each.document.key for each in loaded.documents}
        own |= {("policy", name.partition("/")[0]) for name in enable}
        self.rules.update(table.rules(own))
        return table

    def _ask(self, table: _Table, case: Case, file: str, line: int) -> None:
        failures = table.failures(case)
        self.results.append(CaseResult(file, line, case.title, failures))

    def _problem(self, file: Path, node: Node, code: str, message: str) -> None:
        self.problems.append(Problem(str(file), *node.place, code, message))


def _fixture(file: Path, node: Node, parsed: CaseFile) -> Loaded:
    fixture = (parsed.fixture,) if isinstance(parsed.fixture, str) else parsed.fixture
    loaded = load_paths([file.parent / path for path in fixture])
    entry = node.entries.get("documents")
    for item in entry.node.items if entry is not None else ():
        loaded.add(item, str(file), skip_unsupported=False)
    return loaded


@dataclass(slots=True)
class _Table:
    """The documents of one run of cases, loaded into an engine."""

    estate: Estate
    engine: Engine
    hit: set[str] = field(default_factory=set)  # rules, as people write them

    def failures(self, case: Case) -> tuple[str, ...]:
        """How the decision differs from what the case expects; () when it does not."""
        try:
            asker = Somebody(self.id_of(case.asker), f"bound:{case.bound}" if case.bound else None)
            resource = self.id_of(case.resource)
            rule = case.rule and _PERSON.sub(lambda found: self.id_of(found[0]), case.rule)
        except LookupError as error:
            return (str(error.args[0]),)
        asked = case.model_copy(update={"resource": resource, "rule": rule})
        context = context_of(case.context, case.now)
        judged = judge(self.engine, asked, asker, context, self.shown)
        self.hit.update(self.shown(rule) for rule in judged.hit)
        return judged.failures

    def rules(self, keys: set[tuple[str, str]]) -> Iterator[str]:
        """The rules of these documents: those of policies that are on, and every grant."""
        for stored in self.estate.documents.values():
            document = stored.document
            if document.key not in keys and document.key[0] != "user":
                continue
            if isinstance(document, Policy):
                label_ = label(document.key)
                yield from (f"{label_}#{rule.id}" for rule in document.rules if rule.enabled)
                continue
            for row in rows_of(document, self.estate.names):
                if row.ptype in ("p", "p2"):
                    yield self.shown(row.values[5])

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

    def shown(self, text: str) -> str:
        """The text with people under their e-mail addresses again."""

        def address(found: re.Match[str]) -> str:
            person = self.estate.people.get(found[1])
            return f"user:{person.email}" if person is not None else found[0]

        return _USER_ID.sub(address, text)


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
