"""What is to be kept of what a request says: the rules of `gateway-logging-config`, answered in memory.

Every rule that matches applies. `never` wins; else `always`; else the caller's header, which can only ask, and
without one the default of the settings. What a caller merely claims in metadata never makes a rule record
something, it can only keep it from being recorded or have it redacted. Redactions of all matching rules
add up.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from authz.vocabulary import Kind, kind_of
from identity.kept_documents import KeptDocuments
from identity.ports import Snapshot
from policies.change import Entry
from policies.documents import LoggingConfig
from policies.globs import is_glob, whole
from policies.logging_config import LoggingRule, NameTest, RedactWith, Retention, SubjectTest
from policies.naming import plain
from policies.redaction import Redactor
from policies.truefoundry import subject_of
from proxy.headers import Headers

HEADERS = ("x-gatewarden-logging-config", "x-tfy-logging-config")
MAX_HEADER = 1024
_FAMILY = "gateway-logging-config"
_ANY_SUBJECT = f"{Kind.ANY.value}:subject"


@dataclass(frozen=True, slots=True)
class Said:
    """A request, as far as rules look at it. `model` and `server` as stored; "" where there is none."""

    principal: str
    groups: Callable[[], Collection[str]]  # asked only if a rule names subjects
    pinned: Mapping[str, str]
    claimed: Mapping[str, str]
    model: str = ""
    server: str = ""


class LoggingRules:
    """An applier of the change log that answers what is kept of a request."""

    def __init__(self, by_default: bool = False) -> None:
        """`by_default`: kept where no rule and no header says anything."""
        self._by_default = by_default
        self._documents = KeptDocuments(LoggingConfig, _FAMILY)
        self._rules: tuple[_Rule, ...] = ()
        self._redactors: dict[tuple[int, ...], Redactor] = {}

    def silent(self, headers: Headers) -> bool:
        """Whether it is plain that nothing is kept: the usual case, which costs next to nothing."""
        own, other = HEADERS  # two look-ups: a generator would cost every request
        return not (self._rules or self._by_default or own in headers or other in headers)

    def keeps(self, said: Said, headers: Headers) -> Redactor | None:
        """What is to be cut out of what is kept of this request; None if nothing is kept of it."""
        asked = asks(headers) if any(name in headers for name in HEADERS) else None
        rules = self._rules
        if not rules:
            return self._redactor(()) if (self._by_default if asked is None else asked) else None
        names = _Names(said)
        matching = tuple([at for at, rule in enumerate(rules) if rule.matches(said, names)])
        modes = {rules[at].mode for at in matching}
        if "never" in modes:
            return None
        if "always" not in modes and not (self._by_default if asked is None else asked):
            return None
        return self._redactor(tuple(at for at in matching if rules[at].redacts))

    def retention(self) -> Retention:
        """The days that documents allow, the fewest of each kind."""
        said = [one.retention for one in self._documents if one.retention is not None]
        return Retention(
            payloads=_fewest(one.payloads for one in said),
            requests=_fewest(one.requests for one in said),
            decisions=_fewest(one.decisions for one in said),
        )

    def load(self, snapshot: Snapshot) -> None:
        """Start over from a snapshot."""
        self._documents.load(snapshot)
        self._index()

    def apply(self, entry: Entry) -> None:
        """Take over one committed entry."""
        if self._documents.apply(entry):
            self._index()

    def _index(self) -> None:
        # Both are replaced in one step: numbers of rules mean nothing among others.
        self._rules, self._redactors = (
            tuple(_Rule(rule) for document in self._documents for rule in document.every_rule),
            {},
        )

    def _redactor(self, of: tuple[int, ...]) -> Redactor:
        made = self._redactors.get(of)
        if made is None:
            made = self._redactors[of] = Redactor(self._rules[at].redact_with for at in of)
        return made


def asks(headers: Headers) -> bool:
    """Whether the caller asks that what it says be kept; what cannot be read, or contradicts itself, is no."""
    values = [value for name in HEADERS for value in headers.getall(name, [])]
    return bool(values) and all(_enabled(value) for value in values)


def _enabled(value: str) -> bool:
    if len(value) > MAX_HEADER:
        return False
    try:
        pairs = json.loads(value, object_pairs_hook=list)
    except (ValueError, RecursionError):
        return False
    return pairs == [("enabled", True)] and pairs[0][1] is True


def _fewest(days: Iterable[int | None]) -> int | None:
    return min((one for one in days if one is not None), default=None)


class _Names:
    """The subjects that a caller is, each under the name of today and under its plain one."""

    __slots__ = ("_said", "_today")

    def __init__(self, said: Said) -> None:
        self._said = said
        self._today: frozenset[str] | None = None

    def today(self) -> frozenset[str]:
        if self._today is None:
            who = self._said.principal
            self._today = frozenset(
                (who, _ANY_SUBJECT, f"any:{kind_of(who)}", *self._said.groups())
            )
        return self._today

    def ever(self) -> frozenset[str]:
        return self.today() | {plain(one) for one in self.today()}


class _Rule:
    """A rule, ready to be asked."""

    __slots__ = (
        "_metadata",
        "_models",
        "_protects",
        "_servers",
        "_subjects",
        "mode",
        "redact_with",
    )

    def __init__(self, rule: LoggingRule) -> None:
        self.mode = rule.mode
        self.redact_with: RedactWith = rule.redact_with
        self._protects = rule.protects
        test = rule.when.subjects
        self._subjects = None if test is None else _Subjects(test, rule.protects)
        self._models = rule.when.models
        self._servers = rule.when.servers
        self._metadata = {
            key: frozenset((value,) if isinstance(value, str) else value)
            for key, value in rule.when.metadata.items()
        }

    @property
    def redacts(self) -> bool:
        return bool(self.redact_with.presets or self.redact_with.custom_patterns)

    def matches(self, said: Said, names: _Names) -> bool:
        return (
            self._about(said)
            and all(self._has(said, key, values) for key, values in self._metadata.items())
            and (self._subjects is None or self._subjects.match(names))
        )

    def _about(self, said: Said) -> bool:
        if self._models is None and self._servers is None:
            return True
        if self._models is not None and said.model and _named(self._models, said.model):
            return True
        return (
            self._servers is not None and bool(said.server) and _named(self._servers, said.server)
        )

    def _has(self, said: Said, key: str, values: frozenset[str]) -> bool:
        # What is pinned hides what is claimed under the same key.
        if key in said.pinned:
            return said.pinned[key] in values
        return self._protects and said.claimed.get(key) in values


class _Subjects:
    """A rule that protects holds for whoever ever has a name, and spares only who has it today."""

    __slots__ = ("_named", "_protects", "_spared")

    def __init__(self, test: SubjectTest, protects: bool) -> None:
        self._named = None if test.in_ is None else frozenset(map(subject_of, test.in_))
        self._spared = frozenset(map(subject_of, test.not_in))
        self._protects = protects

    def match(self, names: _Names) -> bool:
        named = names.ever() if self._protects else names.today()
        if self._named is not None and self._named.isdisjoint(named):
            return False
        if not self._spared:
            return True
        return self._spared.isdisjoint(names.today() if self._protects else names.ever())


def _named(test: NameTest, stored: str) -> bool:
    """Whether a model or server is one that is meant, in whatever generation of its name."""
    head, slash, rest = stored.partition("/")
    name = f"{plain(head)}{slash}{rest}"
    if test.in_ is not None and not any(_is(one, name) for one in test.in_):
        return False
    return not any(_is(one, name) for one in test.not_in)


def _is(pattern: str, name: str) -> bool:
    return whole(pattern, name) if is_glob(pattern) else pattern == name
