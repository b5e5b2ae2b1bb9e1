"""The pipelines in `docs/gitops.md` are YAML, and call commands and options that there are."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from proxy.cli import main

PAGE = (Path(__file__).parents[1] / "docs" / "gitops.md").read_text("utf-8")


def block(heading: str) -> str:
    found = re.search(rf"^## {heading}\n+```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert found is not None, heading
    return found[1]


def pipeline(heading: str) -> dict[str, Any]:
    loaded: dict[str, Any] = YAML(typ="safe", pure=True).load(block(heading))
    return loaded


def test_github_plans_on_pull_requests_and_applies_on_the_main_branch() -> None:
    found = pipeline("GitHub Actions")
    assert set(found["on"]) == {"pull_request", "push"} and found["on"]["push"]["branches"] == [
        "main"
    ]
    assert found["jobs"]["plan"]["if"] == "github.event_name == 'pull_request'"
    assert found["jobs"]["apply"]["if"] == "github.event_name == 'push'"
    runs = [step.get("run", "") for step in found["jobs"]["plan"]["steps"]]
    assert not any("gatewarden apply" in run for run in runs)


def test_gitlab_plans_on_merge_requests_and_applies_on_the_main_branch() -> None:
    found = pipeline("GitLab CI")
    assert "merge_request_event" in found["plan"]["rules"][0]["if"]
    assert "$CI_DEFAULT_BRANCH" in found["apply"]["rules"][0]["if"]
    assert not any("gatewarden apply" in line for line in found["plan"]["script"])


@pytest.mark.parametrize(
    "line", sorted(set(re.findall(r"gatewarden (?:plan|apply|export)  ?-[^\n>#`]*", PAGE)))
)
def test_every_call_on_the_page_has_known_options(line: str) -> None:
    _, name, *words = shlex.split(line)
    command = main.commands[name]
    known = {option for given in command.params for option in given.opts}
    assert {word for word in words if word.startswith("-")} <= known, line
