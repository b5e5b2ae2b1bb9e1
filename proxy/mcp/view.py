"""What one principal sees of a scope: the same questions for lists, for calls, and for whoever listens.

A list shows what some call could be allowed for: conditions on arguments stay open, all others are asked. So list and
call cannot disagree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime

from authz.conditions import MISSING, Context
from authz.vocabulary import Action
from identity.principal import Principal
from proxy.facts import NO_FIELDS, Facts, HeadersOf
from proxy.judge import Judge
from proxy.mcp.primitive import Primitive
from proxy.mcp.scope import Scope, Thing
from proxy.mcp.servers import Server

ACTIONS: Mapping[Primitive, Action] = {
    Primitive.TOOL: Action.MCP_TOOL_CALL,
    Primitive.PROMPT: Action.MCP_PROMPT_GET,
    Primitive.RESOURCE: Action.MCP_RESOURCE_READ,
    Primitive.TEMPLATE: Action.MCP_RESOURCE_READ,
}
OPEN = frozenset({"tool.args.", "resource.uri"})
_OPEN_TOOL = frozenset({"tool.args."})
MAX_HINTS = 10_000  # of one scope


class McpFacts(Facts):
    """What a condition may read of an MCP request."""

    __slots__ = ("arguments", "tool", "uri")

    def __init__(
        self,
        principal: Principal,
        now: datetime,
        client: str,
        headers: HeadersOf,
        pinned: Mapping[str, str],
        metadata: Mapping[str, str],
    ) -> None:
        super().__init__(principal, now, client, headers, NO_FIELDS, pinned, metadata)
        self.arguments: Mapping[str, object] = NO_FIELDS
        self.tool = ""
        self.uri = ""

    def __call__(self, field: str) -> object:
        if field.startswith("tool.args."):
            return self._argument(field.removeprefix("tool.args."))
        if field == "tool.name":
            return self.tool or MISSING
        if field == "resource.uri":
            return self.uri or MISSING
        return super().__call__(field)

    def _argument(self, path: str) -> object:
        # INVARIANT: what is judged is what runs. A dot goes one object deeper and never stands for itself: a
        # member that is called `a.b` is not what the tool finds at `b` of `a`.
        held: object = self.arguments
        for name in path.split("."):
            if not isinstance(held, Mapping) or name not in held:
                return MISSING
            held = held[name]
        return MISSING if held is None else held


class View:
    """A scope as a principal sees it now. Made for one request, or one look of a listener."""

    __slots__ = ("_facts", "_judge", "_seen", "_touched", "principal", "scope")

    def __init__(self, scope: Scope, judge: Judge, principal: Principal, facts: McpFacts) -> None:
        self.scope = scope
        self.principal = principal
        self._judge = judge
        self._facts = facts
        self._seen: dict[Primitive, frozenset[str]] = {}
        self._touched: frozenset[str] | None = None

    def visible(self, primitive: Primitive) -> frozenset[str]:
        """The ids of a kind that the principal could use. Raises DecisionFailed."""
        seen = self._seen.get(primitive)
        if seen is None:
            if primitive is Primitive.RESOURCE:
                found: Sequence[str] = self._readable()
            else:
                ids = list(dict.fromkeys(thing.id for thing in self.scope.things(primitive)))
                found = self._look(ACTIONS[primitive], ids)
            seen = self._seen[primitive] = frozenset(found)
        return seen

    def _readable(self) -> list[str]:
        """The ids of resources: there is one URI to read each of them by, so nothing of it is open."""
        facts, before = self._facts, self._facts.uri
        found: list[str] = []
        try:
            for id, uri in {t.id: t.own for t in self.scope.things(Primitive.RESOURCE)}.items():
                facts.uri = uri
                found += self._look(ACTIONS[Primitive.RESOURCE], [id], _OPEN_TOOL)
        finally:
            facts.uri = before
        return found

    def sees(self, thing: Thing) -> bool:
        return thing.id in self.visible(thing.primitive)

    def primitives(self) -> frozenset[Primitive]:
        """The kinds of which anything is seen."""
        return frozenset(primitive for primitive in Primitive if self.visible(primitive))

    def uses(self) -> bool:
        """Whether the principal may use the server as such."""
        server = self.scope.server
        return server is None or bool(self._look(Action.MCP_SERVER_USE, [server.id]))

    def touches(self, server: Server) -> bool:
        """Whether the principal has to do with a server behind: it sees something of it, or may use it."""
        if self._touched is None:
            seen = {
                thing.server.stored
                for primitive in Primitive
                for thing in self.scope.things(primitive)
                if self.sees(thing)
            }
            ids = {member.id: member.stored for member in self.scope.members}
            used = self._look(Action.MCP_SERVER_USE, list(ids))
            self._touched = frozenset(seen | {ids[id] for id in used})
        return server.stored in self._touched

    def reaches(self) -> bool:
        """Whether the endpoint exists for the principal: it may use it, or something of it."""
        return self.uses() or any(self._any(primitive) for primitive in Primitive)

    def _any(self, primitive: Primitive) -> bool:
        """Whether anything of a kind is seen, found by as few questions as will do."""
        if primitive in self._seen or primitive is Primitive.RESOURCE:
            return bool(self.visible(primitive))
        # What was seen before is asked first: it says where to look, not what the answer is.
        hints, key = self.scope.hints, (self.principal.id, primitive)
        hint = hints.get(key)
        if hint is not None and self._look(ACTIONS[primitive], [hint]):
            return True
        for thing in self.scope.things(primitive):
            if self._look(ACTIONS[primitive], [thing.id]):
                if len(hints) >= MAX_HINTS:
                    hints.clear()
                hints[key] = thing.id
                return True
        return False

    def print(self, primitive: Primitive) -> str:
        """A digest of what a list of this kind shows; it changes when, and only when, that does."""
        seen = self.visible(primitive)
        shown = sorted(
            f"{thing.name}\n{thing.entry.accepted}"
            for thing in self.scope.things(primitive)
            if thing.id in seen
        )
        return hashlib.sha256("\n".join(shown).encode()).hexdigest()[:16]

    def _look(
        self, action: Action, ids: Sequence[str], unbound: frozenset[str] = OPEN
    ) -> tuple[str, ...]:
        if not ids:
            return ()
        return self._judge.look(
            self.principal, action, ids, Context(lazy=self._facts, unbound=unbound)
        )
