"""What the doctor finds, on real folders, sockets and modules."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from proxy import doctor
from proxy.doctor import Severity

ROOT = Path(__file__).resolve().parents[2]
MOUNTS = "\n".join(
    [
        "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw",
        "23 22 0:21 / /tmp rw - tmpfs tmpfs rw",
        "24 23 8:2 / /tmp/disk\\040one rw - xfs /dev/sdb rw",
        "25 22 0:30 / /run rw - ext4 /dev/sdc rw",
        "26 25 0:31 / /run rw - tmpfs tmpfs rw",
        "nonsense",
    ]
)


def test_every_check_says_how_to_mend_what_is_not_well(tmp_path: Path) -> None:
    checks = doctor.examine(tmp_path, host="127.0.0.1", port=0)
    assert len({check.name for check in checks}) == len(checks)
    for check in checks:
        assert check.detail
        assert bool(check.fix) is not check.ok


def test_compiled_extensions_are_in_use_here() -> None:
    assert all(check.ok for check in doctor.extensions())
    doctor.require_extensions()


@pytest.mark.parametrize("package", ["aiohttp", "multidict", "yarl"])
def test_start_is_refused_without_a_compiled_extension(package: str) -> None:
    """I1, CVE-2025-53643: the parser in Python is never used."""
    switch = f"{package.upper()}_NO_EXTENSIONS"
    program = (
        "from proxy import doctor\n"
        "try: doctor.require_extensions()\n"
        "except doctor.MissingExtension as error: print(error.code, error)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, switch: "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert ran.stdout.startswith(f"missing_extension extension {package}: switched off by {switch}")


def test_missing_module_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_EXTENSIONS", (("yarl", "yarl._gone", "_Quoter", "yarl._gone"),))
    (check,) = doctor.extensions({})
    assert not check.ok
    assert "yarl._gone._Quoter" in check.detail
    assert "pip install" in check.fix


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/data", "ext4"),
        ("/tmp/data", "tmpfs"),
        ("/tmp/disk one/data", "xfs"),
        ("/tmpfoo", "ext4"),
        ("/run/data", "tmpfs"),
    ],
)
def test_file_system_is_that_of_the_nearest_mount(path: str, kind: str) -> None:
    assert doctor._file_system(Path(path), MOUNTS) == kind


def test_folder_in_memory_is_found(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text("1 0 0:1 / / rw - tmpfs tmpfs rw\n")
    check = doctor.volatile(tmp_path, mounts)
    assert not check.ok
    assert "tmpfs" in check.detail


def test_unreadable_mounts_are_no_failure(tmp_path: Path) -> None:
    assert doctor.volatile(tmp_path, tmp_path / "gone").ok


def test_closed_folder_is_well(tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert doctor.permissions(data).ok
    (data / "keys").mkdir(parents=True)
    data.chmod(0o700)
    (data / "keys").chmod(0o700)
    assert doctor.permissions(data).ok


@pytest.mark.parametrize("place", ["keys", "keys/sealing.key", "first-admin", "gatewarden.db"])
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_file_within_reach_of_others_is_named(tmp_path: Path, place: str, mode: int) -> None:
    data = tmp_path / "data"
    (data / "keys").mkdir(parents=True, mode=0o700)
    data.chmod(0o700)
    (data / "keys").chmod(0o700)
    path = data / place
    if place != "keys":
        path.write_text("x")
    path.chmod(mode | (0o100 if place == "keys" else 0))
    check = doctor.permissions(data, (data / "gatewarden.db",))
    assert (check.ok, check.severity) == (False, Severity.ERROR)
    assert str(path) in check.fix


def test_open_data_folder_is_a_warning(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    check = doctor.permissions(tmp_path)
    assert (check.ok, check.severity, check.fix) == (
        False,
        Severity.WARNING,
        f"chmod 700 {tmp_path}",
    )


def test_data_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_text("")
    assert not doctor.permissions(path).ok


@pytest.mark.parametrize(
    ("milliseconds", "ok", "severity"),
    [
        (0.5, True, Severity.ERROR),
        (50.0, False, Severity.WARNING),
        (500.0, False, Severity.ERROR),
    ],
)
def test_slow_disk_is_told_apart(
    tmp_path: Path, milliseconds: float, ok: bool, severity: Severity
) -> None:
    ticks = iter(number * milliseconds / 1000 for number in range(1000))
    check = doctor.sync_latency(tmp_path, rounds=3, measure=lambda: next(ticks))
    assert (check.ok, check.severity) == (ok, severity)
    assert list(tmp_path.iterdir()) == []


def test_sync_into_a_missing_folder_uses_the_one_above(tmp_path: Path) -> None:
    assert doctor.sync_latency(tmp_path / "a" / "b", rounds=1).detail.startswith("median")


def test_little_space_is_a_warning(tmp_path: Path) -> None:
    check = doctor.free_space(tmp_path, needed=1 << 62)
    assert (check.ok, check.severity) == (False, Severity.WARNING)


NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def watch(start: datetime, wall_step: float, monotonic_step: float, store: datetime | None) -> str:
    wall = iter(start.timestamp() + n * wall_step for n in range(10))
    monotonic = iter(100.0 + n * monotonic_step for n in range(10))
    check = doctor.clock(
        store, wall=lambda: next(wall), monotonic=lambda: next(monotonic), pause=lambda _: None
    )
    return "" if check.ok else check.detail


@pytest.mark.parametrize(
    ("start", "wall_step", "monotonic_step", "store", "said"),
    [
        (NOON, 0.05, 0.05, None, ""),
        (NOON, 0.05, 0.05, NOON + timedelta(seconds=1), ""),
        (NOON, 0.05, 0.05, NOON - timedelta(days=400), ""),
        (NOON, 0.05, 0.05, NOON + timedelta(seconds=9), "behind the store"),
        (NOON, 3.0, 0.05, None, "stepped by +2.950"),
        (NOON, -3.0, 0.05, None, "stepped by -3.050"),
        (datetime(1970, 1, 1, tzinfo=UTC), 0.05, 0.05, None, "never set"),
    ],
)
def test_clock(
    start: datetime, wall_step: float, monotonic_step: float, store: datetime | None, said: str
) -> None:
    found = watch(start, wall_step, monotonic_step, store)
    assert said in found
    assert bool(said) is bool(found)


def test_open_file_limit_is_compared() -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert doctor.open_files(needed=1).ok
    if soft != resource.RLIM_INFINITY:
        check = doctor.open_files(needed=soft + 1)
        assert (check.ok, check.severity) == (False, Severity.WARNING)


def test_taken_port_is_found() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        check = doctor.port_free("127.0.0.1", port)
        assert not check.ok
        assert str(port) in check.detail
    assert doctor.port_free("127.0.0.1", port).ok


def test_address_of_another_host_is_said() -> None:
    check = doctor.port_free("203.0.113.1", 0)
    assert not check.ok
    assert "203.0.113.1" in check.detail
