"""Every field that a rule on `model:use` may read is really supplied on the data plane."""

from __future__ import annotations

import aiohttp
import pytest

from authz.conditions import FIELDS
from authz.vocabulary import Action
from policies.change import Change, Source
from policies.documents import parse
from tests.e2e.conftest import Demo

HEADERS = {"x-gatewarden-metadata": '{"region": "emea"}', "x-probe": "1"}
# A name below each prefix that the probe request has.
BELOW = {"body.": "body.user", "header.": "header.x-probe", "metadata.": "metadata.region"}
# What the probe has not: its token belongs to no team; nothing is pinned for it.
ABSENT = {"principal.team", "pinned."}
ASKED = sorted(name for name, field in FIELDS.items() if Action.MODEL_USE in field.actions)


async def ask(gateway: Demo) -> int:
    body = {"model": "echo/small", "messages": [], "stream": True, "max_tokens": 5, "user": "me"}
    token = gateway.token("alice")
    async with (
        aiohttp.ClientSession(headers={"authorization": f"Bearer {token}", **HEADERS}) as session,
        session.post(f"{gateway.url}/v1/chat/completions", json=body) as answer,
    ):
        return answer.status


@pytest.mark.parametrize("field", ASKED)
async def test_a_field_of_the_registry_is_supplied(gateway: Demo, field: str) -> None:
    changes = gateway.process.runtime.changes
    rule = {
        "id": "probe",
        "effect": "deny",
        "subjects": ["any:user"],
        "actions": ["model:use"],
        "resources": ["model:echo/small"],
        "when": [
            {
                "field": BELOW.get(field, field + "x" * field.endswith(".")),
                "operator": "EXISTS",
                "value": True,
            }
        ],
    }
    policy = parse({"type": "policy", "name": "probe", "rules": [rule]})
    change = Change("host", Source.HOST, "probe", puts=(policy,))
    assert await ask(gateway) == 200
    await changes.commit(change, None, gateway.process.runtime.clock.now())
    assert await ask(gateway) == (200 if field in ABSENT else 403)
