"""Commands that ask a running gateway who may what, and why: `who`, `can` and `explain`, now or then."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from proxy import host, printing
from proxy.commands import as_json, client, reports

_PAGE = 1000
_at = click.option(
    "--at", metavar="WHEN", help="As it was: an epoch, or a time as 2030-01-31T12:00:00Z."
)
_limit = click.option(
    "--limit", default=1000, show_default=True, type=click.IntRange(1), help="Most lines."
)


@click.command()
@click.argument("action")
@click.argument("resource")
@_at
@_limit
@as_json
@reports
def who(action: str, resource: str, at: str | None, limit: int, json_: bool) -> None:
    """Who may do something, as `who model:use acme/mini`."""
    asked = {"action": action, "resource": host.resource_id(action, resource), "at": at or ""}
    found = _listed("/access/who", asked, limit)
    if json_:
        printing.as_json(found)
        return
    named = printing.naming(found)
    printing.table(
        ("subject", "path", "rules"),
        (
            (named(item["subject"]), named(item["path"]), named(", ".join(item["rules"])))
            for item in found["data"]
        ),
    )
    _foot(found)


@click.command()
@click.argument("subject", required=False)
@click.option("--action", default="", help="Only this one, as `model:use`.")
@_at
@_limit
@as_json
@reports
def can(subject: str | None, action: str, at: str | None, limit: int, json_: bool) -> None:
    """What SUBJECT may do, as `can alice@example.com`; without one, what you may."""
    whom = host.subject_of(subject) if subject else ""
    found = _listed("/access/can", {"subject": whom, "action": action, "at": at or ""}, limit)
    if json_:
        printing.as_json(found)
        return
    named = printing.naming(found)
    printing.table(
        ("action", "resource", "rules"),
        (
            (item["action"], named(item["resource"]), named(", ".join(item["rules"])))
            for item in found["data"]
        ),
    )
    _foot(found)


def _listed(path: str, asked: Mapping[str, str], limit: int) -> dict[str, Any]:
    """The pages of a list as one, up to `limit` items; `next` is there if there are more."""
    caller = client()
    query = {name: value for name, value in asked.items() if value}
    found: dict[str, Any] = {}
    while True:
        rest = limit - len(found["data"]) if found else limit
        page = caller.call("GET", path, query={**query, "limit": str(min(rest, _PAGE))}).body
        if found:
            found["data"] += page["data"]
            found["people"] |= page["people"]
            found["next"] = page["next"]
        else:
            found = dict(page)
        if not found["next"] or len(found["data"]) >= limit:
            return found
        query["cursor"] = found["next"]


def _foot(found: Mapping[str, Any]) -> None:
    when = f", {found['at']}" if found.get("at") else ""
    printing.say(f"{len(found['data'])} at epoch {found['epoch']}{when}")
    if found["next"]:
        printing.warn("there are more: --limit")


@click.command()
@click.option("--action", required=True, help="As `model:use`.")
@click.option("--resource", required=True, help="As `acme/mini` or `model:acme/mini`.")
@click.option("--as", "subject", help="Somebody else, as `user:alice@example.com`.")
@click.option(
    "--context", multiple=True, metavar="FIELD=VALUE", help="A value that conditions read."
)
@_at
@as_json
@reports
def explain(
    action: str,
    resource: str,
    subject: str | None,
    context: tuple[str, ...],
    at: str | None,
    json_: bool,
) -> None:
    """Why a question is answered as it is, or was, and who wrote the rules."""
    given: dict[str, object] = {}
    for part in context:
        field, equals, value = part.partition("=")
        if not equals:
            raise click.UsageError(f"--context takes FIELD=VALUE, not `{part[:80]}`")
        given[field] = host.context_value(field, value)
    body = (
        client()
        .explain(
            action,
            host.resource_id(action, resource),
            subject=host.subject_of(subject) if subject else None,
            context=given,
            at=at,
        )
        .body
    )
    printing.as_json(body) if json_ else printing.explanation(body)
