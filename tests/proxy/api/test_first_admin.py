"""The host's one-time token makes the first administrator, once, and only while nobody administers."""

from __future__ import annotations

from pathlib import Path

from tests.proxy.api.stack import NOW, stack_on


async def test_the_one_time_token_makes_an_administrator_once(tmp_path: Path) -> None:
    async with stack_on(tmp_path, estate=()) as stack:
        offer = await stack.runtime.first_admin.offer(NOW)
        assert offer is not None
        body = {"token": offer.path.read_text().strip(), "email": "boss@example.com"}
        wrong = {**body, "token": body["token"][:-1] + "!"}
        assert (await stack.call("POST", "/first-admin", wrong, who=None)).status == 400
        made = await stack.call("POST", "/first-admin", body, who=None)
        assert made.status == 201, made.raw
        me = await stack.call("GET", "/whoami", token=made.json["token"])
        assert (me.json["name"], me.json["roles"]) == ("boss@example.com", ["tenant-admin"])
        again = await stack.call("POST", "/first-admin", body, who=None)
        assert (again.status, again.code) == (400, "invalid_offer")
        team = {"type": "team", "name": "ml", "members": []}
        assert (await stack.call("PUT", "/teams/ml", team, token=made.json["token"])).status == 201
