"""An estate as files: which document stands in which file, and what the file says.

One file for each kind, or one for each document. The same estate gives the same files, byte for byte, so
that a change of it is a readable difference in git.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from authz.errors import GatewardenError
from policies.documents import INTERNAL_TYPES
from policies.loader import SUFFIXES
from proxy import yaml_text
from proxy.api.collections import COLLECTIONS

MARK = "# Written by `gatewarden export`."
FILE_BYTES = 8 * 1024 * 1024  # half of what a file may have
_SHIPPED = "shipped"


class ExportRefused(GatewardenError):
    """The folder holds something that an export would mix with."""

    code = "folder_not_empty"


def wanted(items: Iterable[Mapping[str, Any]], *, shipped: bool) -> Iterator[Mapping[str, Any]]:
    """The documents that are exported, of `{document, source, …}`.

    Left out are documents as this version ships them, unless `shipped`, and people who were only invited
    by being mentioned: whoever mentions them invites them again.
    """
    for item in items:
        document: Mapping[str, Any] = item["document"]
        if document["type"] in INTERNAL_TYPES or (item["source"] == _SHIPPED and not shipped):
            continue
        if document["type"] == "user" and document.get("state") == "invited":
            continue
        yield document


def files(
    documents: Iterable[Mapping[str, Any]], *, each: bool = False
) -> Iterator[tuple[str, str]]:
    """(path below the folder, text) of each file; `each` document in one of its own."""
    by_family: dict[str, list[Mapping[str, Any]]] = {}
    for document in documents:
        by_family.setdefault(_family(document), []).append(document)
    paths = {item.family: item.path.rpartition("/")[2] for item in COLLECTIONS}
    for family in (item.family for item in COLLECTIONS):
        found = sorted(by_family.get(family, ()), key=lambda item: str(item["name"]))
        if each:
            for document in found:
                name = quote(str(document["name"]), safe="@+")
                yield f"{paths[family]}/{name}.yaml", f"{MARK}\n{yaml_text.document(document)}"
        else:
            for number, text in enumerate(_parts(found), 1):
                yield f"{paths[family]}{'' if number == 1 else f'-{number}'}.yaml", text


def _family(document: Mapping[str, Any]) -> str:
    return str(document["type"]).partition("/")[0]


def _parts(documents: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """The texts of one kind: one, or several when it would be too long for a file."""
    texts: list[str] = []
    size = 0
    for document in documents:
        text = yaml_text.document(document)
        if texts and size + len(text.encode()) > FILE_BYTES:
            yield f"{MARK}\n" + "---\n".join(texts)
            texts, size = [], 0
        texts.append(text)
        size += len(text.encode())
    if texts:
        yield f"{MARK}\n" + "---\n".join(texts)


def write(folder: Path, made: Iterable[tuple[str, str]], *, replace: bool) -> list[Path]:
    """Write the files; with `replace` those of an earlier export go first.

    Raises:
        ExportRefused: the folder holds documents already, which would stay beside the new ones. OSError.
    """
    there = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    ours = [path for path in there if _is_ours(path)]
    others = [path for path in there if path not in set(ours)]
    if others:
        raise ExportRefused(
            f"`{others[0]}` is not from an export",
            hint="export into a folder of its own",
        )
    if ours and not replace:
        raise ExportRefused(
            f"`{folder}` holds an export already",
            hint="--replace writes it anew; files of things that are gone are removed",
        )
    texts = {folder / name: text for name, text in made}
    for path in ours:
        if path not in texts:
            path.unlink()
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8", newline="\n")
    return list(texts)


def _is_ours(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(MARK)) == MARK.encode()
