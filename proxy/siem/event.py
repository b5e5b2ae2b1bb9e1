"""One event as it leaves: a line of the decision log, or an entry of the change log in the same shape.

A line of the decision log leaves as it stands in the chain, so that whoever keeps it can check its hash later.
INVARIANT: an event is one line of printable ASCII; whatever a caller typed is escaped as JSON, so that no line
break and no escape code of it reaches a terminal or a parser.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from authz.chain import Line
from authz.records import canonical
from policies.change import Entry
from policies.naming import plain_key

CHANGE: Final = "change"
CHANGES: Final = "change-log"  # stands where a line of the journal has its writer
_MOST_DOCUMENTS: Final = 200  # named in one event; `documents_total` says how many there are


@dataclass(frozen=True, slots=True)
class Event:
    """What a sink gets. `at` is UTC microseconds, `line` the JSON without a line break."""

    id: str
    at: int
    type: str
    effect: str
    trace: str
    line: bytes

    @property
    def severe(self) -> bool:
        """Whether it is worth a warning: a refusal, or a log that is not as it should be."""
        return self.effect == "deny" or self.type in ("gap", "recovered", "clock-step", "refusals")


def of_line(line: Line, *, texts: bool) -> Event:
    """The event of a line of the decision log; with `texts` it has what callers typed or claimed."""
    if line.aside is not None and not texts:
        line = msgspec.structs.replace(line, aside=None)
    return Event(
        id=line.id,
        at=line.at,
        type=line.type,
        effect=str(line.body.get("effect", "")),
        trace=str(line.body.get("trace", "")),
        line=plain(canonical(line)),
    )


def of_entry(entry: Entry) -> Event:
    """The event of an entry of the change log: who changed what, and from where; no document's text."""
    documents: list[dict[str, Any]] = []
    for change in entry.documents[:_MOST_DOCUMENTS]:
        family, name = plain_key(change.key)
        verb = "created" if change.before is None else "updated"
        verb = verb if change.after is not None else "deleted"
        documents.append({"type": family, "name": name, "change": verb, "version": change.version})
    at = round(entry.at.timestamp() * 1_000_000)
    body = {
        "type": CHANGE,
        "epoch": entry.epoch,
        "actor": entry.actor,
        "source": entry.source.value,
        "request": entry.request_id,
        "comment": entry.comment,
        "revision": entry.revision,
        "documents": documents,
        "documents_total": len(entry.documents),
        "rows_added": len(entry.added),
        "rows_removed": len(entry.removed),
        "digest": entry.digest,
    }
    told = {
        "at": at,
        "body": body,
        "hash": entry.hash,
        "id": f"{CHANGE}-{entry.epoch}",
        "prev": entry.previous,
        "seq": entry.epoch,
        "writer": CHANGES,
    }
    return Event(f"{CHANGE}-{entry.epoch}", at, CHANGE, "", "", plain(canonical(told)))


def plain(raw: bytes) -> bytes:
    """JSON with every character that is not printable ASCII escaped; its value is the same."""
    if raw.isascii() and b"\x7f" not in raw:
        return raw  # canonical JSON escapes the other control characters by itself
    text = json.dumps(json.loads(raw), ensure_ascii=True, separators=(",", ":"))
    return text.replace("\x7f", "\\u007f").encode("ascii")
