"""Commands on the host for bad days: backup, restore, confirming a restored store, and recovery.

They work on the data folder that the settings name. What they change is recorded with source `recovery`.
`commands` makes them; `cli.py` hands in how settings are read and how the change log is opened.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import click

from authz.conditions import Context
from authz.vocabulary import Kind, make_id
from policies.change import Change, Entry, Source
from policies.guards import administers
from proxy import host, printing
from proxy.commands import Commands, as_json, reports
from proxy.host import HostError, Places
from proxy.runtime import Clock
from store import backup as backups
from store.changes import ChangeLog
from store.memory import Revocation

_config = click.option("--config", type=click.Path(exists=True, dir_okay=False, path_type=Path))
_SHOWN = 20  # rows of one revocation that are printed

Settings = Callable[[Path | None], Any]
OnHost = Callable[[Any], AbstractAsyncContextManager[ChangeLog]]
FileOf = Callable[[Any], Path | None]


class _Restore(Commands):
    """`restore FILE` and `restore confirm`; a file of that name is written as `./confirm`."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = ["file", *args]
        return super().resolve_command(ctx, args)


def commands(settings_of: Settings, on_host: OnHost, file_of: FileOf) -> list[click.Command]:
    """The commands, for `main.add_command`."""

    def database(settings: Any) -> Path:
        found = file_of(settings)
        if found is None:
            raise HostError(
                "the store is a server, which has its own tools",
                hint="mongodump --oplog and mongorestore; then gatewarden restore confirm",
            )
        return found

    @click.command()
    @click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
    @_config
    @as_json
    @reports
    def backup(file: Path, config: Path | None, json_: bool) -> None:
        """Copy the embedded store to a new file; gateways may run meanwhile."""
        head = backups.backup(database(settings_of(config)), file)
        if json_:
            printing.as_json({"file": str(file), "epoch": head.epoch, "hash": head.hash})
        else:
            printing.say(f"wrote {file}: epoch {head.epoch}, {head.hash[:16]}")
            printing.say("it does not hold the keys: keep a copy of the folder keys/ elsewhere")

    @click.group(cls=_Restore, subcommand_metavar="FILE | confirm")
    def restore() -> None:
        """Put a backup in the store's place, or confirm a store that was restored."""

    @restore.command(name="file", hidden=True)
    @click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
    @_config
    @as_json
    @reports
    def restore_file(file: Path, config: Path | None, json_: bool) -> None:
        """Put a backup in the store's place; no gateway may run on it."""
        settings = settings_of(config)
        journal = Places(settings.data).journal
        head, kept = backups.restore(file, database(settings), journal, Clock().now())
        if json_:
            found = {"epoch": head.epoch, "hash": head.hash, "kept": str(kept) if kept else None}
            printing.as_json(found)
            return
        printing.say(f"the store is at epoch {head.epoch} again")
        if kept is not None:
            printing.say(f"what was there is in {kept}")
        printing.say("before you start the gateway: gatewarden restore confirm")

    @restore.command(name="confirm")
    @click.option("--yes", is_flag=True, help="Go on with the restored store.")
    @click.option("--revoke-again", is_flag=True, help="End the listed credentials again.")
    @_config
    @as_json
    @reports
    def restore_confirm(yes: bool, revoke_again: bool, config: Path | None, json_: bool) -> None:
        """Show what was revoked since the restored state; with --yes, go on with it."""
        done = asyncio.run(_confirm(on_host(settings_of(config)), yes=yes, again=revoke_again))
        if json_:
            printing.as_json(done)
        else:
            _show(done)
        sys.exit(1 if done["needed"] and not done["confirmed"] else 0)

    @click.command()
    @click.option("--email", required=True, help="Who becomes a tenant admin.")
    @_config
    @as_json
    @reports
    def recover(email: str, config: Path | None, json_: bool) -> None:
        """Make a person a tenant admin, active and not suspended, also when no admin is left."""
        done = asyncio.run(_recover(on_host(settings_of(config)), email))
        if json_:
            printing.as_json(done)
            return
        printing.say(f"{email} is a tenant admin (epoch {done['epoch']})")
        printing.say(f"for a token: gatewarden token create --for user:{email}")
        if not done["administers"]:
            printing.warn(
                "but a deny rule still keeps them from administering: see"
                f" gatewarden explain --as user:{email} --action policy:write --resource any:policy"
            )

    return [backup, restore, recover]


# --- restore confirm ---------------------------------------------------------------------------------


async def _confirm(
    opening: AbstractAsyncContextManager[ChangeLog], *, yes: bool, again: bool
) -> dict[str, Any]:
    async with opening as changes:
        if changes.doubt is None:
            return {"needed": False, "confirmed": False, "epoch": changes.head, "revocations": []}
        doubt, restored = changes.doubt, changes.head
        lost = await changes.lost()
        found: dict[str, Any] = {
            "needed": True,
            "confirmed": yes,
            "doubt": doubt,
            "restored_epoch": restored,
            "revocations": [_as_json(one) for one in lost],
            "revoked_again": [],
        }
        if yes:
            now = Clock().now()
            request_id = f"host-{secrets.token_hex(6)}"
            entry = await changes.confirm_restored(request_id, now)
            if again:
                entry = await _revoke(changes, lost, request_id, found) or entry
            found["epoch"] = entry.epoch
            await changes.remember()
        return found


async def _revoke(
    changes: ChangeLog, lost: list[Revocation], request_id: str, found: dict[str, Any]
) -> Entry | None:
    """Ends the credentials that had been ended, as far as the restored store has them."""
    names = dict.fromkeys(name for one in lost for name in one.credentials)
    there = [name for name in names if await changes.document(("credential", name)) is not None]
    found["revoked_again"] = there
    if not there:
        return None
    change = Change(
        "host",
        Source.RECOVERY,
        request_id,
        deletes=tuple(("credential", name) for name in there),
        comment="revoked again after the store was restored",
    )
    return await changes.commit(change, None, Clock().now())


def _as_json(one: Revocation) -> dict[str, Any]:
    return {name: getattr(one, name) for name in Revocation.__dataclass_fields__}


def _show(done: dict[str, Any]) -> None:
    if not done["needed"]:
        printing.say("the store is the one that was applied here: there is nothing to confirm")
        return
    printing.say(f"the restored store is at epoch {done['restored_epoch']}")
    listed = done["revocations"]
    printing.say(
        f"{len(listed)} change(s) that took something away are not in it:"
        if listed
        else "nothing that was taken away since is known here"
    )
    for one in listed:
        printing.say(f"  epoch {one['epoch']}, {one['at']}, {one['actor']} {one['comment']}")
        for name in one["credentials"]:
            printing.say(f"    ended   credential {name}")
        rows = [("removed", row) for row in one["removed"]] + [("denied", r) for r in one["denies"]]
        for what, row in rows[:_SHOWN]:
            printing.say(f"    {what:7} {', '.join(row)}")
        if one["rows"] > _SHOWN:
            printing.say(f"    and {one['rows'] - _SHOWN} more")
    for name in done["revoked_again"]:
        printing.say(f"revoked again: {name}")
    if done["confirmed"]:
        printing.say(f"confirmed at epoch {done['epoch']}: gateways of this data folder go on")
    else:
        printing.say("nothing was changed; to go on with it: gatewarden restore confirm --yes")
        printing.say("to end the listed credentials as well: --yes --revoke-again")


# --- recover -----------------------------------------------------------------------------------------


async def _recover(opening: AbstractAsyncContextManager[ChangeLog], email: str) -> dict[str, Any]:
    if "@" not in email:
        raise HostError(f"`{email}` is not an e-mail address")
    async with opening as changes:
        now = Clock().now()
        await host.make_admin(
            changes,
            f"{Kind.USER.value}:{email}",
            now,
            source=Source.RECOVERY,
            comment="made a tenant admin by gatewarden recover",
        )
        person = await changes.person_by_email(email)
        assert person is not None
        user = make_id(Kind.USER, person.id)
        works = administers(changes.engine, user, Context({"time.now": now}))
        return {"user": user, "epoch": changes.head, "administers": works}
