"""What of a header list may pass: outwards to a provider, and back to the caller.

Names are compared in one normal form (lower case, anything but letters and digits as a hyphen), because
servers behind a provider read `X_Forwarded_For` as `X-Forwarded-For` (CVE-2025-64484). Pure; used by
`proxy/outbound.py` only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from proxy.providers.base import Headers

_SEPARATORS = re.compile(r"[^a-z0-9]+")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")

# RFC 9110 7.6.1 and its elders, and what describes the body as it came to us rather than as it leaves.
_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",  # codespell:ignore te
        "trailer",
        "trailers",
        "transfer-encoding",
        "upgrade",
        "http2-settings",
    }
)
_NOT_OUT = _HOP_BY_HOP | frozenset(
    {
        # credentials: the caller's are for us, the account's are added later
        "api-key",
        "apikey",
        "authorization",
        "cookie",
        "cookie2",
        "x-api-key",
        "x-auth-token",
        "x-access-token",
        "x-csrf-token",
        "x-xsrf-token",
        "ocp-apim-subscription-key",
        "x-functions-key",
        "x-goog-api-key",
        "x-goog-user-project",
        "x-vault-token",
        # whose account pays is not the caller's to say
        "openai-organization",
        "openai-project",
        # framing and negotiation are ours
        "accept-encoding",
        "content-length",
        "content-encoding",
        "content-md5",
        "digest",
        "content-digest",
        "repr-digest",
        "expect",
        "host",
        "range",
        "if-match",
        "if-none-match",
        "if-modified-since",
        "if-unmodified-since",
        "if-range",
        "x-http-method-override",
        "x-http-method",
        "x-method-override",
        # who the caller is, as some proxy or platform would say it
        "forwarded",
        "from",
        "via",
        "origin",
        "referer",
        "remote-user",
        "remote-addr",
        "true-client-ip",
        "cf-connecting-ip",
        "fastly-client-ip",
        "client-ip",
        "baggage",
        "x-real-ip",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-host",
        "x-rewrite-url",
        "x-request-id",
        "x-min-epoch",
        "x-user",
        "x-username",
        "x-bf-vk",
    }
)
_NOT_OUT_PREFIXES = (
    "access-control-",
    "cf-access-",
    "cf-aig-",
    "proxy-",
    "sec-",
    "ssl-client-",
    "x-amz-",
    "x-amzn-",
    "x-auth-request-",
    "x-authenticated-",
    "x-client-cert",
    "x-client-dn",
    "x-consumer-",
    "x-envoy-",
    "x-forwarded",
    "x-gatewarden-",
    "x-goog-authenticated-user",
    "x-goog-iap",
    "x-litellm-",
    "x-ms-client-principal",
    "x-ms-token-",
    "x-original-",
    "x-portkey-",
    "x-remote-",
    "x-ssl-",
    "x-tfy-",
    "x-webauth-",
    "x-wso2-",
)

_NOT_BACK = _HOP_BY_HOP | frozenset(
    {
        "content-length",
        "set-cookie",
        "set-cookie2",
        # what the upstream runs on, and which account pays
        "server",
        "via",
        "alt-svc",
        "x-powered-by",
        "x-aspnet-version",
        "x-runtime",
        "x-backend-server",
        "openai-organization",
        "openai-project",
        "anthropic-organization-id",
        # what would speak to a browser or a proxy in our name
        "www-authenticate",
        "location",
        "refresh",
        "link",
        "clear-site-data",
        "service-worker-allowed",
        "strict-transport-security",
        "public-key-pins",
        "content-security-policy",
        "content-security-policy-report-only",
        "report-to",
        "reporting-endpoints",
        "nel",
        "p3p",
        "x-frame-options",
        "date",
        # ours
        "server-timing",
        "x-decision-id",
        "x-policy-epoch",
        "x-request-id",
    }
)
_NOT_BACK_PREFIXES = ("access-control-", "x-gatewarden-", "x-envoy-", "x-accel-", "x-tfy-")

_MEMO = 1024  # names remembered; hostile callers send endless new ones


def normal(name: str) -> str:
    """The form in which header names are compared."""
    return _SEPARATORS.sub("-", name.lower()).strip("-")


def _passes(name: str, exact: frozenset[str], prefixes: tuple[str, ...]) -> bool:
    form = normal(name)
    # A parser may be lenient about names; we write none that is not one (RFC 9110 5.6.2).
    return _TOKEN.match(name) is not None and form not in exact and not form.startswith(prefixes)


# What is done with a header of some name: worked out once, then remembered (this is the hot path).
_DROP, _PASS, _ACCEPT, _AGENT, _NAMES, _MEDIA, _LENGTH, _ENCODING, _ID = range(9)
_OUT_KINDS = {"accept": _ACCEPT, "user-agent": _AGENT}
_BACK_KINDS = {
    "connection": _NAMES,
    "content-type": _MEDIA,
    "content-length": _LENGTH,
    "content-encoding": _ENCODING,
    "request-id": _ID,
    "x-request-id": _ID,
}


class HeaderFilter:
    """What passes of a caller's and of an upstream's headers; remembers what it said of each name."""

    def __init__(self) -> None:
        self._out: dict[str, int] = {}
        self._back: dict[str, tuple[int, bool]] = {}

    def outgoing(self, headers: Iterable[tuple[str, str]]) -> Headers:
        """A fresh list of what may pass to a provider, ending with the headers that are always ours.

        Lines with the same name stay apart and in order. A value that could not be written as one
        header line is dropped with its name.
        """
        memo = self._out
        kept: Headers = []
        named: list[str] = []
        accept = agent = False
        for item in headers:
            name, value = item
            kind = memo.get(name)
            if kind is None:
                kind = self._learn_out(name)
            if kind == _PASS:  # as most do
                if value.isprintable() or _writable(value):
                    kept.append(item)
            elif kind == _DROP:
                continue
            elif kind == _NAMES:
                named += map(normal, value.split(","))
            elif value.isprintable() or _writable(value):
                kept.append(item)
                if kind == _ACCEPT:
                    accept = True
                elif kind == _AGENT:
                    agent = True
        if named:
            # RFC 9110 7.6.1: what Connection names is for this hop only.
            kept = [item for item in kept if normal(item[0]) not in named]
        if not accept:
            kept.append(("accept", "*/*"))
        if not agent:
            kept.append(("user-agent", "gatewarden"))
        kept.append(("accept-encoding", "identity"))
        return kept

    def _learn_out(self, name: str) -> int:
        kind = _OUT_KINDS.get(name.lower(), _PASS)
        if not _passes(name, _NOT_OUT, _NOT_OUT_PREFIXES):
            kind = _NAMES if normal(name) == "connection" else _DROP
        if len(self._out) < _MEMO:
            self._out[name] = kind
        return kind

    def incoming(self, headers: Iterable[tuple[str, str]]) -> AnswerFacts:
        """The facts of an upstream's answer. `x-request-id` comes apart: ours stands in its place."""
        memo = self._back
        kept: Headers = []
        named: set[str] = set()
        media, length, encoded, request_id = "", None, False, None
        for item in headers:
            name, value = item
            known = memo.get(name)
            if known is None:
                known = self._learn_back(name)
            kind, passes = known
            if kind != _PASS:
                if kind == _MEDIA:
                    media = value.partition(";")[0].strip().lower()
                elif kind == _LENGTH:
                    length = int(value) if value.isascii() and value.isdigit() else None
                elif kind == _ENCODING:
                    encoded = encoded or value.strip().lower() not in ("", "identity")
                elif kind == _ID:
                    request_id = value[:128]
                elif kind == _NAMES:
                    named.update(normal(part) for part in value.split(","))
            if passes and (value.isprintable() or _writable(value)):
                kept.append(item)
        if named:
            kept = [item for item in kept if normal(item[0]) not in named]
        return AnswerFacts(kept, media, length, encoded, request_id)

    def _learn_back(self, name: str) -> tuple[int, bool]:
        kind = _BACK_KINDS.get(name.lower(), _PASS)
        known = (kind, _passes(name, _NOT_BACK, _NOT_BACK_PREFIXES))
        if len(self._back) < _MEMO:
            self._back[name] = known
        return known


def _writable(value: str) -> bool:
    """Whether a value with unusual characters can stand in one header line."""
    if any((char < " " and char != "\t") or char == "\x7f" for char in value):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:  # bytes that were no UTF-8
        return False
    return True


class AnswerFacts(NamedTuple):
    """What an answer's headers say, and those that may pass on."""

    headers: Headers
    media: str  # the media type, lower case; "" if none
    length: int | None
    encoded: bool  # compressed
    request_id: str | None
