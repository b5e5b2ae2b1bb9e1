"""What tools are called, so that a name never moves from one operation to another.

Rights are granted by name. Where two operations would have the same one, both get a suffix made of method
and path: a document that grows loses a name rather than giving it to something else.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

MAX_NAME = 64  # what the APIs of model providers take
_SUFFIX = 8


@dataclass(frozen=True, slots=True)
class Wish:
    """One operation, and what it would be called."""

    method: str
    path: str
    wanted: str = ""  # its `operationId`
    chosen: str = ""  # by the manifest; comes first


def names(wishes: Sequence[Wish]) -> list[str]:
    """A name for each: unique also by upper and lower case, `[A-Za-z0-9_-]`, without `__`."""
    plain = [safe(wish.chosen) or safe(wish.wanted) or _spelled(wish) for wish in wishes]
    chosen = Counter(
        name.casefold() for name, wish in zip(plain, wishes, strict=True) if wish.chosen
    )
    every = Counter(name.casefold() for name in plain)
    made: list[str] = []
    for name, wish in zip(plain, wishes, strict=True):
        key = name.casefold()
        alone = every[key] == 1 or (bool(wish.chosen) and chosen[key] == 1)
        made.append(name if alone else _marked(name, wish))
    taken = Counter(name.casefold() for name in made)
    # A suffix that is somebody's plain name already: the whole digest is nobody's.
    return [
        name if taken[name.casefold()] == 1 else _marked("op", wish, MAX_NAME - 3)
        for name, wish in zip(made, wishes, strict=True)
    ]


def safe(text: str) -> str:
    """`text` as a name, or '' when nothing of it is left."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", text[:4096])
    name = re.sub(r"__+", "_", name).strip("_-")
    if len(name) > MAX_NAME:
        digest = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        name = name[: MAX_NAME - _SUFFIX - 1].rstrip("_-") + "_" + digest[:_SUFFIX]
    return name


def _spelled(wish: Wish) -> str:
    return safe(f"{wish.method.lower()}_{wish.path}")


def _marked(name: str, wish: Wish, length: int = _SUFFIX) -> str:
    digest = sha256(f"{wish.method} {wish.path}".encode("utf-8", "surrogatepass")).hexdigest()
    stem = name[: max(2, MAX_NAME - length - 1)].rstrip("_-")
    return f"{stem}_{digest[:length]}"
