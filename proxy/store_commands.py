"""`gatewarden migrate`: makes what the store lacks (tables, collections, indexes) before a start.

`serve` does the same. On its own it is for whoever may create indexes when the gateway's user may not, and
to see before an update whether a store can be read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import click

from proxy import printing
from proxy.commands import as_json, reports
from proxy.host import HostError
from store import opening


def migrate_command(url_of: Callable[[Path | None], str]) -> click.Command:
    """The command; `url_of` reads the store's URL from a file of settings, or from the environment."""

    @click.command()
    @click.option("--config", type=click.Path(exists=True, dir_okay=False, path_type=Path))
    @as_json
    @reports
    def migrate(config: Path | None, json_: bool) -> None:
        """Make what the store lacks, and say which schema it has."""
        url = url_of(config)
        path = opening.file_of(url)
        if path is not None and not path.exists():
            # An empty file would count as data whose keys are lost.
            raise HostError(f"there is no store `{path}`", hint="the first `serve` makes it")
        kind = "sqlite" if path is not None else "mongodb"
        schema, epoch = asyncio.run(opening.migrate(url))
        if json_:
            printing.as_json({"store": kind, "schema": schema, "epoch": epoch})
        else:
            printing.say(f"{kind}: schema {schema}, epoch {epoch}", "green")

    return migrate
