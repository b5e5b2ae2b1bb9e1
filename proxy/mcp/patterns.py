"""Regular expressions of a schema: tried only where the worst case is small.

A pattern comes from a document that somebody else wrote, the text from a caller; together they could hold
the loop for hours. What is not tried is left to the service behind.
"""

from __future__ import annotations

import re
import warnings
from functools import lru_cache

MAX_STEPS = 100_000  # that one try may take, at worst
_MAX_PATTERN = 1_024
_MAX_REPEATS = 8
_MAX_ALTERNATIVES = 8

# Where a group repeats, is referred to or looks around, no count of this file bounds the work.
_WILD = re.compile(r"\)(?:[*+?]|\{)|\\[1-9]|\(\?[^:]")
_PARTS = re.compile(
    r"\\.|\[(?:\\.|[^\]\\])*\]|(?P<many>[*+?]|\{\d*(?:,\d*)?\})|(?P<or>\|)", re.DOTALL
)


def steps(pattern: str, length: int) -> int | None:
    """The steps that `pattern` may take on a text of `length`, or None for too many to say."""
    counted = _counted(pattern)
    if counted is None:
        return None
    repeats, alternatives = counted
    starts = 1 if pattern.startswith("^") and not alternatives else length + 1
    worst = starts * (length + 1) ** repeats << alternatives
    return worst if worst <= MAX_STEPS else None


def differs(pattern: str, text: str) -> bool:
    """Whether `text` certainly has another form; `steps` said that it may be tried."""
    found = _compiled(pattern)
    return found is not None and found.search(text) is None


def reads(pattern: str) -> bool:
    """Whether a pattern is one in this dialect of regular expressions."""
    return _compiled(pattern) is not None


@lru_cache(maxsize=4096)
def _counted(pattern: str) -> tuple[int, int] | None:
    """How many repeats have a variable length, and how many alternatives there are."""
    if len(pattern) > _MAX_PATTERN or _WILD.search(pattern):
        return None
    repeats = alternatives = 0
    for found in _PARTS.finditer(pattern):
        many = found["many"]
        repeats += many is not None and not re.fullmatch(r"\{\d{1,3}\}", many)
        alternatives += found["or"] is not None
    if repeats > _MAX_REPEATS or alternatives > _MAX_ALTERNATIVES:
        return None
    return repeats, alternatives


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str] | None:
    """The pattern, or None when this dialect of regular expressions cannot read it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about what a later Python will read otherwise
            return re.compile(pattern)
    except (re.error, OverflowError, RecursionError):
        return None
