"""Files and request bodies to documents, each with its place, and every problem at once.

Reads folders (sorted), `.yaml`, `.yml`, `.json` and Casbin's `.csv`; a file may hold several documents.
Files that end in `.cases.yaml` hold decision cases and are left to `cases`. One document is checked by itself here (`shape`);
what needs other documents is `validate`. Blocking: files are read, so keep it off the event loop.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Generic, TypeVar

from policies import casbin_csv, json_nodes, yaml_nodes
from policies.documents import INTERNAL_TYPES, Document, dump
from policies.errors import InvalidDocuments, PolicyError, Problem
from policies.positions import MAX_FILE_BYTES, START, Kind, Node, Place, node_of
from policies.shape import Skipped, shape
from policies.spots import spot_of

REQUEST = "request"  # the file name of documents that came in a request body
SUFFIXES = (".yaml", ".yml", ".json", ".csv")
CASE_SUFFIXES = (".cases.yaml", ".cases.yml")

D = TypeVar("D", bound=Document, covariant=True)


@dataclass(frozen=True, slots=True)
class Located(Generic[D]):
    """A document and where it stands."""

    document: D
    file: str
    node: Node = field(repr=False)

    @property
    def place(self) -> Place:
        return self.node.place

    def at(self, *path: str | int) -> Place:
        """The place of the value at `path` (names of the class or of the file), or of what holds it."""
        return spot_of(self.node, type(self.document), path).place

    def key_at(self, *path: str | int) -> Place:
        """The place of the key at `path`."""
        return spot_of(self.node, type(self.document), path).key


@dataclass(slots=True)
class Loaded:
    """What was read. `broken` are the identities of documents that have problems of their own."""

    documents: list[Located[Document]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    broken: set[tuple[str, str]] = field(default_factory=set)
    files: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not any(problem.severity == "error" for problem in self.problems)

    def plain(self) -> tuple[Document, ...]:
        """The documents alone.

        Raises:
            InvalidDocuments: there are errors.
        """
        if not self.ok:
            raise InvalidDocuments(tuple(sorted(self.problems)))
        return tuple(located.document for located in self.documents)

    def add(self, node: Node, file: str, *, skip_unsupported: bool) -> None:
        """Check one node by itself and keep what became of it."""
        shaped = shape(node, file, skip_unsupported=skip_unsupported)
        self.problems += shaped.problems
        self.skipped += shaped.skipped
        if shaped.document is not None:
            self.documents.append(Located(shaped.document, file, node))
        elif shaped.key is not None:
            self.broken.add(shaped.key)


def load_paths(paths: Iterable[str | Path], *, skip_unsupported: bool = False) -> Loaded:
    """Every document of the files and folders named; problems are sorted by file, line and column."""
    loaded = Loaded()
    seen: set[Path] = set()
    for path in paths:
        for file in files_of(Path(path), loaded.problems):
            resolved = file.resolve()
            if resolved not in seen:
                seen.add(resolved)
                _load_file(file, loaded, skip_unsupported)
    loaded.problems.sort()
    return loaded


def load_text(
    text: str, file: str = "<text>", *, json: bool = False, skip_unsupported: bool = False
) -> Loaded:
    """Every document of one text; one whose file is called `.csv` is read as Casbin's."""
    loaded = Loaded(files=[file])
    suffix = ".csv" if file.lower().endswith(".csv") else ".json" if json else ".yaml"
    _load_text(text, file, suffix, loaded, skip_unsupported)
    loaded.problems.sort()
    return loaded


def load_mapping(data: object, file: str = REQUEST, *, skip_unsupported: bool = False) -> Loaded:
    """The document, or the list of documents, of a decoded JSON body: the checks of a file, at line 1."""
    loaded = Loaded(files=[file])
    try:
        root = node_of(data)
    except PolicyError as error:
        loaded.problems.append(Problem(file, *START, error.code, error.message, error.hint))
        return loaded
    for node in root.items if root.kind is Kind.LIST else (root,):
        loaded.add(node, file, skip_unsupported=skip_unsupported)
    loaded.problems.sort()
    return loaded


def as_loaded(documents: Iterable[Document], file: str = REQUEST) -> Loaded:
    """Documents that were made in code, so that `validate` can check them like those of a file."""
    made = []
    for document in documents:
        # Nobody wrote what only the server makes, and nothing is checked in it: no places are needed.
        hidden = document.type in INTERNAL_TYPES
        said = {"type": document.type, "name": document.name} if hidden else dump(document)
        made.append(Located(document, file, node_of(said, ours=True)))
    return Loaded(made, files=[file])


@lru_cache(maxsize=1)
def _shipped() -> tuple[Document, ...]:
    folder = Path(__file__).parent / "shipped"
    return load_paths([folder]).plain()


def shipped() -> list[Document]:
    """The documents of `policies/shipped/`, in the order of files and lines.

    Raises:
        InvalidDocuments: a shipped file is wrong (a broken installation).
    """
    return list(_shipped())


def files_of(path: Path, problems: list[Problem]) -> list[Path]:
    """The document files of a path: itself, or what a folder holds at any depth, sorted by name."""
    if path.is_dir():
        found = sorted(
            file
            for file in path.rglob("*")
            if file.suffix.lower() in SUFFIXES
            and not file.name.lower().endswith(CASE_SUFFIXES)
            and not any(part.startswith(".") for part in file.relative_to(path).parts)
            and file.is_file()
        )
        if not found:
            problems.append(
                Problem(
                    str(path),
                    *START,
                    "no_documents",
                    "the folder holds no document",
                    "files end in " + ", ".join(SUFFIXES),
                    "warning",
                )
            )
        return found
    if not path.exists():
        problems.append(
            Problem(str(path), *START, "no_such_file", "there is no such file or folder")
        )
        return []
    return [path]


def _load_file(path: Path, loaded: Loaded, skip_unsupported: bool) -> None:
    file = str(path)
    loaded.files.append(file)
    text = read_text(path, loaded.problems)
    if text is not None:
        _load_text(text, file, path.suffix.lower(), loaded, skip_unsupported)


def read_text(path: Path, problems: list[Problem]) -> str | None:
    """The text of a file; None, and a problem, when it cannot be read as UTF-8 within the size limit."""
    file = str(path)
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or "unknown reason").lower()
        problems.append(Problem(file, *START, "unreadable", f"the file cannot be read: {reason}"))
        return None
    if len(raw) > MAX_FILE_BYTES:
        size = MAX_FILE_BYTES // (1024 * 1024)
        problems.append(
            Problem(file, *START, "too_large", f"a file of more than {size} MiB", "split it")
        )
        return None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        line = before.count(b"\n") + 1
        start = before.rfind(b"\n") + 1
        column = len(before[start:].decode("utf-8", "replace")) + 1
        problems.append(
            Problem(
                file, line, column, "not_utf8", "the file is not UTF-8 text", "save it as UTF-8"
            )
        )
        return None


_READERS = {".json": json_nodes.documents, ".csv": casbin_csv.documents}


def _load_text(text: str, file: str, suffix: str, loaded: Loaded, skip: bool) -> None:
    read = _READERS.get(suffix, yaml_nodes.documents)
    for node in read(text, file, loaded.problems):
        if node.kind is Kind.SCALAR and node.scalar() is None:
            continue  # nothing between two `---`
        loaded.add(node, file, skip_unsupported=skip)


__all__ = [
    "REQUEST",
    "Loaded",
    "Located",
    "as_loaded",
    "load_mapping",
    "load_paths",
    "load_text",
    "read_text",
    "shipped",
]
