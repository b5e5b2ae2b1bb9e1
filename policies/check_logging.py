"""What is wrong with a logging configuration: names that are not there, patterns that cannot be tried safely.

A model or server that is named without a wildcard must exist; the rule that names it is then sure to mean
something. One part of `validate`.
"""

from __future__ import annotations

from policies import globs
from policies.check_rules import unique
from policies.documents import Document
from policies.loader import Located
from policies.logging_config import LoggingConfig, LoggingRule, NameTest
from policies.mentions import Mentions
from policies.patterns import BadPattern, compiled

Path = tuple[str | int, ...]
MAX_NAMES = 200


def check_logging(doc: Located[Document], config: LoggingConfig, refs: Mentions) -> None:
    """Every rule of the document, and what it says of retention."""
    unique(doc, "rules", [rule.id for rule in config.rules], refs)
    own = config.own_rule
    if own is not None:
        _rule(doc, (), own, refs)
    for index, rule in enumerate(config.rules):
        _rule(doc, ("rules", index), rule, refs)
    kept = config.retention
    if kept is None:
        return
    if kept.payloads is not None and kept.requests is not None and kept.payloads > kept.requests:
        refs.found.error(
            doc,
            ("retention", "payloads"),
            "never_valid",
            "what was said cannot be kept longer than the record of its request",
            f"at most {kept.requests}",
        )


def _rule(doc: Located[Document], path: Path, rule: LoggingRule, refs: Mentions) -> None:
    tested = rule.when
    if tested.subjects is not None:
        inner = (*path, "when", "subjects")
        refs.subjects(doc, (*inner, "in"), tested.subjects.in_ or ())
        refs.subjects(doc, (*inner, "not_in"), tested.subjects.not_in)
        _empty(doc, inner, tested.subjects.in_, refs)
    for name in ("models", "servers"):
        test: NameTest | None = getattr(tested, name)
        if test is not None:
            inner = (*path, "when", name)
            _names(doc, (*inner, "in"), name, test.in_ or (), refs)
            _names(doc, (*inner, "not_in"), name, test.not_in, refs)
            _empty(doc, inner, test.in_, refs)
    for index, custom in enumerate(rule.redact_with.custom_patterns):
        try:
            compiled(custom.pattern)
        except BadPattern as error:
            at = (*path, "redact_with", "custom_patterns", index, "pattern")
            refs.found.error(doc, at, error.code, error.message, error.hint)
    redacts = rule.redact_with.presets or rule.redact_with.custom_patterns
    if rule.mode == "header-controlled" and not redacts:
        refs.found.warn(
            doc, path, "no_effect", "a rule that leaves it to the header and redacts nothing",
            "say `log:` or `redact_with:`",
        )  # fmt: skip


def _empty(
    doc: Located[Document], path: Path, names: tuple[str, ...] | None, refs: Mentions
) -> None:
    if names == ():
        refs.found.warn(
            doc, (*path, "in"), "empty_list", "a rule for none of these never applies", "name some"
        )


def _names(
    doc: Located[Document], path: Path, field: str, names: tuple[str, ...], refs: Mentions
) -> None:
    if len(names) > MAX_NAMES:
        refs.found.error(doc, path, "too_many", f"at most {MAX_NAMES} names", "use patterns")
    for index, name in enumerate(names):
        if globs.is_glob(name):
            continue
        if field == "models":
            refs.model(doc, (*path, index), name)
        else:
            refs.thing(doc, (*path, index), "mcp-server", name)
