"""Signature Version 4 against the vectors that AWS published with its scheme (aws-sig-v4-test-suite)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from yarl import URL

from proxy.providers.base import AwsKeys
from proxy.providers.sigv4 import host_header, sign

KEYS = AwsKeys("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
WHEN = datetime(2015, 8, 30, 12, 36, 0, tzinfo=UTC)
HOST = "https://example.amazonaws.com"
SCOPE = "AKIDEXAMPLE/20150830/us-east-1/service/aws4_request"

# (name in the suite, method, url, headers, body, signed headers, signature)
VECTORS = [
    (
        "get-vanilla",
        "GET",
        "/",
        [],
        b"",
        "host;x-amz-date",
        "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
    ),
    (
        "get-vanilla-query-order-key-case",
        "GET",
        "/?Param2=value2&Param1=value1",
        [],
        b"",
        "host;x-amz-date",
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
    ),
    (
        "post-vanilla",
        "POST",
        "/",
        [],
        b"",
        "host;x-amz-date",
        "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
    ),
    (
        "post-x-www-form-urlencoded",
        "POST",
        "/",
        [("Content-Type", "application/x-www-form-urlencoded")],
        b"Param1=value1",
        "content-type;host;x-amz-date",
        "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
    ),
    (
        "get-header-key-duplicate",
        "GET",
        "/",
        [("My-Header1", "value2"), ("My-Header1", "value2"), ("My-Header1", "value1")],
        b"",
        "host;my-header1;x-amz-date",
        "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
    ),
    (
        "get-header-value-trim",
        "GET",
        "/",
        [("My-Header1", " value1"), ("My-Header2", ' "a   b   c"')],
        b"",
        "host;my-header1;my-header2;x-amz-date",
        "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
    ),
]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector[0])
def test_a_published_vector_gets_its_published_signature(vector) -> None:
    _, method, path, headers, body, signed, signature = vector
    added = dict(
        sign(
            method,
            URL(HOST + path),
            headers,
            body,
            keys=KEYS,
            region="us-east-1",
            service="service",
            now=WHEN,
        )
    )
    assert added["authorization"] == (
        f"AWS4-HMAC-SHA256 Credential={SCOPE}, SignedHeaders={signed}, Signature={signature}"
    )
    assert added["x-amz-date"] == "20150830T123600Z"


def test_a_path_with_escapes_is_escaped_again() -> None:
    # Computed with botocore 1.43.11 (SigV4Auth), which is no dependency.
    url = URL.build(
        scheme="https",
        host="bedrock-runtime.us-east-1.amazonaws.com",
        path="/model/anthropic.claude-3%3A0/invoke",
        encoded=True,
    )
    keys = AwsKeys("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "a-session-token")
    added = dict(
        sign(
            "POST",
            url,
            [("content-type", "application/json")],
            b'{"a":1}',
            keys=keys,
            region="us-east-1",
            service="bedrock",
            now=WHEN,
        )
    )
    assert added["authorization"].endswith(
        "Signature=fe908e5ea2ca0ed5ec2ff95c4315e0b55719b0be53e03b5eeaeba5dd5bd2f83a"
    )
    assert added["x-amz-security-token"] == "a-session-token"


def test_another_time_zone_signs_the_same_instant() -> None:
    there = WHEN.astimezone(timezone(timedelta(hours=9)))
    one, two = (
        sign("GET", URL(HOST), [], b"", keys=KEYS, region="us-east-1", service="service", now=when)
        for when in (WHEN, there)
    )
    assert one == two


def test_the_host_names_a_port_only_where_it_is_not_the_usual_one() -> None:
    assert host_header(URL("https://a.example:443/x")) == "a.example"
    assert host_header(URL("http://127.0.0.1:8081/x")) == "127.0.0.1:8081"
    assert host_header(URL("http://[::1]:8081/x")) == "[::1]:8081"


def test_keys_hide_their_secret_parts() -> None:
    shown = repr(AwsKeys("AKIDEXAMPLE", "very-secret", "very-session"))
    assert "AKIDEXAMPLE" in shown and "very" not in shown
