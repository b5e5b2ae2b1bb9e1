"""`gatewarden export --casbin -o DIR [-f PATH…]`: policy as files for a stock Casbin.

Without `-f` it is that of a running gateway, which answers in pages. With `-f` it works on files alone, as
`check` and `test` do: the shipped documents and those of the files are the estate. What the files say and
why: `policies.casbin_export`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from policies.casbin_export import casbin_files
from policies.documents import Document
from policies.estate import Estate
from policies.loader import load_paths, shipped
from policies.naming import Key
from policies.planning import offline
from proxy.exporting import ExportRefused

# The files, and the fields of an answer that hold them.
PARTS = {
    "README.md": "readme",
    "conditions.json": "conditions",
    "model.conf": "model",
    "policy.csv": "policy",
}


def estate_of(paths: Iterable[Path]) -> Estate:
    """The estate that files declare, the shipped documents beneath.

    Raises:
        InvalidDocuments: with every problem.
    """
    documents: dict[Key, Document] = {document.key: document for document in shipped()}
    documents.update((document.key, document) for document in load_paths(paths).plain())
    return offline(documents.values())


def export_casbin(
    paths: Sequence[Path], folder: Path, model: str, *, replace: bool = False
) -> list[Path]:
    """Write what Casbin reads into a folder of its own; people stand by their e-mail, as in the files.

    Raises:
        InvalidDocuments: with every problem. ExportRefused: the folder holds something. OSError.
    """
    estate = estate_of(paths)
    people = {user_id: person.email for user_id, person in estate.people.items()}
    made = casbin_files(estate.rows(), model, people=people)
    _claim(folder, replace=replace)
    for name, text in made.items():
        (folder / name).write_text(text, "utf-8", newline="\n")
    return [folder / name for name in sorted(made)]


def write_pages(pages: Iterable[Mapping[str, Any]], folder: Path, *, replace: bool = False) -> int:
    """Write what a gateway answers, page after page; the epoch that it is of.

    The files get their names once all is there, so that half a policy is never taken for a whole one.

    Raises:
        ExportRefused. OSError. What reading a page raises; the folder is as it was then.
    """
    _claim(folder, replace=replace)
    aside = {name: folder / f".{name}.part" for name in PARTS}
    epoch = 0
    try:
        with contextlib.ExitStack() as stack:
            files = {
                PARTS[name]: stack.enter_context(path.open("w", encoding="utf-8", newline="\n"))
                for name, path in aside.items()
            }
            for page in pages:
                epoch = int(page["epoch"])
                for part, file in files.items():
                    file.write(str(page[part]))
        for name, path in aside.items():
            path.replace(folder / name)
    finally:
        for path in aside.values():
            path.unlink(missing_ok=True)
    return epoch


def _claim(folder: Path, *, replace: bool) -> None:
    """Makes the folder. Raises: ExportRefused, it holds something. OSError."""
    there = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    others = sorted(set(there) - set(PARTS))
    if others:
        # `policy.csv` beside documents would be read as one of them.
        raise ExportRefused(
            f"`{folder / others[0]}` is not from an export for Casbin",
            hint="export into a folder of its own",
        )
    if there and not replace:
        raise ExportRefused(f"`{folder}` holds an export already", hint="--replace writes it anew")
    folder.mkdir(parents=True, exist_ok=True)
