from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.vocabulary import Action
from proxy.providers.base import Dialect, Operation
from proxy.routes import ROUTES, Match, ModelIn, NoMatch, Route, RouteTable, Serves, decoded

TABLE = RouteTable()
EXACT = sorted({route.pattern for route in ROUTES if "{" not in route.pattern})


def test_every_operation_has_one_route_with_an_action_and_a_place_for_its_model() -> None:
    relayed = [route for route in ROUTES if route.serves is Serves.RELAY]
    assert {route.operation for route in relayed} == set(Operation)
    for route in relayed:
        assert route.action is Action.MODEL_USE
        assert route.model_in in (ModelIn.JSON, ModelIn.FORM)
        assert route.credentials


def test_a_route_without_an_action_and_two_routes_for_one_path_do_not_load() -> None:
    route = Route("GET", "/v1/x", Dialect.OPENAI, Action.MODEL_USE, Serves.MODELS)
    with pytest.raises(ValueError, match="two routes"):
        RouteTable([route, route])
    nothing = Route("GET", "/v1/x", Dialect.OPENAI, "", Serves.MODELS)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no action"):
        RouteTable([nothing])


@pytest.mark.parametrize("target", ["/v1/models/acme/mini", "/v1/models/acme%2Fmini?x=1"])
def test_a_models_id_may_have_its_slash_either_way(target: str) -> None:
    found = TABLE.find("GET", target)
    assert isinstance(found, Match)
    assert (found.route.serves, found.id) == (Serves.MODEL, "acme/mini")


@pytest.mark.parametrize(
    "text",
    ["", "/", "a//b", "../a", "a/..", "a/%2e%2e/b", "%2E", "a;b", "a%5Cb", "%ff", "a%00", "%0a"],
)
def test_an_id_that_climbs_or_hides_something_is_none(text: str) -> None:
    assert decoded(text) is None


def test_a_wrong_method_names_the_right_ones() -> None:
    found = TABLE.find("PATCH", "/v1/models")
    assert isinstance(found, NoMatch)
    assert found.allow == ("GET",)
    assert TABLE.find("GET", "/v1/messages").allow == ("POST",)  # type: ignore[union-attr]


def test_an_unknown_path_guesses_the_dialect() -> None:
    for path, dialect in (("/v1/messages/x", Dialect.ANTHROPIC), ("/v1/x", Dialect.OPENAI)):
        found = TABLE.find("GET", path)
        assert isinstance(found, NoMatch)
        assert (found.dialect, found.allow) == (dialect, ())


@given(st.sampled_from(EXACT), st.data())
def test_a_path_with_one_character_changed_is_never_the_route(
    path: str, data: st.DataObject
) -> None:
    at = data.draw(st.integers(1, len(path) - 1))
    other = data.draw(st.sampled_from("/;%.#\\ AZ_\x00é"))
    kind = data.draw(st.sampled_from(["insert", "replace"]))
    changed = path[:at] + other + path[at + (kind == "replace") :]
    found = TABLE.find("POST", changed)
    if changed != path and isinstance(found, Match):
        assert found.route.pattern.endswith("{id}")
        assert found.route.serves is Serves.NOT_SERVED
