"""The access review: who has what, through what, since when, and granted by whom, at one moment.

One line for each rule that reaches a person or a virtual account, also through teams and roles, with the
change that wrote the rule and the last one that made it reach them. What everybody has stands once, under
the group of everybody (`any:user`, `team:everyone`). It lists rules: whether a condition holds at a moment
is asked with `can` and `explain`. Runs in the process of `inquirer.py`.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from authz.engine import EVERYONE
from authz.index import Candidate
from authz.population import IMPLICIT, Population
from authz.rows import Row
from store.past import Held
from store.port import Store
from store.provenance import Written, header_at

EVERYBODY: Final = frozenset({*IMPLICIT, EVERYONE})
_BATCH: Final = 200  # subjects looked at in one pass over the rows
_KEPT: Final = 5_000  # headers of entries


@dataclass(frozen=True, slots=True)
class ReviewLine:
    """One rule that reaches somebody. `path` goes from the subject to whom the rule names.

    `granted` is the change that wrote the rule; `joined` the latest one that wrote a membership on the path,
    None where there is none. `within` is the group that bounds an account: it may no more than that.
    """

    subject: str
    effect: str
    action: str
    resource: str
    condition: str
    rule: str
    path: tuple[str, ...]
    within: str
    granted: Written | None
    joined: Written | None

    @property
    def since(self) -> Written | None:
        """The change by which the subject has it."""
        found = [one for one in (self.granted, self.joined) if one is not None]
        return max(found, key=lambda one: one.epoch, default=None)


@dataclass(frozen=True, slots=True)
class _Bare:
    """A line before anybody has looked up who wrote it."""

    subject: str
    row: Candidate
    path: tuple[str, ...]

    @property
    def texts(self) -> list[str]:
        """The row of the rule, then those of the memberships."""
        links = zip(self.path, self.path[1:], strict=False)
        return [Row("p", self.row).text(), *(Row("g", link).text() for link in links)]


class AccessReview:
    """Pages of the review of one store."""

    def __init__(self, store: Store) -> None:
        """`store` is open; whoever opened it closes it."""
        self._store = store
        self._headers: OrderedDict[int, Written] = OrderedDict()
        self._names: tuple[int, list[str]] | None = None  # the subjects of an epoch

    async def page(
        self, held: Held, *, after: tuple[str, int], limit: int
    ) -> tuple[tuple[ReviewLine, ...], tuple[str, int] | None]:
        """Up to `limit` lines, ascending by subject, and where the next page begins.

        `after` is the subject to begin with and how many of its lines were given.

        Raises:
            StoreUnavailable. LogDamaged.
        """
        first, skip = after
        found: list[_Bare] = []
        following: tuple[str, int] | None = None
        for subject, lines in self._lines(held, first):
            start = skip if subject == first else 0
            room = limit - len(found)
            found += lines[start : start + room]
            if start + room < len(lines):
                following = (subject, start + room)
                break
            if len(found) == limit:
                following = (subject, len(lines))
                break
            await asyncio.sleep(0)
        return await self._written(held, found), following

    def _lines(self, held: Held, first: str) -> Iterator[tuple[str, list[_Bare]]]:
        """The lines of each subject from `first` on."""
        subjects = [name for name in self._subjects(held) if name >= first]
        graph = held.engine.enforcer.subjects
        index = held.engine.enforcer.index
        for at in range(0, len(subjects), _BATCH):
            batch = subjects[at : at + _BATCH]
            groups = dict.fromkeys(group for name in batch for group in graph.closure(name))
            rows: dict[str, list[Candidate]] = {}
            for row in index.of_subjects(groups.keys()):
                rows.setdefault(row[0], []).append(row)
            for name in batch:
                made = []
                for group in sorted(graph.closure(name).keys() & rows.keys()):
                    path = graph.chain(name, group)
                    if EVERYBODY.isdisjoint(path[1:]):
                        made += [_Bare(name, row, path) for row in rows[group]]
                made.sort(key=lambda line: (line.row[1:], line.path))
                yield name, made

    def _subjects(self, held: Held) -> list[str]:
        if self._names is None or self._names[0] != held.engine.epoch:
            names = sorted({*Population(held.engine).known(), *EVERYBODY})
            self._names = (held.engine.epoch, names)
        return self._names[1]

    async def _written(self, held: Held, found: list[_Bare]) -> tuple[ReviewLine, ...]:
        texts = {text for line in found for text in line.texts}
        origins = await self._store.origins(texts, held.moment.epoch) if texts else {}
        headers = {epoch: await self._header(epoch) for epoch in sorted(set(origins.values()))}
        return tuple(_line(held, line, origins, headers) for line in found)

    async def _header(self, epoch: int) -> Written:
        found = self._headers.get(epoch)
        if found is None:
            found = (await header_at(self._store, epoch))[0]
            self._headers[epoch] = found
            if len(self._headers) > _KEPT:
                self._headers.popitem(last=False)
        return found


def _line(
    held: Held, line: _Bare, origins: Mapping[str, int], headers: Mapping[int, Written]
) -> ReviewLine:
    rule, *links = line.texts
    _, resource, action, effect, condition, rule_id = line.row
    joins = [origins[text] for text in links if text in origins]
    return ReviewLine(
        subject=line.subject,
        effect=effect,
        action=action,
        resource=resource,
        condition=held.engine.enforcer.conditions.said(condition) if condition else "",
        rule=rule_id,
        path=line.path,
        within=held.bounds.get(line.subject, ""),
        granted=headers[origins[rule]] if rule in origins else None,
        joined=headers[max(joins)] if joins else None,
    )
