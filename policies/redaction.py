"""Cutting out of a text what a logging configuration names: addresses, numbers of cards and accounts, keys.

A preset finds a form and then proves it where that can be done (Luhn for cards, the check digits of an
IBAN, the value of each part of an IP address), so that an order number is left alone. Tokens of this gateway
are always cut out. Works on texts and on values of JSON; what the forms cost is bounded (`patterns`). Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, Final

from policies.logging_config import RedactWith
from policies.patterns import BadPattern, compiled

MAX_DEPTH: Final = 64  # of a value; what is deeper is cut out whole
MAX_INNER: Final = 4  # JSON in texts of JSON
LONG_DATA: Final = 1024  # characters of a `data:` URL that is not kept
_LONG_NUMBER: Final = 10**11
_OWN: Final = "gateway-token"

# What replaces the begin of a match ("" for the usual), and how long that is; None leaves the match.
_Proof = Callable[[str], tuple[str, int] | None]


def _always(found: str) -> tuple[str, int] | None:
    return "", len(found)


# --- proofs ------------------------------------------------------------------------------------------


def _luhn(digits: str) -> bool:
    total = 0
    for place, sign in enumerate(reversed(digits)):
        value = ord(sign) - 48
        if place % 2:
            value = value * 2 - 9 if value > 4 else value * 2
        total += value
    return total % 10 == 0


_GROUP = re.compile(r"[0-9]+")


def _cards(found: str) -> tuple[str, int] | None:
    """The run of digits without the cards in it. A card begins and ends where a group of digits does."""
    groups = [(one.start(), one.end()) for one in _GROUP.finditer(found)]
    out, done, place = "", 0, 0
    while place < len(groups):
        end = _card_from(found, groups, place)
        if end is None:
            place += 1
            continue
        out += found[done : groups[place][0]] + "[credit-card]"
        done = groups[end][1]
        place = end + 1
    return (out + found[done:], len(found)) if done else None


def _card_from(found: str, groups: list[tuple[int, int]], first: int) -> int | None:
    """The last group of the longest card that begins with group `first`."""
    digits, last = "", None
    if found[groups[first][0]] not in "23456":
        return None
    for place in range(first, len(groups)):
        digits += found[groups[place][0] : groups[place][1]]
        if len(digits) > 19:
            break
        if len(digits) >= 13 and _luhn(digits):
            last = place
    return last


# Characters of an IBAN by its country.
_IBAN_LENGTHS: Final[Mapping[str, int]] = {
    country: length
    for length, countries in {
        15: "NO", 16: "BE", 18: "DK FI FO GL NL", 19: "MK SI", 20: "AT BA EE KZ LT LU XK",
        21: "CH HR LI LV", 22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ TL",
        24: "AD CZ ES MD PK RO SA SE SK TN VG", 25: "LY PT ST", 26: "IS TR", 27: "FR GR IT MC MR SM",
        28: "AL AZ BY CY DO GT HU LB PL SV", 29: "BR EG PS QA UA", 30: "JO KW MU", 31: "MT SC", 32: "LC",
    }.items()
    for country in countries.split()
}  # fmt: skip


def _iban(found: str) -> tuple[str, int] | None:
    length = _IBAN_LENGTHS.get(found[:2].upper())
    if length is None:
        return None
    places = [place for place, each in enumerate(found) if each != " "][:length]
    sign, end = "".join(found[place] for place in places), places[-1] + 1
    after = found[end : end + 1]
    if len(sign) < length or (after and after != " "):
        return None
    if int("".join(str(int(each, 36)) for each in sign[4:] + sign[:4])) % 97 != 1:
        return None
    return "[iban]", end


def _address(found: str) -> tuple[str, int] | None:
    try:
        ip_address(found.strip(".:") if "::" not in found else found.strip("."))
    except ValueError:
        return None
    return "", len(found)


# --- presets ------------------------------------------------------------------------------------------

# Whoever reads a possessive `{1,64}+`: it never gives back, so a text is gone through once.
_IBAN = re.compile(r"\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]){11,30}+", re.IGNORECASE | re.ASCII)
_PRESETS: Final[Mapping[str, tuple[tuple[re.Pattern[str], _Proof], ...]]] = {
    "email": ((re.compile(r"[\w.%+-]{1,64}+@[\w-]{1,63}+(?:\.[\w-]{1,63}+){1,8}+"), _always),),
    "credit-card": (
        (re.compile(r"(?<![0-9.,])[0-9](?:[ -]?[0-9]){12,200}+(?![0-9])"), _cards),
    ),
    "iban": ((_IBAN, _iban),),
    "phone": (
        (re.compile(r"(?<![\w.])(?:\+|(?<![0-9][ -])00)[1-9](?:[ ()./-]{0,2}+[0-9]){6,14}+(?![0-9])"), _always),
        (re.compile(r"(?<![\w.-])(?:\([0-9]{3}\) ?|[0-9]{3}[ .-])[0-9]{3}[ .-][0-9]{4}(?![\w-])"), _always),
    ),
    "ip-address": (
        (re.compile(r"(?<![\w.])[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?![\w]|\.[0-9])"), _address),
        (re.compile(r"(?<![\w:.])[0-9A-Fa-f]{0,4}:(?:[0-9A-Fa-f]{0,4}[:.]){1,9}+[0-9A-Fa-f]{0,4}(?![\w:])"), _address),
    ),
    "aws-key": (
        (re.compile(r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}\b"), _always),
        (re.compile(r"(?i:secret[_ -]?(?:access[_ -]?)?key)[^A-Za-z0-9/+]{1,8}[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+])"), _always),
    ),
    "openai-key": ((re.compile(r"\bsk-[A-Za-z0-9_-]{16,300}+"), _always),),
    "github-token": (
        (re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{30,255}+|github_pat_[A-Za-z0-9_]{22,255}+)"), _always),
    ),
}  # fmt: skip
_TOKEN: Final = re.compile(r"gw_[a-z]{3}_[0-9A-Za-z_]{8,400}+")


@dataclass(slots=True)
class Counted:
    """How often something was cut out, by what it was."""

    found: dict[str, int] = field(default_factory=dict)

    def add(self, name: str) -> None:
        self.found[name] = self.found.get(name, 0) + 1


class Redactor:
    """Cuts out what some rules name. Immutable; shared by all requests that the same rules match."""

    __slots__ = ("_steps",)

    def __init__(self, wanted: Iterable[RedactWith] = ()) -> None:
        steps: dict[tuple[str, str], tuple[str, str, re.Pattern[str], _Proof]] = {}
        for one in wanted:
            for preset in one.presets:
                for form, proof in _PRESETS[preset]:
                    steps[preset, form.pattern] = (preset, f"[{preset}]", form, proof)
            for custom in one.custom_patterns:
                try:
                    form = compiled(custom.pattern)
                except BadPattern:  # from an older version's log: nothing that is checked today
                    form = re.compile(r"(?s:.+)")  # what was to be hidden cannot be told: hide all
                steps["", custom.pattern] = ("custom", custom.redaction_text, form, _always)
        self._steps = (
            (_OWN, f"[{_OWN}]", _TOKEN, _always),
            *(steps[key] for key in sorted(steps)),
        )

    def text(self, text: str, counted: Counted) -> str:
        """The text without what is to be cut out."""
        for name, instead, form, proof in self._steps:
            if name == _OWN and "gw_" not in text:
                continue

            text = self._cut(text, name, instead, form, proof, counted)
        return text

    @staticmethod
    def _cut(
        text: str, name: str, instead: str, form: re.Pattern[str], proof: _Proof, counted: Counted
    ) -> str:
        parts: list[str] = []
        done = at = 0
        while (found := form.search(text, at)) is not None:
            said = proof(found[0])
            if said is None:
                # What is no IBAN may hide one further on; of the others nothing begins inside.
                at = found.start() + 4 if form is _IBAN else found.end()
                continue
            counted.add(name)
            parts += (text[done : found.start()], said[0] or instead)
            done = at = found.start() + said[1]
        parts.append(text[done:])
        return "".join(parts)

    def value(self, value: Any, counted: Counted) -> Any:
        """The same of a value of JSON: of its texts, its keys, its long numbers, and JSON inside of texts."""
        return self._value(value, counted, 0, 0)

    def _value(self, value: Any, counted: Counted, depth: int, inner: int) -> Any:
        if isinstance(value, str):
            return self._said(value, counted, inner)
        if isinstance(value, bool) or value is None:
            return value
        if isinstance(value, int | float):
            if isinstance(value, int) and -_LONG_NUMBER < value < _LONG_NUMBER:
                return value
            written = str(value)
            cut = self.text(written, counted)
            return value if cut == written else cut
        if depth >= MAX_DEPTH:
            return "[too deep]"
        if isinstance(value, Mapping):
            return {
                self.text(str(key), counted): self._value(item, counted, depth + 1, inner)
                for key, item in value.items()
            }
        return [self._value(item, counted, depth + 1, inner) for item in value]

    def _said(self, text: str, counted: Counted, inner: int) -> str:
        if len(text) > LONG_DATA and text.startswith("data:"):
            return f"{text[: text.find(',', 0, 128) + 1]}[{len(text)} characters]"
        if inner < MAX_INNER and text.lstrip()[:1] in ("{", "["):
            # Arguments of tools are JSON in a text, where `\u0040` stands for a sign that a form looks for.
            try:
                parsed = json.loads(text)
            except (ValueError, RecursionError):
                pass
            else:
                cut = self._value(parsed, counted, 0, inner + 1)
                if cut == parsed:
                    return text
                return json.dumps(cut, ensure_ascii=False, separators=(",", ":"))
        return self.text(text, counted)
