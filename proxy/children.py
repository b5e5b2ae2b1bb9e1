"""How this program starts further processes of itself: with which interpreter, modules and variables.

`-P` keeps the working directory off the module path: our folders have plain names (`proxy`, `store`), and
whoever starts the gateway beside a folder called so must not run what lies in it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
_PLAIN = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR")


def command(module: str) -> list[str]:
    """What runs one of our modules as a program."""
    return [sys.executable, "-P", "-m", module]


def variables(*, private: bool) -> dict[str, str]:
    """The environment of a child; `private` with our settings and the secrets that stand there."""
    given = os.environ if private else {n: os.environ[n] for n in _PLAIN if n in os.environ}
    return {**given, "PYTHONPATH": str(_ROOT)}
