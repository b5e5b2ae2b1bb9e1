"""Who may read which records: one record as a decision, all of them as a filter that a store can run.

A record is readable if `data:read` is allowed on any relation that the reader has to it: `own`,
`team-accounts`, `team`, `all` (things `data:<type>/<relation>`). `may_read` asks that of a record, `scope`
of a record whose fields are left open: for each relation its own test and what is left of the conditions of
its allow rows, ORed, minus what is left of the denies. Both ask the engine the same questions, and a
property test holds them together. The reader's teams are those of now, the record's those of then.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from enum import StrEnum
from typing import Final

from authz import keys, record_items
from authz.conditions import Context, Item
from authz.decision import Asker, Decision, Effect, Part, Reason, Verdict
from authz.enforcer import Finding
from authz.engine import Engine, Residue
from authz.filters import EVERYTHING, NOTHING, Filter, all_of, both, either, has
from authz.index import Candidate
from authz.keys import EVERYONE, Stamp
from authz.kleene import Reading
from authz.vocabulary import Action, Kind

_log = logging.getLogger("gatewarden.authz")
_READ: Final = Action.DATA_READ.value


class DataType(StrEnum):
    """What of a record is read; each is granted on its own."""

    TRACES = "traces"  # the metadata of requests
    PAYLOADS = "payloads"  # what was said in them
    METRICS = "metrics"  # counts and durations
    DECISIONS = "decisions"


class Relation(StrEnum):
    """How a reader stands to a record, from the closest to the widest."""

    OWN = "own"  # the reader made it
    TEAM_ACCOUNTS = "team-accounts"  # made by a virtual account that a team of the reader's owns
    TEAM = "team"  # that, or stamped with a team of the reader's
    ALL = "all"


def relations(reader: str, teams: Collection[str], stamp: Stamp) -> tuple[Relation, ...]:
    """The relations that a reader of these teams has to a record, the closest first."""
    mine = {team for team in teams if team != EVERYONE}
    found = []
    if stamp.created_by == reader:
        found.append(Relation.OWN)
    if stamp.owner in mine:
        found.append(Relation.TEAM_ACCOUNTS)
    if not mine.isdisjoint(stamp.every_team):
        found.append(Relation.TEAM)
    return (*found, Relation.ALL)


# --- all records -----------------------------------------------------------------------------------


def scope(engine: Engine, reader: Asker, data_type: DataType, context: Context) -> Filter:
    """The records of this type that `reader` may read. `context`: the reader's own request, and `time.now`.

    Raises:
        AuthzError: a question failed, or the rules come to too wide a filter; half a list is no answer.
    """
    teams = engine.teams_of(reader.id)
    allowed: dict[Relation, Filter] = {}
    for relation in Relation:
        residues = _residues(engine, reader, data_type, relation, context)
        allowed[relation] = both(*map(_of_question, residues)) if residues else NOTHING
    if allowed[Relation.TEAM] == allowed[Relation.TEAM_ACCOUNTS]:
        del allowed[Relation.TEAM_ACCOUNTS]  # `team` is that and more
    return either(
        *(both(_related(one, reader.id, teams), left) for one, left in allowed.items()),
    )


def _related(relation: Relation, reader: str, teams: Collection[str]) -> Filter:
    """The records that have this relation to the reader."""
    mine = sorted(team for team in teams if team != EVERYONE)
    match relation:
        case Relation.OWN:
            return all_of(has(keys.creator(reader)))
        case Relation.TEAM_ACCOUNTS:
            return all_of(has(*map(keys.owner, mine)))
        case Relation.TEAM:
            return all_of(has(*map(keys.team, mine)))
        case Relation.ALL:
            return EVERYTHING


def _residues(
    engine: Engine, reader: Asker, data_type: DataType, relation: Relation, context: Context
) -> tuple[Residue, ...]:
    """The questions on one relation; none if it is no known thing."""
    thing = f"{Kind.DATA.value}:{data_type.value}/{relation.value}"
    if not engine.knows(thing):
        return ()
    return engine.residual(reader, _READ, thing, context, record_items.SPACE)


def _of_question(residue: Residue) -> Filter:
    """The records for which one question is answered with yes."""
    allowed = either(*(both(*map(record_items.found, i)) for i in residue.allows.values()))
    for items in residue.denies.values():
        if not allowed:
            break
        # A deny leaves those alone on which an item of it is surely false: unknown counts as yes.
        allowed = both(allowed, either(*map(record_items.missed, items)))
    return allowed


# --- one record ------------------------------------------------------------------------------------


def may_read(
    engine: Engine, reader: Asker, stamp: Stamp, data_type: DataType, context: Context
) -> Decision:
    """Whether `reader` may read this record, by which relation and which rules. Never raises."""
    return Check(engine, reader, data_type, context)(stamp)


class Check:
    """`may_read` for one record after the other, as a list needs it: what is common is asked once an epoch."""

    def __init__(
        self, engine: Engine, reader: Asker, data_type: DataType, context: Context
    ) -> None:
        self._engine = engine
        self._reader = reader
        self._type = data_type
        self._context = context
        self._epoch = engine.epoch
        self._residues: dict[Relation, tuple[Residue, ...]] = {}

    def __call__(self, stamp: Stamp) -> Decision:
        """Whether the reader may read this record. Never raises; a list must stop at reason `error`."""
        engine = self._engine
        try:
            return self._decide(engine, stamp)
        except Exception:
            # As `Engine.decide`: an error must never become an allow, nor look like a missing right.
            _log.exception("a decision on a record failed")
            return Decision(Effect.DENY, Reason.ERROR, engine.epoch, engine.digest)

    def allows(self, stamp: Stamp) -> bool:
        """The decision without its reasons, for each row of a list.

        Raises:
            AuthzError: where the decision would be an error; half a list is no answer.
        """
        return any(
            all(_yes(residue, stamp) for residue in residues) for residues in self._asked(stamp)
        )

    def _decide(self, engine: Engine, stamp: Stamp) -> Decision:
        refused: Decision | None = None
        for residues in self._asked(stamp):
            decision = _closed(engine, residues, stamp)
            if decision:
                return decision
            if refused is None or refused.reason is Reason.NO_GRANT:
                refused = decision
        if refused is None:  # none of the relations is a known thing
            return Decision(Effect.DENY, Reason.NO_GRANT, engine.epoch, engine.digest)
        return refused

    def _asked(self, stamp: Stamp) -> Iterator[tuple[Residue, ...]]:
        """The relations to this record that are known things, with the questions on each."""
        engine = self._engine
        if self._epoch != engine.epoch:  # a right that is gone is gone in the middle of a page too
            self._epoch = engine.epoch
            self._residues.clear()
        for relation in relations(self._reader.id, engine.teams_of(self._reader.id), stamp):
            residues = self._of(relation)
            if residues:
                yield residues

    def _of(self, relation: Relation) -> tuple[Residue, ...]:
        found = self._residues.get(relation)
        if found is None:
            found = _residues(self._engine, self._reader, self._type, relation, self._context)
            self._residues[relation] = found
        return found


def _closed(engine: Engine, residues: tuple[Residue, ...], stamp: Stamp) -> Decision:
    """The decision that the questions come to once the record's fields are filled in."""
    verdicts = []
    read: dict[str, object] = {}
    for residue in residues:
        verdict, seen = _verdict(engine, residue, stamp)
        verdicts.append(verdict)
        read |= seen
        if verdict.effect is Effect.DENY:
            break
    last = verdicts[-1]
    allowed = last.effect is Effect.ALLOW
    decisive = verdicts[0] if allowed else last
    reason = decisive.reason
    if not allowed:
        outside = {Part.BOUND: Reason.OUTSIDE_BOUND, Part.TOKEN: Reason.OUTSIDE_TOKEN}
        reason = outside.get(decisive.question.part, reason)
    return Decision(
        decisive.effect,
        reason,
        engine.epoch,
        engine.digest,
        tuple(verdicts),
        decisive.rules,
        decisive.path,
        "" if allowed or reason is Reason.NO_GRANT else engine.message_of(decisive.rules),
        read,
    )


def _verdict(
    engine: Engine, residue: Residue, stamp: Stamp
) -> tuple[Verdict, Mapping[str, object]]:
    """One answer, and the values that its conditions read."""
    asked = residue.reading
    reading = Reading(asked.context, asked.subject, asked.resource)
    reading.read = dict(asked.read)
    reading.outcomes = dict(asked.outcomes)
    for row, items in _conditional(residue):
        for item in items:
            having = record_items.values(item.field, stamp)
            if having is not None:
                several = item.field == record_items.TEAM
                reading.read[item.field] = having if several else having[0]
        reading.outcomes[row[4]] = _met(items, stamp)
    finding = Finding()
    for row, items in residue.allows.items():
        (finding.allows if _met(items, stamp) is True else finding.unmet).append(row)
    finding.denies = [row for row, i in residue.denies.items() if _met(i, stamp) is not False]
    finding.conditional = [row for row, _ in _conditional(residue)]
    # Casbin's effector says what a deny does; without an allow there is nothing to say.
    finding.allowed = bool(finding.allows) and engine.enforcer.no_deny(finding)
    question = (residue.part, residue.subject, residue.resource, reading, finding, finding.allowed)
    return engine.verdict(_READ, question), reading.read


def _yes(residue: Residue, stamp: Stamp) -> bool:
    """One answer and nothing else."""
    return any(_met(items, stamp) is True for items in residue.allows.values()) and not any(
        _met(items, stamp) is not False for items in residue.denies.values()
    )


def _conditional(residue: Residue) -> Iterator[tuple[Candidate, tuple[Item, ...]]]:
    for rows in (residue.allows, residue.denies):
        yield from ((row, items) for row, items in rows.items() if row[4])


def _met(items: tuple[Item, ...], stamp: Stamp) -> bool | None:
    met: bool | None = True
    for item in items:
        outcome = record_items.outcome(item, stamp)
        if outcome is False:
            return False
        if outcome is None:
            met = None
    return met
