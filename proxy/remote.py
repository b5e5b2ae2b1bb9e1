"""Commands that ask a running gateway who the token is, and small changes of it.

They read `GATEWARDEN_URL` and `GATEWARDEN_TOKEN`, never the data folder. Those about files are in
`estate_commands.py`.
"""

from __future__ import annotations

import click

from proxy import printing
from proxy.commands import as_json, client, reports, wait_, waited
from proxy.estate_commands import show

dry_run_ = click.option(
    "--dry-run", is_flag=True, help="Show the plan; exit 2 if changes are pending."
)


@click.command()
@click.argument("kind")
@click.argument("name")
@dry_run_
@click.option("--take-over", is_flag=True, help="Even if another source owns it.")
@click.option("--reassign-to", default="", metavar="TEAM", help="Who gets what the team owns.")
@click.option("--cascade", is_flag=True, help="Delete the team's virtual accounts with it.")
@as_json
@reports
def delete(
    kind: str,
    name: str,
    dry_run: bool,
    take_over: bool,
    reassign_to: str,
    cascade: bool,
    json_: bool,
) -> None:
    """Delete one document, as `delete role-binding NAME` or `delete team NAME`."""
    if (reassign_to or cascade) and kind not in ("team", "teams"):
        raise click.UsageError("--reassign-to and --cascade are about what a team owns")
    if reassign_to and cascade:
        raise click.UsageError("give --reassign-to or --cascade, not both")
    reply = client().delete(
        kind,
        name,
        dry_run=dry_run,
        take_over=take_over,
        reassign_to=reassign_to,
        cascade=cascade,
    )
    show(reply, json_)


@click.command()
@as_json
@reports
def whoami(json_: bool) -> None:
    """Who the token is."""
    body = client().whoami().body
    printing.as_json(body) if json_ else printing.fields(body)


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
@wait_
@as_json
@reports
def token_revoke(token_id: str, wait: bool, json_: bool) -> None:
    """End one personal access token; it is refused from the next request on."""
    reply = client(wait=wait).revoke_token(token_id)
    if json_:
        printing.as_json(reply.body)
    else:
        printing.say(f"revoked {token_id}; in force since epoch {reply.epoch}")
    waited(reply, json_=json_)
