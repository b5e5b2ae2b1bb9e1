"""Files that nobody else may read: keys and the first administrator's token.

Written whole or not at all (aside, fsync, rename, fsync of the folder), with mode 0600 whatever the
umask; refused on reading when others could have read or changed them. Blocking, small files only.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from identity.errors import WeakKey

MAX_KEY_FILE = 4096


def read_private(path: Path) -> bytes | None:
    """The content of a file that only we may read; None if there is none.

    Raises:
        WeakKey: it is no file, empty, too long, another user's, or others may read or write it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise WeakKey(
            f"`{path}` cannot be read: {error.strerror}", hint=f"chown $(id -u) {path}"
        ) from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise WeakKey(f"`{path}` is not a plain file", hint="put the key into a file")
        if found.st_mode & 0o077:
            raise WeakKey(
                f"`{path}` is within reach of others (mode {found.st_mode & 0o777:04o})",
                hint=f"chmod 600 {path}, and replace the key if somebody may have read it",
            )
        # Root in a container may well meet files of the host's user.
        if os.geteuid() != 0 and found.st_uid not in (os.geteuid(), 0):
            raise WeakKey(f"`{path}` belongs to another user", hint=f"chown $(id -u) {path}")
        content = os.read(descriptor, MAX_KEY_FILE + 1)
    finally:
        os.close(descriptor)
    if not content.strip():
        raise WeakKey(
            f"`{path}` is empty", hint="restore it from the backup; delete it only if DATA is new"
        )
    if len(content) > MAX_KEY_FILE:
        raise WeakKey(f"`{path}` is longer than {MAX_KEY_FILE} bytes", hint="restore the key")
    return content


def write_private(path: Path, content: bytes) -> None:
    """Write a file of mode 0600 so that after a crash it is there whole or not at all."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
    descriptor = os.open(aside, flags, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)  # the umask must not matter
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path, mode: int) -> None:
    """The folder, made with `mode` if it is not there; one that is there stays as it is.

    Raises:
        WeakKey: it cannot be made.
    """
    if folder.is_dir():
        return
    try:
        folder.mkdir(mode=mode, parents=True, exist_ok=True)
    except OSError as error:
        raise WeakKey(
            f"`{folder}` cannot be made: {error.strerror}", hint="set DATA to a writable folder"
        ) from error
    sync_folder(folder.parent)


def refuse_writable(folder: Path) -> None:
    """Refuse a folder in which others could swap files.

    Raises:
        WeakKey: the group or everybody may write.
    """
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & 0o022:
        raise WeakKey(
            f"others may put keys into `{folder}` (mode {mode:04o})", hint=f"chmod 700 {folder}"
        )


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time: workers that start together must end up with the same keys."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
