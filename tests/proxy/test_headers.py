"""What a request says in its headers, and what it cannot make us believe."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from authz.errors import GatewardenError
from identity.errors import ConflictingCredentials, Refusal, Unauthenticated
from proxy.headers import (
    InvalidHeader,
    client_ip,
    credential_of,
    metadata_of,
    request_id,
)

SECRET = "gw_pat_abc_123_xyz"
OTHER = "gw_pat_abc_123_xyy"
PROXIES = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]


def headers(*pairs: tuple[str, str]) -> CIMultiDict[str]:
    return CIMultiDict(pairs)


@pytest.mark.parametrize(
    "pairs",
    [
        # each place
        [("Authorization", f"Bearer {SECRET}")],
        [("X-Api-Key", SECRET)],
        [("api-key", SECRET)],
        # spelling that clients use
        [("AUTHORIZATION", f"bearer {SECRET}")],
        [("authorization", f"BEARER   {SECRET}  ")],
        [("x-api-key", f" {SECRET}\t")],
        # the same secret more than once is one credential
        [("authorization", f"Bearer {SECRET}"), ("x-api-key", SECRET)],
        [("authorization", f"Bearer {SECRET}"), ("authorization", f"bearer {SECRET}")],
        [("x-api-key", SECRET), ("api-key", SECRET), ("x-api-key", SECRET)],
    ],
)
def test_one_credential_is_found(pairs: list[tuple[str, str]]) -> None:
    assert credential_of(headers(*pairs)) == SECRET


@pytest.mark.parametrize(
    "pairs",
    [
        [("authorization", f"Bearer {SECRET}"), ("x-api-key", OTHER)],
        [("authorization", f"Bearer {SECRET}"), ("authorization", f"Bearer {OTHER}")],
        [("x-api-key", SECRET), ("x-api-key", OTHER)],
        [("x-api-key", SECRET), ("api-key", OTHER)],
        [("x-api-key", SECRET), ("api-key", "")],
        [("authorization", f"Bearer {SECRET}"), ("authorization", "Basic dXNlcjpwdw==")],
        [("authorization", f"Bearer {SECRET}"), ("x-api-key", f"{SECRET}, {SECRET}")],
    ],
)
def test_two_different_credentials_are_refused(pairs: list[tuple[str, str]]) -> None:
    """I4: never the first one, never the last one."""
    for order in (pairs, pairs[::-1]):
        with pytest.raises(ConflictingCredentials) as refused:
            credential_of(headers(*order))
        assert SECRET not in str(refused.value)


def test_no_credential_is_missing_and_not_malformed() -> None:
    with pytest.raises(Unauthenticated) as refused:
        credential_of(headers(("accept", "*/*")))
    assert refused.value.refusal is Refusal.MISSING


@pytest.mark.parametrize(
    ("name", "value"),
    [
        # schemes
        ("authorization", SECRET),
        ("authorization", f"Basic {SECRET}"),
        ("authorization", f"Token {SECRET}"),
        ("authorization", f"Bearer\t{SECRET}"),
        ("authorization", f"Bearer:{SECRET}"),
        ("authorization", f"Bearer {SECRET} extra"),
        ("authorization", f"Bearer {SECRET}, Bearer {SECRET}"),
        ("authorization", f'Bearer token="{SECRET}"'),
        ("authorization", "Bearer"),
        ("authorization", "Bearer "),
        ("authorization", ""),
        # characters
        ("x-api-key", ""),
        ("x-api-key", f"Bearer {SECRET}"),
        ("x-api-key", f"{SECRET}\x00"),
        ("x-api-key", f"{SECRET}\r\nx-evil: 1"),
        ("x-api-key", f"{SECRET}\x7f"),
        ("x-api-key", f"{SECRET}é"),
        ("x-api-key", f"{SECRET}\udce9"),
        ("x-api-key", "{'$ne': ''}"),
        ("authorization", f"Bearer {SECRET}\n"),
        # length
        ("x-api-key", "a" * 4097),
        ("authorization", "Bearer " + "a" * 4097),
    ],
)
def test_nonsense_is_malformed(name: str, value: str) -> None:
    with pytest.raises(Unauthenticated) as refused:
        credential_of(headers((name, value)))
    assert refused.value.refusal is Refusal.MALFORMED
    assert "gw_pat_abc" not in str(refused.value)


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["authorization", "x-api-key", "api-key"]),
            st.one_of(st.just(SECRET), st.just(f"Bearer {SECRET}"), st.text(max_size=30)),
        ),
        max_size=4,
    )
)
def test_any_headers_give_a_credential_or_a_typed_refusal(pairs: list[tuple[str, str]]) -> None:
    try:
        found = credential_of(headers(*pairs))
    except (Unauthenticated, ConflictingCredentials):
        return
    assert found
    assert all(found in value for _, value in pairs)


@settings(max_examples=300)
@given(
    st.sampled_from(["Bearer ", "bearer ", "Bearer  ", " Bearer ", "Basic ", ""]),
    st.one_of(st.just(SECRET), st.text(max_size=12), st.text("aZ09._~+/=- \t\n,", max_size=12)),
)
def test_a_credential_sent_once_is_read_as_if_it_were_sent_twice(scheme: str, secret: str) -> None:
    line = ("authorization", scheme + secret)
    assert _outcome(headers(line)) == _outcome(headers(line, line))


def _outcome(sent: CIMultiDict[str]) -> object:
    try:
        return credential_of(sent)
    except Unauthenticated as error:
        return error.refusal


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        # a peer that is no trusted proxy is the client, whatever it says
        ("203.0.113.9", [], "203.0.113.9"),
        ("203.0.113.9", ["127.0.0.1"], "203.0.113.9"),
        # behind one and two proxies
        ("10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["198.51.100.7, 10.0.0.2"], "198.51.100.7"),
        ("10.0.0.1", ["198.51.100.7", "10.0.0.2"], "198.51.100.7"),
        # what the client itself put in front does not count
        ("10.0.0.1", ["10.9.9.9, 198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["127.0.0.1, 198.51.100.7, 10.0.0.2"], "198.51.100.7"),
        # nobody but proxies
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        # what is no address ends the walk
        ("10.0.0.1", ["198.51.100.7, evil, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["198.51.100.7,"], "10.0.0.1"),
        ("10.0.0.1", ["' OR 1=1"], "10.0.0.1"),
        # forms
        ("::ffff:203.0.113.9", [], "203.0.113.9"),
        ("::ffff:10.0.0.1", ["::ffff:198.51.100.7"], "198.51.100.7"),
        ("fd00::1", ["2001:DB8::0:7"], "2001:db8::7"),
        ("10.0.0.1", ["198.51.100.7:4711"], "198.51.100.7"),
        ("10.0.0.1", ["[2001:db8::7]:4711"], "2001:db8::7"),
        ("10.0.0.1", ["[2001:db8::7]"], "2001:db8::7"),
        ("fe80::1%eth0", [], "fe80::1"),
        # no address at all
        (None, ["198.51.100.7"], ""),
        ("", [], ""),
    ],
)
def test_client_address(peer: str | None, forwarded: list[str], expected: str) -> None:
    sent = headers(*(("X-Forwarded-For", value) for value in forwarded))
    assert client_ip(peer, sent, PROXIES) == expected


@pytest.mark.parametrize("peer", ["10.0.0.1", "::ffff:10.0.0.1"])
def test_without_trusted_proxies_forwarded_is_never_read(peer: str) -> None:
    assert client_ip(peer, headers(("x-forwarded-for", "198.51.100.7")), ()) == "10.0.0.1"


def test_endless_forwarded_chain_is_cut() -> None:
    sent = headers(("x-forwarded-for", ",".join(["198.51.100.7"] + ["10.0.0.2"] * 5000)))
    assert client_ip("10.0.0.1", sent, PROXIES) == "10.0.0.2"


@pytest.mark.parametrize("value", ["a", "REQ-1.2_3", "x" * 128])
def test_plain_request_id_is_taken_over(value: str) -> None:
    assert request_id(headers(("X-Request-Id", value)), lambda: "made") == value


@pytest.mark.parametrize(
    "values", [[], [""], ["x" * 129], ["a b"], ["a\n"], ["é"], ["a/b"], ["<i>"], ["a", "b"]]
)
def test_other_request_id_is_replaced(values: list[str]) -> None:
    sent = headers(*(("x-request-id", value) for value in values))
    assert request_id(sent, lambda: "made") == "made"


@pytest.mark.parametrize("name", ["x-gatewarden-metadata", "X-TFY-METADATA"])
def test_metadata_is_read_from_either_header(name: str) -> None:
    sent = headers((name, '{"team": "search", "ünï": "wörld"}'))
    assert metadata_of(sent) == {"team": "search", "ünï": "wörld"}


def test_no_metadata_is_empty() -> None:
    assert metadata_of(headers()) == {}
    assert metadata_of(headers(("x-tfy-metadata", " "))) == {}
    assert metadata_of(headers(("x-tfy-metadata", "{}"))) == {}


def test_same_metadata_in_both_headers_is_one() -> None:
    text = '{"a": "b"}'
    sent = headers(("x-gatewarden-metadata", text), ("x-tfy-metadata", text))
    assert metadata_of(sent) == {"a": "b"}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        # form
        ("team=search", "x-gatewarden-metadata"),
        ('["team"]', "not a JSON object"),
        ("null", "not a JSON object"),
        ("[" * 8000, "not JSON"),
        ('{"a":' * 1300, "not JSON"),
        ('{"a": "b"} {"c": "d"}', "not JSON"),
        ('{"a": "\x01"}', "not JSON"),
        ("\ufeff{}", "not JSON"),
        ('{"a": "' + "b" * 9000 + '"}', "longer than 8192"),
        ("{" + ",".join(f'"k{n}": "v"' for n in range(65)) + "}", "more than 64 keys"),
        # values, the key is named
        ('{"cost": 5}', "`cost`"),
        ('{"cost": NaN}', "`cost`"),
        ('{"deep": {"a": "b"}}', "`deep`"),
        ('{"none": null}', "`none`"),
        ('{"long": "' + "v" * 129 + '"}', "`long`"),
        ('{"line": "a\\nb"}', "`line`"),
        ('{"half": "\\ud800"}', "`half`"),
        # keys
        ('{"twice": "a", "twice": "a"}', "`twice`"),
        ('{"": "a"}', "``"),
        ('{"' + "k" * 129 + '": "a"}', "`kkkk"),
        ('{"a\\u0000b": "a"}', "`a\x00b`".replace("\x00", "\x00")),
        ('{"tick`s`": 1}', "`tick's'`"),
        ('{"\\u202etrick": 1}', "\\u202e"),
    ],
)
def test_bad_metadata_says_what_is_wrong(text: str, named: str) -> None:
    with pytest.raises(InvalidHeader) as refused:
        metadata_of(headers(("x-gatewarden-metadata", text)))
    assert named in str(refused.value)
    assert len(str(refused.value)) < 300


def test_different_metadata_in_two_headers_is_refused() -> None:
    sent = headers(("x-gatewarden-metadata", '{"a": "b"}'), ("x-tfy-metadata", '{"a": "c"}'))
    with pytest.raises(InvalidHeader, match="different"):
        metadata_of(sent)
    with pytest.raises(InvalidHeader, match="different"):
        metadata_of(headers(("x-tfy-metadata", "{}"), ("x-tfy-metadata", '{"a": "b"}')))


@settings(max_examples=200)
@given(st.text(max_size=60))
def test_any_metadata_text_is_read_or_refused_in_our_words(text: str) -> None:
    try:
        found = metadata_of(headers(("x-tfy-metadata", text)))
    except GatewardenError as error:
        assert error.code == "invalid_header"
        return
    assert all(isinstance(value, str) for value in found.values())


@settings(max_examples=100)
@given(st.dictionaries(st.text("abcÄ漢😀", min_size=1), st.text("xyzß 漢😀"), max_size=5))
def test_what_was_sent_is_what_is_read(sent: dict[str, str]) -> None:
    import json

    for ascii_only in (True, False):
        text = json.dumps(sent, ensure_ascii=ascii_only)
        assert metadata_of(headers(("x-tfy-metadata", text))) == sent
