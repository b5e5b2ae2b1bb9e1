"""`import litellm` and `export --casbin` as they are typed: files in, files out, no gateway."""

from __future__ import annotations

import json
from pathlib import Path

import casbin
from click.testing import CliRunner, Result

from proxy.cli import main

ROOT = Path(__file__).parents[2]
LITELLM = ROOT / "tests/policies/fixtures/litellm"


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def imported(folder: Path, *more: str) -> Result:
    config, teams, keys = (LITELLM / n for n in ("config.yaml", "teams.json", "keys.json"))
    return run("import", "litellm", config, "--teams", teams, "--keys", keys, "-o", folder, *more)


def test_an_import_writes_files_that_pass_the_check_and_a_report(tmp_path: Path) -> None:
    done = imported(tmp_path / "estate")
    assert done.exit_code == 0, done.output
    assert "0 errors" in done.output and "report.md" in done.output
    assert run("check", tmp_path / "estate").exit_code == 0
    assert "## Not carried over" in (tmp_path / "estate/report.md").read_text()
    texts = "".join(path.read_text() for path in (tmp_path / "estate").rglob("*") if path.is_file())
    assert "sk-literal" not in texts


def test_a_second_import_needs_replace_and_writes_the_same(tmp_path: Path) -> None:
    assert imported(tmp_path).exit_code == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert imported(tmp_path).exit_code == 1
    assert imported(tmp_path, "--replace").exit_code == 0
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_report_is_had_as_json_too(tmp_path: Path) -> None:
    body = json.loads(imported(tmp_path, "--json").stdout)
    assert body["check"]["ok"] is True
    assert body["models"]["mini"] == ["openai/mini"]
    assert {note["fate"] for note in body["notes"]} == {"carried", "changed", "left"}


def test_what_is_no_configuration_is_refused_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("a: [")
    (tmp_path / "t.json").write_text("{")
    done = run("import", "litellm", tmp_path / "c.yaml", "-o", tmp_path / "out")
    assert done.exit_code == 1 and isinstance(done.exception, SystemExit)
    done = run("import", "litellm", LITELLM / "config.yaml", "--teams", tmp_path / "t.json", "-o", tmp_path / "out")  # fmt: skip
    assert done.exit_code == 1 and "is not JSON" in done.output
    assert not (tmp_path / "out").exists()


def test_files_are_exported_for_casbin_and_decide_there(tmp_path: Path) -> None:
    done = run("export", "--casbin", "-f", ROOT / "conf/examples", "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    enforcer = casbin.Enforcer(str(tmp_path / "out/model.conf"), str(tmp_path / "out/policy.csv"))
    assert enforcer.enforce("user:alice@example.com", "model:openai/mini", "model:use", {})
    assert not enforcer.enforce("user:carol@example.com", "model:openai/mini", "model:use", {})


def test_an_export_for_casbin_never_mixes_with_documents(tmp_path: Path) -> None:
    words = ("export", "--casbin", "-f", ROOT / "conf/examples", "-o", tmp_path)
    (tmp_path / "team.yaml").write_text("type: team\nname: a\nmembers: []\n")
    assert run(*words).exit_code == 1
    (tmp_path / "team.yaml").unlink()
    assert run(*words).exit_code == 0
    assert run(*words).exit_code == 1
    assert run(*words, "--replace").exit_code == 0
    assert run("export", "--casbin", "-o", tmp_path).exit_code == 1
    assert run("export", "-f", ROOT / "conf/examples", "-o", tmp_path).exit_code == 1
