"""What an MCP server offers, as it was found by asking it: the catalogue document and how it follows.

An entry is known by its kind and name, and by the digest of its definition. One whose definition changed is
held until somebody approves it, so that what was looked at is what is offered; one that went away is
remembered, so that going away and coming back changed is a change like any other. Pure; the gateway asks
the servers (`proxy/mcp`), and commits what is answered here.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import Field, StringConstraints

from authz.errors import InvalidId
from authz.vocabulary import Kind, mcp_id
from policies.mcp_servers import SEPARATOR, ToolPolicy
from policies.parts import Document, Name, Part

FAMILY: Final = "mcp-catalogue"
EntryKind = Literal["tool", "prompt", "resource", "template"]
ENTRY_KINDS: Final[tuple[EntryKind, ...]] = ("tool", "prompt", "resource", "template")
KIND_OF_ENTRY: Final[Mapping[str, Kind]] = {
    "tool": Kind.MCP_TOOL,
    "prompt": Kind.MCP_PROMPT,
    "resource": Kind.MCP_RESOURCE,
    "template": Kind.MCP_RESOURCE,
}
MAX_ENTRIES: Final = 10_000
MAX_NAME: Final = 128  # of a tool or prompt
MAX_URI: Final = 1024
MAX_DESCRIPTION: Final = 4096  # longer ones are flagged
HIDDEN: Final = "hidden_characters"
LONG: Final = "long_description"

_MEMBER: Final[Mapping[str, str]] = {
    "tool": "name",
    "prompt": "name",
    "resource": "uri",
    "template": "uriTemplate",
}
_DEFINING: Final = (
    *("name", "uri", "uriTemplate", "title", "description", "inputSchema", "outputSchema"),
    *("annotations", "mimeType", "arguments"),
)
# Controls but for tab and line ends; zero-width and bidirectional marks, invisible operators and fillers,
# selectors of glyphs (not the two that choose text or emoji), the byte order mark, and tag characters.
_HIDDEN_CHARACTERS = re.compile(
    "[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5"
    "\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ud800-\udfff\ufe00-\ufe0d\ufeff\uffa0"
    "\ufff0-\ufffb\U000e0000-\U000e0fff]|[\ufe0e\ufe0f]{2}"
)


class EntryState(StrEnum):
    """Whether an entry is offered, and why not."""

    ENABLED = "enabled"
    DISABLED = "disabled"  # the server's document says so
    HELD = "held"  # its definition changed and nobody approved it yet
    NEW = "new"  # new ones are not offered by themselves here, and nobody approved it yet
    GONE = "gone"  # the server no longer has it


Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
EntryName = Annotated[str, StringConstraints(min_length=1, max_length=MAX_URI)]


class CatalogueEntry(Part):
    """A thing that the server offers. `seen` is its definition of now where that is not the accepted one."""

    kind: EntryKind
    name: EntryName
    accepted: Digest
    seen: Digest | None = None
    approved: bool = False
    gone: bool = False
    flags: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        return (self.kind, self.name)


class McpCatalogue(Document):
    """Everything that one server offers. Never in a file: the gateway writes down what it finds.

    `name` is the server's stored name, with its generation.
    """

    type: Literal["mcp-catalogue"] = "mcp-catalogue"
    name: Name
    entries: tuple[CatalogueEntry, ...] = Field(default=(), max_length=MAX_ENTRIES)


@dataclass(frozen=True, slots=True)
class Found:
    """A catalogue that follows what was found, and what could not be taken into it, each with the reason."""

    catalogue: McpCatalogue
    left_out: tuple[str, ...] = ()


def state_of(entry: CatalogueEntry, policy: ToolPolicy) -> EntryState:
    """Whether an entry is offered under the server's tool policy."""
    is_tool = entry.kind == "tool"
    if entry.gone:
        return EntryState.GONE
    if is_tool and entry.name in policy.disabled_tools:
        return EntryState.DISABLED
    if entry.seen is not None and entry.seen != entry.accepted:
        return EntryState.HELD
    named = is_tool and entry.name in policy.enabled_tools
    if entry.approved or policy.enable_tools_by_default or named:
        return EntryState.ENABLED
    return EntryState.NEW


def digest_of(definition: Mapping[str, Any]) -> str:
    """What a definition comes to: SHA-256 of the canonical JSON of what a model or a caller goes by."""
    said = {name: definition[name] for name in _DEFINING if name in definition}
    text = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def flags_of(definition: Mapping[str, Any]) -> tuple[str, ...]:
    """What a person should know before approving a definition."""
    said = {name: definition[name] for name in _DEFINING if name in definition}
    found = []
    if any(_HIDDEN_CHARACTERS.search(text) for text in _texts(said)):
        found.append(HIDDEN)
    if any(len(text) > MAX_DESCRIPTION for text in _descriptions(said)):
        found.append(LONG)
    return tuple(found)


def merged(
    name: str,
    catalogue: McpCatalogue | None,
    found: Mapping[str, Iterable[Mapping[str, Any]]],
    partial: bool = False,
) -> Found:
    """The catalogue of the server stored as `name`, after `found` (definitions by kind) was found there.

    `partial`: it was not asked for everything, so what was not found is not gone. A kind that is missing
    in `found` was not asked for either.
    """
    held = {entry.key: entry for entry in catalogue.entries} if catalogue is not None else {}
    left_out: list[str] = []
    seen: dict[tuple[str, str], CatalogueEntry] = {}
    for kind in ENTRY_KINDS:
        for definition in found.get(kind, ()):
            called = definition.get(_MEMBER[kind])
            why = _why_not(kind, name, called)
            if not why and (kind, str(called)) in seen:
                why = "it stands twice"
            if not why and len(seen) >= MAX_ENTRIES:
                why = f"there are more than {MAX_ENTRIES}"
            if why:
                left_out.append(f"{kind} `{str(called)[:80]}`: {why}")
                continue
            place = (kind, str(called))
            seen[place] = _followed(held.get(place), kind, str(called), definition)
    for entry in held.values():
        if entry.key in seen:
            continue
        missed = partial or entry.kind not in found
        seen[entry.key] = entry if missed or entry.gone else entry.model_copy(update={"gone": True})
    entries = sorted(seen.values(), key=lambda one: one.key)
    if len(entries) > MAX_ENTRIES:  # what is gone makes room for what is there
        entries = sorted(
            sorted(entries, key=lambda one: one.gone)[:MAX_ENTRIES], key=lambda one: one.key
        )
    return Found(McpCatalogue(name=name, entries=tuple(map(_fresh, entries))), tuple(left_out))


def approved(catalogue: McpCatalogue, keys: Collection[tuple[str, str]]) -> McpCatalogue:
    """The catalogue once the entries (kind, name) are approved as they are now.

    Raises:
        KeyError: one is not there, or gone.
    """
    there = {entry.key for entry in catalogue.entries if not entry.gone}
    for key in keys:
        if key not in there:
            raise KeyError(key)
    wanted = frozenset(keys)
    entries = (
        CatalogueEntry(
            **{**_said(entry), "accepted": entry.seen or entry.accepted, "seen": None},
            approved=True,
        )
        if entry.key in wanted
        else entry
        for entry in catalogue.entries
    )
    return McpCatalogue(name=catalogue.name, entries=tuple(map(_fresh, entries)))


def entry_id(kind: str, server: str, name: str) -> str:
    """The id of an entry of the server stored as `server`. Raises: InvalidId."""
    return mcp_id(KIND_OF_ENTRY[kind], server, name)


def _followed(
    before: CatalogueEntry | None, kind: EntryKind, name: str, definition: Mapping[str, Any]
) -> CatalogueEntry:
    digest, flags = digest_of(definition), flags_of(definition)
    if before is None:
        return CatalogueEntry(kind=kind, name=name, accepted=digest, flags=flags)
    changed = digest if digest != before.accepted else None
    return before.model_copy(update={"seen": changed, "gone": False, "flags": flags})


def _why_not(kind: str, server: str, name: object) -> str:
    """Why an entry of this name cannot be offered; "" when it can."""
    if not isinstance(name, str) or not name:
        return "it has no name"
    if SEPARATOR in name and kind in ("tool", "prompt"):
        return f"its name holds `{SEPARATOR}`, which parts server and tool"
    limit = MAX_NAME if kind in ("tool", "prompt") else MAX_URI
    if len(name) > limit:
        return f"its name is longer than {limit} characters"
    if _HIDDEN_CHARACTERS.search(name):
        return "its name holds characters that do not show"
    try:
        entry_id(kind, server, name)
    except (InvalidId, UnicodeError):
        return "its name is too long once it is written as an id"
    return ""


def _said(entry: CatalogueEntry) -> dict[str, Any]:
    return {
        name: getattr(entry, name)
        for name in CatalogueEntry.model_fields
        if name not in ("approved", "seen", "accepted")
    }


def _fresh(entry: CatalogueEntry) -> CatalogueEntry:
    """The entry with nothing said that goes without saying, so that equal entries are stored alike."""
    plain = {"kind": entry.kind, "name": entry.name, "accepted": entry.accepted}
    said = {
        name: value
        for name in ("seen", "approved", "gone", "flags")
        if (value := getattr(entry, name))
    }
    return CatalogueEntry(**plain, **said)


def _texts(value: object) -> Iterable[str]:
    """Every text inside a JSON value, names of members included."""
    left: list[object] = [value]
    while left:
        one = left.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, Mapping):
            left += one.keys()
            left += one.values()
        elif isinstance(one, Sequence):
            left += one


def _descriptions(value: object) -> Iterable[str]:
    """The text of every member called `description`."""
    left: list[object] = [value]
    while left:
        one = left.pop()
        if isinstance(one, Mapping):
            if isinstance(told := one.get("description"), str):
                yield told
            left += one.values()
        elif isinstance(one, Sequence) and not isinstance(one, str):
            left += one
