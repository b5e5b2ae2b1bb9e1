"""Texts that people choose never become policy. Numbers are those of docs/attacks.md 5.5 (I5, I6) and 5.1 (A7, A13)."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.conditions import Context
from authz.engine import Engine
from authz.errors import GatewardenError
from authz.rows import Row, row
from identity.issue import Origin, issue
from policies.change import Change, Source
from policies.loader import load_mapping
from store.changes import ChangeLog
from store.entries import row_of
from tests.attacks.house import House
from tests.proxy.api.stack import stack_on
from tests.store.change_kit import MODEL, NOW, Asker, change_log

USE = "provider-account-access"
ESTATE: tuple[dict[str, Any], ...] = (
    {"type": "user", "name": "root@example.com", "roles": ["tenant-admin"]},
    {"type": "user", "name": "ann@example.com"},
    {"type": "user", "name": "bob@example.com"},
    {"type": "team", "name": "search", "members": ["ann@example.com"]},
    {"type": "team", "name": "hidden", "members": ["bob@example.com"]},
    {"type": "virtual-account", "name": "bot"},
    {
        "type": "provider-account/echo",
        "name": "acme",
        "collaborators": [{"subject": "team:search", "role_id": USE}],
        "integrations": [
            {"type": "integration/model/echo", "name": "mini"},
            {
                "type": "integration/model/echo",
                "name": "tuned",
                "authorized_subjects": ["team:hidden"],
            },
        ],
    },
)
SUBJECTS = ("root@example.com", "ann@example.com", "bob@example.com")
QUESTIONS = (
    ("model:use", "model:acme/mini"),
    ("model:use", "model:acme/tuned"),
    ("policy:write", "any:policy"),
    ("role:assign", "any:role"),
    ("access:grant", "provider-account:acme"),
    ("access:grant", "model:acme/tuned"),
    ("team:manage-members", "team:hidden"),
    ("data:read", "data:payloads/all"),
    ("data:read", "data:decisions/all"),
    ("self:manage-tokens", "self:caller"),
    ("user:manage-tokens", "any:user"),
)
# What people have tried, or would: separators of policy files, wildcards, ids of other things, twins.
HOSTILE = (
    "x, user:u-ann, team:hidden",
    "x\np, any:subject, any:model, model:use, allow, , x",
    "x\r\ng, any:user, role:tenant-admin",
    'x","role:tenant-admin',
    "x'; DROP TABLE rows; --",
    "*",
    "**/*",
    ".*",
    "any:user",
    "any:subject",
    "role:tenant-admin",
    "team:hidden",
    "user:u-",
    "bound:hidden",
    "token:x",
    "open-models:acme",
    "resource-group:x",
    "a#b",
    "#",
    "search~2",
    "search~1",
    "SEARCH",
    "Search",
    "\u017fearch",  # the long s folds to s
    "se\u0430rch",  # a Cyrillic a
    "search\u200b",
    "\u202esearch",
    "hidden%2C",
    "%2A",
    "hidden/..",
    "../acme",
    "acme/tuned",
    "everyone",
    "any",
    "v1",
    "tenant-admin",
    "TENANT-ADMIN",
    "{{7*7}}",
    "${jndi:ldap://x}",
    "r.sub == r.sub || True",
    "__import__('os').system('x')",
    "$ne",
    "\x00",
    "",
    " ",
    "x" * 300,
)


def rule(**fields: Any) -> dict[str, Any]:
    return {
        "id": "r",
        "effect": "allow",
        "subjects": ["virtualaccount:bot"],
        "actions": ["model:use"],
        "resources": ["model:acme/mini"],
        **fields,
    }


def policy(**fields: Any) -> list[dict[str, Any]]:
    return [{"type": "policy", "name": "mine", "rules": [rule(**fields)]}]


def member_of(field: str, value: object) -> list[dict[str, Any]]:
    return [{"field": field, "operator": "IN", "value": [value]}]


def echo(name: str, model: str, **fields: Any) -> dict[str, Any]:
    models = [{"type": "integration/model/echo", "name": model, **fields}]
    bot = [{"subject": "virtualaccount:bot", "role_id": USE}]
    return {
        "type": "provider-account/echo",
        "name": name,
        "collaborators": bot,
        "integrations": models,
    }


# Everywhere that somebody writes a text of his own choice. What he may grant, he grants to `bot` alone.
SPOTS: dict[str, Callable[[str], list[dict[str, Any]]]] = {
    "team name": lambda t: [{"type": "team", "name": t, "members": []}],
    "team text": lambda t: [
        {
            "type": "team",
            "name": "other",
            "members": [],
            "displayName": t,
            "description": t,
            "tags": {t: t},
        }
    ],
    "team member": lambda t: [{"type": "team", "name": "other", "members": [f"x{t}"]}],
    "model name": lambda t: [echo("zeta", t)],
    "model id": lambda t: [echo("zeta", "mini", model_id=t)],
    "account name": lambda t: [echo(t, "mini")],
    "alias target": lambda t: [
        {
            "type": "provider-account/virtual-model",
            "name": "virt",
            "integrations": [
                {
                    "type": "integration/model/virtual",
                    "name": "m",
                    "routing_config": {"targets": [{"target": t}]},
                }
            ],
        }
    ],
    "role name": lambda t: [
        {"type": "role", "name": t, "resourceType": "tenant", "permissions": []}
    ],
    "binding name": lambda t: [
        {"type": "role-binding", "name": t, "subjects": [], "permissions": []}
    ],
    "bound subject": lambda t: [
        {
            "type": "role-binding",
            "name": "b",
            "subjects": [{"type": "team", "name": f"x{t}"}],
            "permissions": [
                {"resourceType": "tenant", "resourceFqn": "tenant", "role": "tenant-admin"}
            ],
        }
    ],
    "account text": lambda t: [{"type": "virtual-account", "name": "bot", "tags": {t: t}}],
    "virtual account": lambda t: [{"type": "virtual-account", "name": t}],
    "policy name": lambda t: [{"type": "policy", "name": t, "rules": [rule()]}],
    "rule id": lambda t: policy(id=t),
    "rule text": lambda t: policy(description=t, message=t),
    "metadata key": lambda t: policy(when=member_of(f"metadata.{t}", "x"), trust="claimed"),
    "metadata value": lambda t: policy(when=member_of("metadata.a", t), trust="claimed"),
    "field": lambda t: policy(when=member_of(t, "x"), trust="claimed"),
    "group name": lambda t: [{"type": "resource-group", "name": t, "resources": []}],
    "pinned": lambda t: [
        {
            "type": "gateway-metadata-config",
            "name": "metadata",
            "rules": [{"id": "r", "subjects": ["virtualaccount:bot"], "metadata_override": {t: t}}],
        }
    ],
    "address": lambda t: [{"type": "user", "name": f"{t}@example.com", "displayName": t}],
}

EXISTING = {("role name", "tenant-admin"), ("team name", "search"), ("team name", "hidden")}


@dataclass
class Estate:
    log: ChangeLog
    ids: dict[str, str]

    async def commit(self, *documents: dict[str, Any]) -> None:
        puts = load_mapping(list(documents)).plain()
        await self.log.commit(Change("host", Source.HOST, "r", puts), None, NOW)

    def decisions(self) -> dict[tuple[str, str, str], tuple[bool, str]]:
        """What everybody but `bot` may do, and why."""
        found = {}
        for (who, subject), (action, thing) in itertools.product(self.ids.items(), QUESTIONS):
            decided = self.log.engine.decide(Asker(subject), action, thing, Context({}))
            found[who, action, thing] = (bool(decided), decided.reason.value)
        return found


@pytest.fixture
async def estate(tmp_path: Path) -> AsyncIterator[Estate]:
    log = change_log(tmp_path)
    await log.start()
    estate = Estate(log, {})
    await estate.commit(*ESTATE)
    for name in SUBJECTS:
        person = await log.person_by_email(name)
        assert person is not None
        estate.ids[name] = f"user:{person.id}"
    yield estate
    await log.close()


@pytest.mark.parametrize("spot", SPOTS)
async def test_i5_no_text_changes_what_somebody_else_may_do(estate: Estate, spot: str) -> None:
    """I5, A13: it is refused with an error of ours, or it is a text."""
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    chosen = random.Random(seed)
    pieces = [*HOSTILE, ",", '"', "\n", "#", "*", "~", "/", ":", "a", "search", "\ud800"]
    made = ["".join(chosen.choices(pieces, k=chosen.randint(2, 5))) for _ in range(15)]
    before = estate.decisions()
    assert before["ann@example.com", "model:use", "model:acme/mini"][0]
    taken = 0
    for text in (*HOSTILE, *made):
        if (spot, text) in EXISTING:
            continue  # to write it is to change it
        try:
            await estate.commit(*SPOTS[spot](text))
            taken += 1
        except GatewardenError as error:
            assert error.code in ("invalid_documents", "guard_refused", "conflict"), (text, error)
        assert estate.decisions() == before, (spot, text)
        assert estate.log.problem is None
    # And what was taken is still there, as it was, when it is loaded from the disk.
    digest = estate.log.engine.digest
    await estate.log._feed.load()
    assert estate.log.engine.digest == digest
    assert estate.decisions() == before
    assert taken or spot in ("team member", "bound subject", "alias target", "field")


async def test_i5_a_label_of_a_token_is_a_label(estate: Estate) -> None:
    """I5: and so is everything else that stands in the document of a credential."""
    before = estate.decisions()
    for text in HOSTILE:
        issued = issue("virtualaccount:bot", Origin("host", "r"), now=NOW, label=text)
        await estate.log.commit(issued.change, None, NOW)
        assert estate.decisions() == before


async def test_i5_metadata_of_a_request_is_data(house: House) -> None:
    """I5: what a caller claims moves no policy, and nobody's decision but its own."""
    digest = house.runtime.changes.engine.digest
    for text in HOSTILE:
        header = json.dumps({f"k{text}"[:100]: text[:100]})
        got = await house.call(
            "POST",
            "/v1/chat/completions",
            {"model": "echo/small", "messages": [], "user": text, "metadata": {"x": text}},
            headers={"x-gatewarden-metadata": header},
        )
        assert got.status in (200, 400)
    assert house.runtime.changes.engine.digest == digest
    assert (await house.chat(who="bob")).status == 200
    assert (await house.chat("echo/secret", who="bob")).status == 404


TYPED = [f"user:{text}" for text in HOSTILE if text] + [
    "user:e\u0301",  # twins under normalisation
    "user:\u00e9",
    "user:ss",
    "user:\u00df",
    "user:u-ann",
    "user:U-ANN",
    "user:u-ann ",
]


def test_i5_no_two_names_are_one_subject() -> None:
    """I5: the engine compares ids byte for byte; nothing in one is a pattern or a separator."""
    thing = row("g2", "model:acme/mini", "any:model")
    for name in TYPED:
        engine = Engine.load(
            MODEL, [thing, row("p", name, "model:acme/mini", "model:use", "allow", "", "x")], 1
        )
        allowed = {
            other
            for other in TYPED
            if engine.decide(Asker(other), "model:use", "model:acme/mini", Context({}))
        }
        assert allowed == {name}


@given(st.lists(st.text(max_size=20), min_size=6, max_size=6))
@settings(max_examples=100, deadline=None)
def test_i5_a_row_is_read_back_as_it_was_written(values: list[str]) -> None:
    """I5: what stands in the log cannot be cut into other rows."""
    made = Row("p", tuple(values))
    text = made.text()
    assert "\n" not in text and "\r" not in text
    assert row_of(text) == made


# --- I6: patterns ------------------------------------------------------------------------------------

ACCOUNTS = ("acme", "acme2", "acme-2", "xacme", "acme.evil")
MODELS = ("gpt-4", "gpt-4o", "gpt-3", "xgpt-4", "team/gpt-4", "gpt-4/team")


@pytest.mark.parametrize(
    ("pattern", "reached"),
    [
        ("model:acme/gpt-4*", {"gpt-4", "gpt-4o", "gpt-4/team"}),
        ("model:acme/gpt-4", {"gpt-4"}),
        ("model:acme/gpt-?", {"gpt-4", "gpt-3"}),
        ("model:acme/*/gpt-4", {"team/gpt-4"}),
        ("model:acme/*", set(MODELS)),
    ],
)
async def test_i6_a_pattern_is_anchored_and_bound_to_one_account(
    estate: Estate, pattern: str, reached: set[str]
) -> None:
    """I6: and it stays so when models and accounts come later, of which it has never heard."""
    subject = ["user:bob@example.com"]
    await estate.commit(
        {"type": "policy", "name": "p", "rules": [rule(subjects=subject, resources=[pattern])]}
        if pattern not in ("model:acme/gpt-4",)
        else {"type": "team", "name": "later", "members": []}
    )
    kept = ESTATE[-1]["integrations"]
    models = [{"type": "integration/model/echo", "name": name} for name in MODELS]
    await estate.commit(
        *(
            {
                "type": "provider-account/echo",
                "name": name,
                "integrations": [*models, *(kept if name == "acme" else ())],
            }
            for name in ACCOUNTS
        )
    )
    if pattern == "model:acme/gpt-4":  # no pattern: the model must be there when it is named
        await estate.commit(
            {"type": "policy", "name": "p", "rules": [rule(subjects=subject, resources=[pattern])]}
        )
    bob = Asker(estate.ids["bob@example.com"])
    for account, model in itertools.product(ACCOUNTS, MODELS):
        decided = estate.log.engine.decide(
            bob, "model:use", f"model:{account}/{model}", Context({})
        )
        assert bool(decided) is (account == "acme" and model in reached), (account, model)


@pytest.mark.parametrize(
    "pattern",
    ["*", "model:*", "model:*/*", "model:acme*/gpt-4", "model:?cme/gpt-4", "provider-account:*",
     "user:*", "team:*", "any:*", "model:acme/[a-z]", "model:acme/gpt-4|x", "^model:acme/mini$"],
)  # fmt: skip
async def test_i6_an_allow_takes_no_wider_pattern(estate: Estate, pattern: str) -> None:
    """I6: one account for an allow, and no language of patterns but `*` and `?`."""
    before = estate.decisions()
    for document in (
        {"type": "policy", "name": "p", "rules": [rule(resources=[pattern])]},
        {"type": "policy", "name": "p", "rules": [rule(subjects=[pattern])]},
        {"type": "resource-group", "name": "g", "resources": [pattern]},
        {
            "type": "role",
            "name": "wide",
            "resourceType": "tenant",
            "grants": [{"actions": ["model:use"], "resources": [pattern]}],
        },
    ):
        with pytest.raises(GatewardenError):
            await estate.commit(document)
    assert estate.decisions() == before


async def test_i5_a_thing_has_one_spelling(tmp_path: Path) -> None:
    """I5, M5: `search~1` is no second name of `search`, by which a creator would write what is there."""
    creator = {
        "type": "role",
        "name": "creator",
        "resourceType": "tenant",
        "permissions": ["team:create"],
    }
    other = {"type": "user", "name": "other@example.com", "roles": ["creator"]}
    async with stack_on(tmp_path) as stack:
        await stack.commit(creator, other)
        before = (await stack.call("GET", "/teams/search")).json["document"]
        for name in ("search~1", "search~01", "search~2", "SEARCH", "search~", "search%7E1"):
            team: dict[str, Any] = {
                "type": "team",
                "name": name,
                "members": [],
                "description": "mine",
            }
            for who in ("other", "root"):
                for path, body in (
                    (f"/teams/{name}", team),
                    ("/apply", {"manifest": team}),
                    (f"/teams/{name}", {**team, "name": "search"}),
                ):
                    got = await stack.call("PUT", path, body, who=who)
                    assert got.status in (400, 403, 404, 409, 422), (name, path, got.raw)
                assert (await stack.call("GET", f"/teams/{name}", who=who)).status == 404
        assert (await stack.call("GET", "/teams/search")).json["document"] == before
        assert len((await stack.call("GET", "/teams")).json["data"]) == 2
