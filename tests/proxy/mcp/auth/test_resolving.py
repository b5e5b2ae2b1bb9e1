"""References in a server's document: held, read again, and bound to where they may go."""

from __future__ import annotations

from pathlib import Path

import pytest

from policies.mcp_servers import HeaderAuth, OpenApiMcpServer, RemoteMcpServer
from proxy.mcp.auth.parts import auth_of
from proxy.mcp.auth.resolving import fixed, resolve
from proxy.mcp.servers import Server
from proxy.providers.base import CredentialMissing
from proxy.secrets import FILE_SECONDS, SecretProblem, SecretRules, Secrets
from tests.proxy.mcp.auth.world import server

TARGET = server(None)
THERE = "https://mcp.example"


async def test_a_mounted_file_is_read_again_after_a_while_and_after_a_change(
    tmp_path: Path,
) -> None:
    clock = [0.0]
    secrets = Secrets(SecretRules(folder=tmp_path), environ={}, clock=lambda: clock[0])
    (tmp_path / "key").write_text("Bearer one\n")
    assert await resolve(secrets, TARGET, "file:key", THERE) == "Bearer one"
    (tmp_path / "key").write_text("Bearer two\n")
    assert await resolve(secrets, TARGET, "file:key", THERE) == "Bearer one"
    clock[0] = FILE_SECONDS
    assert await resolve(secrets, TARGET, "file:key", THERE) == "Bearer two"
    (tmp_path / "key").write_text("three")
    secrets.forget("mcp-server:other")
    assert await resolve(secrets, TARGET, "file:key", THERE) == "Bearer two"
    secrets.forget(TARGET.id)
    assert await resolve(secrets, TARGET, "file:key", THERE) == "three"


async def test_a_sealed_value_is_opened_once_and_not_held_over_a_change() -> None:
    opened: list[str] = []

    async def unseal(reference: str) -> str:
        opened.append(reference)
        if len(opened) == 2:
            secrets.forget(TARGET.id)  # the document changes while it is read
        return f"canary-{len(opened)}"

    secrets = Secrets(SecretRules(), environ={}, unseal=unseal)
    for expected in (1, 1):
        assert await resolve(secrets, TARGET, "secret:0a", THERE) == f"canary-{expected}"
    secrets.forget(TARGET.id)
    for expected in (2, 3, 3):
        assert await resolve(secrets, TARGET, "secret:0a", THERE) == f"canary-{expected}"
    assert "canary" not in repr(secrets) + repr(vars(secrets)["_texts"])


async def test_a_variable_goes_only_where_it_may() -> None:
    rules = SecretRules.of(["A=https://mcp.example"])
    secrets = Secrets(rules, environ={"A": "x y", "GATEWARDEN_SECRET_B": "a\r\nb"})
    assert await resolve(secrets, TARGET, "env:A", THERE) == "x y"
    for reference, place in (("env:A", "https://evil.example"), ("env:GATEWARDEN_SECRET_B", THERE)):
        with pytest.raises(CredentialMissing) as caught:
            await resolve(secrets, TARGET, reference, place)
        assert isinstance(caught.value.__cause__, SecretProblem)
    assert await fixed(secrets, TARGET, "plain", THERE) == "plain"


def test_the_service_behind_an_openapi_document_has_an_address() -> None:
    auth = HeaderAuth.model_validate({"headers": {"X-A": "env:A"}})
    spec = {"type": "inline", "spec": "{}"}
    document = OpenApiMcpServer.model_validate(
        {
            "name": "pets",
            "url": "https://pets.example",
            "openapi_spec_source": spec,
            "auth_data": auth,
        }
    )
    found = auth_of(Server("mcp-server:pets", "pets", "pets", document))
    assert (found.id, found.url, found.auth_data) == (
        "mcp-server:pets",
        "https://pets.example",
        auth,
    )
    remote = RemoteMcpServer.model_validate(
        {"name": "r", "url": THERE, "additional_headers": {"A": "b"}}
    )
    found = auth_of(Server("mcp-server:r~2", "r", "r~2", remote))
    assert (found.id, found.url, found.additional_headers) == ("mcp-server:r~2", THERE, {"A": "b"})
