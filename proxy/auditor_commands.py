"""Commands for auditors: `access-review` asks a gateway; `log bundle` and `log replay` read the host's log.

`log verify --bundle` needs neither: the file and the public key. What each of them proves stands in
`docs/auditors.md`.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import click
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from authz.chain import BrokenLine, read_line
from proxy import host, printing, review_text
from proxy.commands import as_json, client, reports
from proxy.log_replay import MOST, Difference, PastQuestion, Replayed, past_question, replay_past
from store.bundle import Manifest, Window, make_bundle
from store.bundle_check import verify_bundle
from store.opening import file_of, stores
from store.past import Past
from store.segments import segments, whole_lines, writers
from store.verify import VerifyReport

_PAGE = 1000
_SECONDS = 150.0  # that the first page may take: policy may have to be loaded as it was
_time = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S%z"])
_since = click.option("--since", type=_time, help="From this time on (UTC).")
_until = click.option("--until", type=_time, help="Before this time (UTC).")
_config = click.option("--config", type=click.Path(exists=True, dir_okay=False, path_type=Path))


class KeysOf(Protocol):
    """The installation's keys, as far as a bundle needs them."""

    @property
    def signing(self) -> Ed25519PrivateKey: ...


class SettingsOf(Protocol):
    """`conf.settings.Settings`, as far as these commands read it."""

    @property
    def data(self) -> Path: ...
    @property
    def store_url(self) -> str: ...


# ----------------------------------------------------------------------------------- the access review


@click.command(name="access-review")
@click.option("--at", metavar="WHEN", default="", help="As it was: an epoch, or a time.")
@click.option(
    "--format", "form", default="csv", show_default=True, type=click.Choice(["csv", "json"])
)
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="A file; else printed."
)
@reports
def access_review(at: str, form: str, output: Path | None) -> None:
    """Who has what, through what, since when, granted by whom: all of it, at one epoch."""
    pages = _pages(at)
    pieces = (
        review_text.as_json(pages) if form == "json" else review_text.as_csv(pages, printing.naming)
    )
    if output is None:
        for piece in pieces:
            sys.stdout.write(piece)
        return
    fresh = output.with_name(f".{output.name}.part")
    try:
        with fresh.open("w", encoding="utf-8", newline="") as file:
            os.fchmod(file.fileno(), 0o600)
            for piece in pieces:
                file.write(piece)
        fresh.replace(output)  # once it is whole: half a review must not look like one
    except OSError as error:
        raise host.HostError(f"`{output}` cannot be written: {error.strerror}") from error
    finally:
        fresh.unlink(missing_ok=True)


def _pages(at: str) -> Iterator[dict[str, Any]]:
    caller = client()
    caller = replace(caller, timeout=max(caller.timeout, _SECONDS))
    query = {"limit": str(_PAGE), **({"at": at} if at else {})}
    while True:
        body = caller.call("GET", "/access-review", query=query).body
        yield body
        if not body.get("next"):
            return
        query["cursor"] = str(body["next"])


# ------------------------------------------------------------------------------------------ the bundle


def bundle_command(
    settings_of: Callable[[Path | None], SettingsOf], keys_of: Callable[[Any], KeysOf]
) -> click.Command:
    """`log bundle`; the arguments read the settings, and the keys that they name."""

    @click.command(name="bundle")
    @click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path))
    @_since
    @_until
    @click.option("--without-texts", is_flag=True, help="Leave out what callers typed or claimed.")
    @_config
    @as_json
    @reports
    def log_bundle(
        output: Path,
        since: datetime | None,
        until: datetime | None,
        without_texts: bool,
        config: Path | None,
        json_: bool,
    ) -> None:
        """Write a time window of the log as one signed file that verifies offline."""
        settings = settings_of(config)
        places = host.Places(settings.data)
        if not places.journal.exists():
            raise host.HostError(
                f"there is no decision log in `{settings.data}`",
                hint="set GATEWARDEN_DATA to the gateway's data folder",
            )
        window = Window(host.micros(since), host.micros(until))
        if window.since is not None and window.until is not None and window.since >= window.until:
            raise click.UsageError("--since must be before --until")
        root = host.read_public_key(places.public_key)
        now = host.micros(datetime.now(UTC))
        assert now is not None
        try:
            make_bundle(
                places.journal,
                output,
                window,
                key=keys_of(settings).signing,
                root=root,
                now=now,
                asides=not without_texts,
            )
        except OSError as error:
            raise host.HostError(f"`{output}` cannot be written: {error.strerror}") from error
        show_bundle(*verify_bundle(output, root), json_=json_)

    return log_bundle


def show_bundle(manifest: Manifest | None, report: VerifyReport, *, json_: bool) -> None:
    """Prints what a bundle is and whether it is whole; exits with 1 if not."""
    if json_:
        printing.as_json({**host.report_json(report), "window": _window(manifest)})
    else:
        for fault in report.faults:
            printing.say(str(fault), "red")
        for writer in report.writers:
            printing.say(f"{writer.writer}: records {writer.first}-{writer.last}")
        window = _window(manifest)
        if window is not None:
            printing.say(
                f"from {window['since'] or 'the begin'} to {window['until'] or 'the end'}, "
                f"made {window['made_at']}, signed with {window['key']}"
            )
        printing.say(
            f"whole: {report.records} records"
            if report
            else f"NOT whole: {len(report.faults)} fault(s)",
            "green" if report else "bold red",
        )
    if not report:
        sys.exit(1)


def _window(manifest: Manifest | None) -> dict[str, Any] | None:
    if manifest is None:
        return None
    return {
        "since": _iso(manifest.since),
        "until": _iso(manifest.until),
        "made_at": _iso(manifest.made_at),
        "texts": manifest.asides,
        "key": manifest.key,
    }


def _iso(micros: int | None) -> str | None:
    if micros is None:
        return None
    stamp = datetime.fromtimestamp(micros / 1_000_000, UTC)
    return stamp.isoformat(timespec="milliseconds").replace("+00:00", "Z")


# ------------------------------------------------------------------------------------------ the replay


def replay_command(
    settings_of: Callable[[Path | None], SettingsOf], model_text: Callable[[], str]
) -> click.Command:
    """`log replay`; the arguments read the settings and the policy model."""

    @click.command(name="replay")
    @_since
    @_until
    @click.option("--subject", help="Only this principal, as its id.")
    @click.option("--action", help="Only this one, as `model:use`.")
    @_config
    @as_json
    @reports
    def log_replay(
        since: datetime | None,
        until: datetime | None,
        subject: str | None,
        action: str | None,
        config: Path | None,
        json_: bool,
    ) -> None:
        """Ask the decisions of the log again at their epoch, and name those that policy never gave."""
        settings = settings_of(config)
        path = file_of(settings.store_url)
        if path is not None and not path.exists():
            raise host.HostError(f"there is no store `{path}`")
        window = Window(host.micros(since), host.micros(until))
        questions = (
            one
            for one in _recorded(host.Places(settings.data).journal, window)
            if subject in (None, one.question.principal) and action in (None, one.question.action)
        )
        found = asyncio.run(_replay(settings.store_url, model_text(), questions))
        _show_replay(found, json_=json_)
        sys.exit(1 if found.differences else 0)

    return log_replay


def _recorded(journal: Path, window: Window) -> Iterator[PastQuestion]:
    """The questions of the journal itself; a broken line is for `log verify` to name."""
    for place in writers(journal):
        for segment in segments(place):
            for _, raw in whole_lines(segment.path.read_bytes()):
                try:
                    line = read_line(raw)
                except BrokenLine:
                    continue
                if line.type == "decision" and window.begun(line.at) and not window.ended(line.at):
                    made = {"id": line.id, "at": line.at, "body": line.body, "aside": line.aside}
                    question = past_question(made)
                    if question is not None:
                        yield question


async def _replay(url: str, model_text: str, questions: Iterator[PastQuestion]) -> Replayed:
    store, _ = stores(url)
    await store.open()
    try:
        past = Past(store, model_text)
        asked = unanswerable = 0
        differences: list[Difference] = []
        batch: list[PastQuestion] = []
        for one in questions:
            batch.append(one)
            if len(batch) < MOST:
                continue
            part, batch = await replay_past(past, batch), []
            asked, unanswerable = asked + part.asked, unanswerable + part.unanswerable
            differences += part.differences
        part = await replay_past(past, batch)
        return Replayed(
            asked + part.asked,
            unanswerable + part.unanswerable,
            (*differences, *part.differences),
        )
    finally:
        await store.close()


def _show_replay(found: Replayed, *, json_: bool) -> None:
    lines = [_difference(one) for one in found.differences]
    if json_:
        printing.as_json(
            {"asked": found.asked, "unanswerable": found.unanswerable, "differences": lines}
        )
        return
    if lines:
        columns = ("what", "at", "subject", "action", "resource", "recorded", "effect", "id")
        printing.table(columns, ([line[name] for name in columns] for line in lines))
    if found.unanswerable:
        printing.say(f"{found.unanswerable} hang on what their record does not hold")
    printing.say(
        f"{found.asked} decisions asked again, {len(lines)} differ",
        "bold red" if lines else "green",
    )


def _difference(one: Difference) -> dict[str, Any]:
    asked = one.past.question
    return {
        "what": one.what,
        "id": asked.id,
        "at": asked.at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "epoch": one.past.epoch,
        "subject": asked.principal,
        "action": asked.action,
        "resource": asked.resource,
        "recorded": asked.effect,
        "recorded_reason": asked.reason,
        "recorded_rules": list(asked.rules),
        "effect": one.effect,
        "reason": one.reason,
        "rules": list(one.rules),
    }
