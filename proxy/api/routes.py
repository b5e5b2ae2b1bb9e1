"""What a route of the control plane is, as data, and what a handler gets to work with.

Every route names its actions, the gates that it asks the engine, the credentials that it takes, and the
models of its query, body and answer. The table drives dispatch, authorization, the OpenAPI document and
the route × role test, so none of them can know a route that the others do not. A route without an action
does not start. `proxy/api/site.py` puts the table together; `proxy/middleware/access.py` guards it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict

from authz.conditions import Context
from authz.vocabulary import Action
from identity.kept_tokens import KeptTokens
from identity.principal import CredentialKind, Principal
from proxy.api.progress import Progress
from proxy.refusals import Refusals

if TYPE_CHECKING:
    from proxy.runtime import Runtime

PREFIX = "/api/v1"
SELF = "self:caller"
# The routes that take no bearer token: an exact list in code (docs/attacks.md A2).
PUBLIC = frozenset({"POST /first-admin"})

ANY_TOKEN = frozenset({CredentialKind.PAT, CredentialKind.VAT})
PERSON = frozenset({CredentialKind.PAT})
SERVICE = frozenset({CredentialKind.VAT})

SMALL = 256 * 1024
DOCUMENT = 1024 * 1024
ESTATE = 8 * 1024 * 1024
LARGE_ESTATE = 64 * 1024 * 1024  # 100,000 users are 10 to 20 MB

Model = TypeVar("Model", bound=BaseModel)


class NoQuery(BaseModel):
    """A route that takes no parameters."""

    model_config = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True)
class Gate:
    """One question that opens a route: may the caller do `action` on `resource`?

    `read` is the action that makes a refusal visible: who may not do that either gets the answer for a
    thing that does not exist. None means that the resource is no secret, and a refusal is a 403. `said`
    is the refusal's text where it must not depend on whether the thing exists.
    """

    action: Action
    resource: str
    read: Action | None = None
    said: str = ""


# All of the outer tuple must open; each opens with the first of its alternatives that is allowed.
Gates = tuple[tuple[Gate, ...], ...]


@dataclass(frozen=True, slots=True)
class Body:
    """What a route reads: a model, or documents (`document` types; JSON or YAML)."""

    limit: int = SMALL
    large: int = (
        0  # the limit for callers who may one of `large_for`, asked before the body is read
    )
    large_for: tuple[tuple[Action, str], ...] = ()
    model: type[BaseModel] | None = None
    documents: tuple[str, ...] = ()  # document types of a body that is one document
    yaml: bool = False
    required: bool = True
    example: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a handler answers. `epoch` is that of a mutation; None = the engine's.

    With `stream` that answers instead, once the call has its record; `events` routes do so.
    """

    body: BaseModel | None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    epoch: int | None = None
    stream: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None


@dataclass(slots=True)
class Call:
    """One authenticated call on its way through gates and handler."""

    runtime: Runtime
    request: web.Request
    route: Route
    principal: Principal
    now: datetime
    request_id: str
    client: str  # the client's address, "" if unknown
    context: Context
    query: BaseModel
    raw: bytes = b""
    media: str = ""
    body: BaseModel | None = None
    decision_id: str = ""
    refusals: Refusals | None = None  # counts what the caller is refused
    kept_tokens: KeptTokens | None = None  # where the tokens of virtual accounts are read again
    kept: dict[str, object] = field(default_factory=dict)  # what the gates found, for the handler
    waits: bool = False  # until the live processes have applied the change (`waiting.py`)
    progress: Progress = field(default_factory=Progress)  # how far it is; told if the caller asks

    def path(self, name: str) -> str:
        """A variable of the path, decoded once."""
        return self.request.match_info[name]

    def query_as(self, model: type[Model]) -> Model:
        """The parsed query parameters."""
        assert isinstance(self.query, model)
        return self.query

    def body_as(self, model: type[Model]) -> Model:
        """The parsed body."""
        assert isinstance(self.body, model)
        return self.body


GatesOf = Callable[[Call], Awaitable[Gates]]
Handler = Callable[[Call], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Route:
    """One route. `filtered` routes ask no gate: their handler shows what is visible and records that."""

    method: str
    path: str  # below PREFIX
    operation: str
    summary: str
    tag: str
    actions: tuple[Action, ...]
    handler: Handler
    answer: type[BaseModel]
    gates: GatesOf | None = None
    filtered: bool = False
    public: bool = False  # takes no bearer token: one of PUBLIC
    credentials: frozenset[CredentialKind] = ANY_TOKEN
    query: type[BaseModel] = NoQuery
    body: Body | None = None
    created: bool = False  # may answer 201
    versioned: bool = False  # ETag; If-Match and If-None-Match
    mutates: bool = False
    streams: bool = False  # tells its progress to those who accept `application/x-ndjson`
    events: bool = False  # answers server-sent events; the data of each is an `answer`
    media: tuple[
        str, ...
    ] = ()  # answers a file of one of these types, of rows that are an `answer`
    description: str = ""
    example: Mapping[str, object] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"


def gate(action: Action, resource: str) -> GatesOf:
    """The gates of a route that always asks the same question."""

    async def ask(call: Call) -> Gates:
        return ((Gate(action, resource),),)

    return ask


def checked(routes: Iterable[Route]) -> tuple[Route, ...]:
    """The table, once it may start.

    Raises:
        ValueError: a route has no action, takes no credential, has no gate, or stands twice.
    """
    table = tuple(routes)
    seen: set[str] = set()
    operations: set[str] = set()
    for route in table:
        if not route.actions:
            raise ValueError(f"the route `{route.name}` has no action")
        if not route.credentials:
            raise ValueError(f"the route `{route.name}` accepts no credential")
        if route.public != (route.name in PUBLIC):
            raise ValueError(f"the route `{route.name}` is not one that may be public, or must be")
        if route.public:
            if route.gates is not None or route.filtered:
                raise ValueError(f"the route `{route.name}` is public and cannot ask who asks")
        elif (route.gates is None) != route.filtered:
            raise ValueError(f"the route `{route.name}` needs gates or a filter, and not both")
        if route.mutates and route.filtered:
            raise ValueError(f"the route `{route.name}` changes things without a gate")
        if not route.path.startswith("/") or route.method not in ("GET", "PUT", "POST", "DELETE"):
            raise ValueError(f"the route `{route.name}` has no usable path or method")
        if route.name in seen or route.operation in operations:
            raise ValueError(f"the route `{route.name}` stands twice")
        seen.add(route.name)
        operations.add(route.operation)
    return table
