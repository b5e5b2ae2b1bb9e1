"""Commands about people: forgetting one.

They read `GATEWARDEN_URL` and `GATEWARDEN_TOKEN`, as those of `remote.py`.
"""

from __future__ import annotations

import click

from proxy import printing
from proxy.commands import Commands, as_json, client, reports


@click.group(cls=Commands)
def people() -> None:
    """People, beyond their documents."""


@people.command()
@click.argument("who")
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
@reports
def erase(who: str, yes: bool, json_: bool) -> None:
    """Forget WHO (e-mail or u-…): payloads, typed text, name and address. The log stays whole."""
    if not yes:
        click.confirm(f"Erase {who}? This cannot be taken back", abort=True, err=True)
    body = client().call("POST", "/erasures", {"person": who}).body
    if json_:
        printing.as_json(body)
        return
    printing.fields(body)
    if body["left"]:
        printing.say("what is left is in files that are being written; it goes by itself")
