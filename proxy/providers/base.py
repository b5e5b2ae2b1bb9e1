"""What every provider adapter shares: operations, the upstream value, the port, and the errors.

An adapter (one file each beside this one) turns a request that was already decided into the provider's
own: an address built from parsed parts and the provider's credential. It never decides anything, opens
no socket (`proxy/outbound.py` does) and reads no secret store (`proxy/secrets.py` does).
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol, runtime_checkable
from urllib.parse import quote

from yarl import URL

from authz.errors import GatewardenError
from policies.documents import AccessKeyAuth, ApiKeyAuth
from policies.pricing import Price


class Dialect(StrEnum):
    """Whose API the caller speaks. There is no translation between dialects."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"


class Operation(StrEnum):
    """What a caller may ask of a model; the value is the path below `/v1/`."""

    AUDIO_SPEECH = "audio/speech"
    AUDIO_TRANSCRIPTIONS = "audio/transcriptions"
    AUDIO_TRANSLATIONS = "audio/translations"
    CHAT_COMPLETIONS = "chat/completions"
    COMPLETIONS = "completions"
    COUNT_TOKENS = "messages/count_tokens"
    EMBEDDINGS = "embeddings"
    IMAGES_EDITS = "images/edits"
    IMAGES_GENERATIONS = "images/generations"
    IMAGES_VARIATIONS = "images/variations"
    MESSAGES = "messages"
    MODERATIONS = "moderations"
    RERANK = "rerank"
    RESPONSES = "responses"

    @property
    def dialect(self) -> Dialect:
        """The dialect that the operation belongs to."""
        return Dialect.ANTHROPIC if self in ANTHROPIC_OPERATIONS else Dialect.OPENAI


ANTHROPIC_OPERATIONS = frozenset({Operation.MESSAGES, Operation.COUNT_TOKENS})
OPENAI_OPERATIONS = frozenset(Operation) - ANTHROPIC_OPERATIONS

Headers = list[tuple[str, str]]
Auth = ApiKeyAuth | AccessKeyAuth


# --- errors; `proxy/errors.py` maps their codes to statuses -----------------------------------------


class UpstreamError(GatewardenError):
    """The upstream gave no usable answer. Never the caller's fault unless a subclass says so."""

    code = "upstream_error"


class UpstreamUnreachable(UpstreamError):
    """No connection, no TLS, no such host, or the connection broke before an answer (502)."""

    code = "upstream_unreachable"


class UpstreamTimeout(UpstreamError):
    """A deadline of the call struck (504)."""

    code = "upstream_timeout"


class UpstreamRefusedByGuard(UpstreamError):
    """The address is internal, or not one we may connect to (502)."""

    code = "upstream_refused"


class UpstreamInvalid(UpstreamError):
    """The upstream answered, but not with something that we can pass on (502)."""

    code = "upstream_invalid"


class UpstreamMisconfigured(UpstreamError):
    """The provider account's document makes no valid address (502)."""

    code = "upstream_misconfigured"


class CredentialMissing(UpstreamError):
    """The account's credential cannot be resolved (503). Names the account, never the secret."""

    code = "upstream_credential_missing"


class OperationNotSupported(UpstreamError):
    """The provider has no such operation (404): the caller asked the wrong model."""

    code = "operation_not_supported"


# --- values ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A resolved API key. Its `repr` hides it."""

    value: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class AwsKeys:
    """Resolved AWS access keys. Their `repr` hides the secret parts."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


Secret = ApiKey | AwsKeys


@dataclass(frozen=True, slots=True)
class Account:
    """What an adapter needs of a provider account to build addresses."""

    name: str
    base_url: URL | None = None
    region: str | None = None
    api_version: str | None = None


@dataclass(frozen=True, slots=True)
class Upstream:
    """One model of the catalogue, ready to be called.

    An alias (also of an alias) carries its target's account, address and credential; `target` is then the id of the model
    that it stands for. `routes` holds the finished address of each operation. `problem` is set when the
    document makes no valid address: the model is listed and decided as ever, the call raises it.
    """

    id: str  # model:<account>/<model>, as asked for
    name: str  # <account>/<model>, as callers write it
    account: str  # as stored: with its generation, unique for ever
    provider: Provider = field(repr=False)
    model_id: str  # what the provider is sent
    dialects: frozenset[Dialect]
    routes: Mapping[Operation, URL] = field(default_factory=dict)
    origins: frozenset[str] = frozenset()  # where the credential goes
    local: bool = False  # answered in this process (`LocalProvider`)
    auth: Auth | None = field(default=None, repr=False)
    region: str | None = None
    model_types: tuple[str, ...] = ("chat",)
    target: str | None = None
    problem: UpstreamError | None = None
    price: Price | None = None  # of its tokens, None where nobody says one

    @property
    def account_name(self) -> str:
        """The account's name as people write it, for messages."""
        return self.account.partition("~")[0]


@dataclass(frozen=True, slots=True)
class Prepared:
    """The request as it goes out. Its `repr` hides headers (a credential is among them) and body."""

    method: str
    url: URL
    headers: Headers = field(repr=False)
    body: bytes = field(repr=False)


class Provider(Protocol):
    """The port that each adapter fills."""

    name: str
    dialects: frozenset[Dialect]

    def routes(self, account: Account, model_id: str) -> Mapping[Operation, URL]:
        """The address of each operation that the provider serves for `model_id`.

        Raises:
            UpstreamMisconfigured: a part of the address is missing or holds a forbidden character.
        """
        ...

    def prepare(
        self,
        upstream: Upstream,
        operation: Operation,
        headers: Headers,
        body: bytes,
        secret: Secret | None,
        now: datetime,
    ) -> Prepared:
        """The outgoing request; `headers` are already free of the caller's credentials.

        Raises:
            OperationNotSupported: the provider has no such operation.
            CredentialMissing: the provider needs a credential of another kind.
        """
        ...


@dataclass(frozen=True, slots=True)
class LocalAnswer:
    """An answer made in this process."""

    status: int
    headers: Headers
    chunks: AsyncIterator[bytes]


@runtime_checkable
class LocalProvider(Protocol):
    """A provider that answers in this process instead of over the network (`echo`)."""

    async def serve(self, prepared: Prepared, operation: Operation) -> LocalAnswer:
        """The answer to `prepared`."""
        ...


# --- building addresses ------------------------------------------------------------------------------

_FORBIDDEN = re.compile(r"[#?@/\\%\s\x00-\x1f\x7f]")
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\Z")


def component(value: str | None, what: str, account: str) -> str:
    """`value`, fit to stand in an address as one part.

    Raises:
        UpstreamMisconfigured: it is missing, or holds one of `# ? @ / \\ %`, a space or a control character.
    """
    if not value:
        raise UpstreamMisconfigured(f"the provider account `{account}` has no {what}")
    if _FORBIDDEN.search(value) or value in (".", ".."):
        raise UpstreamMisconfigured(
            f"the {what} of the provider account `{account}` holds a character that an address must not",
            hint="none of # ? @ / \\ % and no space",
        )
    return value


def host_label(value: str | None, what: str, account: str) -> str:
    """`value`, fit to stand as one label of a host name (a region, a resource name)."""
    if not _LABEL.match(component(value, what, account)):
        raise UpstreamMisconfigured(
            f"the {what} of the provider account `{account}` is not one label of a host name",
            hint="letters, digits and hyphens only",
        )
    return str(value)


def join(base: URL, *segments: str) -> URL:
    """`base` with path segments added, each escaped on its own; a segment never splits or climbs.

    Raises:
        UpstreamMisconfigured: a segment is empty or a dot segment.
    """
    path = base.raw_path.rstrip("/")
    for segment in segments:
        # RFC 3986 5.2.4: dot segments climb, also when only their escapes are read late.
        if segment in ("", ".", ".."):
            raise UpstreamMisconfigured("an address part is empty or a dot segment")
        path += "/" + quote(segment, safe="-._~:@!$&'()*+,;=")
    return URL.build(scheme=base.scheme, authority=base.raw_authority, path=path, encoded=True)


def operation_routes(base: URL, operations: Iterable[Operation]) -> dict[Operation, URL]:
    """The usual addresses: `base` followed by the operation's path."""
    return {operation: join(base, *operation.value.split("/")) for operation in operations}


def base_of(account: Account, default: str) -> URL:
    """The account's own base address, or the provider's."""
    return account.base_url if account.base_url is not None else URL(default)


def route(upstream: Upstream, operation: Operation) -> URL:
    """The address of `operation` for `upstream`.

    Raises:
        OperationNotSupported: the provider or the account does not serve it.
    """
    url = upstream.routes.get(operation)
    if url is None or operation.dialect not in upstream.dialects:
        raise OperationNotSupported(
            f"the model `{upstream.name}` does not serve `/v1/{operation.value}`",
            hint="the provider has no such operation, or the account's `dialects` leave it out",
        )
    return url


def api_key(upstream: Upstream, secret: Secret | None) -> str:
    """The API key of `upstream`.

    Raises:
        CredentialMissing: there is none, or it is of another kind.
    """
    if not isinstance(secret, ApiKey):
        raise CredentialMissing(
            f"the provider account `{upstream.account_name}` has no API key",
            hint="set `auth_data: {type: api-key, api_key: …}`",
        )
    return secret.value
