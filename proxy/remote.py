"""Commands that ask a running gateway: what may be done, by whom, and changes of it.

They read `GATEWARDEN_URL` and `GATEWARDEN_TOKEN`, never the data folder. What the gateway finds wrong with
a file is shown at the file's own line.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from policies.documents import dump
from policies.loader import Loaded, load_paths
from policies.placing import placed_by_number
from proxy import host, printing
from proxy.client import ClientError, Reply, findings_in
from proxy.commands import PENDING, as_json, client, reports

dry_run_ = click.option(
    "--dry-run", is_flag=True, help="Show the plan; exit 2 if changes are pending."
)


@click.command()
@click.option(
    "-f", "--file", "files", multiple=True, type=click.Path(path_type=Path), help="File or folder."
)
@click.option("-d", "--directory", "folders", multiple=True, type=click.Path(path_type=Path))
@dry_run_
@click.option("--source", default="manual", type=click.Choice(["manual", "gitops"]))
@click.option("--prune", is_flag=True, help="With --source gitops: delete what it no longer names.")
@click.option("--comment", default="", help="Why; stands in the change log.")
@click.option("--skip-unsupported", is_flag=True, help="Skip kinds that are not supported yet.")
@as_json
@reports
def apply(
    files: tuple[Path, ...],
    folders: tuple[Path, ...],
    dry_run: bool,
    source: str,
    prune: bool,
    comment: str,
    skip_unsupported: bool,
    json_: bool,
) -> None:
    """Apply policy files as one change: all or nothing."""
    paths = [*files, *folders]
    if not paths:
        raise click.UsageError("name at least one file or folder with -f or -d")
    loaded = load_paths(paths, skip_unsupported=skip_unsupported)
    if not loaded.ok:
        raise ClientError(
            "the files were not sent: nothing was changed",
            code="invalid_documents",
            problems=tuple(loaded.problems),
        )
    if not loaded.documents:
        raise ClientError("there is no document in these files", code="nothing_to_apply")
    try:
        reply = client().apply(
            [dump(located.document) for located in loaded.documents],
            dry_run=dry_run,
            source=source,
            prune=prune,
            comment=comment,
        )
    except ClientError as error:
        error.problems = placed_by_number(error.problems, loaded)
        raise
    _show(reply, json_, loaded)


@click.command()
@click.argument("kind")
@click.argument("name")
@dry_run_
@as_json
@reports
def delete(kind: str, name: str, dry_run: bool, json_: bool) -> None:
    """Delete one document, as `delete role-binding NAME` or `delete team NAME`."""
    _show(client().delete(kind, name, dry_run=dry_run), json_)


def _show(reply: Reply, json_: bool, loaded: Loaded | None = None) -> None:
    """What a change came to, or would; exits with 2 if it is pending."""
    body = reply.body
    plan: dict[str, Any] = body.get("plan", {})
    warnings = findings_in(plan.get("warnings", ()))
    if loaded is not None:
        warnings = tuple(sorted({*loaded.problems, *placed_by_number(warnings, loaded)}))
        plan["warnings"] = [warning.to_json() for warning in warnings]
    if json_:
        printing.as_json(body)
    else:
        printing.problems(warnings)
        printing.plan(body)
    if body.get("dry_run") and body.get("changed"):
        sys.exit(PENDING)


@click.command()
@as_json
@reports
def whoami(json_: bool) -> None:
    """Who the token is."""
    body = client().whoami().body
    printing.as_json(body) if json_ else printing.fields(body)


@click.command()
@click.option("--action", required=True, help="As `model:use`.")
@click.option("--resource", required=True, help="As `acme/mini` or `model:acme/mini`.")
@click.option("--as", "subject", help="Somebody else, as `user:alice@example.com`.")
@click.option(
    "--context", multiple=True, metavar="FIELD=VALUE", help="A value that conditions read."
)
@as_json
@reports
def explain(
    action: str, resource: str, subject: str | None, context: tuple[str, ...], json_: bool
) -> None:
    """Why a question is answered as it is."""
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
        )
        .body
    )
    printing.as_json(body) if json_ else printing.explanation(body)


@click.command(name="list")
@as_json
@reports
def token_list(json_: bool) -> None:
    """The caller's own personal access tokens."""
    found = list(client().tokens())
    if json_:
        printing.as_json(found)
    else:
        columns = ("id", "name", "createdAt", "expirationDate")
        printing.table(columns, ([item.get(name) for name in columns] for item in found))


@click.command(name="revoke")
@click.argument("token_id")
@as_json
@reports
def token_revoke(token_id: str, json_: bool) -> None:
    """End one personal access token; it is refused from the next request on."""
    reply = client().revoke_token(token_id)
    if json_:
        printing.as_json(reply.body)
    else:
        printing.say(f"revoked {token_id}; in force since epoch {reply.epoch}")
