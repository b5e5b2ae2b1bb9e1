"""The import arrows of the house: `conf <- authz <- policies <- store <- identity <- proxy`.

A folder imports from itself and from folders to its left; only the files that start
processes and commands (`COMPOSERS`) import `conf`; `authz` and `policies` are pure. The test reads the sources, so a lazy import counts too.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ORDER = ["conf", "authz", "policies", "store", "identity", "proxy"]
COMPOSERS = {"proxy/app.py", "proxy/cli.py", "proxy/installation.py", "proxy/serving.py"}
IMPURE = {
    "aiohttp", "asyncio", "http", "os", "random", "secrets", "socket", "sqlite3", "subprocess",
    "threading", "time", "urllib.request", "yarl",
}  # fmt: skip
# The loader reads the files that it is told to read; nothing else in `policies` touches a disk.
PURE_FOLDERS = ("authz", "policies")

MODULES = sorted(p for folder in ORDER for p in (ROOT / folder).rglob("*.py"))


def imports_of(path: Path) -> set[str]:
    """Modules that a module imports, at any depth of its code, each with its parents (`a`, `a.b`)."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.ImportFrom):
            names = [path.relative_to(ROOT).parts[0]]
        else:
            continue
        for name in names:
            parts = name.split(".")
            found |= {".".join(parts[:n]) for n in range(1, len(parts) + 1)}
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_to_the_left_only(path: Path) -> None:
    name = str(path.relative_to(ROOT))
    folder = path.relative_to(ROOT).parts[0]
    allowed = set(ORDER[: ORDER.index(folder) + 1])
    if folder != "conf" and name not in COMPOSERS:
        allowed.discard("conf")
    wrong = (imports_of(path) & set(ORDER)) - allowed
    assert not wrong, f"{name} imports {sorted(wrong)}"


@pytest.mark.parametrize(
    "path",
    [p for p in MODULES if p.relative_to(ROOT).parts[0] in PURE_FOLDERS],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_pure_folders_have_no_network_clock_or_environment(path: Path) -> None:
    wrong = imports_of(path) & IMPURE
    assert not wrong, f"{path.relative_to(ROOT)} imports {sorted(wrong)}"


def test_modules_of_one_folder_do_not_import_each_other_in_a_circle() -> None:
    names = {str(p.relative_to(ROOT).with_suffix("")).replace("/", "."): p for p in MODULES}
    edges: dict[str, set[str]] = {}
    for name, path in names.items():
        targets: set[str] = set()
        # Only what runs on import can make a circle: module level, not in TYPE_CHECKING or a function.
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ImportFrom) and node.module:
                targets |= {node.module, *(f"{node.module}.{a.name}" for a in node.names)}
            elif isinstance(node, ast.Import):
                targets |= {alias.name for alias in node.names}
        edges[name] = targets & set(names) - {name}

    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail[trail.index(name) :], name))
        if name not in done:
            for target in sorted(edges[name]):
                visit(target, (*trail, name))
            done.add(name)

    sys.setrecursionlimit(10_000)
    for name in sorted(edges):
        visit(name, ())


DRIVER = {"motor", "pymongo", "bson", "gridfs"}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_driver_of_mongodb_is_known_to_its_files_only(path: Path) -> None:
    if path.parent.name != "store" or not path.name.startswith("mongo"):
        assert not imports_of(path) & DRIVER
