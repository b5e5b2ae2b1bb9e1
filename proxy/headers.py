"""What a request says in its headers: credential, client address, request id, metadata.

Pure functions over a multi-dict, so that both the data plane and the control plane read a header the
same way. A header that could be read in two ways is refused, never guessed. Nothing is looked up here:
`identity.directory` answers who the credential is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from types import MappingProxyType
from typing import Protocol

from authz.errors import GatewardenError
from identity.errors import ConflictingCredentials, Refusal, Unauthenticated
from identity.tokens import redact

MAX_CREDENTIAL = 4096
MAX_METADATA = 8192  # characters of the header
MAX_METADATA_KEYS = 64
MAX_METADATA_TEXT = 128  # characters of one key or value
MAX_HOPS = 64  # entries of X-Forwarded-For that are looked at

Network = IPv4Network | IPv6Network
NO_METADATA: Mapping[str, str] = MappingProxyType({})

_KEY_HEADERS = ("x-api-key", "api-key")
_METADATA_HEADERS = ("x-gatewarden-metadata", "x-tfy-metadata")
_TOKEN = re.compile(rf"[A-Za-z0-9._~+/=-]{{1,{MAX_CREDENTIAL}}}\Z")  # RFC 6750 2.1: b68token
_BEARER = re.compile(r"bearer +(\S+)\Z", re.IGNORECASE)
_USUAL = re.compile(
    rf"Bearer ([A-Za-z0-9._~+/=-]{{1,{MAX_CREDENTIAL}}})\Z"
)  # what the two say together
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}\Z")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_PORT = re.compile(r"(?:\[([^\]]+)\](?::\d{1,5})?|(\d+\.\d+\.\d+\.\d+):\d{1,5})\Z")


class Headers(Protocol):
    """The part of `multidict.CIMultiDict` that is needed: case-insensitive, with repeated headers."""

    def __contains__(self, key: object, /) -> bool: ...
    def getall(self, key: str, default: list[str], /) -> list[str]: ...


class InvalidHeader(GatewardenError):
    """A header cannot be read (a 400); the message names the header, and the key inside it."""

    code = "invalid_header"


def credential_of(headers: Headers) -> str:
    """The one credential of a request, from `Authorization: Bearer`, `x-api-key` or `api-key`.

    The same secret in several headers is one credential. Two different values are refused even if one
    of them is nonsense: which of them the client meant cannot be known.

    Raises:
        ConflictingCredentials: two different values.
        Unauthenticated: `missing_credential` or `malformed_credential`.
    """
    sent = headers.getall("authorization", [])
    if len(sent) == 1 and "x-api-key" not in headers and "api-key" not in headers:
        usual = _USUAL.match(sent[0])
        if usual is not None:
            return usual[1]
    found: set[str] = set()
    malformed = False
    for value in sent:
        bearer = _BEARER.match(value.strip(" \t"))
        malformed |= bearer is None
        found.add(bearer[1] if bearer else value)
    for name in _KEY_HEADERS:
        if name in headers:
            found.update(value.strip(" \t") for value in headers.getall(name, []))
    if not found:
        raise Unauthenticated(Refusal.MISSING)
    if len(found) > 1:
        raise ConflictingCredentials
    secret = found.pop()
    if malformed or not _TOKEN.match(secret):
        raise Unauthenticated(Refusal.MALFORMED)
    return secret


def client_ip(peer: str | None, headers: Headers, trusted_proxies: Sequence[Network]) -> str:
    """The address of the client, `""` if the connection has none (a unix socket).

    `X-Forwarded-For` counts only if the peer is a trusted proxy. It is read from the right, since each
    proxy appends what it saw: the first address that is no trusted proxy is the client. An entry that
    is no address ends the walk, and the proxy that passed it on is the last one known.
    """
    if not trusted_proxies and peer and ":" not in peer:
        return peer  # from the socket, already canonical: the usual case costs nothing
    known = _address(peer or "")
    if known is None:
        return ""
    if trusted_proxies and _trusted(known, trusted_proxies):
        chain = ",".join(headers.getall("x-forwarded-for", [])).split(",")
        for entry in reversed(chain[-MAX_HOPS:]):
            hop = _address(entry)
            if hop is None:
                break
            known = hop
            if not _trusted(hop, trusted_proxies):
                break
    return str(known)


def request_id(headers: Headers, make: Callable[[], str]) -> str:
    """The caller's `x-request-id` if it is plain and sent once, else a new one.

    One that holds a token is not taken: it would be written down for ever.
    """
    if "x-request-id" not in headers:
        return make()
    values = headers.getall("x-request-id", [])
    if len(values) == 1 and _REQUEST_ID.match(values[0]) and redact(values[0]) == values[0]:
        return values[0]
    return make()


def metadata_of(headers: Headers) -> Mapping[str, str]:
    """What the caller claims in `x-gatewarden-metadata` (or `x-tfy-metadata`): a JSON object of strings.

    Raises:
        InvalidHeader: not such an object, a key twice, or something too long; the key is named.
    """
    if "x-gatewarden-metadata" not in headers and "x-tfy-metadata" not in headers:
        return NO_METADATA
    values = [(name, value) for name in _METADATA_HEADERS for value in headers.getall(name, [])]
    name, text = values[0]
    if any(other != text for _, other in values):
        raise InvalidHeader(
            f"`{name}` was sent with different values", hint="send the metadata in one header"
        )
    return _metadata(name, text)


def _metadata(header: str, text: str) -> Mapping[str, str]:
    if len(text) > MAX_METADATA:
        raise InvalidHeader(f"`{header}` is longer than {MAX_METADATA} characters")
    if not text.strip():
        return NO_METADATA
    try:
        pairs = json.loads(text, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError) as error:
        raise InvalidHeader(
            f"`{header}` is not JSON", hint='send an object of strings, as `{"team": "search"}`'
        ) from error
    if not isinstance(pairs, _Pairs):
        raise InvalidHeader(f"`{header}` is not a JSON object", hint='send as `{"team": "search"}`')
    if len(pairs) > MAX_METADATA_KEYS:
        raise InvalidHeader(f"`{header}` has more than {MAX_METADATA_KEYS} keys")
    metadata: dict[str, str] = {}
    for key, value in pairs:
        shown = _shown(key)
        if not key or len(key) > MAX_METADATA_TEXT or _CONTROL.search(key):
            raise InvalidHeader(
                f"the key `{shown}` of `{header}` is not allowed",
                hint=f"a key has 1 to {MAX_METADATA_TEXT} characters and no control characters",
            )
        if key in metadata:
            raise InvalidHeader(f"the key `{shown}` occurs twice in `{header}`")
        if not isinstance(value, str):
            raise InvalidHeader(
                f"the value of `{shown}` in `{header}` is not a string", hint="put it in quotes"
            )
        if len(value) > MAX_METADATA_TEXT:
            raise InvalidHeader(
                f"the value of `{shown}` in `{header}` is longer than {MAX_METADATA_TEXT} characters"
            )
        if _CONTROL.search(value):
            raise InvalidHeader(f"the value of `{shown}` in `{header}` has control characters")
        if redact(key) != key or redact(value) != value:
            # It would be recorded, and be read by whoever may read records.
            raise InvalidHeader(
                f"`{header}` holds a token", hint="revoke it if others could read it"
            )
        metadata[key] = value
    return metadata


class _Pairs(list[tuple[str, object]]):
    """A JSON object with its keys as they came, doubles included."""


def _shown(key: str) -> str:
    """A key as it may stand in a message: short, printable, never breaking the backticks."""
    return key[:64].encode("ascii", "backslashreplace").decode().replace("`", "'")


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """The address in `text`, with or without a port, IPv4 inside IPv6 unwrapped; None if it is none."""
    text = text.strip(" \t")
    with_port = _PORT.match(text)
    if with_port:
        text = with_port[1] or with_port[2]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _trusted(address: IPv4Address | IPv6Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)
