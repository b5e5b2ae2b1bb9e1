from __future__ import annotations

from datetime import UTC, datetime

import pytest
from multidict import CIMultiDict

from authz.conditions import FIELDS, MISSING
from identity.principal import CredentialKind, Principal
from proxy.facts import Facts

NOW = datetime(2026, 11, 25, tzinfo=UTC)
ANN = Principal("user:u-1", "t1", CredentialKind.PAT, team="team:search")


def facts(**more: str) -> Facts:
    headers = CIMultiDict({"X-Plan": "gold", "Authorization": "Bearer s", "Cookie": "c", **more})
    fields = {"stream": True, "seed": None, "max_tokens": 5}
    return Facts(
        ANN, NOW, "10.0.0.1", headers, fields, {"cost": "c-1"}, {"cost": "mine", "run": "7"}
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("body.stream", True),
        ("body.max_tokens", 5),
        ("body.seed", MISSING),  # null is a field that was left out
        ("body.absent", MISSING),
        ("pinned.cost", "c-1"),
        ("pinned.run", MISSING),
        ("metadata.run", "7"),
        ("metadata.cost", "c-1"),  # what is pinned stands in place of the claim
        ("header.x-plan", "gold"),
        ("header.X-PLAN", "gold"),
        ("header.absent", MISSING),
        ("time.now", NOW),
        ("client.ip", "10.0.0.1"),
        ("credential.id", "t1"),
        ("credential.kind", "pat"),
        ("principal.team", "team:search"),
        ("nonsense", MISSING),
    ],
)
def test_each_field_has_its_source(field: str, value: object) -> None:
    assert facts()(field) == value


@pytest.mark.parametrize("name", ["authorization", "Cookie", "x-api-key", "api-key"])
def test_a_credential_is_never_a_fact(name: str) -> None:
    assert facts(**{"x-api-key": "s", "api-key": "s"})(f"header.{name}") is MISSING


def test_a_header_that_was_sent_twice_is_both() -> None:
    made = facts()
    headers = CIMultiDict([("x-a", "1"), ("x-a", "2")])
    made.headers = headers
    assert made("header.x-a") == "1, 2"


def test_every_field_of_the_registry_is_answered_without_an_error() -> None:
    for field in FIELDS:
        facts()(field + "x" if field.endswith(".") else field)
