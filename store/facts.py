"""How a document's fact (`estate.Fact`) is kept beside it, so that a start need not parse documents."""

from __future__ import annotations

import json

from policies.estate import Fact

_PLAIN = Fact()


def encode_fact(fact: Fact) -> str | None:
    """The fact as JSON; None for one that says nothing."""
    if fact == _PLAIN:
        return None
    said = {
        "suspended": fact.suspended,
        "models": list(fact.models),
        "bundle": list(fact.bundle) if fact.bundle is not None else None,
        "tenant_role": fact.tenant_role,
        "virtual": fact.virtual,
    }
    return json.dumps({name: value for name, value in said.items() if value not in (False, None)})


def decode_fact(text: str | None) -> Fact:
    """The fact that `encode_fact` wrote."""
    if text is None:
        return _PLAIN
    said = json.loads(text)
    bundle = said.get("bundle")
    return Fact(
        suspended=bool(said.get("suspended")),
        models=tuple(said.get("models", ())),
        bundle=tuple(bundle) if bundle is not None else None,
        tenant_role=bool(said.get("tenant_role")),
        virtual=bool(said.get("virtual")),
    )
