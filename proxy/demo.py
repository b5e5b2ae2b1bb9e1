"""The demo estate: `make run` applies it once and writes the demo's tokens to `<data>/demo.env`.

The estate is applied at the first run only, so that what somebody changes afterwards stays changed.
Tokens that no longer work are made anew; each is a recorded change of source `host`.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path

from identity.directory import Directory
from identity.errors import Unauthenticated
from identity.first_admin import mint_on_host
from policies.change import Change, Source
from policies.documents import Document, User, VirtualAccount
from policies.errors import InvalidDocuments
from policies.loader import load_paths
from proxy.host import Places
from store.changes import ChangeLog

OPERATOR = "virtualaccount:operator"


async def apply(
    changes: ChangeLog,
    directory: Directory,
    *,
    examples: Path,
    places: Places,
    url: str,
    now: datetime,
) -> list[str]:
    """Apply the demo estate if this is its first run, see to its tokens; lines for a terminal.

    Raises:
        InvalidDocuments: the examples are wrong (a test keeps them right).
    """
    loaded = load_paths([examples])
    errors = tuple(p for p in loaded.problems if p.severity == "error")
    if errors:
        raise InvalidDocuments(errors)
    documents = [located.document for located in loaded.documents]
    if not places.demo.exists():
        change = Change(
            actor="host",
            source=Source.HOST,
            request_id="demo",
            puts=tuple(documents),
            comment="the demo estate",
        )
        await changes.commit(change, None, now)
    tokens = await _tokens(changes, directory, documents, read(places.demo), now)
    lines = {"GATEWARDEN_URL": url, "OPENAI_BASE_URL": f"{url}/v1", **tokens}
    write(places.demo, lines)
    return _greeting(places.demo)


async def _tokens(
    changes: ChangeLog,
    directory: Directory,
    documents: Iterable[Document],
    known: Mapping[str, str],
    now: datetime,
) -> dict[str, str]:
    """A working token for each demo person and account, by the name of its variable."""
    tokens: dict[str, str] = {}
    for document in documents:
        if not isinstance(document, User | VirtualAccount):
            continue
        subject = f"{'user' if isinstance(document, User) else 'virtualaccount'}:{document.name}"
        name = "GATEWARDEN_TOKEN" if subject == OPERATOR else _variable(document.name)
        secret = known.get(name, "")
        if not _works(directory, secret, now):
            try:
                secret = (
                    await mint_on_host(
                        changes,
                        subject,
                        now=now,
                        request_id=f"demo-{secrets.token_hex(4)}",
                        label="demo",
                    )
                ).secret
            except InvalidDocuments:
                continue  # somebody deleted it from the estate: then it has no token
        tokens[name] = secret
    return tokens


def _works(directory: Directory, secret: str, now: datetime) -> bool:
    try:
        directory.authenticate(secret, now)
    except Unauthenticated:
        return False
    return True


def _variable(name: str) -> str:
    return "DEMO_TOKEN_" + re.sub(r"[^A-Z0-9]", "_", name.partition("@")[0].upper())


def read(path: Path) -> dict[str, str]:
    """The variables of a `demo.env`; empty if there is none."""
    if not path.exists():
        return {}
    pairs = (line.partition("=") for line in path.read_text("utf-8").splitlines())
    return {name.removeprefix("export "): value for name, _, value in pairs if value}


def write(path: Path, values: Mapping[str, str]) -> None:
    """Write the variables, readable by the owner only, in one step."""
    text = "".join(f"export {name}={value}\n" for name, value in values.items())
    aside = path.with_suffix(".new")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    aside.replace(path)


def _greeting(path: Path) -> list[str]:
    here = Path.cwd()
    shown = path.resolve().relative_to(here) if path.resolve().is_relative_to(here) else path
    return [
        "",
        "Paste this into a second terminal:",
        "",
        f"  . {shown}",
        '  curl -s $OPENAI_BASE_URL/models -H "Authorization: Bearer $DEMO_TOKEN_ALICE"',
        '  curl -s $OPENAI_BASE_URL/chat/completions -H "Authorization: Bearer $DEMO_TOKEN_ALICE" '
        "-H 'content-type: application/json' "
        '-d \'{"model":"echo/small","messages":[{"role":"user","content":"hello"}]}\'',
        "",
    ]
