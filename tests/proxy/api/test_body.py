"""Strict bodies and parameters: what could be read in two ways, or is no value, is refused by name."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import make_mocked_request

from proxy.api.body import MAX_DEPTH, parse_json, parse_object, parse_query, validate
from proxy.api.models import ApplyBody, DryRunQuery
from proxy.api.paging import PageQuery
from proxy.api.problem import BadBody, BadQuery
from proxy.api.token_models import TokenBody


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b'{"a": 1, "a": 2}', "stands twice"),
        (b'{"a": {"b": 1, "b": 1}}', "stands twice"),
        (b'{"a": NaN}', "is not JSON"),
        (b'{"a": -Infinity}', "is not JSON"),
        (b'{"a": 1,}', "is not JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (b'{"a": "\\ud800"}', "lone surrogate"),
        (b'{"\\udfff": 1}', "lone surrogate"),
        (b'{"a": "\\u0000"}', "NUL"),
        (b'{"a": "\x00"}', "NUL"),
        (b"[" * 100_000, "nested deeper"),
        (b"[" * (MAX_DEPTH + 2) + b"]" * (MAX_DEPTH + 2), "nested deeper"),
        (b'{"a": ' + b"9" * 5000 + b"}", "too long"),
        (b"", "is not JSON"),
        # docs/attacks.md A7: nothing is a query operator
        (b'{"name": {"$ne": ""}}', "is not a field"),
        (b'{"$where": "sleep(1)"}', "is not a field"),
    ],
)
def test_ambiguous_or_hostile_json_is_refused(raw: bytes, says: str) -> None:
    with pytest.raises(BadBody, match=says):
        parse_json(raw)


def test_a_body_that_is_no_object_is_refused() -> None:
    with pytest.raises(BadBody, match="must be a JSON object"):
        parse_object(b"[]")


def test_an_unknown_field_names_the_nearest_one() -> None:
    with pytest.raises(BadBody) as raised:
        validate(ApplyBody, {"manifest": {}, "dry_rum": True})
    assert raised.value.message == "unknown field `dry_rum`"
    assert raised.value.hint == "did you mean `dry_run`?"


@pytest.mark.parametrize("value", ["true", 1, None, [True]])
def test_a_flag_in_a_body_is_not_coerced(value: object) -> None:
    with pytest.raises(BadBody, match="dry_run"):
        validate(ApplyBody, {"dry_run": value})


def test_an_expiry_without_a_zone_is_refused() -> None:
    with pytest.raises(BadBody, match="expirationDate"):
        validate(TokenBody, {"name": "laptop", "expirationDate": "2030-01-31T00:00:00"})


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("dry_run=1", "dry_run"),
        ("dry_run=TRUE", "dry_run"),
        ("dry_run=true&dry_run=false", "given twice"),
        ("dryrun=true", "unknown parameter"),
        ("dry_run[$ne]=true", "unknown parameter"),
    ],
)
def test_a_parameter_of_another_form_is_refused(query: str, says: str) -> None:
    with pytest.raises(BadQuery, match=says):
        parse_query(DryRunQuery, make_mocked_request("GET", f"/?{query}"))


def test_true_and_false_are_the_two_flags() -> None:
    assert parse_query(DryRunQuery, make_mocked_request("GET", "/?dry_run=true")).dry_run is True
    assert parse_query(DryRunQuery, make_mocked_request("GET", "/?dry_run=false")).dry_run is False


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "x", "1.5", ""])
def test_a_limit_out_of_range_is_refused(limit: str) -> None:
    with pytest.raises(BadQuery, match="limit"):
        parse_query(PageQuery, make_mocked_request("GET", f"/?limit={limit}"))
