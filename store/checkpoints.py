"""What stands beside the chain: copies of its checkpoints, here and in a second place, and the keys.

The copies show that a chain was shortened; the second place shows it even when the whole folder was
changed. `keys.jsonl` holds the key rotations, each signed with the key before, so that they survive
the pruning of the segments that they stand in. Blocking, like `segments.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from authz.chain import BrokenLine, read_line
from authz.checkpoint import BadStatement, key_id, public_bytes, statement_of
from authz.records import KeyRotation
from store.segments import (
    CHECKPOINTS,
    KEYS,
    TAIL_BYTES,
    JournalError,
    last_line,
    whole_lines,
    writers,
)

_log = logging.getLogger("gatewarden.journal")

CLOSE_SECONDS: Final = 2.0  # how long closing waits for the second place


class UnknownKey(JournalError):
    """The signing key is not the one that signed until now, and was not introduced by it."""

    code = "journal_key"


def append_after(path: Path, data: bytes, *, sync: bool = False) -> None:
    """Appends lines to a file; a torn line that an earlier failure left is cut first.

    Raises:
        OSError: no room; the file ends where it ended.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(handle).st_size
        start = max(0, size - TAIL_BYTES)
        raw = os.pread(handle, TAIL_BYTES, start)
        end = start + raw.rfind(b"\n") + 1
        if end < size:
            os.ftruncate(handle, end)
        try:
            written = 0
            while written < len(data):
                written += os.pwrite(handle, data[written:], end + written)
            if sync:
                os.fsync(handle)
        except OSError:
            os.ftruncate(handle, end)
            raise
    finally:
        os.close(handle)


def forget_checkpoints(folder: Path, seq: int) -> None:
    """Drops the copies of checkpoints up to `seq`: the records that they spoke of are pruned.

    Raises:
        OSError: no room for the new file; the old one stays.
    """
    path = folder / CHECKPOINTS
    kept = [raw for _, raw in whole_lines(path.read_bytes()) if _seq(raw) > seq]
    fresh = path.with_suffix(".new")
    fresh.write_bytes(b"".join(kept))
    fresh.replace(path)


def _seq(raw: bytes) -> int:
    """The seq of a line; a broken one is kept, for `verify` to speak about."""
    try:
        return read_line(raw).seq
    except BrokenLine:
        return sys.maxsize


def key_to_start(
    folder: Path, key: Ed25519PrivateKey, previous: Ed25519PrivateKey | None
) -> Ed25519PrivateKey:
    """The key to go on with: `key`, or `previous` where it has yet to introduce `key`.

    Raises:
        UnknownKey: the chain was signed with another key, and nothing signed leads from it to `key`.
    """
    used, mine = _signer(folder), key_id(public_bytes(key))
    if used == mine:
        return key
    old = key_id(public_bytes(previous)) if previous is not None else ""
    if not used:
        # A new chain. It introduces the key if the other chains have the old one and none has done so
        # (on a host that was renamed, none of them will be gone on with).
        others = {_signer(other) for other in writers(folder.parent)}
        owes = old in others and mine not in others and mine not in _led_to(folder.parent, old)
        return previous if previous is not None and owes else key
    if previous is not None and used == old:
        return previous
    # Another writer of this installation may have introduced the key while this slot was idle.
    if mine in _led_to(folder.parent, used):
        return key
    raise UnknownKey(
        f"the journal `{folder.name}` is signed with the key `{used}`, not with `{mine}`",
        hint="give the old key too, so that it can introduce the new one",
    )


def _signer(folder: Path) -> str:
    """The id of the key that signed a writer's last checkpoint; empty if there is none."""
    last = last_line(folder / CHECKPOINTS)
    return str(last.body.get("key", "")) if last is not None else ""


def _led_to(journal: Path, start: str) -> set[str]:
    """The ids of the keys that the key `start` leads to, itself included."""
    introduced: dict[str, set[str]] = {}
    for rotation in rotations(journal):
        new = key_id(bytes.fromhex(rotation.public))
        introduced.setdefault(rotation.key, set()).add(new)
    seen, waiting = {start}, [start]
    while waiting:
        fresh = introduced.get(waiting.pop(), set()) - seen
        seen |= fresh
        waiting += fresh
    return seen


def rotations(journal: Path) -> list[KeyRotation]:
    """The key rotations that any writer has kept; unchecked."""
    found = []
    for folder in writers(journal):
        path = folder / KEYS
        for _, raw in whole_lines(path.read_bytes() if path.exists() else b""):
            with contextlib.suppress(BrokenLine, BadStatement, ValueError):
                statement = statement_of(read_line(raw).body)
                if isinstance(statement, KeyRotation):
                    bytes.fromhex(statement.public)
                    found.append(statement)
    return found


class SecondPlace:
    """A folder elsewhere that gets each checkpoint too, in a thread of its own: it may hang.

    What could not be copied is tried again with the next one; only the newest few are kept for that,
    for a checkpoint stands for all those before it.
    """

    def __init__(self, folder: Path, second: Path) -> None:
        self._path = second / f"{folder.name}.{CHECKPOINTS}"
        self._waiting: deque[bytes] = deque(maxlen=100)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal-copy")
        self.error = ""

    def send(self, lines: Sequence[bytes]) -> None:
        """Copies the lines, not waiting for it."""
        self._thread.submit(self.copy, lines)

    def copy(self, lines: Sequence[bytes]) -> None:
        """Appends the lines and makes them durable; on failure `error` says why."""
        self._waiting.extend(lines)
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            append_after(self._path, b"".join(self._waiting), sync=True)
        except OSError as error:
            if (
                not self.error
            ):  # said once: without the copy, a log cut at its end would go unnoticed
                _log.error("checkpoints are not copied to the second place: %s", error)
            self.error = str(error)
        else:
            if self.error:
                _log.warning("checkpoints are copied to the second place again")
            self._waiting.clear()
            self.error = ""

    async def close(self) -> None:
        """Waits for the last copy, but not long: a place that hangs must not hold us."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await asyncio.get_running_loop().run_in_executor(self._thread, lambda: None)
        self._thread.shutdown(wait=False, cancel_futures=True)
