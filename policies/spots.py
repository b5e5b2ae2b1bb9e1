"""Which field of which class a place in a file is, and which place a field has.

A document class is walked beside the nodes of a file, so that a finding of pydantic's gets its line and
column, and an unknown field the names that are known there. Knows pydantic's classes, not its words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, get_args

from pydantic import BaseModel

from policies.positions import Kind, Node, Path, Place


@lru_cache(maxsize=256)
def fields_of(model: type[BaseModel]) -> Mapping[str, Any]:
    """The fields of a class under every name that a file may use."""
    named: dict[str, Any] = {}
    for name, info in model.model_fields.items():
        named[name] = info
        if info.alias:
            named[info.alias] = info
    return named


def _models_in(annotation: Any) -> tuple[type[BaseModel], ...]:
    """The document classes that an annotation mentions."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return (annotation,)
    return tuple(model for inner in get_args(annotation) for model in _models_in(inner))


def takes_list(annotation: Any) -> bool:
    return getattr(annotation, "__origin__", None) is tuple or any(
        takes_list(inner) for inner in get_args(annotation)
    )


def inside(models: Iterable[type[BaseModel]], name: str) -> tuple[type[BaseModel], ...]:
    found: list[type[BaseModel]] = []
    for model in models:
        info = fields_of(model).get(name)
        if info is not None:
            found.extend(_models_in(info.annotation))
    return tuple(found)


def _other_names(models: Iterable[type[BaseModel]], name: str) -> tuple[str, ...]:
    """`name` and the other spelling of the same field (`ownedBy`, `owned_by`)."""
    names = [name]
    for model in models:
        for plain, info in model.model_fields.items():
            if name in (plain, info.alias):
                names += [plain, info.alias or plain]
    return tuple(dict.fromkeys(names))


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a location of pydantic's lies in the file. `node` is None for a missing field."""

    path: Path
    node: Node | None
    key: Place
    models: tuple[type[BaseModel], ...]  # the classes that may describe it
    parent: Node
    owners: tuple[type[BaseModel], ...] = ()  # the classes that may describe what holds it

    @property
    def place(self) -> Place:
        return self.node.place if self.node else self.key


def spot_of(root: Node, model: type[BaseModel], loc: Iterable[str | int]) -> Spot:
    """Follows `loc`; the parts that only name a branch of a union have no node and are stepped over."""
    spot = Spot((), root, root.place, (model,), root)
    parts = tuple(loc)
    for index, part in enumerate(parts):
        node = spot.node
        if node is None:
            break
        if isinstance(part, int):
            if node.kind is Kind.LIST and part < len(node.items):
                item = node.items[part]
                spot = Spot((*spot.path, part), item, item.place, spot.models, node, spot.owners)
            continue
        if node.kind is not Kind.MAPPING:
            continue
        names = _other_names(spot.models, part)
        written = next((name for name in names if name in node.entries), None)
        if written is not None:
            entry = node.entries[written]
            models = inside(spot.models, written)
            spot = Spot((*spot.path, written), entry.node, entry.place, models, node, spot.models)
        elif index == len(parts) - 1 and part != "[key]":
            spot = Spot((*spot.path, part), None, node.place, (), node, spot.models)
    return spot
