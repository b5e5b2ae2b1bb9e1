"""What `gatewarden doctor` looks at: the folder, the clock, the extensions, the limits of the host.

A check is a value: a name, whether it is well, what was seen, how to mend it. Each function looks at
one thing and never raises for what it finds. `require_extensions` is asked at every start as well:
aiohttp's parser in Python lets requests be smuggled (CVE-2025-53643), so we do not serve with it.
"""

from __future__ import annotations

import importlib
import os
import re
import resource
import shutil
import socket
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from authz.errors import GatewardenError

SLOW_SYNC_MS = 10.0  # a decision waits for one fdatasync
VERY_SLOW_SYNC_MS = 100.0
OPEN_FILES = 4096  # two sockets a request, and the journal's segments
FREE_BYTES = 1 << 30
CLOCK_TOLERANCE = 2.0  # seconds
EARLIEST = datetime(2025, 1, 1, tzinfo=UTC)  # a clock before this was never set
_VOLATILE = frozenset({"tmpfs", "ramfs", "devtmpfs"})

# Where the compiled code must come from: (package, module, attribute, module that defines it).
_EXTENSIONS = (
    ("aiohttp", "aiohttp.http_parser", "HttpRequestParser", "aiohttp._http_parser"),
    ("aiohttp", "aiohttp.http_writer", "_serialize_headers", "aiohttp._http_writer"),
    ("multidict", "multidict", "CIMultiDict", "multidict._multidict"),
    ("yarl", "yarl._quoting", "_Quoter", "yarl._quoting_c"),
    ("msgspec", "msgspec._core", "Struct", "msgspec"),
)


class Severity(StrEnum):
    """What it means when a check is not well."""

    ERROR = "error"  # it will not work, or not safely
    WARNING = "warning"  # it works, but not as well as it could


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. `fix` says what to do and is empty when `ok`."""

    name: str
    ok: bool
    detail: str
    fix: str = ""
    severity: Severity = Severity.ERROR


class MissingExtension(GatewardenError):
    """A compiled extension is missing or switched off, so requests would be parsed unsafely."""

    code = "missing_extension"


def examine(
    data: Path,
    *,
    host: str,
    port: int,
    store_time: datetime | None = None,
    private: tuple[Path, ...] = (),
) -> tuple[Check, ...]:
    """Every check, in a fixed order. Blocking (it writes and syncs): not for the event loop.

    `store_time` is the time of the newest entry in the store, if there is one; `private` are further
    files that nobody else may read (the database, a demo file).
    """
    return (
        *extensions(),
        uvloop(),
        permissions(data, private),
        volatile(data),
        free_space(data),
        sync_latency(data),
        clock(store_time),
        open_files(),
        port_free(host, port),
    )


def extensions(environ: Mapping[str, str] | None = None) -> tuple[Check, ...]:
    """Whether the compiled parts of aiohttp, multidict, yarl and msgspec are in use."""
    checks = []
    environ = os.environ if environ is None else environ
    for package in dict.fromkeys(entry[0] for entry in _EXTENSIONS):
        missing = [
            f"{module}.{attribute}"
            for owner, module, attribute, compiled in _EXTENSIONS
            if owner == package and not _is_compiled(module, attribute, compiled)
        ]
        switch = f"{package.upper()}_NO_EXTENSIONS"
        name = f"extension {package}"
        if not missing:
            checks.append(Check(name, True, "compiled"))
        elif environ.get(switch):
            checks.append(Check(name, False, f"switched off by {switch}", f"unset {switch}"))
        else:
            checks.append(
                Check(
                    name,
                    False,
                    f"not compiled: {', '.join(missing)}",
                    f"install a wheel: pip install --only-binary {package} --force-reinstall {package}",
                )
            )
    return tuple(checks)


def require_extensions() -> None:
    """Refuse to start without the compiled parts.

    Raises:
        MissingExtension: names the package and the fix.
    """
    for check in extensions():
        if not check.ok:
            raise MissingExtension(f"{check.name}: {check.detail}", hint=check.fix)


def uvloop() -> Check:
    """Whether the faster event loop is installed."""
    try:
        importlib.import_module("uvloop")
    except ImportError:
        return Check(
            "uvloop",
            False,
            "not installed: the standard event loop is used",
            "pip install 'gatewarden[uvloop]'",
            Severity.WARNING,
        )
    return Check("uvloop", True, "installed")


def permissions(data: Path, private: tuple[Path, ...] = ()) -> Check:
    """Whether the data folder is ours and its keys are closed to everybody else."""
    name = "permissions"
    if not data.is_dir():
        if data.exists():
            return Check(name, False, f"{data} is no folder", "set GATEWARDEN_DATA to a folder")
        return Check(name, True, f"{data} does not exist yet, the first start makes it")
    if not os.access(data, os.R_OK | os.W_OK | os.X_OK):
        return Check(name, False, f"{data} cannot be written", f"chown -R $(id -u) {data}")
    keys = data / "keys"
    closed = [keys, *(sorted(keys.iterdir()) if keys.is_dir() else ()), data / "first-admin"]
    open_to_others = [
        path for path in (*closed, *private) if path.exists() and path.stat().st_mode & 0o077
    ]
    if open_to_others:
        listed = " ".join(str(path) for path in open_to_others)
        return Check(name, False, f"others may read or write {listed}", f"chmod go= {listed}")
    mode = data.stat().st_mode & 0o777
    if mode & 0o077:
        return Check(
            name,
            False,
            f"others may look into {data} (mode {mode:04o})",
            f"chmod 700 {data}",
            Severity.WARNING,
        )
    return Check(name, True, f"{data} is closed to others")


def volatile(data: Path, mounts: Path = Path("/proc/self/mountinfo")) -> Check:
    """Whether the data folder outlives a restart of the host."""
    name = "file system"
    try:
        kind = _file_system(_existing(data).resolve(), mounts.read_text(errors="surrogateescape"))
    except OSError as error:
        return Check(name, True, f"cannot tell: {error.strerror}")
    if kind in _VOLATILE:
        return Check(
            name,
            False,
            f"{data} is on {kind}: records and keys are lost with the host's memory",
            "set GATEWARDEN_DATA to a folder on a disk",
        )
    return Check(name, True, kind or "unknown")


def free_space(data: Path, needed: int = FREE_BYTES) -> Check:
    """Whether the journal has room."""
    free = shutil.disk_usage(_existing(data)).free
    detail = f"{free / (1 << 30):.1f} GiB free"
    if free < needed:
        fix = "free some space: a full disk stops a strict journal"
        return Check("free space", False, detail, fix, Severity.WARNING)
    return Check("free space", True, detail)


def sync_latency(
    data: Path, rounds: int = 20, measure: Callable[[], float] = time.perf_counter
) -> Check:
    """How long writing 512 bytes durably takes in the data folder (median and worst, ms)."""
    name = "fdatasync"
    path = _existing(data) / f".doctor-{os.getpid()}"
    took = []
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            for _ in range(rounds):
                begun = measure()
                os.write(descriptor, b"\0" * 512)
                os.fdatasync(descriptor)
                took.append((measure() - begun) * 1000)
        finally:
            os.close(descriptor)
            path.unlink()
    except OSError as error:
        return Check(name, False, f"{error.strerror}: {path}", "make the data folder writable")
    median, worst = statistics.median(took), max(took)
    detail = f"median {median:.2f} ms, worst {worst:.2f} ms"
    if median <= SLOW_SYNC_MS:
        return Check(name, True, detail)
    severity = Severity.ERROR if median > VERY_SLOW_SYNC_MS else Severity.WARNING
    fix = "put the data folder on a local SSD: each answer waits for one fdatasync"
    return Check(name, False, detail, fix, severity)


def clock(
    store_time: datetime | None = None,
    *,
    wall: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> Check:
    """Whether the clock is set, runs evenly, and is not behind the newest entry of the store."""
    name = "clock"
    fix = "synchronise the clock (chrony or systemd-timesyncd)"
    wall_begun, monotonic_begun = wall(), monotonic()
    pause(0.05)
    elapsed = monotonic() - monotonic_begun
    step = (wall() - wall_begun) - elapsed
    now = datetime.fromtimestamp(wall(), UTC)
    if now < EARLIEST:
        return Check(name, False, f"it says {now:%Y-%m-%d %H:%M}: it was never set", fix)
    if elapsed < 0 or abs(step) > 1.0:
        return Check(name, False, f"it stepped by {step:+.3f} s while being watched", fix)
    if store_time is not None:
        behind = (store_time - now).total_seconds()
        if behind > CLOCK_TOLERANCE:
            return Check(name, False, f"it is {behind:.1f} s behind the store's newest entry", fix)
    return Check(name, True, f"{now:%Y-%m-%d %H:%M:%S} UTC")


def open_files(needed: int = OPEN_FILES) -> Check:
    """Whether enough files may be open at once."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return Check("open files", True, f"limit {soft}")
    return Check(
        "open files",
        False,
        f"limit {soft} (hard limit {hard})",
        f"ulimit -n {needed}, or LimitNOFILE= in the unit",
        Severity.WARNING,
    )


def port_free(host: str, port: int) -> Check:
    """Whether the port can be listened on. Port 0 takes any free one."""
    name = f"port {port}"
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in found:
            with socket.socket(family, kind, protocol) as listener:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(address)
                listener.listen(1)
    except OSError as error:
        fix = "stop what listens there (ss -ltnp), or set GATEWARDEN_PORT and GATEWARDEN_HOST"
        return Check(name, False, f"{host}:{port}: {error.strerror or error}", fix)
    return Check(name, True, f"free on {host}")


def _is_compiled(module: str, attribute: str, compiled: str) -> bool:
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError):
        return False
    return getattr(found, "__module__", None) == compiled


def _existing(path: Path) -> Path:
    """The folder itself, or the nearest one above it that exists."""
    while not path.is_dir() and path != path.parent:
        path = path.parent
    return path


def _file_system(path: Path, mountinfo: str) -> str:
    """The type of the file system that holds `path`: that of the longest mount point above it."""
    best, kind = -1, ""
    for line in mountinfo.splitlines():
        head, separator, tail = line.partition(" - ")
        fields = head.split(" ")
        if not separator or len(fields) < 5:
            continue
        # proc(5): a blank in a mount point is written as \040
        point = Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), fields[4]))
        # A later mount on the same point covers the earlier one.
        if path.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), tail.split(" ")[0]
    return kind
