"""Asking for consent: what is refused and where, what the page says, and who may send its form."""

from __future__ import annotations

import re
from datetime import timedelta

import aiohttp
import pytest

from policies.documents import User
from tests.proxy.oauth.stack import CALLBACK, House


@pytest.mark.parametrize(
    ("change", "error"),
    [
        # PKCE
        ({"code_challenge": None, "code_challenge_method": None}, "invalid_request"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        # the resource
        ({"resource": None}, "invalid_target"),
        ({"resource": "https://elsewhere.example.com/mcp"}, "invalid_target"),
        ({"resource": "{url}.example.com/mcp"}, "invalid_target"),
        ({"resource": "{url}/api/v1"}, "invalid_target"),
        ({"resource": "{url}/mcp/github/../slack"}, "invalid_target"),
        ({"resource": "{url}/mcp/github#x"}, "invalid_target"),
        ({"resource": "{url}/mcp/github?x=1"}, "invalid_target"),
        # the rest
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": None}, "unsupported_response_type"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"scope": "admin"}, "invalid_scope"),
        ({"prompt": "none"}, "login_required"),
        ({"request_uri": "https://x.example.com/r"}, "invalid_request"),
        ({"state": "s" * 2049}, "invalid_request"),
    ],
)
async def test_a_request_that_is_wrong_goes_back_to_the_client(
    house: House, change: dict[str, str | None], error: str
) -> None:
    client = await house.register()
    more = {name: value and value.replace("{url}", house.url) for name, value in change.items()}
    asked, _ = house.asking(client, **more)
    got = await house.ask(asked)
    assert got.headers["location"].startswith(f"{CALLBACK}?")
    assert got.sent_back["error"] == error
    assert got.sent_back["iss"] == house.url
    assert got.sent_back["state"] == asked["state"]
    assert "code" not in got.sent_back


@pytest.mark.parametrize(
    "change",
    [
        {"client_id": None},
        {"client_id": "mcp-00000000000000000000000000000000"},
        {"client_id": "gw_pat_x"},
        {"redirect_uri": None},
        {"redirect_uri": "https://evil.example.com/callback"},
        {"redirect_uri": "http://127.0.0.1:41000/callback/other"},
        {"redirect_uri": "http://127.0.0.1:41000/callback?x=1"},
        {"redirect_uri": "http://localhost:41000/callback"},
        {"redirect_uri": "http://127.0.0.1:41000@evil.example.com/callback"},
        {"redirect_uri": "javascript:alert(1)"},
    ],
)
async def test_nothing_is_sent_to_an_address_that_is_not_the_clients(
    house: House, change: dict[str, str | None]
) -> None:
    client = await house.register()
    asked, _ = house.asking(client, **change)
    got = await house.ask(asked)
    assert got.status == 400
    assert "location" not in got.headers
    assert got.headers["content-type"].startswith("text/html")
    assert "evil.example.com" not in got.text


async def test_who_asks_from_where_stands_once(house: House) -> None:
    client = await house.register()
    asked, _ = house.asking(client)
    for name, value in (
        ("client_id", "other"),
        ("redirect_uri", "https://evil.example.com/"),
    ):
        got = await house.call("GET", "/authorize", params=[*asked.items(), (name, value)])
        assert got.status == 400
        assert "location" not in got.headers
    doubled = [*asked.items(), ("resource", f"{house.url}/mcp/slack")]
    got = await house.call("GET", "/authorize", params=doubled)
    assert got.sent_back["error"] == "invalid_request"


async def test_any_port_of_the_loopback_interface_is_the_clients(house: House) -> None:
    client = await house.register()
    asked, _ = house.asking(client, redirect_uri="http://127.0.0.1:52123/callback")
    got = await house.decide(await house.ask(asked), house.tokens["ann"])
    assert got.headers["location"].startswith("http://127.0.0.1:52123/callback?code=")


async def test_an_https_address_is_taken_as_it_is(house: House) -> None:
    where = "https://app.example.com/cb?tenant=1"
    client = await house.register(redirect_uris=[where])
    asked, _ = house.asking(client, redirect_uri=where)
    page = await house.ask(asked)
    assert "form-action 'self' https://app.example.com;" not in page.text
    policy = page.headers["content-security-policy"]
    assert policy.endswith("form-action 'self' https://app.example.com")
    got = await house.decide(page, house.tokens["ann"])
    assert got.headers["location"].startswith(f"{where}&code=")
    other = "https://app.example.com:8443/cb?tenant=1"
    assert (await house.ask(house.asking(client, redirect_uri=other)[0])).status == 400


async def test_nobody_is_sent_unasked_to_an_address_that_anybody_may_register(house: House) -> None:
    where = "https://evil.example.com/cb"
    client = await house.register(redirect_uris=[where])
    got = await house.ask(house.asking(client, redirect_uri=where, scope="admin")[0])
    assert got.status == 400
    assert "location" not in got.headers
    assert f'<a href="{where}?error=invalid_scope&amp;' in got.text
    assert "Go back to <code>https://evil.example.com</code>" in got.text


async def test_the_page_lets_nothing_run_load_or_frame_it(house: House) -> None:
    client = await house.register()
    page = await house.ask(house.asking(client)[0])
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert page.headers["x-frame-options"] == "DENY"
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["cache-control"] == "no-store"
    assert "<script" not in page.text
    assert not re.search(r"(?:src|href)=", page.text)
    cookie = page.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "Path=/authorize" in cookie


async def test_the_page_names_the_client_and_where_the_answer_goes(house: House) -> None:
    client = await house.register(client_name="Probe 3000")
    page = await house.ask(house.asking(client)[0])
    assert "Probe 3000" in page.text
    assert "http://127.0.0.1:41000" in page.text
    assert f"{house.url}/mcp/github" in page.text
    assert "Nobody has checked this name" in page.text


async def test_a_name_is_text_and_nothing_else(house: House) -> None:
    name = "</strong><script>alert(1)</script><img src=x onerror=alert(1)> \"'&\u202egw\x00\u200b"
    client = await house.register(client_name=name)
    page = await house.ask(house.asking(client, state='"><script>alert(2)</script>')[0])
    assert "<script" not in page.text
    assert "<img" not in page.text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page.text
    assert "\u202e" not in page.text
    assert "\u200b" not in page.text
    wrong = await house.decide(page, '"><script>alert(3)</script>')
    assert "<script" not in wrong.text


async def test_a_person_may_deny(house: House) -> None:
    client = await house.register()
    page = await house.ask(house.asking(client)[0])
    got = await house.decide(page, "", "deny")
    assert got.sent_back["error"] == "access_denied"
    assert got.sent_back["state"] == "s&t 1"
    assert house.families() == []


async def test_consent_is_asked_every_time(house: House) -> None:
    client = await house.register()
    await house.connected(client)
    again = await house.ask(house.asking(client)[0])
    assert again.status == 200
    assert again.form


async def test_a_wrong_token_is_told_on_the_page_counted_and_slowed_down(house: House) -> None:
    client = await house.register()
    page = await house.ask(house.asking(client)[0])
    await house.mint("gone", "user:ann@example.com")
    await house.revoke("gone")
    for secret in ("", "nonsense", house.tokens["gone"]):
        got = await house.decide(page, secret)
        assert got.status == 403
        assert 'role="alert"' in got.text
        assert not secret or secret not in got.text
        page = got
    for _ in range(7):
        assert (await house.decide(page, "nonsense")).status == 403
    late = await house.decide(page, house.tokens["ann"])
    assert late.status == 429
    assert house.families() == []
    house.now[0] += timedelta(minutes=1)
    assert (await house.decide(page, house.tokens["ann"])).status == 303
    house.parts.refusals.flush()  # type: ignore[attr-defined]
    assert any(record.code == "revoked_credential" for record in house.counted)  # type: ignore[attr-defined]


async def test_a_suspended_person_gives_nothing(house: House) -> None:
    client = await house.register()
    page = await house.ask(house.asking(client)[0])
    await house.put(User(name="ann@example.com", state="suspended"))
    got = await house.decide(page, house.tokens["ann"])
    assert got.status == 403
    assert "suspended" not in got.text
    assert house.families() == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example.com"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "null"},
        {"Sec-Fetch-Site": "none"},
    ],
)
async def test_a_form_of_another_site_is_refused(house: House, headers: dict[str, str]) -> None:
    client = await house.register()
    page = await house.ask(house.asking(client)[0])
    got = await house.decide(page, house.tokens["ann"], **headers)
    assert got.status == 400
    assert "location" not in got.headers
    assert house.families() == []


async def test_what_a_browser_sends_with_our_own_form_is_taken(house: House) -> None:
    client = await house.register()
    page = await house.ask(house.asking(client)[0])
    sent = {"Origin": "null", "Sec-Fetch-Site": "same-origin"}
    assert (await house.decide(page, house.tokens["ann"], **sent)).status == 303
    page = await house.ask(house.asking(client)[0])
    assert (await house.decide(page, house.tokens["ann"], Origin=house.url)).status == 303


async def test_a_form_belongs_to_the_browser_that_got_it(house: House) -> None:
    client = await house.register()
    page = await house.ask(house.asking(client)[0])
    form = {"form": page.form, "token": house.tokens["ann"], "decision": "allow"}
    async with (
        aiohttp.ClientSession() as other,
        other.post(f"{house.url}/authorize", data=form, allow_redirects=False) as got,
    ):
        assert got.status == 400
        assert "another browser" in await got.text()
    assert house.families() == []


async def test_a_form_that_was_changed_or_is_old_is_refused(house: House) -> None:
    client = await house.register()
    page = await house.ask(house.asking(client)[0])
    for form in ("", "zz", page.form[:-2] + "00", house.tokens["ann"]):
        got = await house.call(
            "POST",
            "/authorize",
            data={"form": form, "token": house.tokens["ann"], "decision": "allow"},
        )
        assert got.status == 400
    house.now[0] += timedelta(minutes=10)
    assert (await house.decide(page, house.tokens["ann"])).status == 400
    assert house.families() == []


async def test_two_pages_of_one_browser_may_both_be_answered(house: House) -> None:
    client = await house.register()
    first = await house.ask(house.asking(client)[0])
    second = await house.ask(house.asking(client)[0])
    assert (await house.decide(first, house.tokens["ann"])).status == 303
    assert (await house.decide(second, house.tokens["ann"])).status == 303


async def test_the_token_stands_in_no_address_and_nothing_that_is_kept(
    house: House, tmp_path
) -> None:  # type: ignore[no-untyped-def]
    client = await house.register()
    tokens = await house.connected(client)
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    for secret in (house.tokens["ann"], tokens["access_token"], tokens["refresh_token"]):
        assert secret.encode() not in kept


async def test_a_body_that_is_no_form_is_refused(house: House) -> None:
    got = await house.call("POST", "/authorize", json={"form": "x"})
    assert got.status == 400
    got = await house.call("POST", "/authorize", data={"form": "f" * 20_000})
    assert got.status == 413
