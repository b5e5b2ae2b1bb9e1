"""The documentation says what is true: every setting, metric, action and reason has its line."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from authz.decision import Reason
from authz.vocabulary import Action
from conf.settings import MODEL_PATH, describe
from policies import cases
from policies.documents import DOCUMENT_TYPES, INTERNAL_TYPES
from policies.loader import load_text
from policies.validate import validate
from proxy.metrics import METRICS

ROOT = Path(__file__).resolve().parent.parent
OPERATIONS = (ROOT / "docs/operations.md").read_text("utf-8")
POLICY = (ROOT / "docs/policy.md").read_text("utf-8")
API = (ROOT / "docs/api.md").read_text("utf-8")


@pytest.mark.parametrize(("name", "default", "sentence"), describe(), ids=lambda v: str(v)[:40])
def test_each_setting_is_documented_with_its_default(
    name: str, default: str, sentence: str
) -> None:
    shown = f"`{default}`" if default not in ("", "None") else "—"
    assert f"| `{name}` | {shown} | {sentence} |" in OPERATIONS


@pytest.mark.parametrize("name", [name for name, _, _ in describe()])
def test_each_setting_is_read_by_something(name: str) -> None:
    field = name.rpartition("__")[2].removeprefix("GATEWARDEN_").lower()
    sources = [*(ROOT / "proxy").rglob("*.py"), ROOT / "conf/settings.py"]
    read = re.compile(rf"\.{field}\b")
    assert any(read.search(path.read_text("utf-8")) for path in sources), f"{name} changes nothing"


@pytest.mark.parametrize("name", METRICS)
def test_each_metric_is_documented(name: str) -> None:
    kind, sentence, labels = METRICS[name]
    shown = ", ".join(f"`{label}`" for label in labels) or "—"
    assert f"| `{name}` | {kind} | {shown} | {sentence} |" in OPERATIONS


@pytest.mark.parametrize("action", Action)
def test_each_action_is_documented(action: Action) -> None:
    assert f"`{action.value}`" in POLICY


@pytest.mark.parametrize("reason", Reason)
def test_each_reason_is_documented(reason: Reason) -> None:
    assert f"| `{reason.value}` |" in API


@pytest.mark.parametrize("kind", sorted(set(DOCUMENT_TYPES) - INTERNAL_TYPES))
def test_each_document_type_is_documented(kind: str) -> None:
    assert f"`{kind}`" in POLICY


PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_architecture_page_names_only_files_that_exist() -> None:
    text = (ROOT / "docs/architecture.md").read_text("utf-8")
    for path in re.findall(
        r"`((?:conf|authz|policies|store|identity|proxy|tests|bench)/[\w/.-]+\.\w+)`", text
    ):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize(
    "text", [t for t in re.findall(r"^```yaml\n(.*?)^```", POLICY, re.M | re.S) if "type:" in t]
)
def test_the_documents_on_the_policy_page_load_without_an_error(text: str) -> None:
    loaded = load_text(text, "policy.md")
    found = [problem for problem in validate(loaded) if problem.code != "dangling"]
    assert loaded.documents
    assert not found


@pytest.mark.parametrize(
    "text", [t for t in re.findall(r"^```yaml\n(.*?)^```", POLICY, re.M | re.S) if "cases:" in t]
)
def test_the_cases_on_the_policy_page_hold_in_the_demo_estate(text: str, tmp_path: Path) -> None:
    folder = tmp_path / "examples"
    shutil.copytree(ROOT / "conf/examples", folder, ignore=shutil.ignore_patterns("*.cases.yaml"))
    (folder / ("page.yaml" if "type: policy" in text else "page.cases.yaml")).write_text(text)
    report = cases.run([folder], MODEL_PATH.read_text("utf-8"))
    assert report.results
    assert report.exit_code == 0, list(report.lines())
