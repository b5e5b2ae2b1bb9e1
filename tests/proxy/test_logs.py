from __future__ import annotations

import json
import logging
import subprocess
import sys

import pytest
import structlog

from identity.principal import CredentialKind
from identity.tokens import mint
from proxy import logs


@pytest.fixture(autouse=True)
def _restore() -> object:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()  # else later tests log into a stream that is closed


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


def _fail(api_key: str, token: str) -> None:
    held = {"key": api_key}
    raise RuntimeError(f"{len(held)} failed, the token was {token}")


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("library", [True, False])
def test_a_traceback_shows_no_locals_and_no_token(
    capsys: pytest.CaptureFixture[str], terminal: bool, library: bool
) -> None:
    # docs/attacks.md I8: the pretty tracebacks of a terminal print the values of locals
    logs.configure("info", terminal=terminal)
    token = mint(CredentialKind.PAT).secret
    try:
        _fail("canary-" + "in-a-local", token)
    except RuntimeError:
        if library:
            logging.getLogger("some.library").exception("it failed with %s", token)
        else:
            logs.get("test").exception("it failed", said=token, token=token)
    text = capsys.readouterr().err
    assert "RuntimeError: 1 failed, the token was gw_" in text
    assert "_fail(" in text  # where it happened is there
    assert "canary-in-a-local" not in text
    assert token not in text and token[8:30] not in text


def test_a_process_that_configures_nothing_shows_no_locals_and_writes_to_standard_error() -> None:
    # docs/attacks.md I8; a command on the host prints JSON on standard output
    code = (
        "from proxy import logs\n"
        "def fail(api_key):\n"
        "    raise RuntimeError('no')\n"
        "try:\n"
        "    fail('canary-' + 'in-a-local')\n"
        "except RuntimeError:\n"
        "    logs.get('test').exception('it failed')\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == ""
    assert "RuntimeError: no" in ended.stderr
    assert "canary-in-a-local" not in ended.stderr
