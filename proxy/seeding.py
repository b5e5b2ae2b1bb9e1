"""What is done once, before anybody is served: the demo estate, and the offer to the first administrator.

A process that serves alone does it itself, with the policy that it has loaded (`furnish`). Before several
workers the supervisor does it, and loads the policy only where something is to be written (`bare`): who
administers is found without it.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from identity.directory import Directory
from identity.first_admin import ADMIN, FirstAdmin, administers
from policies.documents import parse_json
from proxy import demo
from proxy.host import Places
from store.changes import ChangeLog
from store.entries import decode
from store.port import Store

_PAGE = 500
# Those of which an installation has few come first.
_FAMILIES = ("role-binding", "team", "virtual-account", "user")


async def furnish(
    changes: ChangeLog,
    directory: Directory,
    first: FirstAdmin,
    now: datetime,
    *,
    places: Places,
    examples: Path | None,
    url: str,
) -> list[str]:
    """Applies the demo, if there are `examples`, and makes the offer; lines to show.

    `directory` and `first` follow `changes`, which is started.

    Raises:
        GatewardenError: something could not be written.
    """
    lines: list[str] = []
    if examples is not None:
        lines += await demo.apply(
            changes, directory, examples=examples, places=places, url=url, now=now
        )
    return lines + await offer(first, now)


async def offer(first: FirstAdmin, now: datetime) -> list[str]:
    """Offers the first administrator a token, if nobody administers; lines to show."""
    made = await first.offer(now)
    if made is None:
        return []
    until = f"{made.expires_at:%Y-%m-%d %H:%M} UTC"
    return [
        f"nobody administers yet: a one-time token is in {made.path} (until {until});"
        f" use it with: gatewarden first-admin you@example.com"
    ]


async def bare(store: Store) -> bool:
    """Whether nothing was ever committed. Raises: StoreError, a newer version wrote the last entry."""
    head = await store.head()
    for newest in await store.entries(head.epoch - 1, 1) if head.epoch else ():
        decode(newest.epoch, newest.hash, newest.body)
    return not head.epoch


async def administered(store: Store) -> bool:
    """Whether a document makes somebody an administrator, as `FirstAdmin` finds it. Raises: StoreError."""
    name = ADMIN.encode()
    for family in _FAMILIES:
        after = ""
        while page := await store.page(family, after, _PAGE):
            # Most documents do not even hold the word, and parsing is what takes long.
            named = (raw for raw in page if name in raw.body)
            if any(administers(parse_json(raw.family, raw.body)) for raw in named):
                return True
            after = page[-1].name
    return False
