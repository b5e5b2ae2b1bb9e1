"""The command line. `serve` runs the gateway; the rest asks a running one, or works on the host's files.

Commands that talk to a gateway read `GATEWARDEN_URL` and `GATEWARDEN_TOKEN`. Commands on the host read
the data folder that the settings name. Exit codes: 0 done, 1 error, 2 changes pending (`--dry-run`).
Everything that prints understands `--json`.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn, ParamSpec
from urllib.parse import quote

import click

from authz.errors import GatewardenError
from conf.settings import MODEL_PATH, Settings, SettingsError, load, unknown_variables
from policies import cases
from policies.check import check
from policies.documents import dump
from policies.errors import InvalidDocuments
from policies.loader import load_paths
from proxy import app, doctor, host, printing
from proxy.client import Client, ClientError
from store.records import Query, query_file
from store.verify import verify

P = ParamSpec("P")
PENDING = 2

as_json = click.option("--json", "json_", is_flag=True, help="Print JSON.")


def _fail(error: GatewardenError) -> NoReturn:
    if isinstance(error, InvalidDocuments | ClientError) and error.problems:
        printing.problems(error.problems)
    printing.failed(error)
    sys.exit(1)


def reports(command: Callable[P, None]) -> Callable[P, None]:
    """Print errors of ours as what they are, without a traceback."""

    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except GatewardenError as error:
            _fail(error)
        except SettingsError as error:
            printing.warn(str(error))
            sys.exit(1)

    return wrapped


def _settings(config: Path | None = None) -> Settings:
    path = config or (
        Path(os.environ["GATEWARDEN_CONFIG"]) if "GATEWARDEN_CONFIG" in os.environ else None
    )
    unknown = unknown_variables(os.environ)
    if unknown:
        raise SettingsError("unknown environment variable(s): " + "; ".join(unknown))
    return load(path)


def _client() -> Client:
    return Client(
        os.environ.get("GATEWARDEN_URL", "http://127.0.0.1:8080"),
        os.environ.get("GATEWARDEN_TOKEN", ""),
    )


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="gatewarden")
def main() -> None:
    """Gatewarden: every use of a model is a decision, with proof."""


# ------------------------------------------------------------------------------------------- serving


@main.command()
@click.option("--config", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=int, help="Port to listen on.")
@click.option("--workers", type=int, help="Processes that share the port.")
@reports
def serve(config: Path | None, host: str | None, port: int | None, workers: int | None) -> None:
    """Run the gateway."""
    given = {"host": host, "port": port, "workers": workers}
    settings = _settings(config).model_copy(
        update={name: value for name, value in given.items() if value is not None}
    )
    sys.exit(app.serve(settings))


# --------------------------------------------------------------------------------------------- files


@main.command(name="check")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--skip-unsupported", is_flag=True, help="Skip kinds that are not supported yet.")
@click.option("--partial", is_flag=True, help="The files are a part: other names may exist.")
@as_json
@reports
def check_(paths: tuple[Path, ...], skip_unsupported: bool, partial: bool, json_: bool) -> None:
    """Check policy files offline: every problem at once, with its place."""
    report = check(
        paths,
        now=datetime.now(UTC),
        skip_unsupported=skip_unsupported,
        partial=partial,
    )
    if json_:
        printing.as_json(report.to_json())
    else:
        for line in report.lines():
            printing.say(line)
    sys.exit(report.exit_code)


@main.command(name="test")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@as_json
@reports
def test_(paths: tuple[Path, ...], json_: bool) -> None:
    """Run decision cases offline, with the same engine."""
    report = cases.run(paths, MODEL_PATH.read_text("utf-8"))
    if json_:
        printing.as_json(report.to_json())
    else:
        for line in report.lines():
            printing.say(line)
    sys.exit(report.exit_code)


@main.command()
@click.option(
    "-f", "--file", "files", multiple=True, type=click.Path(path_type=Path), help="File or folder."
)
@click.option("-d", "--directory", "folders", multiple=True, type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Show the plan; exit 2 if changes are pending.")
@click.option("--source", default="manual", type=click.Choice(["manual", "gitops"]))
@click.option("--comment", default="", help="Why; stands in the change log.")
@click.option("--skip-unsupported", is_flag=True, help="Skip kinds that are not supported yet.")
@as_json
@reports
def apply(
    files: tuple[Path, ...],
    folders: tuple[Path, ...],
    dry_run: bool,
    source: str,
    comment: str,
    skip_unsupported: bool,
    json_: bool,
) -> None:
    """Apply policy files as one change: all or nothing."""
    paths = [*files, *folders]
    if not paths:
        raise click.UsageError("name at least one file or folder with -f or -d")
    loaded = load_paths(paths, skip_unsupported=skip_unsupported)
    printing.problems(loaded.problems)
    if any(problem.severity == "error" for problem in loaded.problems):
        sys.exit(1)
    if not loaded.documents:
        raise ClientError("there is no document in these files", code="nothing_to_apply")
    reply = _client().apply(
        [dump(located.document) for located in loaded.documents],
        dry_run=dry_run,
        source=source,
        comment=comment,
    )
    _show_plan(reply.body, json_)
    if dry_run and reply.body.get("changed"):
        sys.exit(PENDING)


def _show_plan(body: dict[str, Any], json_: bool) -> None:
    if json_:
        printing.as_json(body)
        return
    plan = body.get("plan", body)
    for verb, style in (("created", "green"), ("updated", "yellow"), ("deleted", "red")):
        for item in plan.get(verb, ()):
            printing.say(f"{verb:8} {_name_of(item)}", style)
    for alarm in plan.get("alarms", ()):
        printing.warn(str(alarm))
    rows = f"{plan.get('rows_added', 0)} rows added, {plan.get('rows_removed', 0)} removed"
    if not body.get("changed"):
        printing.say("nothing to change")
    elif body.get("dry_run"):
        printing.say(f"{rows} (dry run: nothing was changed)")
    else:
        printing.say(f"{rows}; in force since epoch {body.get('epoch')}")


def _name_of(item: Any) -> str:
    if isinstance(item, dict):
        return f"{item.get('type') or item.get('family')}/{item.get('name')}"
    return str(item)


@main.command()
@click.argument("collection")
@click.argument("name")
@as_json
@reports
def delete(collection: str, name: str, json_: bool) -> None:
    """Delete one document, as `delete role-binding NAME` or `delete team NAME`."""
    plural = (
        collection if collection.endswith("s") else f"{collection.replace('policy', 'policie')}s"
    )
    reply = _client().call("DELETE", f"/{plural}/{quote(name, safe='')}")
    if json_:
        printing.as_json(reply.body)
    else:
        printing.say(f"deleted {collection} {name}; in force since epoch {reply.epoch}")


# ----------------------------------------------------------------------------------------- questions


@main.command()
@as_json
@reports
def whoami(json_: bool) -> None:
    """Who the token is."""
    body = _client().whoami().body
    printing.as_json(body) if json_ else printing.fields(body)


@main.command()
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
    pairs = dict(part.partition("=")[::2] for part in context)
    body = (
        _client()
        .explain(action, host.resource_id(action, resource), subject=subject, context=pairs)
        .body
    )
    printing.as_json(body) if json_ else printing.explanation(body)


# -------------------------------------------------------------------------------------------- tokens


@main.group()
def token() -> None:
    """Tokens, on the host (`create`) or through the gateway (`list`, `revoke`)."""


@token.command(name="create")
@click.option(
    "--for", "subject", required=True, help="As `user:alice@example.com` or `virtualaccount:ci`."
)
@click.option("--admin", is_flag=True, help="Make the person a tenant admin, too.")
@click.option("--label", default="", help="What the token is for.")
@click.option("--expires", type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S%z"]))
@click.option("--config", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@as_json
@reports
def token_create(
    subject: str,
    admin: bool,
    label: str,
    expires: datetime | None,
    config: Path | None,
    json_: bool,
) -> None:
    """Mint a token on the host: a recorded change of source `host`."""
    issued = asyncio.run(
        app.mint_on_host(_settings(config), subject, admin=admin, label=label, expires_at=expires)
    )
    if json_:
        printing.as_json({"token": issued.secret, "id": issued.credential.name})
    else:
        printing.say(issued.secret)


@main.command(name="first-admin")
@click.argument("email")
@click.option("--config", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@as_json
@reports
def first_admin(email: str, config: Path | None, json_: bool) -> None:
    """Become the first administrator with the one-time token that lies on the host."""
    path = _settings(config).data / "first-admin"
    try:
        secret = path.read_text("utf-8").strip()
    except OSError as error:
        raise host.HostError(
            f"`{path}` cannot be read: {error.strerror}",
            hint="it is there while nobody administers; else use gatewarden token create",
        ) from error
    client = Client(os.environ.get("GATEWARDEN_URL", "http://127.0.0.1:8080"), secret)
    body = client.first_admin(email).body
    printing.as_json(body) if json_ else printing.say(str(body["token"]))


@token.command(name="list")
@as_json
@reports
def token_list(json_: bool) -> None:
    """The caller's own personal access tokens."""
    found = list(_client().tokens())
    if json_:
        printing.as_json(found)
    else:
        columns = ("id", "name", "createdAt", "expirationDate")
        printing.table(columns, ([item.get(name) for name in columns] for item in found))


@token.command(name="revoke")
@click.argument("token_id")
@reports
def token_revoke(token_id: str) -> None:
    """End one token; it is refused from the next request on."""
    reply = _client().revoke_token(token_id)
    printing.say(f"revoked {token_id}; in force since epoch {reply.epoch}")


# ----------------------------------------------------------------------------------------- the record


@main.group(name="log")
def log_() -> None:
    """The decision log, on the host."""


@log_.command(name="query")
@click.option("--kind", default="decision", type=click.Choice(["decision", "request"]))
@click.option("--id", "id_")
@click.option("--since", type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S%z"]))
@click.option("--until", type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S%z"]))
@click.option("--subject", help="An id, or an e-mail as `user:alice@example.com`.")
@click.option("--action")
@click.option("--resource")
@click.option("--effect", type=click.Choice(["allow", "deny"]))
@click.option("--reason")
@click.option("--request", "request_id")
@click.option("--limit", default=50, type=click.IntRange(1, 10_000))
@click.option("--config", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@as_json
@reports
def log_query(
    kind: str,
    id_: str | None,
    since: datetime | None,
    until: datetime | None,
    subject: str | None,
    action: str | None,
    resource: str | None,
    effect: str | None,
    reason: str | None,
    request_id: str | None,
    limit: int,
    config: Path | None,
    json_: bool,
) -> None:
    """Records, newest first."""
    settings = _settings(config)
    if subject is not None:
        subject = asyncio.run(app.subject_on_host(settings, subject))
    page = query_file(
        host.Places(settings.data).records,
        Query(
            kind=kind,
            id=id_,
            since=host.micros(since),
            until=host.micros(until),
            subject=subject,
            action=action,
            resource=resource,
            effect=effect,
            reason=reason,
            request=request_id,
            limit=limit,
        ),
    )
    if json_:
        printing.as_json(
            {"data": list(page.records), "next": page.next, "truncated": page.truncated}
        )
        return
    columns = host.LOG_COLUMNS[kind]
    printing.table(
        [name for name, _ in columns],
        ([read(item) for _, read in columns] for item in page.records),
    )
    if page.truncated:
        printing.warn("the deadline struck: there may be more")


@log_.command(name="verify")
@click.option("--journal", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--public-key", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--second",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of copied checkpoints.",
)
@click.option("--config", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@as_json
@reports
def log_verify(
    journal: Path | None,
    public_key: Path | None,
    second: Path | None,
    config: Path | None,
    json_: bool,
) -> None:
    """Whether the log is whole. Needs the public key only."""
    settings = _settings(config)
    key = host.read_public_key(public_key or host.Places(settings.data).public_key)
    report = verify(
        journal or host.Places(settings.data).journal,
        key,
        second=second or settings.journal.copy_to,
    )
    if json_:
        printing.as_json(host.report_json(report))
    else:
        for fault in report.faults:
            printing.say(str(fault), "red")
        for writer in report.writers:
            printing.say(
                f"{writer.writer}: records {writer.first}-{writer.last}, {writer.checkpoints} checkpoints, "
                f"signed up to {writer.signed}"
            )
        for note in report.notes:
            printing.say(note)
        printing.say(
            f"whole: {report.records} records"
            if report
            else f"NOT whole: {len(report.faults)} fault(s)",
            "green" if report else "bold red",
        )
    sys.exit(0 if report else 1)


@main.command(name="doctor")
@click.option("--config", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@as_json
@reports
def doctor_(config: Path | None, json_: bool) -> None:
    """Look at the host: disk, clock, permissions, extensions."""
    settings = _settings(config)
    found = doctor.examine(
        settings.data,
        host=settings.host,
        port=settings.port,
        private=(app.database(settings), host.Places(settings.data).demo),
    )
    if json_:
        printing.as_json([asdict(item) for item in found])
    else:
        for item in found:
            mark = "ok" if item.ok else item.severity.value
            style = (
                "green"
                if item.ok
                else "red"
                if item.severity is doctor.Severity.ERROR
                else "yellow"
            )
            printing.say(f"{mark:8} {item.name}: {item.detail}", style)
            if item.fix:
                printing.say(f"         {item.fix}")
    sys.exit(any(not c.ok and c.severity is doctor.Severity.ERROR for c in found))


if __name__ == "__main__":
    main()
