"""The walk of one request through real parts: what goes upstream, what comes back, what is written."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from authz.rows import row
from proxy.parts import Limits
from store.journal import JournalUnavailable
from tests.proxy.world import CHAT, NOW, UPSTREAM_KEY, World, pins_for, world


def chat(model: str, **more: object) -> dict[str, object]:
    return {**CHAT, "model": model, **more}


async def test_an_allowed_request_reaches_the_upstream_with_the_decided_model(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as w:
        got = await w.call()
        assert got.status == 200, got.body
        assert got.json()["object"] == "chat.completion"
        sent = w.seen[0]
        assert sent.path == "/v1/chat/completions"
        assert sent.body == (
            b'{"model": "gpt-mini", "messages": [{"role": "user", "content": "hi"}]}'
        )
        assert sent.header("authorization") == f"Bearer {UPSTREAM_KEY}"
        assert w.tokens["ann"] not in str(sent)


async def test_every_answer_says_its_request_its_decision_its_epoch_and_its_time(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as w:
        for model, status in (("acme/mini", 200), ("acme/none", 404), ("acme/banned", 403)):
            got = await w.call(json_body=chat(model), headers={"x-request-id": "my-id.1"})
            assert got.status == status
            assert got.header("x-request-id") == "my-id.1"
            assert got.header("x-policy-epoch") == "1"
            assert "gateway;dur=" in (got.header("server-timing") or "")
            decision = got.header("x-decision-id")
            assert decision in [r["id"] for r in await w.records("decision")]
        for path, status in (("/v1/nothing", 404), ("/v1/chat/completions", 405)):
            got = await w.call(path, method="GET")
            assert got.status == status
            assert (got.header("x-request-id") or "").startswith("req-")
            assert got.header("x-policy-epoch") == "1"
            assert got.header("x-gatewarden-error-source") == "gateway"


async def test_a_request_leaves_a_decision_and_a_request_record_that_name_each_other(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as w:
        got = await w.call(headers={"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"})
        decision = (await w.records("decision"))[0]
        request = (await w.records("request"))[0]
        assert request["decision"] == decision["id"] == got.header("x-decision-id")
        assert decision["principal"] == "user:u-ann"
        assert decision["rules"] == ["provider-account/acme#collaborator/team:search/access"]
        assert decision["trace"] == "ab" * 16
        assert decision["client"] == "127.0.0.1"
        assert request["teams"] == ["team:search"]  # `everyone` is not a team here
        assert (request["input_tokens"], request["output_tokens"]) == (3, 5)
        assert (request["model"], request["account"]) == ("acme/mini", "acme")
        assert (request["status"], request["upstream_status"]) == (200, 200)


async def test_a_model_that_is_missing_and_one_that_is_not_mine_get_the_same_words(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as w:
        texts = []
        for model in ("acme/hidden", "acme/nosuch", "zzz/nosuch"):
            got = await w.call(json_body=chat(model))
            assert got.status == 404
            assert got.error["code"] == "model_not_found"
            assert got.error["param"] == "model"
            decision = got.header("x-decision-id") or ""
            text = got.error["message"]
            assert text == (
                f"`{model}` does not exist or you have no access; "
                f"contact platform@example.test; decision {decision}"
            )
            texts.append(text.replace(model, "M").replace(decision, "D"))
        assert len(set(texts)) == 1
        assert not w.seen


async def test_a_deny_on_what_would_be_allowed_is_a_403_with_the_rules_own_message(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as w:
        got = await w.call(json_body=chat("acme/banned"))
        assert got.status == 403
        assert got.error["code"] == "access_denied"
        assert got.error["message"].startswith("this model was stopped by security; contact ")
        hidden = await w.call(json_body=chat("acme/banned"), who="ben")
        assert hidden.status == 404  # no allow row matched: it does not exist for ben


async def test_a_condition_on_the_body_decides_by_what_will_be_executed(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        assert (await w.call(json_body=chat("acme/streams", stream=True), who="ben")).status == 200
        for body in (chat("acme/streams"), chat("acme/streams", stream=False)):
            got = await w.call(json_body=body, who="ben")
            assert (got.status, got.error["code"]) == (403, "access_denied")


async def test_an_alias_is_decided_with_its_target_and_sends_the_targets_model(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as w:
        assert (await w.call(json_body=chat("virt/best"))).status == 200
        assert json.loads(w.seen[0].body)["model"] == "gpt-mini"
        deny = row("p", "any:subject", "model:acme/mini", "*", "deny", "", "policy/stop#mini")
        w.policy.engine.apply([deny], [], 2)
        got = await w.call(json_body=chat("virt/best"))
        assert got.status == 403
        assert got.header("x-policy-epoch") == "2"


async def test_a_revocation_holds_for_the_next_request(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        assert (await w.call()).status == 200
        w.policy.engine.apply([], [row("g", "user:u-ann", "team:search")], 2)
        assert (await w.call()).status == 404


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "invalid_api_key"),
        ({"authorization": "Bearer nonsense"}, "invalid_api_key"),
        ({"authorization": "Basic abc"}, "invalid_api_key"),
        ({"x-api-key": ""}, "invalid_api_key"),
    ],
)
async def test_only_a_bad_credential_is_a_401(
    tmp_path: Path, headers: dict[str, str], code: str
) -> None:
    async with world(tmp_path) as w:
        got = await w.call(who=None, headers=headers)
        assert got.status == 401
        assert got.error["code"] == code
        assert (got.header("www-authenticate") or "").startswith("Bearer")
        assert not await w.records("decision")
        assert not await w.records("request")


async def test_expired_and_revoked_and_unknown_tokens_look_the_same(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.now[0] = NOW + timedelta(hours=1)  # an instant equal to the expiry is expired
        expired = await w.call(who="checkout")
        w.tokens["gone"] = w.tokens["checkout"][:-1] + "x"
        assert expired.status == 401
        assert "unknown, expired or revoked" in expired.error["message"]


async def test_401s_are_counted_by_address_and_minute(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        for _ in range(3):
            await w.call(who=None)
        w.gateway.tick(NOW + timedelta(minutes=1))
        counts = await w.records("refusals")
        assert [(c["code"], c["address"], c["count"]) for c in counts] == [
            ("missing_credential", "127.0.0.1", 3)
        ]


async def test_one_secret_in_two_headers_is_one_credential_and_two_secrets_are_refused(
    tmp_path: Path,
) -> None:
    # docs/attacks.md I4
    async with world(tmp_path) as w:
        assert (await w.call(headers={"x-api-key": w.tokens["ann"]})).status == 200
        got = await w.call(headers={"x-api-key": w.tokens["ben"]})
        assert (got.status, got.error["code"]) == (400, "conflicting_credentials")


async def test_refusals_beyond_the_rate_get_429_and_one_counting_record(tmp_path: Path) -> None:
    limits = Limits(refusals_per_minute=3)
    async with world(tmp_path, limits=limits) as w:
        statuses = [(await w.call(json_body=chat("acme/no"))).status for _ in range(6)]
        assert statuses == [404, 404, 404, 429, 429, 429]
        last = await w.call(json_body=chat("acme/no"))
        assert int(last.header("retry-after") or 0) >= 1
        assert last.error["code"] == "rate_limit_exceeded"
        assert (await w.call()).status == 200  # what is allowed goes on
        assert len([r for r in await w.records("decision") if r["effect"] == "deny"]) == 3
        w.now[0] = NOW + timedelta(minutes=1)
        w.gateway.tick(w.now[0])
        counts = await w.records("refusals")
        assert [(c["code"], c["principal"], c["count"]) for c in counts] == [
            ("too_many_refusals", "user:u-ann", 4)
        ]
        assert (await w.call(json_body=chat("acme/no"))).status == 404  # a new minute


async def test_a_policy_that_is_too_old_is_a_503_and_never_a_401(tmp_path: Path) -> None:
    # docs/attacks.md D1, D4
    async with world(tmp_path) as w:
        w.policy.stale = 600.5
        for who in ("ann", None):
            got = await w.call(who=who)
            assert (got.status, got.error["code"]) == (503, "policy_stale")
            assert got.header("retry-after") == "1"


async def test_max_stale_zero_fails_closed_after_one_missed_poll(tmp_path: Path) -> None:
    async with world(tmp_path, limits=Limits(max_stale=0)) as w:
        w.policy.stale = 0.2
        assert (await w.call()).status == 200
        w.policy.stale = 1.1
        assert (await w.call()).status == 503


class Failing:
    """An engine in which something is broken."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def visible(self, *args: object) -> tuple[str, ...]:
        raise RuntimeError("canary-inner-cause")


async def test_a_list_that_cannot_be_made_is_a_503_without_the_cause(tmp_path: Path) -> None:
    # docs/attacks.md I11
    async with world(tmp_path) as w:
        w.policy.engine = Failing(w.policy.engine)  # type: ignore[assignment]
        got = await w.call("/v1/models", method="GET")
        assert (got.status, got.error["code"]) == (503, "decision_failed")
        assert b"canary" not in got.body


async def test_a_journal_that_cannot_write_is_a_503_for_allow_and_deny(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path) as w:

        def broken(*args: object, **kwargs: object) -> None:
            raise OSError(28, "no space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(w.journal._writer, "_put", broken)
            for model in ("acme/mini", "acme/none"):
                got = await w.call(json_body=chat(model))
                assert (got.status, got.error["code"]) == (503, JournalUnavailable.code)
                assert got.header("retry-after") == "1"
                w.now[0] += timedelta(seconds=1)
        assert (await w.call()).status == 200  # it recovers by itself
        decisions = await w.records("decision")
        assert [d["effect"] for d in decisions] == ["allow", "deny", "allow"]


async def test_x_min_epoch_waits_for_the_epoch_or_says_why_not(tmp_path: Path) -> None:
    waited: list[float] = []
    worlds: list[World] = []

    async def pause(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 5 and worlds[0].policy.known == 2:
            worlds[0].policy.engine.apply([], [], 2)

    async with world(tmp_path, pause=pause) as w:
        worlds.append(w)
        assert (await w.call(headers={"x-min-epoch": "1"})).status == 200
        got = await w.call(headers={"x-min-epoch": "2"})
        assert (got.status, got.error["code"]) == (400, "epoch_unknown")
        assert sum(waited) < 0.5
        waited.clear()
        w.policy.known = 2
        got = await w.call(headers={"x-min-epoch": "2"})
        assert (got.status, got.header("x-policy-epoch")) == (200, "2")
        w.policy.known = 3
        waited.clear()
        got = await w.call(headers={"x-min-epoch": "3"})
        assert (got.status, got.error["code"]) == (503, "epoch_not_reached")
        assert sum(waited) <= 1.01
        for bad in ("x", "-1", "1.5", "9" * 40, ""):
            assert (await w.call(headers={"x-min-epoch": bad})).status == 400


async def test_pinned_metadata_stands_apart_from_what_the_caller_claims(tmp_path: Path) -> None:
    # docs/attacks.md I9
    async with world(tmp_path, documents=[pins_for("team:search", cost="c-1")]) as w:
        await w.call(headers={"x-gatewarden-metadata": '{"cost": "c-999", "run": "7"}'})
        record = (await w.records("request"))[0]
        assert record["pinned"] == {"cost": "c-1"}
        assert record["aside"]["claimed"] == {"cost": "c-999", "run": "7"}
        got = await w.call(headers={"x-gatewarden-metadata": '{"cost": 7}'})
        assert (got.status, got.error["code"]) == (400, "invalid_header")


async def test_an_upstreams_error_passes_through_and_is_marked(tmp_path: Path) -> None:
    async def overloaded(request: web.Request) -> web.StreamResponse:
        return web.json_response(
            {"error": {"message": "slow down", "code": "rate_limit_exceeded"}},
            status=429,
            headers={"retry-after": "9", "x-ratelimit-remaining-requests": "0"},
        )

    async with world(tmp_path) as w:
        w.answers(overloaded)
        got = await w.call()
        assert (got.status, got.error["message"]) == (429, "slow down")
        assert got.header("x-gatewarden-error-source") == "upstream"
        assert got.header("retry-after") == "9"
        assert got.header("x-ratelimit-remaining-requests") == "0"
        record = (await w.records("request"))[0]
        assert (record["status"], record["upstream_status"]) == (429, 429)


@pytest.mark.parametrize("status", [401, 407])
async def test_an_upstream_that_refuses_our_key_is_a_502_that_does_not_quote_it(
    tmp_path: Path, status: int
) -> None:
    # docs/attacks.md D1: a 401 sends people to rotate good keys
    async def refuses(request: web.Request) -> web.StreamResponse:
        return web.json_response({"error": f"bad key {UPSTREAM_KEY}"}, status=status)

    async with world(tmp_path) as w:
        w.answers(refuses)
        got = await w.call()
        assert (got.status, got.error["code"]) == (502, "upstream_credential_rejected")
        assert got.header("x-gatewarden-error-source") == "upstream"
        assert UPSTREAM_KEY.encode() not in got.body


async def test_a_redirect_of_the_upstream_is_neither_followed_nor_passed_on(
    tmp_path: Path,
) -> None:
    async def elsewhere(request: web.Request) -> web.StreamResponse:
        return web.Response(status=307, headers={"location": "http://evil.example/"})

    async with world(tmp_path) as w:
        w.answers(elsewhere)
        got = await w.call()
        assert (got.status, got.error["code"]) == (502, "upstream_invalid")
        assert got.header("location") is None
        assert len(w.seen) == 1


async def test_what_the_upstream_says_of_itself_does_not_reach_the_caller(tmp_path: Path) -> None:
    async def talks(request: web.Request) -> web.StreamResponse:
        return web.json_response(
            {},
            headers={
                "set-cookie": "a=b",
                "x-request-id": "theirs",
                "x-decision-id": "forged",
                "x-policy-epoch": "99",
                "server": "nginx",
                "openai-version": "2020-10-01",
            },
        )

    async with world(tmp_path) as w:
        w.answers(talks)
        got = await w.call()
        assert got.header("set-cookie") is None
        assert got.header("x-decision-id") != "forged"
        assert got.header("x-policy-epoch") == "1"
        assert got.header("server") == "gatewarden"
        assert got.header("openai-version") == "2020-10-01"


async def test_anthropic_routes_speak_anthropic_in_answers_and_errors(tmp_path: Path) -> None:
    # docs/attacks.md D7
    body = {"model": "claude/sonnet", "max_tokens": 5, "messages": []}
    async with world(tmp_path) as w:
        headers = {"x-api-key": w.tokens["ann"], "anthropic-version": "2023-06-01"}
        got = await w.call("/v1/messages", body, who=None, headers=headers)
        assert (got.status, got.json()["type"]) == (200, "message")
        sent = w.seen[0]
        assert sent.header("x-api-key") == UPSTREAM_KEY
        assert sent.header("anthropic-version") == "2023-06-01"
        assert (await w.records("request"))[0]["input_tokens"] == 4
        for change, status, kind in (
            ({"model": "claude/none"}, 404, "not_found_error"),
            ({"model": 7}, 400, "invalid_request_error"),
        ):
            got = await w.call("/v1/messages", {**body, **change}, who=None, headers=headers)
            assert got.status == status
            assert got.json()["type"] == "error"
            assert got.error["type"] == kind
        got = await w.call("/v1/messages", body, who=None)
        assert (got.status, got.error["type"]) == (401, "authentication_error")
        got = await w.call("/v1/messages/count_tokens", body, who=None, headers=headers)
        assert got.status == 200
        assert w.seen[-1].path == "/v1/messages/count_tokens"


async def test_a_model_of_another_dialect_is_a_clear_404_after_the_decision(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as w:
        got = await w.call("/v1/messages", chat("acme/mini"))
        assert (got.status, got.error["code"]) == (404, "operation_not_supported")
        assert not w.seen


@pytest.mark.parametrize(
    "path", ["/v1/files", "/v1/batches", "/v1/responses/resp_1", "/v1/files/file-1/content"]
)
async def test_what_belongs_to_the_account_is_not_served(tmp_path: Path, path: str) -> None:
    async with world(tmp_path) as w:
        got = await w.call(path, method="GET")
        assert (got.status, got.error["code"]) == (404, "not_served")


async def test_a_previous_response_is_served_only_to_who_got_it(tmp_path: Path) -> None:
    async def stores(request: web.Request) -> web.StreamResponse:
        return web.json_response({"id": "resp_abc", "object": "response"})

    first = {"model": "acme/mini", "input": "hi"}
    then = {**first, "previous_response_id": "resp_abc"}
    async with world(tmp_path, rows=[row("g", "user:u-ben", "team:search")]) as w:
        w.answers(stores)
        got = await w.call("/v1/responses", then)
        assert (got.status, got.error["code"]) == (404, "reference_not_found")
        assert not w.seen
        assert (await w.call("/v1/responses", first)).status == 200
        assert (await w.call("/v1/responses", then)).status == 200
        assert (await w.call("/v1/responses", then, who="ben")).status == 404
        w.now[0] = NOW + timedelta(days=31)
        assert (await w.call("/v1/responses", then)).status == 404


async def test_an_unexpected_error_is_a_500_without_its_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path) as w:

        def broken(*_: object) -> None:
            raise RuntimeError("canary-inner-cause")

        monkeypatch.setattr(w.gateway._relay._parts.outbound, "call", broken)
        got = await w.call()
        assert (got.status, got.error["code"]) == (500, "internal_error")
        assert b"canary" not in got.body
        assert len(await w.records("decision")) == 1


async def test_metrics_count_by_route_and_never_by_what_the_caller_wrote(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.call()
        await w.call("/v1/evil-path", method="GET")
        await w.call(json_body=chat("evil/model"))
        text = json.dumps(w.metrics.snapshot())
        assert "chat/completions" in text
        assert "evil" not in text
