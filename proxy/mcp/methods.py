"""THE table of MCP methods: what each one asks of the policy, and where the name of the thing stands.

A method that is not here is refused (-32601), in either direction; a notification that is not here is
dropped. So a method that the protocol gains later reaches nobody before somebody has said here what it means.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from authz.vocabulary import Action
from proxy.mcp.era import Generation
from proxy.mcp.jsonrpc import INVALID_PARAMS, InvalidMessage, Kind, Message
from proxy.mcp.primitive import Primitive


class Direction(StrEnum):
    CLIENT = "client"  # what a client sends
    SERVER = "server"  # what a server sends


class Shape(StrEnum):
    # initialize, server/discover: no policy refuses it (a client that cannot start does not show why);
    # capabilities are stripped
    START = "start"
    CALL = "call"  # one thing, run: tools/call, prompts/get
    READ = "read"  # one thing, read: resources
    LIST = "list"  # filtered to what the caller could use
    COMPLETE = "complete"  # one prompt or template, named by a reference
    TASK = "task"  # one task, decided as what made it; unknown to anybody else
    LISTEN = "listen"  # a stream of changes, each filtered
    ASK = "ask"  # a server asks the client, in the course of what the client asked
    CONTROL = "control"  # about the connection, or about a request of the same sender
    NOTICE = (
        "notice"  # tells of a change or of progress; one that names a thing is for who may read it
    )


class Target(StrEnum):
    """Where the name of what is asked for stands."""

    NONE = ""
    NAME = "params.name"
    URI = "params.uri"
    REF = "params.ref"
    TASK = "params.taskId"
    REQUEST = "params.requestId"  # a request in flight, of the same sender
    PROGRESS = "params.progressToken"  # as above
    SUBSCRIPTIONS = "params.notifications"  # URIs in `resourceSubscriptions`, and flags


@dataclass(frozen=True, slots=True)
class Rule:
    """What one method is. `action` is None where there is nothing to decide.

    `capability` is what the receiver must have declared: `<capability>`, or `<capability>.<feature>`. With
    `durable_before` the decision record is on the disk before anything goes upstream.
    """

    method: str
    shape: Shape
    action: Action | None = None
    primitive: Primitive | None = None
    capability: str | None = None
    target: Target = Target.NONE
    durable_before: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """One question: the action, and the primitive and name that it is asked of."""

    action: Action
    primitive: Primitive
    name: str


_USE = Action.MCP_SERVER_USE
_CALL = Action.MCP_TOOL_CALL
_GET = Action.MCP_PROMPT_GET
_READ = Action.MCP_RESOURCE_READ
_TOOL, _PROMPT = Primitive.TOOL, Primitive.PROMPT
_RESOURCE, _TEMPLATE = Primitive.RESOURCE, Primitive.TEMPLATE

# What both generations have.
_CLIENT_REQUESTS = (
    Rule("tools/list", Shape.LIST, _CALL, _TOOL, "tools"),
    Rule("tools/call", Shape.CALL, _CALL, _TOOL, "tools", Target.NAME, durable_before=True),
    Rule("prompts/list", Shape.LIST, _GET, _PROMPT, "prompts"),
    Rule("prompts/get", Shape.CALL, _GET, _PROMPT, "prompts", Target.NAME),
    Rule("resources/list", Shape.LIST, _READ, _RESOURCE, "resources"),
    Rule("resources/templates/list", Shape.LIST, _READ, _TEMPLATE, "resources"),
    Rule("resources/read", Shape.READ, _READ, _RESOURCE, "resources", Target.URI),
    # The reference says whether a prompt or a template is asked for: see `asked`.
    Rule("completion/complete", Shape.COMPLETE, capability="completions", target=Target.REF),
)
_CANCELLED = Rule("notifications/cancelled", Shape.CONTROL, target=Target.REQUEST)
_PROGRESS = Rule("notifications/progress", Shape.CONTROL, target=Target.PROGRESS)
_SERVER_NOTIFICATIONS = (
    _PROGRESS,
    Rule("notifications/message", Shape.NOTICE, capability="logging"),
    Rule("notifications/tools/list_changed", Shape.NOTICE, _CALL, _TOOL, "tools"),
    Rule("notifications/prompts/list_changed", Shape.NOTICE, _GET, _PROMPT, "prompts"),
    Rule("notifications/resources/list_changed", Shape.NOTICE, _READ, _RESOURCE, "resources"),
    Rule(
        "notifications/resources/updated",
        Shape.NOTICE,
        _READ,
        _RESOURCE,
        "resources.subscribe",
        Target.URI,
    ),
)
# What a server may ask of a client: as a request in one generation, inside a result in the other.
_ASKS = (
    Rule("sampling/createMessage", Shape.ASK, capability="sampling"),
    Rule("elicitation/create", Shape.ASK, capability="elicitation"),
    Rule("roots/list", Shape.ASK, capability="roots"),
)
_PING = Rule("ping", Shape.CONTROL, _USE)
_TASKS = (  # of either side: who made the task asks about it
    Rule("tasks/get", Shape.TASK, capability="tasks", target=Target.TASK),
    Rule("tasks/result", Shape.TASK, capability="tasks", target=Target.TASK),
    Rule("tasks/list", Shape.LIST, capability="tasks.list"),
    Rule("tasks/cancel", Shape.TASK, capability="tasks.cancel", target=Target.TASK),
)
_TASK_STATUS = Rule(
    "notifications/tasks/status", Shape.TASK, capability="tasks", target=Target.TASK
)

_Table = dict[tuple[Generation, Direction, Kind, str], Rule]


def _table() -> _Table:
    table: _Table = {}

    def add(
        generation: Generation, direction: Direction, kind: Kind, *groups: Iterable[Rule]
    ) -> None:
        for group in groups:
            for rule in group:
                table[generation, direction, kind, rule.method] = rule

    sessions, stateless = Generation.SESSIONS, Generation.STATELESS
    client, server = Direction.CLIENT, Direction.SERVER
    add(
        sessions,
        client,
        Kind.REQUEST,
        (Rule("initialize", Shape.START, _USE), _PING),
        _CLIENT_REQUESTS,
        (
            Rule("logging/setLevel", Shape.CONTROL, _USE, capability="logging"),
            Rule(
                "resources/subscribe",
                Shape.READ,
                _READ,
                _RESOURCE,
                "resources.subscribe",
                Target.URI,
            ),
            # Nothing is learnt by it, and who has lost a right must be able to end what it gave.
            Rule(
                "resources/unsubscribe",
                Shape.CONTROL,
                None,
                _RESOURCE,
                "resources.subscribe",
                Target.URI,
            ),
        ),
        _TASKS,
    )
    add(
        sessions,
        client,
        Kind.NOTIFICATION,
        (
            Rule("notifications/initialized", Shape.CONTROL),
            Rule("notifications/roots/list_changed", Shape.NOTICE),
            _CANCELLED,
            _PROGRESS,
            _TASK_STATUS,
        ),
    )
    add(sessions, server, Kind.REQUEST, (Rule("ping", Shape.CONTROL),), _ASKS, _TASKS)
    add(
        sessions,
        server,
        Kind.NOTIFICATION,
        _SERVER_NOTIFICATIONS,
        (
            _CANCELLED,
            _TASK_STATUS,
            Rule("notifications/elicitation/complete", Shape.NOTICE, capability="elicitation"),
        ),
    )
    add(
        stateless,
        client,
        Kind.REQUEST,
        (
            Rule("server/discover", Shape.START, _USE),
            Rule("subscriptions/listen", Shape.LISTEN, _USE, target=Target.SUBSCRIPTIONS),
        ),
        _CLIENT_REQUESTS,
    )
    add(stateless, client, Kind.NOTIFICATION, (_CANCELLED,))
    add(
        stateless,
        server,
        Kind.NOTIFICATION,
        _SERVER_NOTIFICATIONS,
        (
            Rule(
                "notifications/subscriptions/acknowledged",
                Shape.LISTEN,
                target=Target.SUBSCRIPTIONS,
            ),
        ),
    )
    return table


TABLE: Mapping[tuple[Generation, Direction, Kind, str], Rule] = MappingProxyType(_table())
# What may stand in `inputRequests` of a result of the stateless generation.
INPUT_REQUESTS: Mapping[str, Rule] = MappingProxyType({rule.method: rule for rule in _ASKS})

_REFS = {
    "ref/prompt": ("name", _GET, _PROMPT),
    "ref/resource": ("uri", _READ, _TEMPLATE),
}


def rule(
    generation: Generation, method: str, direction: Direction, kind: Kind = Kind.REQUEST
) -> Rule | None:
    """What a method is; None for a method that nobody has allowed for."""
    return TABLE.get((generation, direction, kind, method))


def asked(rule: Rule, message: Message) -> Asked | None:
    """The question about the one thing that a message names; None where its rule names no such thing.

    Raises:
        InvalidMessage: -32602, the name is missing or no string.
    """
    action, primitive = rule.action, rule.primitive
    held: object = message.params
    if rule.target is Target.REF:
        held = message.params.get("ref")
        kind = held.get("type") if isinstance(held, dict) else None
        known = _REFS.get(kind) if isinstance(kind, str) else None
        if known is None:
            raise _invalid("`params.ref` names neither a prompt nor a resource", message)
        field, action, primitive = known
    elif rule.target in (Target.NAME, Target.URI):
        field = rule.target.value.removeprefix("params.")
    else:
        return None
    name = held.get(field) if isinstance(held, Mapping) else None
    if not isinstance(name, str) or not name:
        raise _invalid(f"`{field}` is not a string", message)
    if action is None or primitive is None:
        return None
    return Asked(action, primitive, name)


def _invalid(text: str, message: Message) -> InvalidMessage:
    return InvalidMessage(text, rpc_code=INVALID_PARAMS, id=message.id)
