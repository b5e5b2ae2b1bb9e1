"""Every declared model ready to be called; a bad document hurts only its own callers."""

from __future__ import annotations

from typing import Any

import pytest

from policies.documents import Document, ProviderAccount, User
from proxy.catalogue import Catalogue, parse_base
from proxy.providers import PROVIDERS
from proxy.providers.base import Dialect, UpstreamMisconfigured
from tests.peers.estate import KEY, Snapshot, account, entry


def model(name: str, model_id: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"type": "integration/model/x", "name": name, "model_id": model_id, **fields}


def virtual(name: str, **targets: str) -> ProviderAccount:
    return account(
        "virtual-model",
        name,
        integrations=[
            model(alias, routing_config={"targets": [{"target": target}]})
            for alias, target in targets.items()
        ],
    )


def catalogue(*documents: Document) -> Catalogue:
    made = Catalogue()
    made.load(Snapshot(documents))
    return made


def put(document: Document) -> tuple[tuple[str, str], Document | None]:
    return (document.key, document)


def test_a_model_is_known_by_the_name_that_callers_write() -> None:
    made = catalogue(account("openai", integrations=[model("mini", "gpt-4o-mini"), model("max")]))
    mini, biggest = made.model("acme/mini"), made.model("acme/max")
    assert mini is not None and biggest is not None
    assert (mini.id, mini.account, mini.model_id) == ("model:acme/mini", "acme", "gpt-4o-mini")
    assert biggest.model_id == "max", "without a model_id its own name is sent"
    assert mini.dialects == {Dialect.OPENAI} and mini.problem is None


@pytest.mark.parametrize("name", ["mini", "acme", "acme/", "acme/Mini", "ACME/mini", "", "x/mini"])
def test_nothing_else_is_known(name: str) -> None:
    assert catalogue(account("openai")).model(name) is None


def test_models_are_sorted_and_stay_the_same_objects() -> None:
    made = catalogue(account("openai", "b"), account("echo", "a"), User(name="u-1"))
    assert [upstream.name for upstream in made.models()] == ["a/mini", "b/mini"]
    assert made.models() is made.models() and len(made) == 2


def test_a_name_with_unusual_characters_has_a_canonical_id() -> None:
    made = catalogue(account("openai", integrations=[model("a:b/c@d")]))
    found = made.model("acme/a:b/c@d")
    assert found is not None and found.id == "model:acme/a:b/c@d"


def test_every_document_type_has_its_provider() -> None:
    for kind in PROVIDERS:
        made = catalogue(account(kind, base_url="https://a.example", region="eu-west-1"))
        found = made.model("acme/mini")
        assert found is not None and found.provider.name == kind
        assert found.problem is None and found.routes


def test_a_bad_document_is_listed_with_its_problem_and_hurts_no_other() -> None:
    made = catalogue(account("openai", "bad", base_url="ftp://x"), account("openai", "good"))
    bad, good = made.model("bad/mini"), made.model("good/mini")
    assert bad is not None and isinstance(bad.problem, UpstreamMisconfigured)
    assert good is not None and good.problem is None


def test_the_document_narrows_the_dialects_and_never_widens_them() -> None:
    made = catalogue(
        account("echo", "one", dialects=["anthropic"]),
        account("openai", "two", dialects=["openai", "anthropic"]),
        account("openai", "three", dialects=["anthropic"]),
    )
    assert [sorted(upstream.dialects) for upstream in made.models()] == [
        ["anthropic"],
        [],
        ["openai"],
    ]


# --- aliases ------------------------------------------------------------------------------------------


def test_an_alias_stands_for_its_target() -> None:
    made = catalogue(virtual("v", fast="acme/mini"), account("openai", auth_data=KEY))
    alias, target = made.model("v/fast"), made.model("acme/mini")
    assert alias is not None and target is not None
    assert (alias.id, alias.target) == ("model:v/fast", "model:acme/mini")
    assert (alias.account, alias.model_id, alias.auth) == ("acme", "peer-model", target.auth)
    assert alias.routes is target.routes


def test_an_alias_of_nothing_or_of_itself_stands_for_nothing() -> None:
    made = catalogue(virtual("v", a="acme/gone", b="v/c", c="v/b"), account("openai"))
    assert [upstream.name for upstream in made.models()] == ["acme/mini"]


def test_a_chain_of_aliases_stands_for_its_end() -> None:
    made = catalogue(virtual("v", a="w/b"), account("openai"), virtual("w", b="acme/mini"))
    alias = made.model("v/a")
    assert alias is not None
    assert (alias.id, alias.target, alias.model_id) == (
        "model:v/a",
        "model:acme/mini",
        "peer-model",
    )


def test_an_alias_follows_its_target() -> None:
    made = catalogue(virtual("v", fast="acme/mini"))
    assert made.model("v/fast") is None
    made.apply(entry(put(account("openai"))))
    assert made.model("v/fast") is not None
    made.apply(entry(put(account("echo"))))
    found = made.model("v/fast")
    assert found is not None and found.provider.name == "echo"
    made.apply(entry((("provider-account", "acme"), None)))
    assert made.model("v/fast") is None and made.models() == []


# --- entries ------------------------------------------------------------------------------------------


def test_an_entry_changes_what_it_names_and_leaves_the_rest_untouched() -> None:
    made = catalogue(account("openai", "one"), account("openai", "two"))
    before = made.model("two/mini")
    made.apply(entry(put(account("openai", "one", integrations=[model("new")]))))
    assert [upstream.name for upstream in made.models()] == ["one/new", "two/mini"]
    assert made.model("two/mini") is before
    made.apply(entry((("team", "one"), None)))
    assert len(made) == 2
    made.apply(entry((("provider-account", "one"), None), (("provider-account", "x"), None)))
    assert [upstream.name for upstream in made.models()] == ["two/mini"]


def test_a_recreated_account_keeps_its_callers_name_and_has_a_new_id() -> None:
    first, second = account("openai", "acme"), account("echo", "acme~2")
    made = catalogue(virtual("v", old="acme/mini", new="acme~2/mini"), first)
    made.apply(entry(put(second), (first.key, None)))
    found = made.model("acme/mini")
    assert found is not None
    assert (found.id, found.name, found.account) == ("model:acme~2/mini", "acme/mini", "acme~2")
    assert found.account_name == "acme"
    assert made.model("acme~2/mini") is None, "nobody writes a generation"
    assert made.model("v/old") is None, "an alias binds the generation of its day"
    assert made.model("v/new") is not None


def test_a_snapshot_replaces_everything() -> None:
    made = catalogue(account("openai", "one"))
    made.load(Snapshot((account("openai", "two"),)))
    assert [upstream.name for upstream in made.models()] == ["two/mini"]


def test_each_change_of_an_account_is_told_so_that_its_secret_goes() -> None:
    told: list[str] = []
    made = Catalogue(told.append)
    made.load(Snapshot((account("openai", "one"),)))
    made.apply(entry(put(account("openai", "one", base_url="https://b.example"))))
    made.apply(entry((("provider-account", "one"), None)))
    made.apply(entry((("team", "one"), None)))
    assert told == ["one", "one"]


@pytest.mark.parametrize(
    "text",
    ["", "a.example", "http://", "https://a.example:0x50", "https://a b.example", "https://a.example/?x",
     "https://a.example/#x", "https://u@a.example", "https://a.example/%2e%2e", "https://a.example\\b",
     "https://a.example/\n", "javascript:x"],
)  # fmt: skip
def test_a_base_url_that_is_not_plain_is_refused(text: str) -> None:
    with pytest.raises(UpstreamMisconfigured):
        parse_base(text, "acme")


@pytest.mark.parametrize(
    "text", ["https://a.example", "http://[::1]:8080/v1", "https://a.example/x/"]
)
def test_a_plain_base_url_is_taken(text: str) -> None:
    assert parse_base(text, "acme").raw_host
