"""A small estate for tests of the way out: accounts as documents, a catalogue, a client."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aiohttp.abc import AbstractResolver

from policies.change import DocumentChange, Entry, Source
from policies.documents import Document, ProviderAccount, dump, parse
from proxy.catalogue import Catalogue
from proxy.guard import Guard
from proxy.outbound import Client, Limits
from proxy.providers.base import Upstream
from proxy.secrets import SecretRules, Secrets

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ENVIRON = {
    "GATEWARDEN_SECRET_PEER": "sk-peer-0123456789",
    "GATEWARDEN_SECRET_AWS": "peer/secret+key",
    "GATEWARDEN_SECRET_SESSION": "peer-session-token",
}
KEY = {"type": "api-key", "api_key": "env:GATEWARDEN_SECRET_PEER"}
KEYS = {
    "type": "access-key-based",
    "access_key_id": "AKIDPEER000000000001",
    "secret_access_key": "env:GATEWARDEN_SECRET_AWS",
    "session_token": "env:GATEWARDEN_SECRET_SESSION",
}


@dataclass(frozen=True)
class Snapshot:
    documents: tuple[Document, ...]


def entry(*changes: tuple[tuple[str, str], Document | None]) -> Entry:
    """A change of documents after such a snapshot; None takes one away."""
    return Entry(
        epoch=2,
        at=NOW,
        actor="host",
        source=Source.HOST,
        request_id="r",
        comment="",
        documents=tuple(
            DocumentChange(key, None, None if after is None else dump(after), 2)
            for key, after in changes
        ),
        added=(),
        removed=(),
        digest="",
        previous="",
        hash="",
    )


def account(kind: str, name: str = "acme", **fields: Any) -> ProviderAccount:
    """A provider account; with one model `mini` (`peer-model`) unless `integrations` are given."""
    fields.setdefault(
        "integrations",
        [{"type": f"integration/model/{kind}", "name": "mini", "model_id": "peer-model"}],
    )
    document = parse({"type": f"provider-account/{kind}", "name": name, **fields})
    assert isinstance(document, ProviderAccount)
    return document


def upstream_of(kind: str, **fields: Any) -> Upstream:
    """The model `acme/mini` of such an account."""
    catalogue = Catalogue()
    catalogue.load(Snapshot((account(kind, **fields),)))
    found = catalogue.model("acme/mini")
    assert found is not None
    return found


@asynccontextmanager
async def client(
    *,
    allow: tuple[str, ...] = ("127.0.0.1",),
    limits: Limits | None = None,
    resolver: AbstractResolver | None = None,
    environ: Mapping[str, str] = ENVIRON,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Client]:
    """A real client that may reach loopback."""
    made = Client(
        Secrets(SecretRules(), environ=environ),
        Guard.of(allow),
        lambda: NOW,
        limits=limits,
        resolver=resolver,
        tls=tls,
    )
    try:
        yield made
    finally:
        await made.close()
