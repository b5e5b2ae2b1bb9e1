"""From a reference to a value, and never to anybody else."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from proxy.providers.base import ApiKey, AwsKeys, CredentialMissing, Upstream
from proxy.secrets import FILE_SECONDS, SecretProblem, SecretRules, Secrets
from tests.peers.estate import upstream_of

CANARY = "sk-canary-5f2d"


def keyed(reference: str, kind: str = "openai", **fields: Any) -> Upstream:
    return upstream_of(kind, auth_data={"type": "api-key", "api_key": reference}, **fields)


def secrets(
    environ: dict[str, str] | None = None, rules: SecretRules | None = None, **more: Any
) -> Secrets:
    return Secrets(rules or SecretRules(), environ=environ or {}, **more)


async def why(resolver: Secrets, upstream: Upstream) -> str:
    """The cause of a refusal, for the log; the public text is checked on the way."""
    with pytest.raises(CredentialMissing) as caught:
        await resolver.resolve(upstream)
    error = caught.value
    assert error.code == "upstream_credential_missing"
    assert error.message == "the credential of the provider account `acme` is not available"
    assert isinstance(error.__cause__, SecretProblem)
    chain = f"{error!r} {error} {error.hint} {error.__cause__}"
    assert CANARY not in chain
    return str(error.__cause__)


# --- env ----------------------------------------------------------------------------------------------


async def test_a_variable_under_the_prefix_resolves() -> None:
    resolver = secrets({"GATEWARDEN_SECRET_A": f" {CANARY}\n"})
    assert await resolver.resolve(keyed("env:GATEWARDEN_SECRET_A")) == ApiKey(CANARY)


async def test_no_credential_in_the_document_is_none() -> None:
    assert await secrets().resolve(upstream_of("echo")) is None


@pytest.mark.parametrize(
    "name",
    ["HOME", "PATH", "AWS_SECRET_ACCESS_KEY", "gatewarden_secret_a", "XGATEWARDEN_SECRET_A", "",
     "GATEWARDEN_SECRET_A=B", "GATEWARDEN_SECRET_\n", "OPENAI_API_KEY"],
)  # fmt: skip
async def test_a_variable_outside_the_prefix_does_not(name: str) -> None:
    resolver = secrets({name or "X": CANARY})
    assert "neither under" in await why(resolver, keyed(f"env:{name}"))


async def test_a_missing_or_unusable_value_is_a_clear_error() -> None:
    assert "is not set" in await why(secrets(), keyed("env:GATEWARDEN_SECRET_A"))
    for value in (
        "",
        "  ",
        f"{CANARY}\r\nx: y",
        f"{CANARY} x",
        f"{CANARY}\x00",
        f"{CANARY}é",
        "x" * 20000,
    ):
        resolver = secrets({"GATEWARDEN_SECRET_A": value})
        assert "cannot stand in a header" in await why(resolver, keyed("env:GATEWARDEN_SECRET_A"))


async def test_a_listed_name_resolves() -> None:
    rules = SecretRules.of(["MY_KEY"])
    assert await secrets({"MY_KEY": CANARY}, rules).resolve(keyed("env:MY_KEY")) == ApiKey(CANARY)


async def test_a_well_known_name_goes_to_its_own_provider_only() -> None:
    resolver = secrets({"OPENAI_API_KEY": CANARY}, SecretRules.of(["OPENAI_API_KEY"]))
    assert await resolver.resolve(keyed("env:OPENAI_API_KEY")) == ApiKey(CANARY)
    for base in ("https://evil.example/v1", "http://api.openai.com/v1", "https://api.openai.com:444/v1",
                 "https://api.openai.com.evil.example", "https://xapi.openai.com"):  # fmt: skip
        upstream = keyed("env:OPENAI_API_KEY", base_url=base)
        assert "must not go to" in await why(resolver, upstream), base
    assert await resolver.resolve(
        keyed("env:OPENAI_API_KEY", base_url="https://eu.api.openai.com/v1")
    )
    assert await resolver.resolve(keyed("env:OPENAI_API_KEY", base_url="http://127.0.0.1:9/v1")), (
        "this very machine is no other place"
    )


async def test_the_settings_say_where_a_name_may_go() -> None:
    rules = SecretRules.of(["A=https://a.example", "A=https://b.example/", "OPENAI_API_KEY=*"])
    resolver = secrets({"A": CANARY, "OPENAI_API_KEY": CANARY}, rules)
    for base in ("https://a.example/v1", "https://b.example"):
        assert await resolver.resolve(keyed("env:A", base_url=base))
    assert "must not go" in await why(resolver, keyed("env:A", base_url="https://c.example"))
    assert await resolver.resolve(keyed("env:OPENAI_API_KEY", base_url="https://c.example"))


def test_a_setting_that_is_no_name_is_an_error() -> None:
    with pytest.raises(ValueError, match="no name"):
        SecretRules.of(["a b"])


# --- file ---------------------------------------------------------------------------------------------


async def test_a_file_in_the_folder_resolves_also_through_links_inside_it(tmp_path: Path) -> None:
    # As Kubernetes mounts secrets: name -> ..data/name -> ..2026_01/name
    (tmp_path / "..2026_01").mkdir()
    (tmp_path / "..2026_01" / "openai").write_text(CANARY + "\n")
    (tmp_path / "..data").symlink_to("..2026_01")
    (tmp_path / "openai").symlink_to("..data/openai")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "key").write_text(CANARY)
    resolver = secrets(rules=SecretRules.of(folder=tmp_path))
    assert await resolver.resolve(keyed("file:openai")) == ApiKey(CANARY)
    assert await resolver.resolve(keyed("file:sub/key")) == ApiKey(CANARY)


@pytest.mark.parametrize(
    "name",
    ["../outside", "/etc/passwd", "link", "linked/outside", "a/../../outside", "fifo", "sub", "gone", ".",
     "", "a//b", "a\x00b", ".hidden", "loop", "sub/", "%2e%2e/outside", "binary"],
)  # fmt: skip
async def test_nothing_outside_the_folder_and_nothing_but_a_file_resolves(
    tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir()
    (tmp_path / "outside").write_text(CANARY)
    (folder / "link").symlink_to(tmp_path / "outside")
    (folder / "linked").symlink_to(tmp_path)
    (folder / ".hidden").write_text(CANARY)
    (folder / "binary").write_bytes(b"\xff\xfe")
    (folder / "sub").mkdir()
    (folder / "loop").symlink_to("loop")
    os.mkfifo(folder / "fifo")
    async with asyncio.timeout(5):
        await why(secrets(rules=SecretRules.of(folder=folder)), keyed(f"file:{name}"))


async def test_without_a_folder_no_file_resolves() -> None:
    assert "no folder" in await why(secrets(), keyed("file:openai"))


async def test_a_rotated_file_is_read_again_after_a_while(tmp_path: Path) -> None:
    now = 0.0
    (tmp_path / "k").write_text("one")
    resolver = secrets(rules=SecretRules.of(folder=tmp_path), clock=lambda: now)
    upstream = keyed("file:k")
    assert await resolver.resolve(upstream) == ApiKey("one")
    (tmp_path / "k").write_text("two")
    assert await resolver.resolve(upstream) == ApiKey("one")
    now = FILE_SECONDS
    assert await resolver.resolve(upstream) == ApiKey("two")


# --- sealed -------------------------------------------------------------------------------------------


class Store:
    """Stands where the change log unseals."""

    def __init__(self) -> None:
        self.value = CANARY
        self.asked: list[str] = []
        self.gate: asyncio.Event | None = None

    async def unseal(self, reference: str) -> str:
        self.asked.append(reference)
        value = self.value
        if self.gate is not None:
            await self.gate.wait()
        return value


async def test_a_sealed_secret_is_unsealed_once_and_held() -> None:
    store = Store()
    resolver = secrets(unseal=store.unseal)
    for _ in range(3):
        assert await resolver.resolve(keyed("secret:abc")) == ApiKey(CANARY)
    assert store.asked == ["secret:abc"]


async def test_what_is_held_is_there_without_waiting_and_only_for_the_same_reference() -> None:
    resolver = secrets({"GATEWARDEN_SECRET_A": CANARY})
    upstream = keyed("env:GATEWARDEN_SECRET_A")
    assert resolver.held(upstream) is None
    await resolver.resolve(upstream)
    assert resolver.held(upstream) == ApiKey(CANARY)
    assert resolver.held(keyed("env:GATEWARDEN_SECRET_B")) is None
    resolver.forget(upstream.account)
    assert resolver.held(upstream) is None


async def test_a_change_of_the_document_drops_what_is_held() -> None:
    store = Store()
    resolver = secrets(unseal=store.unseal)
    await resolver.resolve(keyed("secret:abc"))
    store.value = "sk-new"
    resolver.forget("acme")
    assert await resolver.resolve(keyed("secret:abc")) == ApiKey("sk-new")


async def test_a_value_that_was_on_its_way_during_a_change_is_not_held() -> None:
    store = Store()
    store.gate = asyncio.Event()
    resolver = secrets(unseal=store.unseal)
    async with asyncio.TaskGroup() as group:
        group.create_task(resolver.resolve(keyed("secret:abc")))
        await asyncio.sleep(0)
        resolver.forget("acme")
        store.value = "sk-new"
        store.gate.set()
    assert await resolver.resolve(keyed("secret:abc")) == ApiKey("sk-new")


async def test_a_held_secret_never_follows_a_changed_address() -> None:
    store = Store()
    resolver = secrets(unseal=store.unseal)
    await resolver.resolve(keyed("secret:abc"))

    async def refuse(reference: str) -> str:
        raise PermissionError(f"sealed for another origin, value {CANARY}")

    resolver._unseal = refuse
    moved = keyed("secret:abc", base_url="https://evil.example")
    assert await why(resolver, moved) == "`secret:abc` cannot be unsealed: PermissionError"


async def test_a_failure_is_not_held() -> None:
    resolver = secrets()
    upstream = keyed("env:GATEWARDEN_SECRET_A")
    await why(resolver, upstream)
    resolver._environ = {"GATEWARDEN_SECRET_A": CANARY}
    assert await resolver.resolve(upstream) == ApiKey(CANARY)


@pytest.mark.parametrize("reference", [CANARY, "tfy-secret://a:b:c", "", ":", "ENV:X", "vault:x"])
async def test_what_is_no_reference_is_never_sent_nor_shown(reference: str) -> None:
    assert await why(secrets(), keyed(reference)) == "the document holds no reference"


async def test_without_a_store_nothing_sealed_resolves() -> None:
    assert "no store" in await why(secrets(), keyed("secret:abc"))


# --- the rest -----------------------------------------------------------------------------------------


async def test_access_keys_resolve_each_on_its_own() -> None:
    environ = {"GATEWARDEN_SECRET_K": "k", "GATEWARDEN_SECRET_ID": "ASIAEXAMPLE"}
    auth = {"type": "access-key-based", "secret_access_key": "env:GATEWARDEN_SECRET_K"}
    one = upstream_of(
        "aws-bedrock", region="r", auth_data={**auth, "access_key_id": "AKIAEXAMPLE000000001"}
    )
    two = upstream_of(
        "aws-bedrock", region="r", auth_data={**auth, "access_key_id": "env:GATEWARDEN_SECRET_ID"}
    )
    assert await secrets(environ).resolve(one) == AwsKeys("AKIAEXAMPLE000000001", "k")
    assert await secrets(environ).resolve(two) == AwsKeys("ASIAEXAMPLE", "k")


async def test_warming_resolves_ahead_and_names_what_fails() -> None:
    resolver = secrets({"GATEWARDEN_SECRET_A": CANARY})
    bad = keyed("env:GATEWARDEN_SECRET_B")
    assert await resolver.warm([bad, bad, upstream_of("echo")]) == ["acme"]
    assert await resolver.warm([keyed("env:GATEWARDEN_SECRET_A")]) == []


async def test_what_is_held_is_bounded_and_does_not_show() -> None:
    resolver = secrets({"GATEWARDEN_SECRET_A": CANARY})
    for number in range(5000):
        auth = {"type": "api-key", "api_key": "env:GATEWARDEN_SECRET_A"}
        await resolver.resolve(_named(f"a{number}", auth))
    assert len(resolver._held) == 4096
    assert CANARY not in repr(resolver) and CANARY not in repr(resolver._held)


def _named(name: str, auth: dict[str, str]) -> Upstream:
    return replace(upstream_of("openai", auth_data=auth), account=name)
