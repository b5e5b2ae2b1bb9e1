"""Regular expressions of documents, in a form whose work is bounded whatever the text: for redaction.

A pattern is written by one person and tried on what anybody says, so it may not be able to go astray. Two
rules see to that. A repetition never gives back what it took, and of the alternatives of a group the first
that fits is kept: there is nothing to go back to. And no pattern matches more than `MAX_WIDTH` characters, so
each place of a text costs at most that much. Known are characters, `.`, classes, `\\d \\w \\s \\b` and their
opposites, groups, `|`, `?`, `*`, `+` (up to 128 times) and `{m,n}`; nothing looks around or back.
"""

from __future__ import annotations

import re
from typing import Final

from policies.errors import PolicyError

MAX_PATTERN: Final = 512  # characters
MAX_WIDTH: Final = 1024  # of a match
MANY: Final = 128  # what `*` and `+` stop at
MAX_DEPTH: Final = 16  # groups in groups
_ESCAPES: Final = frozenset("dDwWsS")
_CONTROLS: Final = frozenset("tnr")
_COUNT = re.compile(r"\{(\d{1,4})(?:(,)(\d{1,4})?)?\}")
_POSIX = re.compile(r"\[[:.=]|--|&&|~~|\|\|")


class BadPattern(PolicyError):
    """A pattern that is not of the form that is known here; the message says where."""

    code = "bad_pattern"


def compiled(pattern: str, *, ignore_case: bool = False) -> re.Pattern[str]:
    """The pattern, ready to search with.

    Raises:
        BadPattern: it is of another form, matches the empty text, or may match too much.
    """
    if len(pattern) > MAX_PATTERN:
        raise BadPattern(f"a pattern has at most {MAX_PATTERN} characters")
    made, least, most = _Reading(pattern).whole()
    if least == 0:
        raise BadPattern(
            "the pattern matches nothing at all as well", hint="let it need a character"
        )
    if most > MAX_WIDTH:
        raise BadPattern(
            f"the pattern may match more than {MAX_WIDTH} characters",
            hint="bound its repetitions, as `{1,40}`",
        )
    return re.compile(made, re.IGNORECASE if ignore_case else 0)


Piece = tuple[str, int, int]  # as Python writes it, fewest and most characters that it matches


class _Reading:
    """Reads a pattern from left to right and writes it anew, every repetition possessive."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0

    def whole(self) -> Piece:
        made = self._choices()
        if self._at < len(self._text):
            raise self._wrong("a `)` without its `(`")
        return made

    def _wrong(self, what: str) -> BadPattern:
        return BadPattern(f"{what} at character {self._at + 1} of the pattern")

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _choices(self) -> Piece:
        found = [self._row()]
        while self._peek() == "|":
            self._at += 1
            found.append(self._row())
        if len(found) == 1:
            return found[0]
        text = "|".join(made for made, _, _ in found)
        return f"(?>{text})", min(one[1] for one in found), max(one[2] for one in found)

    def _row(self) -> Piece:
        text, least, most = "", 0, 0
        while self._peek() not in ("", "|", ")"):
            made, low, high = self._repeated(self._one())
            text, least, most = text + made, least + low, most + high
        return text, least, most

    def _one(self) -> Piece:
        """One character, class or group."""
        sign = self._peek()
        if sign == "(":
            return self._group()
        if sign == "[":
            return self._class(), 1, 1
        if sign == "\\":
            return self._escape()
        if sign in "^$":
            raise self._wrong(
                f"`{sign}`, which is not known here: texts are searched, not matched whole,"
            )
        if sign in "*+?{":
            raise self._wrong(f"`{sign}` with nothing before it to repeat")
        self._at += 1
        return ("." if sign == "." else re.escape(sign)), 1, 1

    def _group(self) -> Piece:
        if self._depth == MAX_DEPTH:
            raise self._wrong("groups too deep in each other")
        self._at += 1
        if self._text.startswith("?:", self._at):
            self._at += 2
        elif self._peek() == "?":
            raise self._wrong("a group of a kind that is not known here")
        self._depth += 1
        text, least, most = self._choices()
        self._depth -= 1
        if self._peek() != ")":
            raise self._wrong("a `)` is missing")
        self._at += 1
        return f"(?>{text})", least, most

    def _escape(self) -> Piece:
        sign = self._text[self._at + 1 : self._at + 2]
        if not sign:
            raise self._wrong("a backslash with nothing after it")
        if sign in ("b", "B"):
            made, width = f"\\{sign}", 0
        elif sign in _ESCAPES or sign in _CONTROLS:
            made, width = f"\\{sign}", 1
        elif sign.isalnum() and sign.isascii():
            raise self._wrong(f"`\\{sign}`, which is not known here,")
        else:
            made, width = re.escape(sign), 1
        self._at += 2
        return made, width, width

    def _class(self) -> str:
        start = self._at
        self._at += 2 if self._text.startswith("[^", self._at) else 1
        if self._peek() in ("]", ""):
            raise self._wrong("a class without characters")
        while (sign := self._peek()) != "]":
            if not sign:
                raise self._wrong("a `]` is missing")
            if sign == "[":
                raise self._wrong("a `[` inside a class; write `\\[`")
            if sign == "\\":
                inner = self._text[self._at + 1 : self._at + 2]
                if inner.isalnum() and inner not in _ESCAPES and inner not in _CONTROLS:
                    raise self._wrong(f"`\\{inner}`, which is not known in a class,")
                self._at += 1
            self._at += 1
        self._at += 1
        written = self._text[start : self._at]
        if _POSIX.search(written):
            raise self._wrong("a class that reads in two ways")
        try:
            re.compile(written)
        except re.error:
            raise self._wrong("a class that cannot be read") from None
        return written

    def _repeated(self, piece: Piece) -> Piece:
        made, least, most = piece
        sign = self._peek()
        if not sign or sign not in "*+?{":
            return piece
        if sign == "{":
            found = _COUNT.match(self._text, self._at)
            if found is None:
                raise self._wrong("a `{` that counts nothing; write `\\{`")
            low = int(found[1])
            high = low if found[2] is None else int(found[3]) if found[3] else max(low, MANY)
            if low > high or high > MAX_WIDTH:
                raise self._wrong("a repetition with bounds that cannot be")
            self._at = found.end()
        else:
            low, high = {"*": (0, MANY), "+": (1, MANY), "?": (0, 1)}[sign]
            self._at += 1
        if most == 0:
            raise self._wrong("a repetition of nothing before this place,")
        if self._peek() and self._peek() in "*+?{":
            raise self._wrong("a repetition of a repetition")
        return f"{made}{{{low},{high}}}+", least * low, most * high
