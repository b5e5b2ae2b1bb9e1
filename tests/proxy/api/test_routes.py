"""The route table: what may not start, and that the table is the only way in."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from authz.vocabulary import Action
from proxy.api.routes import SELF, Answer, Call, Route, checked, gate
from proxy.api.site import ROUTES
from proxy.api.token_models import WhoamiAnswer


async def _nothing(call: Call) -> Answer:
    return Answer(None)


GOOD = Route(
    "GET",
    "/thing",
    "thing",
    "A thing",
    "things",
    (Action.SELF_READ,),
    _nothing,
    WhoamiAnswer,
    gates=gate(Action.SELF_READ, SELF),
)


@pytest.mark.parametrize(
    ("route", "says"),
    [
        (replace(GOOD, actions=()), "has no action"),
        (replace(GOOD, credentials=frozenset()), "accepts no credential"),
        (replace(GOOD, gates=None), "needs gates or a filter"),
        (replace(GOOD, filtered=True), "needs gates or a filter"),
        (replace(GOOD, gates=None, filtered=True, mutates=True), "without a gate"),
        (replace(GOOD, path="thing"), "no usable path"),
        (replace(GOOD, method="TRACE"), "no usable path"),
    ],
)
def test_a_route_that_could_not_be_decided_does_not_start(route: Route, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        checked([route])


def test_a_route_that_stands_twice_does_not_start() -> None:
    with pytest.raises(ValueError, match="stands twice"):
        checked([GOOD, GOOD])


def test_every_route_that_changes_something_takes_no_get() -> None:
    differs = {route.name for route in ROUTES if (route.method != "GET") != route.mutates}
    questions = {  # with a body
        "POST /explain",
        "POST /spans/query",
        "POST /metrics/query",
        "POST /llm-gateway/metrics/query",
    }
    questions |= {"POST /metrics/query", "POST /llm-gateway/metrics/query"}
    # Credentials of one's own are no policy: they are kept, and the decision is the record.
    own = {f"{method} /mcp-servers/{{name}}/auth" for method in ("PUT", "DELETE")}
    assert differs == questions | own | {"POST /mcp-servers/{name}/auth/start"}


def test_no_answer_has_a_field_for_a_digest_or_a_stored_secret() -> None:
    # docs/attacks.md A6: a stored hash is never returned
    harmless = {"policy_digest", "result_digest"}  # of rows and of answers, as decisions hold them
    shown = {"TokenCreated", "VirtualAccountToken", "RegeneratedAnswer", "PutAnswer"}
    for route in ROUTES:
        fields = set(route.answer.model_fields) - harmless
        assert not {name for name in fields if re.search("secret|password|hash|digest", name)}
        if "token" in fields:
            assert route.answer.__name__ in shown, route.name


def test_only_routes_that_show_a_secret_once_or_on_record_have_one() -> None:
    showing = {route.name for route in ROUTES if "token" in route.answer.model_fields}
    assert {name for name in showing if not name.startswith("PUT /")} == {
        "POST /first-admin",
        "POST /personal-access-tokens",
        "POST /personal-access-tokens/for-user",
        "GET /virtual-accounts/{name}/token",
        "POST /virtual-accounts/{name}/regenerate-token",
    }
