"""How a plan is shown to a person: documents, rows, who gains and loses what, verdicts that flip.

Groups first, as `team:search (14 people) gains model:use on acme (3 models)`; the pairs on request.
People are called by their e-mails as far as whoever asks may read them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from proxy.printing import plain, say, warn

MOST = 100  # lines of one sort, unless everything is asked for
_VERBS = (("created", "green"), ("updated", "yellow"), ("deleted", "red"))
_GROUPS = frozenset({"any", "provider-account", "open-models", "resource-group", "mcp-server"})
_EFFECT = {"gains": "green", "loses": "red"}


def plan(body: Mapping[str, Any], *, rows: bool = False, expand: bool = False) -> None:
    """Print what a change came to, or in a dry run: what it would come to."""
    told: Mapping[str, Any] = body.get("plan") or {}
    for verb, style in _VERBS:
        names = [f"{verb:8} {item.get('type')}/{item.get('name')}" for item in told.get(verb, ())]
        _some(names, style, everything=expand)
    for item in told.get("drift") or ():
        say(drift_line(item), "yellow")
    if rows:
        for sign, name, style in (("+", "added", "green"), ("-", "removed", "red")):
            for row in told.get(name, ()):
                say(f"  {sign} {', '.join(row)}", style)
    if body.get("access") and body.get("changed"):
        access(body["access"], expand=expand)
    if body.get("replay"):
        replay(body["replay"])
    _endings(told, expand=expand)
    for alarm in told.get("alarms", ()):
        warn(f"alarm: {alarm}")
    for failing in told.get("cases_failed", ()):
        say(f"would be refused: {failing['message']}", "red")
    count = f"{told.get('rows_added', 0)} rows added, {told.get('rows_removed', 0)} removed"
    if not body.get("changed"):
        say("nothing to change")
    elif body.get("dry_run"):
        say(f"{count} (dry run: nothing was changed)")
    else:
        say(f"{count}; in force since epoch {body.get('epoch')}")


def drift_line(item: Mapping[str, Any]) -> str:
    """What stays although the files say otherwise, because another source holds it."""
    what = f"{item.get('type')}/{item.get('name')}"
    if not item.get("field"):
        return f"drift    {what} was taken over: the files no longer decide about it"
    element = f" {plain(item['element'])}" if item.get("element") else ""
    return f"drift    {what}: {item['field']}{element} stays, held by {', '.join(item['held_by'])}"


def _endings(told: Mapping[str, Any], *, expand: bool) -> None:
    """What ends with teams that are deleted, and what they pass on."""
    for ending in told.get("endings", ()):
        whom = _count(ending["people"], "person loses", "people lose")
        tokens = _count(ending["tokens"], "token ends", "tokens end")
        ends = [f"{whom} the membership" if whom else "", tokens]
        said = ", ".join(part for part in ends if part) or "nobody loses anything by it"
        say(f"team/{ending['team']}: {said}", "red")
        _some([f"  deletes {name}" for name in ending["accounts"]], "red", everything=expand)
        moved = [f"  gives away {name}" for name in ending["reassigned"]]
        _some(moved, "yellow", everything=expand)


def access(found: Mapping[str, Any], *, expand: bool = False) -> None:
    """Print who gains and loses what."""
    named = _named(found.get("people") or {})
    lines: Iterable[Mapping[str, Any]] = found.get("lines", ())
    for effect, style in _EFFECT.items():
        told = [access_line(line, named) for line in lines if line["effect"] == effect]
        _some(told, style, everything=expand)
    if expand:
        for pair in found.get("pairs", ()):
            subject, thing = named(pair["subject"]), _thing(pair["resource"])
            say(
                f"  {subject} {pair['effect']} {pair['action']} on {thing}", _EFFECT[pair["effect"]]
            )
        hidden = found.get("pairs_total", 0) - len(found.get("pairs", ()))
        if hidden > 0:
            say(f"  … and {hidden} more that are not listed, or that you may not read")
    if found.get("truncated"):
        warn("more could turn than was asked one by one: the counts say what at most turns")
    if not found.get("gains") and not found.get("losses"):
        say("nobody gains or loses anything")
    elif not expand:
        say(f"{found['gains']} gained, {found['losses']} lost, counted one by one (--expand)")


def access_line(line: Mapping[str, Any], named: Callable[[object], str]) -> str:
    """`team:search (14 people) gains model:use on acme (3 models)`."""
    subject = named(line["subject"])
    whom = [
        _count(line.get("people", 0), "person", "people"),
        _count(line.get("accounts", 0), "account", "accounts"),
    ]
    who = ", ".join(part for part in whom if part)
    alone = "@" in subject or subject.startswith("virtualaccount:")
    how_many = f" ({who})" if who and not alone else ""
    kind = str(line["action"]).partition(":")[0]
    group = str(line["resource"]).partition(":")[0] in _GROUPS
    things = _things(line, kind) if group else ""
    return f"{subject}{how_many} {line['effect']} {line['action']} on {_thing(line['resource'])}{things}"


def replay(found: Mapping[str, Any]) -> None:
    """Print the recorded questions whose verdict would become another."""
    named = _named(found.get("people") or {})
    flips = found.get("flips", ())
    for flip in flips:
        who = named(flip["subject"])
        rules = f" by {', '.join(flip['rules'])}" if flip.get("rules") else ""
        say(
            f"  {flip['at']} {who} {flip['action']} on {_thing(flip['resource'])}: "
            f"{flip['before']} -> {flip['after']} ({flip['reason']}){rules}",
            "green" if flip["after"] == "allow" else "red",
        )
    line = (
        f"{found['asked']} recorded questions asked again: {len(flips)} would be answered otherwise"
    )
    if found.get("unanswerable"):
        line += f"; {found['unanswerable']} hold too little to ask them again"
    say(line)


def _some(lines: list[str], style: str, *, everything: bool) -> None:
    shown = lines if everything else lines[:MOST]
    for line in shown:
        say(line, style)
    if len(shown) < len(lines):
        say(f"… and {len(lines) - len(shown)} more (--expand)", style)


def _named(people: Mapping[str, str]) -> Callable[[object], str]:
    """A subject as a person calls it."""

    def named(subject: object) -> str:
        kind, _, name = plain(subject).partition(":")
        return people.get(name, f"{kind}:{name}") if kind == "user" else plain(subject)

    return named


def _thing(resource: object) -> str:
    """A resource without its kind where its name says it all."""
    kind, _, name = plain(resource).partition(":")
    return name if kind in ("model", "provider-account", "open-models") else plain(resource)


def _things(line: Mapping[str, Any], kind: str) -> str:
    one = "thing" if kind == "role" else kind.replace("-", " ")
    told = _count(line.get("things", 0), one, f"{one}s")
    return f" ({told})" if told else ""


def _count(number: int, one: str, many: str) -> str:
    return "" if not number else f"1 {one}" if number == 1 else f"{number:,} {many}"
