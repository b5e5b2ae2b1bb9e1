"""What is not there cannot be attacked: served files, started programs, unpinned parts, sister installations.

Numbers are those of docs/attacks.md 5.1 (A11, A12), 5.2 (B5, B6) and 5.5 (I2).
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from aiohttp import web

from identity.errors import Unauthenticated
from policies.loader import load_mapping
from proxy.api.site import ROUTES
from tests.attacks.house import House
from tests.proxy.api.stack import ESTATE, stack_on
from tests.proxy.world import world

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_a12_every_dependency_is_locked_with_hashes_and_names_no_index(name: str) -> None:
    """A12: what is installed is what was reviewed, wherever it is fetched from."""
    text = (ROOT / name).read_text()
    wanted = re.split(r"\n(?=[A-Za-z0-9])", text.replace("\\\n", " "))
    locked = [line for line in wanted if re.match(r"[A-Za-z0-9]", line)]
    assert len(locked) > 10
    for line in locked:
        assert re.match(
            r"[A-Za-z0-9._-]+(\[[a-z,-]+\])?==\S+ .*--hash=sha256:[0-9a-f]{64}", line
        ), line
    assert not re.search(r"--(extra-)?index-url|--find-links|://|^-e |git\+", text, re.MULTILINE)


async def test_i2_no_route_serves_a_file(house: House) -> None:
    """I2: there is no folder to climb out of; what the control plane serves is a table of handlers."""
    for path in (
        "/console/../../../etc/passwd",
        "/static/..%2f..%2fetc/passwd",
        "/api/v1/../../etc/passwd",
        "/..%2f..%2fetc%2fpasswd",
        "/api/v1/openapi.json/../../keys/sealing.key",
        "//etc/passwd",
        "/demo.env",
        "/gatewarden.db",
    ):
        got = await house.call("GET", path, who="operator")
        assert got.status in (400, 404), (path, got.raw)
        assert b"root:" not in got.raw and b"GATEWARDEN_TOKEN" not in got.raw


async def test_i2_the_router_has_no_static_resource(tmp_path: Path) -> None:
    """I2: and every route that it has is one of the table, or a fixed page of operations."""
    async with stack_on(tmp_path) as stack:
        app: web.Application = stack.client.app
        for resource in app.router.resources():
            assert not isinstance(resource, web.StaticResource)
        served = {
            (route.method, route.resource.canonical.removeprefix("/api/v1"))
            for route in app.router.routes()
            if route.resource is not None and route.method != "HEAD"
        }
    assert served == {(route.method, route.path) for route in ROUTES}


def test_b5_b6_no_code_of_ours_starts_a_program_that_data_names() -> None:
    """B5, B6: children are our own modules, started in three places; there is no shell anywhere."""
    starts = {"create_subprocess_exec", "create_subprocess_shell", "Popen", "run", "system", "popen",
              "execv", "execve", "execvp", "posix_spawn", "spawnv", "eval", "exec", "compile"}  # fmt: skip
    found: set[tuple[str, str]] = set()
    for folder in ("authz", "policies", "store", "identity", "proxy", "conf"):
        for file in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if not isinstance(node, ast.Call):
                    continue
                function = node.func
                if isinstance(function, ast.Name) and function.id in ("eval", "exec", "compile"):
                    found.add((str(file.relative_to(ROOT)), function.id))
                elif isinstance(function, ast.Attribute) and function.attr in starts:
                    owner = function.value
                    module = owner.id if isinstance(owner, ast.Name) else ""
                    if module in ("os", "subprocess") or function.attr.startswith("create_sub"):
                        found.add((str(file.relative_to(ROOT)), function.attr))
    allowed = {
        ("proxy/shipping.py", "create_subprocess_exec"),
        ("proxy/workers.py", "create_subprocess_exec"),
        ("proxy/inquiry.py", "create_subprocess_exec"),
        # The command line, never the gateway: `git rev-parse HEAD` of the folder that its user names.
        ("proxy/estate_commands.py", "run"),
        # Casbin's own matcher text from conf/model.conf, compiled once; no text of a tenant reaches it
        ("authz/enforcer.py", "compile"),
        ("authz/enforcer.py", "eval"),
    }
    assert found <= allowed, found - allowed


@pytest.mark.parametrize(
    "kind", ["mcp-server/stdio", "mcp-server/remote", "provider-account/custom"]
)
def test_b5_a_document_that_would_start_something_is_refused(kind: str) -> None:
    """B5: no kind of document runs a command, whatever it is called."""
    loaded = load_mapping([{"type": kind, "name": "x", "command": "touch", "args": ["/tmp/x"]}])
    assert any(problem.severity == "error" for problem in loaded.problems)
    assert not loaded.documents


async def test_b5_a_dry_run_needs_the_rights_of_the_change_and_calls_nobody(tmp_path: Path) -> None:
    """B5: there is no easier way in by a preview, and no connection is made to look whether it works."""
    asked: list[str] = []

    async def listening(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        raise AssertionError

    async with world(tmp_path / "upstream") as w, stack_on(tmp_path) as stack:
        w.answers(listening)
        mine = {**ESTATE[8], "name": "mine", "base_url": f"{w.url}/v1"}
        for who in ("member", "manager", "auditor", "checkout"):
            for path, body in (
                ("/apply", {"manifest": mine, "dry_run": True}),
                ("/apply", {"manifest": mine}),
                ("/provider-accounts/mine?dry_run=true", mine),
            ):
                got = await stack.call("PUT", path, body, who=who)
                assert got.status in (403, 404), (who, path, got.raw)
        tried = await stack.call("PUT", "/apply", {"manifest": mine, "dry_run": True})
        assert tried.status == 200
        assert (await stack.call("PUT", "/provider-accounts/mine", mine)).status == 201
        assert not asked and not w.seen


async def test_a11_a_token_of_a_sister_installation_is_nobody_s(tmp_path: Path) -> None:
    """A11: neither its tokens nor its sealed secrets mean anything elsewhere."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    async with stack_on(tmp_path / "one") as one, stack_on(tmp_path / "two") as two:
        for who, token in one.tokens.items():
            assert (await one.call("GET", "/whoami", token=token)).status == 200
            assert (await two.call("GET", "/whoami", token=token)).status == 401, who
            with pytest.raises(Unauthenticated):
                two.runtime.directory.authenticate(token, two.now[0])
