"""The keys of an installation: made once, checked always, never a default one."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from identity.errors import MissingKey, WeakKey, WrongKey
from identity.first_start import PREVIOUS, prepare

ROOT = Path(__file__).resolve().parents[2]
GOOD = base64.b64encode(os.urandom(32)).decode()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "var"


def pem(key: object) -> str:
    made = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())  # type: ignore[attr-defined]
    return str(made.decode())


def put(path: Path, content: bytes | str, mode: int = 0o600) -> None:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(mode)


def test_first_start_makes_keys_and_says_where(data: Path) -> None:
    keys = prepare(data, established=False)
    assert [path.name for path in keys.created] == ["sealing.key", "signing.key", "installation"]
    assert len(keys.sealing) == 32
    assert keys.signing.sign(b"x")
    assert len(keys.public_key()) == 32
    assert keys.installation


def test_files_are_ours_alone_whatever_the_umask(data: Path) -> None:
    old = os.umask(0)
    try:
        prepare(data, established=False)
    finally:
        os.umask(old)
    assert data.stat().st_mode & 0o777 == 0o700
    assert (data / "keys").stat().st_mode & 0o777 == 0o700
    for path in (data / "keys").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600, path


def test_second_start_takes_the_same_keys(data: Path) -> None:
    first, second = prepare(data, established=False), prepare(data, established=True)
    assert second.created == ()
    assert (first.installation, first.sealing) == (second.installation, second.sealing)
    assert first.public_key() == second.public_key()


def test_two_installations_have_different_keys(tmp_path: Path) -> None:
    """A11: nothing that is signed or sealed here is worth anything there."""
    one, two = (prepare(tmp_path / name, established=False) for name in "ab")
    assert one.sealing != two.sealing
    assert one.public_key() != two.public_key()
    assert one.installation != two.installation


def test_no_secret_is_in_repr(data: Path) -> None:
    """I8."""
    keys = prepare(data, established=False)
    shown = repr(keys)
    assert base64.b64encode(keys.sealing).decode() not in shown
    assert repr(keys.sealing) not in shown
    assert "Ed25519" not in shown


def test_first_start_that_was_cut_short_is_finished(data: Path) -> None:
    keys = prepare(data, established=False)
    (data / "keys" / "signing.key").unlink()
    (data / "keys" / "installation").unlink()
    put(data / "keys" / ".signing.key.123.abc", b"half a k")
    again = prepare(data, established=False)
    assert again.sealing == keys.sealing
    assert len(again.created) == 2


@pytest.mark.parametrize("name", ["sealing.key", "signing.key", "installation"])
def test_missing_key_beside_a_database_is_refused(data: Path, name: str) -> None:
    prepare(data, established=False)
    (data / "keys" / name).unlink()
    with pytest.raises(MissingKey) as refused:
        prepare(data, established=True)
    assert str(data / "keys" / name) in str(refused.value)
    assert "backup" in refused.value.hint
    assert not (data / "keys" / name).exists()


@pytest.mark.parametrize("name", ["sealing.key", "signing.key"])
def test_missing_key_beside_its_fingerprint_is_refused(data: Path, name: str) -> None:
    prepare(data, established=False)
    (data / "keys" / name).unlink()
    with pytest.raises(MissingKey):
        prepare(data, established=False)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o602, 0o666])
@pytest.mark.parametrize("name", ["sealing.key", "signing.key", "installation"])
def test_key_within_reach_of_others_is_refused(data: Path, name: str, mode: int) -> None:
    prepare(data, established=False)
    path = data / "keys" / name
    path.chmod(mode)
    with pytest.raises(WeakKey) as refused:
        prepare(data, established=True)
    assert f"{mode:04o}" in refused.value.message
    assert f"chmod 600 {path}" in refused.value.hint


@pytest.mark.parametrize("mode", [0o770, 0o777, 0o707])
def test_folder_in_which_others_could_swap_keys_is_refused(data: Path, mode: int) -> None:
    prepare(data, established=False)
    (data / "keys").chmod(mode)
    with pytest.raises(WeakKey, match="chmod 700"):
        prepare(data, established=True)


WEAK = {
    "empty": b"",
    "blank": b" \n\n",
    "short": base64.b64encode(os.urandom(16)),
    "long": base64.b64encode(os.urandom(64)),
    "zero": base64.b64encode(bytes(32)),
    "all equal": base64.b64encode(b"\xa5" * 32),
    "repeating": base64.b64encode(b"changeme" * 4),
    "counting": base64.b64encode(bytes(range(32))),
    "counting down by threes": base64.b64encode(bytes((200 - 3 * n) % 256 for n in range(32))),
    "text": base64.b64encode(b"This is a secret key of 32 bytes"),
    "hash of a word": base64.b64encode(hashlib.sha256(b"changeme").digest()),
    "hash of nothing": hashlib.sha256(b"").hexdigest().encode(),
    "RFC 8032 test 1": b"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
    "RFC 8032 test 2, padded off": base64.urlsafe_b64encode(
        bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
    ).rstrip(b"="),
    "password": b"changeme",
    "not base64": b"!" * 44,
    "bytes": b"\x00\xff" * 16,
    "huge": b"A" * 5000,
}


@pytest.mark.parametrize("name", ["sealing.key", "signing.key"])
@pytest.mark.parametrize("content", WEAK.values(), ids=WEAK)
def test_weak_key_file_is_refused(data: Path, name: str, content: bytes) -> None:
    """A10: what is weak or was ever printed does not start."""
    (data / "keys").mkdir(parents=True, mode=0o700)
    put(data / "keys" / name, content)
    with pytest.raises(WeakKey) as refused:
        prepare(data, established=False)
    assert name in refused.value.message
    assert refused.value.hint


@pytest.mark.parametrize("content", WEAK.values(), ids=WEAK)
def test_weak_key_from_the_settings_is_refused(data: Path, content: bytes) -> None:
    """A10: an override is checked like a file, and names no value in its error."""
    text = content.decode("latin-1")
    for given in ({"sealing": text}, {"signing": text}):
        with pytest.raises(WeakKey) as refused:
            prepare(data, established=False, **given)  # type: ignore[arg-type]
        assert "settings" in refused.value.message
        if text.strip():
            assert text not in str(refused.value)


def test_pem_of_a_published_key_is_refused(data: Path) -> None:
    printed = Ed25519PrivateKey.from_private_bytes(
        bytes.fromhex("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7")
    )
    with pytest.raises(WeakKey, match="published"):
        prepare(data, established=False, signing=pem(printed))


@pytest.mark.parametrize(
    "text",
    ["-----BEGIN PRIVATE KEY-----\nnonsense\n-----END PRIVATE KEY-----", "-----BEGIN"],
)
def test_damaged_pem_is_refused(data: Path, text: str) -> None:
    with pytest.raises(WeakKey, match="PEM"):
        prepare(data, established=False, signing=text)


def test_signing_key_of_another_kind_is_refused(data: Path) -> None:
    with pytest.raises(WeakKey, match="Ed25519"):
        prepare(data, established=False, signing=pem(generate_private_key(SECP256R1())))


def test_one_key_for_both_purposes_is_refused(data: Path) -> None:
    with pytest.raises(WeakKey, match="the same"):
        prepare(data, established=False, sealing=GOOD, signing=GOOD)


@pytest.mark.parametrize(
    "form",
    [
        GOOD,
        GOOD.rstrip("="),
        f"  {GOOD}\n",
        base64.b64decode(GOOD).hex(),
        base64.b64decode(GOOD).hex().upper(),
        base64.urlsafe_b64encode(base64.b64decode(GOOD)).decode(),
    ],
    ids=["base64", "unpadded", "with blanks", "hex", "upper hex", "url-safe"],
)
def test_key_from_the_settings_is_the_effective_one(data: Path, form: str) -> None:
    """A10: and then no file is made for it."""
    keys = prepare(data, established=False, sealing=form)
    assert keys.sealing == base64.b64decode(GOOD)
    assert not (data / "keys" / "sealing.key").exists()
    assert prepare(data, established=True, sealing=form).sealing == keys.sealing


def test_signing_key_from_the_settings_may_be_pem_or_raw(data: Path, tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    by_pem = prepare(data, established=False, signing=pem(key))
    raw = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    by_raw = prepare(tmp_path / "b", established=False, signing=base64.b64encode(raw).decode())
    assert by_pem.public_key() == by_raw.public_key() == key.public_key().public_bytes_raw()


@pytest.mark.parametrize("which", ["sealing", "signing"])
def test_other_key_than_the_data_was_made_with_is_refused(data: Path, which: str) -> None:
    prepare(data, established=False)
    with pytest.raises(WrongKey, match=f"the {which} key"):
        prepare(data, established=True, **{which: GOOD})  # type: ignore[arg-type]


def test_signing_key_is_exchanged_by_putting_the_old_one_beside_it(data: Path) -> None:
    old = prepare(data, established=False)
    folder = data / "keys"
    (folder / "signing.key").rename(folder / PREVIOUS)
    put(folder / "signing.key", pem(Ed25519PrivateKey.generate()))
    new = prepare(data, established=True)
    assert new.previous is not None
    assert new.root_key() == old.public_key() != new.public_key()
    assert new.installation == old.installation
    assert prepare(data, established=True).public_key() == new.public_key()  # it may stay there
    (folder / PREVIOUS).unlink()
    again = prepare(data, established=True)
    assert again.previous is None and again.root_key() == again.public_key() == new.public_key()


def test_previous_signing_key_that_is_not_the_installation_s_helps_nobody(data: Path) -> None:
    prepare(data, established=False)
    folder = data / "keys"
    put(folder / PREVIOUS, pem(Ed25519PrivateKey.generate()))
    prepare(data, established=True)
    put(folder / "signing.key", pem(Ed25519PrivateKey.generate()))
    with pytest.raises(WrongKey):
        prepare(data, established=True)


def test_previous_signing_key_is_as_private_as_the_others(data: Path) -> None:
    prepare(data, established=False)
    put(data / "keys" / PREVIOUS, pem(Ed25519PrivateKey.generate()), mode=0o644)
    with pytest.raises(WeakKey, match="within reach"):
        prepare(data, established=True)


def test_second_host_takes_the_installation_from_the_settings(data: Path) -> None:
    signing = base64.b64encode(os.urandom(32)).decode()
    keys = prepare(data, established=True, sealing=GOOD, signing=signing, installation="a" * 16)
    assert keys.installation == "a" * 16


@pytest.mark.parametrize("bad", ["", "UPPER-CASE", "a/../b", "short", "x" * 65])
def test_installation_id_is_plain(data: Path, bad: str) -> None:
    with pytest.raises(WeakKey):
        prepare(data, established=False, installation=bad)


def test_other_installation_id_is_refused(data: Path) -> None:
    prepare(data, established=False)
    with pytest.raises(WrongKey, match="belongs to"):
        prepare(data, established=True, installation="b" * 16)


@pytest.mark.parametrize("content", [b"{}", b"[]", b"null", b"x", b'{"installation": 5}'])
def test_damaged_installation_file_is_refused(data: Path, content: bytes) -> None:
    prepare(data, established=False)
    put(data / "keys" / "installation", content)
    with pytest.raises(WeakKey, match="damaged"):
        prepare(data, established=True)


def test_installation_file_without_fingerprints_is_refused(data: Path) -> None:
    keys = prepare(data, established=False)
    put(data / "keys" / "installation", json.dumps({"installation": keys.installation}))
    with pytest.raises(WrongKey):
        prepare(data, established=True)


def test_key_that_is_a_folder_or_a_pipe_is_refused(data: Path) -> None:
    (data / "keys").mkdir(parents=True, mode=0o700)
    path = data / "keys" / "sealing.key"
    path.mkdir(mode=0o700)
    with pytest.raises(WeakKey, match="plain file"):
        prepare(data, established=False)
    path.rmdir()
    os.mkfifo(path, 0o600)
    with pytest.raises(WeakKey, match="plain file"):
        prepare(data, established=False)


def test_data_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    put(tmp_path / "file", b"x")
    with pytest.raises(WeakKey, match="cannot be made"):
        prepare(tmp_path / "file" / "var", established=False)


START = """
import sys, pathlib
from identity.first_start import prepare
keys = prepare(pathlib.Path(sys.argv[1]), established=False)
print(keys.installation, keys.public_key().hex())
"""


def test_processes_that_start_together_agree(data: Path) -> None:
    running = [
        subprocess.Popen(
            [sys.executable, "-c", START, str(data)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    said = {process.communicate(timeout=60)[0] for process in running}
    assert len(said) == 1
    assert said.pop().strip()
