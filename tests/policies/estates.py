"""Small estates for the tests of this folder: documents in one line each, plans applied in order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from authz.engine import Engine
from authz.rows import Row
from policies.change import Change, Plan, Source
from policies.documents import Document, parse
from policies.estate import Estate
from policies.loader import shipped
from policies.mcp_catalogue import merged
from policies.naming import Key
from policies.planning import offline_user_id, plan

MODEL = (Path(__file__).parents[2] / "conf" / "model.conf").read_text()


def user(address: str, /, **fields: Any) -> Document:
    return parse({"type": "user", "name": address, **fields})


def team(name: str, *members: str, **fields: Any) -> Document:
    return parse({"type": "team", "name": name, "members": list(members), **fields})


def role(name: str, *permissions: str, kind: str = "tenant", **fields: Any) -> Document:
    return parse(
        {
            "type": "role",
            "name": name,
            "resourceType": kind,
            "permissions": list(permissions),
            **fields,
        }
    )


def account(name: str, *grants: str, models: Iterable[str] = ("mini",), **fields: Any) -> Document:
    """A provider account. A grant is `team:search=provider-account-access`."""
    return parse(
        {
            "type": "provider-account/openai",
            "name": name,
            "auth_data": {"type": "api-key", "api_key": "env:OPENAI_API_KEY"},
            "collaborators": [
                {"subject": grant.partition("=")[0], "role_id": grant.partition("=")[2]}
                for grant in grants
            ],
            "integrations": [
                {"type": "integration/model/openai", "name": model, "model_id": f"up-{model}"}
                for model in models
            ],
            **fields,
        }
    )


def virtual(name: str, *grants: str, **fields: Any) -> Document:
    """A virtual account. A grant is `acme=provider-account-access`."""
    return parse(
        {
            "type": "virtual-account",
            "name": name,
            "permissions": [
                {
                    "resource_type": "provider-account",
                    "resource_fqn": grant.partition("=")[0],
                    "role_id": grant.partition("=")[2],
                }
                for grant in grants
            ],
            **fields,
        }
    )


def policy(name: str, *rules: Mapping[str, Any]) -> Document:
    whole = [{"id": f"r{n}", "actions": ["model:use"], **rule} for n, rule in enumerate(rules)]
    return parse({"type": "policy", "name": name, "rules": whole})


def mcp(name: str, *grants: str, **fields: Any) -> Document:
    """A remote MCP server. A grant is `team:search=mcp-server-user`."""
    return parse(
        {
            "type": "mcp-server/remote",
            "name": name,
            "url": f"https://{name}.example.com/mcp",
            "collaborators": [
                {"subject": grant.partition("=")[0], "role_id": grant.partition("=")[2]}
                for grant in grants
            ],
            **fields,
        }
    )


def virtual_mcp(name: str, *parts: str, **fields: Any) -> Document:
    """A virtual MCP server. A part is `github` for all its tools, or `github=one,two`."""
    servers = [
        {
            "name": part.partition("=")[0],
            **({"enabled_tools": part.partition("=")[2].split(",")} if "=" in part else {}),
        }
        for part in parts
    ]
    return parse({"type": "mcp-server/virtual", "name": name, "servers": servers, **fields})


def catalogue(server: str, *tools: str, **more: Iterable[str]) -> Document:
    """What a server (its stored name) was found to offer: tools, and `prompt=[…]`, `resource=[…]`."""
    member = {"tool": "name", "prompt": "name", "resource": "uri", "template": "uriTemplate"}
    found = {
        kind: [{member[kind]: name} for name in names]
        for kind, names in {"tool": tools, **more}.items()
    }
    return merged(server, None, found).catalogue


def credential(name: str, subject: str, **fields: Any) -> Document:
    return parse(
        {
            "type": "credential",
            "name": name,
            "token_kind": "vat" if subject.startswith("virtual") else "pat",
            "subject": subject,
            "digest": name.encode().hex().ljust(64, "0")[:64],
            "created_at": "2026-01-01T00:00:00Z",
            **fields,
        }
    )


def uid(email: str) -> str:
    """The id that the offline estate gives to a person."""
    return f"user:{offline_user_id(email.casefold())}"


class House:
    """An estate that changes are applied to, and the rows that they left, kept apart."""

    def __init__(self, *documents: Document, with_shipped: bool = True) -> None:
        self.estate = Estate()
        self.rows: set[Row] = set(self.estate.rows())
        if with_shipped:
            self.put(*shipped())
        if documents:
            self.put(*documents)

    def change(
        self, puts: Iterable[Document] = (), deletes: Iterable[Key] = (), **fields: Any
    ) -> Change:
        source = fields.pop("source", Source.MANUAL)
        return Change("host", source, "r", tuple(puts), tuple(deletes), **fields)

    def plan(self, *puts: Document, deletes: Iterable[Key] = (), **fields: Any) -> Plan:
        judged = {name: fields.pop(name) for name in ("may_grant", "vault") if name in fields}
        return plan(self.estate, self.change(puts, deletes, **fields), **judged)

    def put(self, *puts: Document, deletes: Iterable[Key] = (), **fields: Any) -> Plan:
        """Plan, check that the rows move as they should, and apply."""
        made = self.plan(*puts, deletes=deletes, **fields)
        assert self.rows.isdisjoint(made.added)
        assert self.rows.issuperset(made.removed)
        self.rows = (self.rows - set(made.removed)) | set(made.added)
        self.estate.apply(made)
        return made

    def delete(self, *keys: Key) -> Plan:
        return self.put(deletes=keys)

    def engine(self) -> Engine:
        return Engine.load(MODEL, sorted(self.rows), self.estate.epoch)

    def has(self, ptype: str, *values: str) -> bool:
        """Whether a row starts with these values."""
        return any(row.ptype == ptype and row.values[: len(values)] == values for row in self.rows)
