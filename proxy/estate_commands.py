"""Commands about whole estates of files: what they would change, changing it, and writing them down.

`plan` and `apply` send the documents of files as one change, all or nothing; `export` is the way back. They
read `GATEWARDEN_URL` and `GATEWARDEN_TOKEN`. What the gateway finds wrong is shown at the file's own line.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from policies.documents import dump
from policies.loader import Loaded, load_paths
from policies.placing import placed_by_number
from proxy import casbin_commands, exporting, printing, printing_plan
from proxy.client import Client, ClientError, Reply, Tell, findings_in
from proxy.commands import PENDING, as_json, client, reports, wait_, waited

GITOPS = "gitops"
READINGS = 5  # times that an export reads an estate which changes meanwhile
CI_REVISIONS = ("GITHUB_SHA", "CI_COMMIT_SHA")

_path = click.Path(path_type=Path)
_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option("-f", "--file", "files", multiple=True, type=_path, help="File or folder."),
    click.option("-d", "--directory", "folders", multiple=True, type=_path, help="Folder."),
    click.option("--source", default="manual", type=click.Choice(["manual", GITOPS])),
    click.option(
        "--prune", is_flag=True, help="With --source gitops: delete what the files no longer name."
    ),
    click.option(
        "--take-over", is_flag=True, help="Also what another source owns: this source owns it then."
    ),
    click.option("--skip-unsupported", is_flag=True, help="Skip kinds that are not supported yet."),
    click.option("--expand", is_flag=True, help="Show each person and thing, not only groups."),
    click.option("--rows", is_flag=True, help="Show the rows that appear and disappear."),
    as_json,
)


def _options(command: Callable[..., None]) -> Callable[..., None]:
    """What `plan` and `apply` have in common."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command(name="plan")
@_options
@click.option(
    "--replay",
    default=0,
    type=click.IntRange(0, 10_000),
    help="Ask the last N recorded questions again, and show those answered otherwise.",
)
@reports
def plan(
    files: tuple[Path, ...],
    folders: tuple[Path, ...],
    source: str,
    prune: bool,
    take_over: bool,
    skip_unsupported: bool,
    expand: bool,
    rows: bool,
    json_: bool,
    replay: int,
) -> None:
    """Show what applying policy files would change, and who gains and loses what.

    Exit code 0: nothing to do; 2: changes are pending; 1: an error, or a case would refuse the change.
    """
    loaded = _loaded((*files, *folders), prune=prune, skip_unsupported=skip_unsupported)
    reply = _send(
        loaded,
        dry_run=True,
        source=source,
        prune=prune,
        take_over=take_over,
        access=True,
        replay=replay,
        quiet=json_,
    )
    show(reply, json_, loaded, rows=rows, expand=expand)


@click.command(name="apply")
@_options
@click.option("--dry-run", is_flag=True, help="The same as plan, with its exit codes.")
@click.option("--comment", default="", help="Why; stands in the change log.")
@click.option(
    "--revision",
    default="",
    help="Git commit of the files. With --source gitops: that of the CI, else of the folder.",
)
@click.option(
    "--yes-delete",
    default=0,
    type=click.IntRange(0),
    metavar="N",
    help="--prune may delete N documents, although that is a great part of them.",
)
@wait_
@reports
def apply(
    files: tuple[Path, ...],
    folders: tuple[Path, ...],
    source: str,
    prune: bool,
    take_over: bool,
    skip_unsupported: bool,
    expand: bool,
    rows: bool,
    json_: bool,
    dry_run: bool,
    comment: str,
    revision: str,
    yes_delete: int,
    wait: bool,
) -> None:
    """Apply policy files as one change: all or nothing."""
    paths = (*files, *folders)
    loaded = _loaded(paths, prune=prune, skip_unsupported=skip_unsupported)
    if not revision and source == GITOPS:
        revision = revision_of(paths)
    reply = _send(
        loaded,
        dry_run=dry_run,
        source=source,
        prune=prune,
        take_over=take_over,
        comment=comment,
        revision=revision,
        yes_delete=yes_delete,
        access=dry_run,
        quiet=json_,
        wait=wait,
    )
    show(reply, json_, loaded, rows=rows, expand=expand)
    waited(reply, json_=json_)


@click.command(name="export")
@click.option(
    "-o", "--output", "folder", required=True, type=click.Path(file_okay=False, path_type=Path)
)
@click.option(
    "--per",
    default="kind",
    type=click.Choice(["kind", "document"]),
    help="One file for each kind, or for each document.",
)
@click.option("--all", "shipped", is_flag=True, help="Also documents as this version ships them.")
@click.option("--replace", is_flag=True, help="Write anew what an earlier export wrote.")
@click.option(
    "--casbin", is_flag=True, help="Write policy for a stock Casbin instead of documents."
)
@click.option(
    "-f",
    "--file",
    "sources",
    multiple=True,
    type=_path,
    help="With --casbin: of these files alone.",
)
@as_json
@reports
def export(
    folder: Path,
    per: str,
    shipped: bool,
    replace: bool,
    casbin: bool,
    sources: tuple[Path, ...],
    json_: bool,
) -> None:
    """Write the estate, as far as you may read it, to files that `apply` takes.

    With --casbin: write a model and a policy for a stock Casbin, as the gateway decides now, or of the
    files that -f names.
    """
    if sources and not casbin:
        raise click.UsageError("-f goes with --casbin: documents are exported from a gateway")
    if casbin:
        _export_casbin(sources, folder, replace=replace, json_=json_)
        return
    found, before = _at_one_epoch(client(), shipped=shipped)
    try:
        made = exporting.write(
            folder, exporting.files(found, each=per == "document"), replace=replace
        )
    except OSError as error:
        raise ClientError(
            f"`{error.filename or folder}` cannot be written: {str(error.strerror).lower()}",
            code="not_written",
        ) from error
    if json_:
        printing.as_json(
            {"epoch": before, "documents": len(found), "files": [str(path) for path in made]}
        )
    else:
        printing.say(f"{len(found)} documents in {len(made)} files, as of epoch {before}")


def _at_one_epoch(gateway: Client, *, shipped: bool) -> tuple[list[Mapping[str, Any]], int]:
    """The documents of the estate as of one epoch, and that epoch.

    Raises:
        ClientError: it changed each time it was read.
    """
    for _ in range(READINGS):
        before = gateway.whoami().epoch
        found = list(exporting.wanted(gateway.export(), shipped=shipped))
        if gateway.whoami().epoch == before:
            return found, before
    raise ClientError(
        "the estate changed while it was read: nothing was written",
        hint="run it again",
        code="conflict",
    )


def _export_casbin(sources: tuple[Path, ...], folder: Path, *, replace: bool, json_: bool) -> None:
    of: dict[str, object] = {}
    try:
        if sources:
            model = click.get_current_context().find_object(Path)
            if model is None:
                raise click.UsageError("the model of Casbin is not known")
            casbin_commands.export_casbin(
                sources, folder, model.read_text("utf-8"), replace=replace
            )
        else:
            pages = client().casbin()
            of = {"epoch": casbin_commands.write_pages(pages, folder, replace=replace)}
    except OSError as error:
        raise ClientError(
            f"`{error.filename or folder}` cannot be written: {str(error.strerror).lower()}",
            code="not_written",
        ) from error
    made = [folder / name for name in casbin_commands.PARTS]
    if json_:
        printing.as_json({**of, "files": [str(path) for path in made]})
    else:
        said = f", as of epoch {of['epoch']}" if of else ""
        printing.say(f"{len(made)} files for Casbin in {folder}{said}")


def show(
    reply: Reply,
    json_: bool,
    loaded: Loaded | None = None,
    *,
    rows: bool = False,
    expand: bool = False,
) -> None:
    """What a change came to, or would; exits with 2 if it is pending, with 1 if its cases would refuse it."""
    body = reply.body
    told: dict[str, Any] = body.get("plan", {})
    warnings = findings_in(told.get("warnings", ()))
    if loaded is not None:
        warnings = tuple(sorted({*loaded.problems, *placed_by_number(warnings, loaded)}))
        told["warnings"] = [warning.to_json() for warning in warnings]
    if json_:
        printing.as_json(body)
    else:
        printing.problems(warnings)
        printing_plan.plan(body, rows=rows, expand=expand)
    if told.get("cases_failed"):
        sys.exit(1)
    if body.get("dry_run") and body.get("changed"):
        sys.exit(PENDING)


def _loaded(paths: Sequence[Path], *, prune: bool, skip_unsupported: bool) -> Loaded:
    """The documents of files, all of them good.

    Raises:
        ClientError: a file is wrong or missing, there is no document, or with `prune` a folder is empty.
    """
    if not paths:
        raise click.UsageError("name at least one file or folder with -f or -d")
    loaded = load_paths(paths, skip_unsupported=skip_unsupported)
    if not loaded.ok:
        raise ClientError(
            "the files were not sent: nothing was changed",
            code="invalid_documents",
            problems=tuple(loaded.problems),
        )
    empty = [problem.file for problem in loaded.problems if problem.code == "no_documents"]
    if not loaded.documents or (prune and empty):
        where = f"`{empty[0]}`" if empty else "these files"
        raise ClientError(
            f"there is no document in {where}",
            hint="nothing was changed: with --prune an empty folder would mean to delete what it held"
            if prune
            else "",
            code="nothing_to_apply",
        )
    return loaded


def _send(loaded: Loaded, *, quiet: bool, wait: bool = False, **switches: Any) -> Reply:
    """One call with all documents; on a terminal a bar tells how far it is.

    Raises:
        ClientError: with findings at the lines of the files. Its code is `conflict` when somebody else was
            first: nothing was written, and the same call may be made again.
    """
    manifests = [dump(located.document) for located in loaded.documents]
    try:
        with _bar(quiet) as tell:
            return client(wait=wait).apply(manifests, tell=tell, **switches)
    except ClientError as error:
        error.problems = placed_by_number(error.problems, loaded)
        if error.code == "conflict":
            raise ClientError(
                f"{error.message}; nothing was written",
                hint="somebody else changed it meanwhile: run it again",
                code=error.code,
                status=error.status,
                request_id=error.request_id,
                decision_id=error.decision_id,
            ) from error
        raise


@contextlib.contextmanager
def _bar(quiet: bool) -> Iterator[Tell]:
    """Hears how far the server is, and shows it where somebody looks."""
    if quiet or not printing.err.is_terminal:
        yield lambda stage, done, of: None
        return
    columns = (TextColumn("{task.description:9}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=printing.err, transient=True) as bar:
        task = bar.add_task("send", total=None)

        def tell(stage: str, done: int, of: int) -> None:
            bar.update(task, description=printing.plain(stage), completed=done, total=of or None)

        yield tell


def revision_of(paths: Sequence[Path]) -> str:
    """The git commit that files come from: what the CI says, else the folder's; "" if there is none."""
    for name in CI_REVISIONS:
        if os.environ.get(name):
            return os.environ[name]
    first = paths[0].resolve()
    folder = first if first.is_dir() else first.parent
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", "--verify", "HEAD"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
