"""What came of cases: as text, as JSON, as JUnit XML, and which rules no case ever hit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree as Xml

from policies.errors import Problem

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


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
class Coverage:
    """The rules of the fixtures, as people write them, and those of them that a case hit."""

    rules: frozenset[str] = frozenset()
    hit: frozenset[str] = frozenset()

    @property
    def missed(self) -> tuple[str, ...]:
        return tuple(sorted(self.rules - self.hit))

    @property
    def percent(self) -> float:
        """0 to 100; of no rules at all, all are hit."""
        return 100.0 * len(self.rules & self.hit) / len(self.rules) if self.rules else 100.0


@dataclass(frozen=True, slots=True)
class CaseReport:
    """All cases of all files; `problems` are what kept a file from running."""

    results: tuple[CaseResult, ...] = ()
    problems: tuple[Problem, ...] = ()
    coverage: Coverage = field(default_factory=Coverage)

    @property
    def failed(self) -> tuple[CaseResult, ...]:
        return tuple(result for result in self.results if not result.passed)

    @property
    def exit_code(self) -> int:
        wrong = any(problem.severity == "error" for problem in self.problems)
        return 1 if wrong or self.failed else 0

    def lines(self, *, coverage: bool = False) -> Iterable[str]:
        """The report as text: what failed, then what it comes to."""
        for problem in self.problems:
            yield problem.text()
        for result in self.failed:
            for failure in result.failures:
                yield f"{result.file}:{result.line}: {result.name}: {failure}"
        if coverage:
            for rule in self.coverage.missed:
                yield f"never hit: {rule}"
            rules, missed = len(self.coverage.rules), len(self.coverage.missed)
            yield f"{rules - missed} of {rules} rules hit ({self.coverage.percent:.1f} %)"
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
            "coverage": {
                "rules": len(self.coverage.rules),
                "percent": round(self.coverage.percent, 1),
                "never_hit": list(self.coverage.missed),
            },
        }

    def junit(self) -> str:
        """The report as JUnit XML: a suite for each file; what kept a file from running is an error."""
        by_file: dict[str, list[CaseResult]] = {}
        for result in self.results:
            by_file.setdefault(result.file, []).append(result)
        errors: dict[str, list[Problem]] = {}
        for problem in self.problems:
            if problem.severity == "error":
                errors.setdefault(problem.file, []).append(problem)
        counts = self._counts(by_file, errors)
        root = Xml.Element("testsuites", {"name": "gatewarden test", **counts})
        for file in dict.fromkeys([*by_file, *errors]):
            results, wrong = by_file.get(file, []), errors.get(file, [])
            counts = self._counts({file: results}, {file: wrong})
            suite = Xml.SubElement(root, "testsuite", {"name": _xml(file), **counts})
            for result in results:
                case = _testcase(suite, file, result.name, result.line)
                if not result.passed:
                    told = Xml.SubElement(case, "failure", message=_xml(result.failures[0]))
                    told.text = _xml("\n".join(result.failures))
            for problem in wrong:
                case = _testcase(suite, file, problem.code, problem.line)
                told = Xml.SubElement(case, "error", message=_xml(problem.message))
                told.text = _xml(problem.text())
        Xml.indent(root)
        return Xml.tostring(root, encoding="unicode", xml_declaration=True) + "\n"

    @staticmethod
    def _counts(
        results: Mapping[str, list[CaseResult]], errors: Mapping[str, list[Problem]]
    ) -> dict[str, str]:
        every = [one for group in results.values() for one in group]
        wrong = sum(map(len, errors.values()))
        failed = sum(not one.passed for one in every)
        return {"tests": str(len(every) + wrong), "failures": str(failed), "errors": str(wrong)}


def _testcase(suite: Xml.Element, file: str, name: str, line: int) -> Xml.Element:
    return Xml.SubElement(
        suite, "testcase", classname=_xml(file), name=_xml(name), file=_xml(file), line=str(line)
    )


def _xml(text: str) -> str:
    """Text without what XML cannot hold."""
    return _NOT_XML.sub("\ufffd", text)
