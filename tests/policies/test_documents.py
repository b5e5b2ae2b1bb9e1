"""Document classes: what is stored is what was written, and absent is not empty."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from policies.documents import (
    DOCUMENT_TYPES,
    INTERNAL_TYPES,
    AccessKeyAuth,
    ApiKeyAuth,
    ProviderAccount,
    Team,
    User,
    dump,
    parse,
)


def test_absent_is_not_empty_when_stored() -> None:
    body = {"type": "provider-account/echo", "name": "e"}
    model = {"type": "integration/model/echo", "name": "m"}
    absent = parse({**body, "integrations": [model]})
    empty = parse({**body, "integrations": [{**model, "authorized_subjects": []}]})
    assert "authorized_subjects" not in dump(absent)["integrations"][0]
    assert dump(empty)["integrations"][0]["authorized_subjects"] == []
    for document in (absent, empty):
        assert parse(dump(document)) == document


def test_a_field_may_be_written_under_both_names_and_is_stored_under_one() -> None:
    one = parse({"type": "team", "name": "a", "members": [], "display_name": "A"})
    two = parse({"type": "team", "name": "a", "members": [], "displayName": "A"})
    assert (
        dump(one) == dump(two) == {"type": "team", "name": "a", "members": [], "displayName": "A"}
    )


def test_provider_types_share_a_family() -> None:
    echo = parse({"type": "provider-account/echo", "name": "x"})
    openai = parse({"type": "provider-account/openai", "name": "x"})
    assert echo.key == openai.key == ("provider-account", "x")
    assert parse({"type": "team", "name": "x", "members": []}).key == ("team", "x")


def test_a_secret_is_not_in_the_text_of_a_document() -> None:
    key = ApiKeyAuth(type="api-key", api_key="p4ss")
    keys = AccessKeyAuth(
        type="access-key-based", access_key_id="AK", secret_access_key="p4ss", session_token="p4ss"
    )
    account = ProviderAccount(type="provider-account/openai", name="x", auth_data=key)
    assert "p4ss" not in f"{key!r} {keys!r} {account!r} {account} {key}"


def test_a_document_cannot_be_changed() -> None:
    team = Team(name="a", members=())
    with pytest.raises(ValidationError):
        team.name = "b"  # type: ignore[misc]


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(ValidationError):
        parse({"type": "team", "name": "a", "members": [], "membrs": []})
    with pytest.raises(KeyError):
        parse({"type": "tem", "name": "a"})


@pytest.mark.parametrize("name", ["", "-a", ".a", "a b", "a/b", "a:b", "a\n", "a,b", "ä", "x" * 65])
def test_a_name_is_plain(name: str) -> None:
    with pytest.raises(ValidationError):
        Team(name=name, members=())


def test_tokens_chains_and_catalogues_are_the_internal_types_and_every_type_has_a_class() -> None:
    assert {"credential", "log-writer", "mcp-catalogue"} == INTERNAL_TYPES
    assert set(DOCUMENT_TYPES) >= INTERNAL_TYPES
    assert User(name="a@b.cd").key == ("user", "a@b.cd")
