"""The engine: a decision is a conjunction of Casbin questions on one enforcer.

One loop asks the subject, its bound, its token and what an alias stands for; `decide` makes a record of
it, `visible` a list. Nothing is remembered between two decisions: there is no verdict cache. Rows change
in one synchronous step (`apply`), or are built aside and swapped (`apply_in_steps`); how, is in `delta`.

A question never raises: what goes wrong here is a refusal with reason `error`. Why a decision is what it
is, at length: `explain`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from authz.conditions import FIELDS, Context, Item
from authz.cycles import MAX_DEPTH, problems
from authz.decision import (
    Asker,
    ConditionOutcome,
    Decision,
    Effect,
    Part,
    Question,
    Reason,
    Verdict,
)
from authz.delta import Delta, Staged
from authz.enforcer import Enforcer, Finding
from authz.errors import AuthzError
from authz.index import Candidate
from authz.kleene import Reading
from authz.rows import Row, digest_text
from authz.vocabulary import ACTIONS, Kind

_log = logging.getLogger("gatewarden.authz")

_OUTSIDE = {
    Part.BOUND: Reason.OUTSIDE_BOUND,
    Part.TOKEN: Reason.OUTSIDE_TOKEN,
    Part.TARGET: Reason.TARGET_DENIED,
}
# To these the caller gets the answer for a thing that does not exist, so no rule may speak.
_SILENT = frozenset({Reason.NO_GRANT, Reason.UNKNOWN_RESOURCE, Reason.ALLOWED})
_TEAM = f"{Kind.TEAM.value}:"
EVERYONE = f"{_TEAM}everyone"
_MOST_TEAMS = 20_000  # callers of one epoch whose teams are kept at hand
_OPEN_BODY = frozenset({"body.", "tool.args."})
# An enum's member is looked up through its metaclass; these stand on the request path.
_ALLOW, _DENY, _ALLOWED = Effect.ALLOW, Effect.DENY, Reason.ALLOWED
_SUBJECT, _TARGET = Part.SUBJECT, Part.TARGET


# One question of the conjunction with its answer: the part, its subject and resource, what was read, what
# was found (None when an alias's target is unknown) and whether it allows.
Asked = tuple[Part, str, str, Reading, Finding | None, bool]


class Residue(NamedTuple):
    """What is left of one question when some fields are open: rows, and the items that they still turn on."""

    part: Part
    subject: str
    resource: str
    reading: Reading
    allows: Mapping[Candidate, tuple[Item, ...]]
    denies: Mapping[Candidate, tuple[Item, ...]]


class Engine:
    """Policy at one epoch, and the questions that it answers."""

    def __init__(self, model_text: str) -> None:
        """An engine without rows, at epoch 0. Raises: AuthzError for an unusable model."""
        self.enforcer = Enforcer(model_text)
        self.epoch = 0
        self.digest = digest_text(0)  # of the rows, as 64 hex digits
        self._delta = Delta(self.enforcer)
        self._staging = False
        # Facts of this epoch, kept until the next: they are read off the rows, never verdicts.
        self._listed: dict[str, tuple[str, ...]] = {}
        self._teams: dict[str, tuple[str, ...]] = {}

    @classmethod
    def load(cls, model_text: str, rows: Iterable[Row], epoch: int) -> Engine:
        """An engine of these rows.

        Raises:
            AuthzError: an unusable model. InvalidRow, InvalidCondition: a row that cannot be taken.
        """
        engine = cls(model_text)
        engine._delta.load(rows)
        engine._moved_to(epoch)
        return engine

    @classmethod
    def load_texts(cls, model_text: str, texts: Iterable[str], epoch: int) -> Engine:
        """The same from the texts of the rows. Its digest is that of the texts: compare it with the log's.

        Raises:
            AuthzError: an unusable model. InvalidRow, InvalidCondition: a row cannot be taken.
        """
        engine = cls(model_text)
        engine._delta.load_texts(texts)
        engine._moved_to(epoch)
        return engine

    # --- questions ----------------------------------------------------------------------------------

    def decide(self, asker: Asker, action: str, resource: str, context: Context) -> Decision:
        """Whether `asker` may do `action` on `resource`, and why. Never raises."""
        try:
            return self._decide(asker, action, resource, context)
        except Exception:
            # The alarm is the reason: a metric counts it. An error must never become an allow or a 403.
            _log.exception("a decision failed")
            return Decision(_DENY, Reason.ERROR, self.epoch, self.digest)

    def visible(
        self, asker: Asker, action: str, resources: Iterable[str], context: Context
    ) -> tuple[str, ...]:
        """Those of `resources`, in their order, for which some request body could be allowed.

        A condition on the body counts as met on an allow and as not met on a deny; all else is
        evaluated. Raises what `decide` would have called an error: half a list is no answer.
        """
        if action not in ACTIONS:
            return ()
        open_body = Context(context.values, context.lazy, context.unbound | _OPEN_BODY)
        return tuple(
            resource
            for resource in resources
            if self.knows(resource) and self.ask(asker, action, resource, open_body)[-1][-1]
        )

    def ask(
        self, asker: Asker, action: str, resource: str, context: Context, *, all_parts: bool = False
    ) -> list[Asked]:
        """The questions of the conjunction, up to the first refusal (or `all_parts`), in order."""
        asked: list[Asked] = []
        principal = asker.id
        for part, subject, thing in self._parts(asker, resource):
            reading = Reading(context, principal, thing)
            if part is _TARGET and not self.knows(thing):
                finding, allowed = None, False
            else:
                finding = self.enforcer.judge(subject, thing, action, reading)
                allowed = finding.allowed
                if part is _TARGET:
                    allowed = self.enforcer.no_deny(finding)
            asked.append((part, subject, thing, reading, finding, allowed))
            if not (allowed or all_parts):
                break
        return asked

    def residual(
        self, asker: Asker, action: str, resource: str, context: Context, space: str
    ) -> tuple[Residue, ...]:
        """The questions of the conjunction with every field of `space` (such as `record.`) left open.

        Of each question, the rows that can still decide it: allows whose other items are met, denies
        none of whose other items is false; and of each row the items that are left. Raises what
        `decide` would have called an error.
        """
        inside = {space, *(field for field in FIELDS if field.startswith(space))}
        opened = Context(context.values, context.lazy, context.unbound | inside)
        made: list[Residue] = []
        for part, subject, thing in self._parts(asker, resource):
            reading, found = Reading(opened, asker.id, thing), Finding()
            question = (subject, thing, action, reading)
            # Not `judge`: that looks at shadow rows as well, and those decide nothing.
            looked_at = self.enforcer._sort_out(self.enforcer.index, question, found)
            # An open item is not met on a deny, so the denies in question are among those looked at.
            denies = dict.fromkeys((*found.denies, *(row for row in looked_at if row[3] == "deny")))
            left: dict[Candidate, tuple[Item, ...]] = {}
            for row in (*found.allows, *denies):
                outcomes = self.enforcer.conditions.outcomes(row[4], reading) if row[4] else []
                bound = [met for item, met in outcomes if not item.field.startswith(space)]
                if False not in bound:
                    left[row] = tuple(item for item, _ in outcomes if item.field.startswith(space))
            made.append(
                Residue(
                    part,
                    subject,
                    thing,
                    reading,
                    {row: left[row] for row in found.allows if row in left},
                    {row: left[row] for row in denies if row in left},
                )
            )
        return tuple(made)

    def _parts(self, asker: Asker, resource: str) -> list[tuple[Part, str, str]]:
        bound, token = asker.bound, asker.token
        parts = [(_SUBJECT, asker.id, resource)]
        if bound is not None:
            parts.append((Part.BOUND, bound, resource))
        if token is not None:
            parts.append((Part.TOKEN, token, resource))
        target = self._delta.aliases.get(resource)
        while target is not None:
            parts.append((_TARGET, asker.id, target))
            if bound is not None:
                # What the team is denied, its account may not reach through an alias.
                parts.append((_TARGET, bound, target))
            if len(parts) > 4 * MAX_DEPTH:
                raise AuthzError("an alias leads to itself")
            target = self._delta.aliases.get(target)
        return parts

    def _decide(self, asker: Asker, action: str, resource: str, context: Context) -> Decision:
        if not self.knows(resource):
            return Decision(_DENY, Reason.UNKNOWN_RESOURCE, self.epoch, self.digest)
        if action not in ACTIONS:
            # A bundle, or `*`, is a name in rows; asked as an action it would match the grant itself.
            return Decision(_DENY, Reason.NO_GRANT, self.epoch, self.digest)
        asked = self.ask(asker, action, resource, context)
        verdicts = tuple([self.verdict(action, one) for one in asked])
        part, _, _, reading, _, allowed = asked[-1]
        if allowed:
            decisive = verdicts[0]
            effect, reason, message = _ALLOW, _ALLOWED, ""
        else:
            decisive = verdicts[-1]
            effect, reason = _DENY, decisive.reason
            if reason is not Reason.UNKNOWN_RESOURCE:
                reason = _OUTSIDE.get(part, reason)
            message = "" if reason in _SILENT else self.message_of(decisive.rules)
        read = reading.read
        for one in asked[:-1]:
            read |= one[3].read
        return Decision(
            effect,
            reason,
            self.epoch,
            self.digest,
            verdicts,
            decisive.rules,
            decisive.path,
            message,
            read,
        )

    def verdict(self, action: str, asked: Asked) -> Verdict:
        """The record of one answer."""
        part, subject, resource, reading, found, allowed = asked
        question = Question(part, subject, action, resource)
        if found is None:
            return Verdict(question, _DENY, Reason.UNKNOWN_RESOURCE)
        others: list[Candidate] = []
        if allowed:
            effect, reason, deciding = _ALLOW, _ALLOWED, found.allows
        else:
            effect, deciding = _DENY, found.denies
            if deciding:
                others = found.allows
                granted = others or found.unmet or part is _TARGET
                reason = Reason.DENIED_BY_RULE if granted else Reason.NO_GRANT
            else:
                deciding = found.unmet
                reason = Reason.CONDITION_NOT_MET if deciding else Reason.NO_GRANT
        rules: tuple[str, ...] = ()
        path = ""
        if deciding:
            decisive = deciding[0]
            if len(deciding) == 1:
                rules = (decisive[5],)
            else:
                deciding = sorted(deciding, key=_by_rule)
                decisive = deciding[0]
                rules = tuple([row[5] for row in deciding])
            if others:
                rules += tuple(sorted([row[5] for row in others]))
            path = self.path(subject, resource, decisive)
        if not found.conditional and found.shadow is None:
            return Verdict(question, effect, reason, rules, path)
        return Verdict(
            question,
            effect,
            reason,
            rules,
            path,
            tuple(
                ConditionOutcome(row[5], row[4], reading.outcomes.get(row[4]))
                for row in sorted(found.conditional, key=_by_rule)
            ),
            None if found.shadow is None else (_ALLOW if found.shadow else _DENY),
            tuple(sorted(row[5] for row in found.shadowed)),
        )

    def path(self, subject: str, resource: str, row: Candidate) -> str:
        """The membership chains that lead from the question to the row, as the record writes them."""
        left = self.enforcer.subjects.chain(subject, row[0])
        right = self.enforcer.objects.chain(resource, row[1])
        return f"{' > '.join(left)} | {' > '.join(right)}"

    def message_of(self, rules: Iterable[str]) -> str:
        """The public message of the first of these rules that has one, or ""."""
        messages = self._delta.messages
        return next((found for rule in rules if (found := messages.get(rule))), "")

    # --- what is known ------------------------------------------------------------------------------

    def knows(self, resource: str) -> bool:
        """Whether the resource is in the catalogue: a `g2` row mentions it, on either side."""
        return resource in self.enforcer.objects

    def groups_of(self, subject: str) -> tuple[str, ...]:
        """The groups that rows name for the subject directly."""
        return self.enforcer.subjects.parents(subject)

    def teams_of(self, subject: str) -> tuple[str, ...]:
        """The teams that the subject is in directly; `team:everyone` is none. What records are stamped with."""
        teams = self._teams.get(subject)
        if teams is None:
            teams = tuple(
                group
                for group in self.groups_of(subject)
                if group.startswith(_TEAM) and group != EVERYONE
            )
            if len(self._teams) < _MOST_TEAMS:
                self._teams[subject] = teams
        return teams

    def subject_closure(self, subject: str) -> frozenset[str]:
        """The subject and everything that it belongs to, implicit groups included."""
        return frozenset(self.enforcer.subjects.closure(subject))

    def alias_of(self, resource: str) -> str | None:
        """What the alias stands for; None when it is none."""
        return self._delta.aliases.get(resource)

    def resources_of(self, kind_prefix: str) -> list[str]:
        """The known ids that start with this, such as `model:`, in order."""
        listed = self._listed.get(kind_prefix)
        if listed is None:
            names = self.enforcer.objects.names()
            listed = tuple(sorted(name for name in names if name.startswith(kind_prefix)))
            self._listed[kind_prefix] = listed
        return list(listed)

    def link_problems(self, added: Iterable[Row], removed: Iterable[Row] = ()) -> list[str]:
        """Cycles and chains that are too long, once these rows are added and removed; [] when none."""
        added, removed = list(added), list(removed)
        graphs = {
            "g": self.enforcer.subjects,
            "g2": self.enforcer.objects,
            "g3": self.enforcer.actions,
        }
        return [
            problem
            for ptype, graph in graphs.items()
            for problem in problems(graph, _links(ptype, added), _links(ptype, removed))
        ]

    # --- change -------------------------------------------------------------------------------------

    def apply(self, added: Iterable[Row], removed: Iterable[Row], epoch: int) -> None:
        """Moves to `epoch` in one synchronous step; all rows or none.

        Raises:
            InvalidRow: a removed row is not there, or a row cannot be taken; nothing has changed.
        """
        self._not_staging()
        self._delta.apply(list(added), list(removed))
        self._moved_to(epoch)

    def apply_in_steps(
        self, added: Iterable[Row], removed: Iterable[Row], epoch: int, step: int = 200
    ) -> Iterator[None]:
        """Moves to `epoch` with pauses after each `step` rows, for changes of more than 2,000 rows.

        Until the one step in which everything is swapped, questions are answered at the old epoch; after
        it, what was replaced is let go of in steps. An abandoned iteration changes nothing.

        Raises:
            InvalidRow: a row cannot be taken; nothing has changed.
        """
        self._not_staging()
        self._staging = True
        try:
            staged = Staged(self._delta)
            yield from staged.take(added, removed, step)
            staged.commit()
            self._moved_to(epoch)
        finally:
            self._staging = False
        yield from staged.let_go(step)

    def _not_staging(self) -> None:
        if self._staging:
            raise AuthzError("a change is being built: entries are applied one after the other")

    def _moved_to(self, epoch: int) -> None:
        self.epoch = epoch
        self.digest = digest_text(self._delta.digest)
        self._listed.clear()
        self._teams.clear()


def _by_rule(row: Candidate) -> str:
    return row[5]


def _links(ptype: str, rows: Iterable[Row]) -> list[tuple[str, str]]:
    return [(row.values[0], row.values[1]) for row in rows if row.ptype == ptype]
