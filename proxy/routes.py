"""The route table of the data plane: which path is which, and what it takes to use it.

A path is compared as the bytes that the client sent, before any decoding: `//`, `..`, `%2e`, `;` and
other cases never match by accident, and `Host`, a query or `X-Forwarded-*` are not looked at. A route
without an action does not load. The control plane has its own table in `proxy/api/routes.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import unquote_to_bytes

from authz.vocabulary import Action
from identity.principal import CredentialKind
from proxy.providers.base import Dialect, Operation

MIB = 1 << 20
GIB = 1 << 30
TOKENS = frozenset({CredentialKind.PAT, CredentialKind.VAT, CredentialKind.HOST})


class Serves(StrEnum):
    """What a route does."""

    RELAY = "relay"  # decide the named model, pass on
    MODELS = "models"  # list the models that may be used
    MODEL = "model"  # show one of them
    NOT_SERVED = "not_served"  # known to clients, not offered here


class ModelIn(StrEnum):
    """Where a request names its model."""

    JSON = "json"  # the top-level field `model` of a JSON body
    FORM = "form"  # the one field `model` of a multipart form
    PATH = "path"  # the last part of the path
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path. `pattern` is exact, but for an `{id}` at its end.

    `body_limit` is in bytes and only narrows the limit of the settings. `side_effect` marks what must be durable before it goes upstream.
    """

    method: str
    pattern: str
    dialect: Dialect
    action: Action
    serves: Serves
    model_in: ModelIn = ModelIn.NONE
    operation: Operation | None = None
    body_limit: int = GIB
    side_effect: bool = False
    credentials: frozenset[CredentialKind] = TOKENS
    name: str = field(default="")  # the label in metrics and records


@dataclass(frozen=True, slots=True)
class Match:
    """A route and the decoded rest of the path."""

    route: Route
    id: str = ""


@dataclass(frozen=True, slots=True)
class NoMatch:
    """No route: `allow` holds the methods of the path, and is empty if there is no such path."""

    dialect: Dialect
    allow: tuple[str, ...] = ()


def guess_dialect(path: str) -> Dialect:
    """Whose error a caller expects who asked for a path that does not exist."""
    return Dialect.ANTHROPIC if path.startswith("/v1/messages") else Dialect.OPENAI


def _relay(operation: Operation, model_in: ModelIn, limit: int = GIB) -> Route:
    return Route(
        "POST",
        f"/v1/{operation.value}",
        operation.dialect,
        Action.MODEL_USE,
        Serves.RELAY,
        model_in,
        operation,
        limit,
        name=operation.value,
    )


def _model(pattern: str, serves: Serves, model_in: ModelIn) -> Route:
    return Route("GET", pattern, Dialect.OPENAI, Action.MODEL_USE, serves, model_in, name=serves)


def _not_served(method: str, pattern: str) -> Route:
    dialect = guess_dialect(pattern)
    return Route(method, pattern, dialect, Action.MODEL_USE, Serves.NOT_SERVED, name="not_served")


_SHORT_OPERATIONS = (Operation.AUDIO_SPEECH,)  # text only, and little of it
_JSON_OPERATIONS = (
    Operation.CHAT_COMPLETIONS,
    Operation.COMPLETIONS,
    Operation.COUNT_TOKENS,
    Operation.EMBEDDINGS,
    Operation.IMAGES_GENERATIONS,
    Operation.MESSAGES,
    Operation.MODERATIONS,
    Operation.RERANK,
    Operation.RESPONSES,
)
_FORM_OPERATIONS = (
    Operation.AUDIO_TRANSCRIPTIONS,
    Operation.AUDIO_TRANSLATIONS,
    Operation.IMAGES_EDITS,
    Operation.IMAGES_VARIATIONS,
)

# A file or a batch belongs to a provider account, not to a caller, and names no model before it is run.
# A stored response is used through `previous_response_id` by the principal that got it.
_NOT_SERVED = (
    *(("GET", path) for path in ("/v1/files", "/v1/batches")),
    *(("POST", path) for path in ("/v1/files", "/v1/batches", "/v1/messages/batches")),
    *((method, "/v1/files/{id}") for method in ("GET", "POST", "DELETE")),
    *((method, "/v1/batches/{id}") for method in ("GET", "POST", "DELETE")),
    *((method, "/v1/messages/batches/{id}") for method in ("GET", "POST", "DELETE")),
    *((method, "/v1/responses/{id}") for method in ("GET", "POST", "DELETE")),
    ("GET", "/v1/messages/batches"),
)

ROUTES: tuple[Route, ...] = (
    *(_relay(operation, ModelIn.JSON) for operation in _JSON_OPERATIONS),
    *(_relay(operation, ModelIn.JSON, MIB) for operation in _SHORT_OPERATIONS),
    *(_relay(operation, ModelIn.FORM) for operation in _FORM_OPERATIONS),
    _model("/v1/models", Serves.MODELS, ModelIn.NONE),
    _model("/v1/models/{id}", Serves.MODEL, ModelIn.PATH),
    *(_not_served(method, pattern) for method, pattern in _NOT_SERVED),
)

_ORIGIN = re.compile(r"https?://[^/?#]*", re.IGNORECASE)
_BAD_SEGMENT = re.compile(r"(?:\A|/)\.{0,2}(?:/|\Z)")


class RouteTable:
    """Finds routes. Exact paths are one dictionary look-up."""

    def __init__(self, routes: Iterable[Route] = ROUTES) -> None:
        """Raises ValueError: two routes for one method and path, or a pattern that is not understood."""
        self._exact: dict[tuple[str, str], Match] = {}
        self._prefixes: list[tuple[str, dict[str, Route]]] = []
        methods: dict[str, dict[str, Route]] = {}
        for route in routes:
            if not isinstance(route.action, Action):
                raise ValueError(f"the route {route.method} {route.pattern} has no action")
            by_method = methods.setdefault(route.pattern, {})
            if route.method in by_method:
                raise ValueError(f"two routes for {route.method} {route.pattern}")
            by_method[route.method] = route
        self._methods: dict[str, tuple[str, ...]] = {}
        for pattern, by_method in methods.items():
            if pattern.endswith("/{id}"):
                self._prefixes.append((pattern.removesuffix("{id}"), by_method))
            elif "{" in pattern:
                raise ValueError(f"`{{id}}` stands at the end of a pattern only: {pattern}")
            else:
                self._methods[pattern] = tuple(sorted(by_method))
                for method, route in by_method.items():
                    self._exact[method, pattern] = Match(route)
        self._prefixes.sort(key=lambda item: -len(item[0]))  # the longest first

    def find(self, method: str, target: str) -> Match | NoMatch:
        """The route of a request by its method and its raw request target."""
        path = target.partition("?")[0]
        found = self._exact.get((method, path))
        if found is not None:
            return found
        return self._search(method, path)

    def _search(self, method: str, path: str) -> Match | NoMatch:
        if not path.startswith("/"):
            # RFC 9112 3.2.2: the absolute form is legal; its host is not looked at.
            origin = _ORIGIN.match(path)
            if origin is None:
                return NoMatch(Dialect.OPENAI)
            path = path[origin.end() :]
            found = self._exact.get((method, path))
            if found is not None:
                return found
        allow = self._methods.get(path)
        if allow is not None:
            return NoMatch(guess_dialect(path), allow)
        for prefix, by_method in self._prefixes:
            if not path.startswith(prefix):
                continue
            rest = decoded(path[len(prefix) :])
            if rest is None:
                break
            route = by_method.get(method)
            if route is None:
                return NoMatch(guess_dialect(path), tuple(sorted(by_method)))
            return Match(route, rest)
        return NoMatch(guess_dialect(path))


def decoded(text: str) -> str | None:
    """An id from the end of a path, decoded once; None if it is empty, climbs, or is not UTF-8 text.

    Clients write the slash of `acme/mini` as it is or as `%2F`; both are the same id.
    """
    if "%" in text:
        try:
            text = unquote_to_bytes(text).decode("utf-8")
        except UnicodeDecodeError:
            return None
    if _BAD_SEGMENT.search(text) or ";" in text or "\\" in text or not text.isprintable():
        return None
    return text
