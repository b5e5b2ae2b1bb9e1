"""A change log on a file of its own, and the documents that its tests commit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from policies.change import Change, Source
from policies.documents import Document, parse
from policies.loader import shipped
from policies.naming import Key
from store.changes import ChangeLog
from store.sealed import Sealer
from store.sqlite import SqliteStore

MODEL = (Path(__file__).parents[2] / "conf" / "model.conf").read_text()
KEY = bytes(range(32))
NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
ANN, BOB = "ann@acme.com", "bob@acme.com"


@dataclass(frozen=True)
class Asker:
    id: str
    bound: str | None = None
    token: str | None = None


class Alarms(list[str]):
    def __call__(self, text: str) -> None:
        self.append(text)


def change_log(
    path: Path, *, fault: Callable[[str], None] | None = None, **fields: Any
) -> ChangeLog:
    store = SqliteStore(path / "gatewarden.db", fault=fault or (lambda step: None))
    given: dict[str, Any] = {
        "model_text": MODEL,
        "shipped": shipped(),
        "sealer": Sealer(KEY),
        "clock": lambda: NOW,
        **fields,
    }
    return ChangeLog(store, **given)


def user(address: str, /, **fields: Any) -> Document:
    return parse({"type": "user", "name": address, **fields})


def team(name: str, *members: str, **fields: Any) -> Document:
    return parse({"type": "team", "name": name, "members": list(members), **fields})


def account(name: str, *grants: str, secret: str = "sk-canary", **fields: Any) -> Document:
    return parse(
        {
            "type": "provider-account/openai",
            "name": name,
            "auth_data": {"type": "api-key", "api_key": secret},
            "collaborators": [
                {"subject": grant.partition("=")[0], "role_id": grant.partition("=")[2]}
                for grant in grants
            ],
            "integrations": [{"type": "integration/model/openai", "name": "mini"}],
            **fields,
        }
    )


def credential(name: str, subject: str, **fields: Any) -> Document:
    return parse(
        {
            "type": "credential",
            "name": name,
            "token_kind": "pat",
            "subject": subject,
            "digest": name.encode().hex().ljust(64, "0")[:64],
            "created_at": "2026-01-01T00:00:00Z",
            **fields,
        }
    )


def put(*documents: Document, deletes: tuple[Key, ...] = (), **fields: Any) -> Change:
    given = {"actor": "host", "source": Source.MANUAL, "request_id": "r", **fields}
    return Change(puts=documents, deletes=deletes, **given)
