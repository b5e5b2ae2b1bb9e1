"""`gatewarden export --casbin -f PATH… -o DIR`: policy files as files for a stock Casbin.

Works on files alone, as `check` and `test` do: the shipped documents and those of the files are the estate.
What the files say and why: `policies.casbin_export`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from policies.casbin_export import casbin_files
from policies.documents import Document
from policies.estate import Estate
from policies.loader import load_paths, shipped
from policies.naming import Key
from policies.planning import offline
from proxy.exporting import ExportRefused

NAMES = ("README.md", "conditions.json", "model.conf", "policy.csv")


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
    there = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    others = sorted(set(there) - set(NAMES))
    if others:
        # `policy.csv` beside documents would be read as one of them.
        raise ExportRefused(
            f"`{folder / others[0]}` is not from an export for Casbin",
            hint="export into a folder of its own",
        )
    if there and not replace:
        raise ExportRefused(f"`{folder}` holds an export already", hint="--replace writes it anew")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in made.items():
        (folder / name).write_text(text, "utf-8", newline="\n")
    return [folder / name for name in sorted(made)]
