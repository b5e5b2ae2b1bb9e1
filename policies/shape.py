"""One node to one document: the type, the fields and their kinds. No other document is looked at.

Every finding is a `Problem` in our own words at the place of the key or value; the values of secrets are
never repeated. pydantic checks in strict mode, and what an unquoted YAML scalar may stand for (text, a
date) is settled here, so that nothing is converted silently. Next: `validate`, which knows other documents.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import lru_cache
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from policies.documents import DOCUMENT_TYPES, INTERNAL_TYPES, Document
from policies.errors import Problem
from policies.nearest import did_you_mean
from policies.positions import Kind, Node, Path, Place, Style, path_text
from policies.spots import fields_of, inside, spot_of, takes_list
from policies.truefoundry import (
    REFUSED_LOGINS,
    REFUSED_TYPES,
    UNSUPPORTED_FIELDS,
    UNSUPPORTED_PERMISSION_PREFIXES,
    UNSUPPORTED_RESOURCE_TYPES,
    UNSUPPORTED_TYPES,
)
from policies.wording import explain

# Set by the server; a document that was read back may carry them, and they are dropped.
SERVER_FIELDS: Mapping[str, frozenset[str]] = {"virtual-account": frozenset({"bounded_by"})}
_HIDDEN = frozenset(name for names in SERVER_FIELDS.values() for name in names)
MAX_ROUNDS = 3  # text, then dates; a third round can only report

_PUBLIC_TYPES = tuple(sorted(set(DOCUMENT_TYPES) - INTERNAL_TYPES))
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}\Z")
_INSTANT = re.compile(
    r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}:\d{2})\Z", re.IGNORECASE
)


M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something TrueFoundry has and we do not: left out because the caller said so."""

    file: str
    line: int
    column: int
    what: str


@dataclass(slots=True)
class Shaped:
    """What became of one node. `key` is known even of a broken document, when it names itself."""

    document: Document | None = None
    key: tuple[str, str] | None = None
    problems: list[Problem] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)


def shape(node: Node, file: str, *, skip_unsupported: bool = False) -> Shaped:
    """The document that `node` says, or what is wrong with it (all of it)."""
    work = _Shaping(file, node, skip_unsupported)
    document = work.document()
    return Shaped(document, work.key, work.problems, work.skipped)


def shape_as(node: Node, file: str, model: type[M]) -> tuple[M | None, list[Problem]]:
    """A value of another class of ours (decision cases), by the same rules and in the same words."""
    work = _Shaping(file, node, skip=False)
    if node.kind is not Kind.MAPPING:
        work.problem(node.place, "wrong_type", f"a mapping is wanted here, not {node.words()}")
        return None, work.problems
    return work.into(model), work.problems


@lru_cache(maxsize=64)
def _adapter(model: type[M]) -> TypeAdapter[M]:
    return TypeAdapter(model)


@dataclass(slots=True)
class _Shaping:
    """The work on one node: problems and what was skipped gather here."""

    file: str
    root: Node
    skip: bool
    key: tuple[str, str] | None = None
    problems: list[Problem] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    empty: set[Path] = field(default_factory=set)  # lists without a value

    def problem(
        self, place: Place, code: str, message: str, hint: str = "", *, warning: bool = False
    ) -> None:
        severity: Literal["error", "warning"] = "warning" if warning else "error"
        self.problems.append(Problem(self.file, *place, code, message, hint, severity))

    def document(self) -> Document | None:
        """The document; None when anything is wrong with it."""
        model = self._model()
        if model is None:
            return None
        family = model.family or self.root.entries["type"].node.text
        name = self.root.entries.get("name")
        if name is not None and name.node.kind is Kind.SCALAR:
            self.key = (family, name.node.text)
        elif isinstance(default := model.model_fields["name"].default, str):
            self.key = (family, default)  # configurations of which there is one
        self._set_aside(self.root, (model,), family, family)
        return self.into(model)

    def into(self, model: type[M]) -> M | None:
        """The value of the class; None when anything is wrong."""
        value = self._validate(model, self._data(self.root, (model,), ()))
        return None if any(each.severity == "error" for each in self.problems) else value

    def _model(self) -> type[Document] | None:
        """The class that `type` names; None (and a problem) when there is none."""
        if self.root.kind is not Kind.MAPPING:
            self.problem(
                self.root.place,
                "not_a_document",
                f"a document is a mapping with a `type`, not {self.root.words()}",
            )
            return None
        entry = self.root.entries.get("type")
        if entry is None:
            self.problem(
                self.root.place,
                "missing_type",
                "the document has no `type`",
                "add one of: " + ", ".join(_PUBLIC_TYPES),
            )
            return None
        node = entry.node
        if node.kind is not Kind.SCALAR or not isinstance(node.scalar(), str):
            self.problem(node.place, "wrong_type", f"`type` wants text, not {node.words()}")
            return None
        name = node.text
        if name in INTERNAL_TYPES:
            self.problem(
                node.place,
                "internal_type",
                f"a `{name}` cannot be written as a document",
                "make tokens with the token API or `gatewarden token create`"
                if name == "credential"
                else "the gateway makes it by itself",
            )
            return None
        model = DOCUMENT_TYPES.get(name)
        if model is None:
            self._unknown_type(node)
        return model

    def _unknown_type(self, node: Node) -> None:
        name = node.text
        if name in REFUSED_TYPES and not self.skip:
            message = f"the type `{name}` is not supported"
            self.problem(node.place, "unsupported", message, REFUSED_TYPES[name])
            return
        hint = did_you_mean(name, _PUBLIC_TYPES, "known are: " + ", ".join(_PUBLIC_TYPES))
        theirs = name in UNSUPPORTED_TYPES or any(
            name.startswith(prefix) for prefix in UNSUPPORTED_TYPES if prefix.endswith("/")
        )
        if not theirs:
            self.problem(node.place, "unknown_type", f"the type `{name[:80]}` is not known", hint)
        elif hint.startswith("did") and not self.skip:
            message = f"the type `{name[:80]}` is not supported yet"
            self.problem(node.place, "unsupported", message, hint)
        else:
            self._not_supported(node.place, f"the type `{name[:80]}`")

    def _set_aside(
        self, node: Node, models: tuple[type[BaseModel], ...], where: str, family: str
    ) -> None:
        """Take out what is not supported (skipped, or reported) and what only the server sets."""
        if node.kind is Kind.LIST:
            kept = []
            for item in node.items:
                what = _unsupported_item(where, item)
                if what:
                    self._not_supported(item.place, what)
                else:
                    kept.append(item)
                    self._set_aside(item, models, where, family)
            node.items = kept
        if node.kind is not Kind.MAPPING or not models:
            return
        for key, entry in list(node.entries.items()):
            if where == family and key in SERVER_FIELDS.get(family, ()):
                del node.entries[key]
                message = f"`{key}` is set by the server and ignored here"
                self.problem(entry.place, "server_field", message, warning=True)
            elif key == "auth_data" and (why := self._refused_login(family, entry.node)):
                del node.entries[key]
                if self.skip:
                    self.skipped.append(Skipped(self.file, *entry.place, why[0]))
                else:
                    self.problem(entry.place, "unsupported", f"{why[0]} is not supported", why[1])
            elif key in UNSUPPORTED_FIELDS.get(where, ()):
                del node.entries[key]
                self._not_supported(entry.place, f"the field `{key}`")
            else:
                self._set_aside(entry.node, inside(models, key), f"{where}.{key}", family)

    @staticmethod
    def _refused_login(family: str, node: Node) -> tuple[str, str] | None:
        """A login that will never be supported, in words, and what to do instead; None for all others."""
        entry = node.entries.get("type") if node.kind is Kind.MAPPING else None
        name = entry.node.text if entry is not None and entry.node.kind is Kind.SCALAR else ""
        hint = REFUSED_LOGINS.get((family, name))
        return None if hint is None else (f"the login `{name}`", hint)

    def _not_supported(self, place: Place, what: str) -> None:
        if self.skip:
            self.skipped.append(Skipped(self.file, *place, what))
            return
        hint = "remove it, or apply with --skip-unsupported"
        self.problem(place, "unsupported", f"{what} is not supported yet", hint)

    def _data(self, node: Node, models: tuple[type[BaseModel], ...], path: Path) -> Any:
        """Plain values for pydantic: tuples for lists; a key without a value is absent, never empty."""
        if node.kind is Kind.SCALAR:
            return node.scalar()
        if node.kind is Kind.LIST:
            return tuple(
                self._data(item, models, (*path, index)) for index, item in enumerate(node.items)
            )
        data: dict[str, Any] = {}
        for key, entry in node.entries.items():
            infos = [info for model in models if (info := fields_of(model).get(key)) is not None]
            inner = (*path, key)
            if infos and entry.node.kind is Kind.SCALAR and entry.node.scalar() is None:
                if any(takes_list(info.annotation) for info in infos):
                    self.empty.add(inner)
                    # A list whose entries were all commented out must not read as "not given".
                    self.problem(
                        entry.place,
                        "no_value",
                        f"`{path_text(inner)}` has no value",
                        "write `[]` for an empty list, or leave the field out",
                    )
                continue
            data[key] = self._data(entry.node, inside(models, key), inner)
        return data

    def _validate(self, model: type[M], data: Any) -> M | None:
        for _ in range(MAX_ROUNDS):
            try:
                value: M = _adapter(model).validate_python(data, strict=True)
                return value
            except ValidationError as error:
                details = error.errors(include_url=False)
                if not self._mend(model, data, details):
                    self._report(model, details)
                    return None
        self.problem(self.root.place, "wrong_value", "the document cannot be read")
        return None

    def _mend(self, model: type[BaseModel], data: Any, details: list[ErrorDetails]) -> bool:
        """Put the text of unquoted scalars where text is wanted, and dates where dates are wanted."""
        mended = False
        for detail in details:
            spot = spot_of(self.root, model, detail["loc"])
            # A location inside a union ends beside its node and is not ours to settle.
            if spot.node is None or spot.node.kind is not Kind.SCALAR or len(spot.path) == 0:
                continue
            if len(spot.path) != len(detail["loc"]) and "auth_data" not in spot.path:
                continue
            value: object = None
            if detail["type"] == "string_type" and spot.node.style is Style.PLAIN:
                value = spot.node.text if spot.node.scalar() is not None else None
            elif detail["type"] == "date_type":
                value = _date(spot.node.text)
            elif detail["type"] == "datetime_type":
                value = _instant(spot.node.text)
            if value is not None:
                mended = _put(data, spot.path, value) or mended
        return mended

    def _report(self, model: type[BaseModel], details: list[ErrorDetails]) -> None:
        seen: set[tuple[Path, str]] = set()
        for detail in details:
            spot = spot_of(self.root, model, detail["loc"])
            code, message, hint = explain(detail, spot, _HIDDEN)
            if (spot.path, code) in seen:
                continue  # the other branches of the same union
            seen.add((spot.path, code))
            if code == "missing_field" and spot.path in self.empty:
                continue  # reported as `no_value`
            by_key = code in ("unknown_field", "field_twice", "missing_field")
            place = spot.key if by_key else spot.place
            self.problem(place, code, message, hint)


def _unsupported_item(where: str, item: Node) -> str:
    """What a list's item is that TrueFoundry has and we do not, in words; '' for all others."""
    if where in ("virtual-account.permissions", "role-binding.permissions"):
        for field_name in ("resource_type", "resourceType"):
            entry = item.entries.get(field_name)
            if entry is not None and entry.node.text in UNSUPPORTED_RESOURCE_TYPES:
                return f"the resource type `{entry.node.text}`"
    if where == "role.permissions" and item.kind is Kind.SCALAR:
        prefix, colon, _ = item.text.partition(":")
        if colon and prefix in UNSUPPORTED_PERMISSION_PREFIXES:
            return f"the permission `{item.text[:80]}`"
    return ""


def _put(data: Any, path: Path, value: object) -> bool:
    """Replace the value at `path`; tuples are rebuilt on the way."""

    def rebuilt(inner: Any, rest: Path) -> Any:
        if not rest:
            return value
        step, *more = rest
        if isinstance(inner, tuple) and isinstance(step, int):
            return (*inner[:step], rebuilt(inner[step], tuple(more)), *inner[step + 1 :])
        inner[step] = rebuilt(inner[step], tuple(more))
        return inner

    rebuilt(data, path)
    return True


def _date(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if _DATE.match(text) else None
    except ValueError:
        return None


def _instant(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if _INSTANT.match(text) else None
    except ValueError:
        return None
