"""Files that nobody else may read are whole or absent, and refused when others could read them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from identity.errors import WeakKey
from identity.private_files import (
    MAX_KEY_FILE,
    locked,
    make_folder,
    read_private,
    refuse_writable,
    write_private,
)


def test_written_file_is_private_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "key"
    write_private(path, b"one")
    write_private(path, b"two")
    assert read_private(path) == b"two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [found.name for found in tmp_path.iterdir()] == ["key"]


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "key"
    write_private(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_private(path, b"new")
    monkeypatch.undo()
    assert read_private(path) == b"old"
    assert [found.name for found in tmp_path.iterdir()] == ["key"]


def test_absent_file_is_none(tmp_path: Path) -> None:
    assert read_private(tmp_path / "key") is None


@pytest.mark.parametrize("content", [b"", b" \n", b"x" * (MAX_KEY_FILE + 1)])
def test_empty_and_endless_files_are_refused(tmp_path: Path, content: bytes) -> None:
    write_private(tmp_path / "key", content)
    with pytest.raises(WeakKey):
        read_private(tmp_path / "key")


def test_link_is_followed_to_what_it_names(tmp_path: Path) -> None:
    """A mounted secret is a link; what counts is the file behind it."""
    write_private(tmp_path / "behind", b"key")
    (tmp_path / "key").symlink_to("behind")
    assert read_private(tmp_path / "key") == b"key"
    (tmp_path / "behind").chmod(0o644)
    with pytest.raises(WeakKey, match="0644"):
        read_private(tmp_path / "key")


def test_link_to_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key").symlink_to("key")
    with pytest.raises(WeakKey, match="cannot be read"):
        read_private(tmp_path / "key")


def test_existing_folder_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    make_folder(tmp_path, 0o700)
    assert tmp_path.stat().st_mode & 0o777 == 0o755
    refuse_writable(tmp_path)


def test_lock_is_released_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), locked(tmp_path / ".lock"):
        raise RuntimeError
    with locked(tmp_path / ".lock"):
        assert (tmp_path / ".lock").exists()
