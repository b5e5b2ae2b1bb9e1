"""What is kept of what is said: the document that rules which bodies are recorded, redacted and for how long.

Every rule that matches a request applies. One that says `never` wins over all others; else one that says
`always` holds; else the caller's header decides. Redactions of all matching rules add up and touch the
stored copy only. A document with `when`, `log` or `redact_with` of its own is a rule too: so TrueFoundry
writes them. `retention` holds for the whole installation; of several the shortest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal, get_args

from pydantic import Field, StringConstraints

from policies.parts import Document, Name, Part, Subject, Text

Preset = Literal[
    "email",
    "credit-card",
    "iban",
    "phone",
    "ip-address",
    "aws-key",
    "openai-key",
    "github-token",
]
PRESETS: Final[tuple[str, ...]] = get_args(Preset)
Mode = Literal["always", "never", "header-controlled"]
Log = Literal[True, False, "always", "never", "header-controlled"]
Days = Annotated[int, Field(ge=1, le=36_500)]
FEWEST_DECISION_DAYS: Final = 30
MAX_PATTERNS: Final = 20

_Value = Annotated[str, StringConstraints(max_length=128)]
_Pattern = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class SubjectTest(Part):
    """Who asks: one of `in` (if given) and none of `not_in`."""

    in_: tuple[Subject, ...] | None = Field(default=None, alias="in")
    not_in: tuple[Subject, ...] = ()


class NameTest(Part):
    """What is asked: names, or patterns with `*` and `?`."""

    in_: tuple[_Pattern, ...] | None = Field(default=None, alias="in")
    not_in: tuple[_Pattern, ...] = ()


class LoggingWhen(Part):
    """All that is given must hold; with `models` and `servers`, one of the two. Nothing given: always."""

    subjects: SubjectTest | None = None
    models: NameTest | None = None  # <account>/<model>
    servers: NameTest | None = None  # names of MCP servers
    metadata: Mapping[str, _Value | tuple[_Value, ...]] = Field(default_factory=dict)


class CustomPattern(Part):
    """`pattern` in the form of `policies/patterns.py`; what it matches becomes `redaction_text`."""

    pattern: str
    redaction_text: _Value = "[redacted]"


class RedactWith(Part):
    presets: tuple[Preset, ...] = ()
    custom_patterns: Annotated[tuple[CustomPattern, ...], Field(max_length=MAX_PATTERNS)] = ()


class LoggingRule(Part):
    """`log: true` is `always`, `false` is `never`; without `log`, the rule only redacts."""

    id: Name
    description: Text | None = None
    enabled: bool = True
    when: LoggingWhen = Field(default_factory=LoggingWhen)
    log: Log = "header-controlled"
    redact_with: RedactWith = Field(default_factory=RedactWith)

    @property
    def mode(self) -> Mode:
        if isinstance(self.log, bool):
            return "always" if self.log else "never"
        return self.log

    @property
    def protects(self) -> bool:
        """Whether the rule only ever makes less be known: then it holds for every generation of a name."""
        return self.mode != "always"


class Retention(Part):
    """Days after which records can no longer be read. The decision log itself is cut only on the host."""

    payloads: Days | None = None
    requests: Days | None = None
    decisions: Annotated[int, Field(ge=FEWEST_DECISION_DAYS, le=36_500)] | None = None


class LoggingConfig(Document):
    type: Literal["gateway-logging-config"] = "gateway-logging-config"
    name: Name = "logging"
    when: LoggingWhen | None = None
    log: Log | None = None
    redact_with: RedactWith | None = None
    rules: tuple[LoggingRule, ...] = ()
    retention: Retention | None = None

    @property
    def own_rule(self) -> LoggingRule | None:
        """The rule that the document itself is, if it is one."""
        if self.when is None and self.log is None and self.redact_with is None:
            return None
        return LoggingRule(
            id="self",
            when=self.when or LoggingWhen(),
            log="header-controlled" if self.log is None else self.log,
            redact_with=self.redact_with or RedactWith(),
        )

    @property
    def every_rule(self) -> tuple[LoggingRule, ...]:
        """All rules that are switched on."""
        own = self.own_rule
        rules = self.rules if own is None else (own, *self.rules)
        return tuple(rule for rule in rules if rule.enabled)
