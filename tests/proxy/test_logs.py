from __future__ import annotations

import json
import logging

import pytest

from proxy import logs


@pytest.fixture(autouse=True)
def _restore() -> object:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level


def test_a_line_is_one_json_object_even_when_a_value_has_newlines(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure("info", terminal=False)
    logs.get("test").warning("odd name", name="a\nb\x1b[31m")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert json.loads(lines[0])["name"] == "a\nb\x1b[31m"


def test_a_field_named_like_a_secret_is_masked(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", terminal=False)
    logs.get("test").info("x", api_key="canary", token="canary", token_id="tok1")
    text = capsys.readouterr().err
    assert "canary" not in text
    assert "tok1" in text


def test_a_library_record_takes_the_same_way_out(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("warning", terminal=False)
    logging.getLogger("some.library").warning("hello %s", "there")
    assert json.loads(capsys.readouterr().err)["event"] == "hello there"


def test_what_is_below_the_level_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("error", terminal=False)
    logs.get("test").warning("quiet")
    assert capsys.readouterr().err == ""
