from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from proxy import children


def test_a_folder_called_like_ours_where_the_gateway_is_started_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "proxy").mkdir()
    (tmp_path / "proxy" / "__init__.py").write_text("raise SystemExit('the wrong one')\n")
    done = subprocess.run(
        [*children.command("proxy.shipping"), "--help"],
        cwd=tmp_path,
        env=children.variables(private=True),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "ship records" in done.stdout


def test_a_child_that_needs_no_secret_is_given_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWARDEN_KEYS__SEALING", "canary")
    monkeypatch.setenv("OPENAI_API_KEY", "canary")
    assert "canary" not in children.variables(private=False).values()
    assert "PATH" in children.variables(private=False)
    assert children.variables(private=True)["GATEWARDEN_KEYS__SEALING"] == "canary"
