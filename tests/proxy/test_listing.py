"""`/v1/models`: the list, one model, and the call say the same (docs/attacks.md M1-M4, M8, M10)."""

from __future__ import annotations

import hashlib
from pathlib import Path

from authz.rows import row
from tests.proxy.world import CHAT, world

OPENAI_NAMES = ["acme/mini", "acme/streams", "acme/tuned", "virt/best"]


async def test_the_list_has_what_may_be_used_in_a_stable_order(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        got = await w.call("/v1/models", method="GET")
        names = [entry["id"] for entry in got.json()["data"]]
        assert names == OPENAI_NAMES
        assert got.json()["object"] == "list"
        assert got.json()["data"][0] == {
            "id": "acme/mini",
            "object": "model",
            "created": 0,
            "owned_by": "acme",
        }


async def test_a_caller_without_grants_sees_an_empty_list(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        got = await w.call("/v1/models", method="GET", who="checkout")
        assert got.json()["data"] == []


async def test_a_list_is_one_record_with_count_and_digest(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        got = await w.call("/v1/models", method="GET")
        records = await w.records("decision")
        assert len(records) == 1
        assert records[0]["id"] == got.header("x-decision-id")
        assert records[0]["count"] == len(OPENAI_NAMES)
        ids = "\n".join(f"model:{name}" for name in OPENAI_NAMES)
        assert records[0]["result_digest"] == hashlib.sha256(ids.encode()).hexdigest()


async def test_list_show_and_call_agree_for_every_model(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        for who in ("ann", "ben"):
            listed = await w.call("/v1/models", method="GET", who=who)
            names = {entry["id"] for entry in listed.json()["data"]}
            for name in (*OPENAI_NAMES, "acme/banned", "acme/hidden", "acme/none"):
                shown = await w.call(f"/v1/models/{name}", method="GET", who=who)
                assert (shown.status == 200) is (name in names), (who, name)
                body = {**CHAT, "model": name, "stream": True}
                called = await w.call(json_body=body, who=who)
                assert (called.status == 200) is (name in names), (who, name)


async def test_a_condition_on_the_body_keeps_a_model_in_the_list(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        got = await w.call("/v1/models", method="GET", who="ben")
        assert [entry["id"] for entry in got.json()["data"]] == ["acme/streams"]


async def test_anthropics_client_gets_anthropics_list_of_models_that_speak_its_dialect(
    tmp_path: Path,
) -> None:
    headers = {"anthropic-version": "2023-06-01"}
    async with world(tmp_path) as w:
        got = await w.call("/v1/models?limit=1", method="GET", headers=headers)
        page = got.json()
        assert {entry["type"] for entry in page["data"]} == {"model"}
        names = [entry["id"] for entry in page["data"]]
        while page["has_more"]:
            after = page["last_id"]
            got = await w.call(
                f"/v1/models?limit=1&after_id={after}", method="GET", headers=headers
            )
            page = got.json()
            names += [entry["id"] for entry in page["data"]]
        assert "claude/sonnet" in names
        assert len(names) == len(set(names))
        shown = await w.call("/v1/models/claude%2Fsonnet", method="GET", headers=headers)
        assert shown.json()["id"] == "claude/sonnet"
        got = await w.call("/v1/models/claude/none", method="GET", headers=headers)
        assert (got.status, got.error["type"]) == (404, "not_found_error")
        got = await w.call("/v1/models?limit=x", method="GET", headers=headers)
        assert (got.status, got.error["type"]) == (400, "invalid_request_error")


async def test_a_revocation_empties_the_list_at_once(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.policy.engine.apply([], [row("g", "user:u-ann", "team:search")], 2)
        got = await w.call("/v1/models", method="GET")
        assert got.json()["data"] == []
        assert got.header("x-policy-epoch") == "2"
