"""The command line. `serve` runs the gateway; the rest asks a running one, or works on the host's files.

Commands that talk to a gateway are in `remote.py` and `estate_commands.py`; those here read files, or the
data folder that the settings name. Exit codes: 0 done, 1 error, 2 changes pending (`plan`). Everything that
prints understands `--json`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from conf.settings import MODEL_PATH, Settings, SettingsError, load, unknown_variables
from identity.issue import Issued
from identity.kept_tokens import KeptTokens
from policies import cases
from policies.check import check
from proxy import (
    auditor_commands,
    doctor,
    estate_commands,
    export_commands,
    host,
    import_commands,
    installation,
    people_commands,
    printing,
    question_commands,
    record_commands,
    remote,
    restore_commands,
    serving,
    store_commands,
)
from proxy.commands import Commands, as_json, client, reports
from proxy.runtime import Clock
from store.bundle_check import verify_bundle
from store.changes import ChangeLog
from store.crosscheck import crosscheck, crosscheck_entries
from store.opening import entries_of
from store.sealed import Sealer
from store.shelving import Place
from store.verify import verify


def _settings(config: Path | None = None) -> Settings:
    """Raises: HostError, a setting is wrong."""
    path = config or (
        Path(os.environ["GATEWARDEN_CONFIG"]) if "GATEWARDEN_CONFIG" in os.environ else None
    )
    unknown = unknown_variables(os.environ)
    try:
        if unknown:
            raise SettingsError("unknown environment variable(s): " + "; ".join(unknown))
        return load(path)
    except SettingsError as error:
        raise host.HostError(str(error), code="invalid_settings") from error


@click.group(
    cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "obj": MODEL_PATH}
)
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
    sys.exit(serving.serve(settings))


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
        if not partial and any(problem.code == "dangling" for problem in report.errors):
            printing.say("if these files are a part of an estate: --partial")
    sys.exit(report.exit_code)


@main.command(name="test")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--coverage", is_flag=True, help="Name the rules that no case hits.")
@click.option(
    "--fail-under", type=click.FloatRange(0, 100), help="Fail below this coverage, in percent."
)
@click.option("--junit", type=click.Path(dir_okay=False, path_type=Path), help="JUnit XML file.")
@as_json
@reports
def test_(
    paths: tuple[Path, ...],
    coverage: bool,
    fail_under: float | None,
    junit: Path | None,
    json_: bool,
) -> None:
    """Run decision cases offline, with the same engine."""
    report = cases.run(paths, MODEL_PATH.read_text("utf-8"))
    if junit is not None:
        try:
            junit.write_text(report.junit(), "utf-8")
        except OSError as error:
            raise host.HostError(f"`{junit}` cannot be written: {error.strerror}") from error
    low = fail_under is not None and report.coverage.percent < fail_under
    if json_:
        printing.as_json(report.to_json())
    else:
        for line in report.lines(coverage=coverage or low):
            printing.say(line)
        if low:
            printing.warn(f"the coverage is below {fail_under:g} %")
    sys.exit(1 if low else report.exit_code)


# -------------------------------------------------------------------------------------------- tokens


@main.group(cls=Commands)
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
        _mint(
            _settings(config),
            host.subject_of(subject),
            admin=admin,
            label=label,
            expires_at=host.expiry(expires),
        )
    )
    if json_:
        printing.as_json({"token": issued.secret, "id": issued.credential.name})
    else:
        printing.say(issued.secret)


async def _mint(settings: Settings, subject: str, **wanted: Any) -> Issued:
    async with _on_host(settings) as (changes, kept):
        return await host.mint(changes, subject, kept=kept, now=Clock().now(), **wanted)


@contextlib.asynccontextmanager
async def _on_host(settings: Settings) -> AsyncIterator[tuple[ChangeLog, KeptTokens]]:
    """The change log of the data folder, and the tokens that may be read again.

    Raises:
        HostError: there is no installation, and a command must not make one where nobody looks.
    """
    if not installation.established(settings):
        raise host.HostError(
            f"there is no installation in `{settings.data}`",
            hint="set GATEWARDEN_DATA to the gateway's data folder; its first start makes one",
        )
    keys = installation.keys_of(settings)
    changes, state = installation.change_log(settings, keys, Clock(), printing.warn)
    async with installation.started(changes):
        yield changes, KeptTokens(Sealer(keys.sealing), state)


@contextlib.asynccontextmanager
async def _changes_on_host(settings: Settings) -> AsyncIterator[ChangeLog]:
    """The change log of the data folder. Raises: as `_on_host`."""
    async with _on_host(settings) as (changes, _):
        yield changes


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
    body = client(secret).first_admin(email).body
    printing.as_json(body) if json_ else printing.say(str(body["token"]))


for command in (estate_commands.plan, estate_commands.apply, estate_commands.export):
    main.add_command(command)
main.add_command(import_commands.import_)
for command in (question_commands.explain, question_commands.who, question_commands.can):
    main.add_command(command)
main.add_command(auditor_commands.access_review)
main.add_command(people_commands.people)
for command in (remote.delete, remote.whoami, record_commands.requests):
    main.add_command(command)
record_commands.requests.add_command(export_commands.export_requests)
for command in restore_commands.commands(_settings, _changes_on_host, installation.database):
    main.add_command(command)
main.add_command(store_commands.migrate_command(lambda config: _settings(config).store_url))
for command in (remote.token_list, remote.token_revoke):
    token.add_command(command)


# ----------------------------------------------------------------------------------------- the record


@main.group(name="log", cls=Commands)
def log_() -> None:
    """The decision log, on the host (`tail`: through a gateway)."""


def _records(config: Path | None) -> Place:
    """Where the records of the host lie."""
    return installation.records_place(_settings(config))


async def _subject(config: Path | None, written: str) -> str:
    if "@" not in written:
        return written
    async with _on_host(_settings(config)) as (changes, _):
        return await host.subject_id(changes, written)


log_.add_command(record_commands.query_command(_records, _subject))
log_.add_command(record_commands.log_tail)
log_.add_command(export_commands.export_decisions)


@log_.command(name="verify")
@click.option("--journal", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--public-key", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--second",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of copied checkpoints.",
)
@click.option(
    "--bundle",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file of `log bundle`, instead of a journal.",
)
@click.option("--config", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@as_json
@reports
def log_verify(
    journal: Path | None,
    public_key: Path | None,
    second: Path | None,
    bundle: Path | None,
    config: Path | None,
    json_: bool,
) -> None:
    """Whether the log, or a bundle of it, is whole. Needs the public key only."""
    settings = _settings(config)
    key = host.read_public_key(public_key or host.Places(settings.data).public_key)
    if bundle is not None:
        if journal is not None or second is not None:
            raise click.UsageError("--bundle is verified alone: without --journal and --second")
        auditor_commands.show_bundle(*verify_bundle(bundle, key), json_=json_)
        return
    report = verify(
        journal or host.Places(settings.data).journal,
        key,
        second=second or settings.journal.copy_to,
    )
    if journal is None:  # a copy from elsewhere has no change log beside it
        store = installation.database(settings)
        if store is not None:
            report = crosscheck(report, store)
        else:
            report = crosscheck_entries(report, "mongodb", entries_of(settings.store_url))
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


for command in (
    auditor_commands.bundle_command(_settings, installation.keys_of),
    auditor_commands.replay_command(_settings, lambda: MODEL_PATH.read_text("utf-8")),
):
    log_.add_command(command)


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
        private=tuple(
            path
            for path in (installation.database(settings), host.Places(settings.data).demo)
            if path is not None
        ),
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
