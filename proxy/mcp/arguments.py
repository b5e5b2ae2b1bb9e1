"""Whether arguments fit the schema of a tool that this process itself offers, and where they do not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.mcp.json_schema import Run, Spent, compiled, short
from proxy.mcp.local import InvalidArguments

BUDGET = 200_000  # schemas applied in one check: more than a large body needs, less than a second
DEPTH = 64  # lists and objects inside each other


class Arguments:
    """What a tool takes, as its `inputSchema` says it."""

    __slots__ = ("_check",)

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._check = compiled(schema)

    def check(self, arguments: Mapping[str, Any]) -> None:
        """Nothing, when `arguments` fit.

        Raises:
            InvalidArguments: they do not; the message says where. It never repeats a value, which may be
                a secret.
        """
        if _deeper(arguments, DEPTH):
            raise InvalidArguments(f"the arguments are nested deeper than {DEPTH} levels")
        try:
            fault = self._check(arguments, Run(BUDGET))
        except (Spent, RecursionError) as exc:
            raise InvalidArguments(
                "the arguments cannot be checked against the schema within bounds",
                hint="fewer or shallower values",
            ) from exc
        if fault is None:
            return
        where = "".join(
            f"[{part}]" if isinstance(part, int) else f".{short(part)}"
            for part in reversed(fault.path)
        ).removeprefix(".")
        place = f"`{where}`" if where else "the object of arguments"
        raise InvalidArguments(f"{place} {fault.text}")


def _deeper(value: object, levels: int) -> bool:
    layer = [value]
    for _ in range(levels + 1):
        inner: list[object] = []
        for item in layer:
            if isinstance(item, Mapping):
                inner.extend(item.values())
            elif isinstance(item, list):
                inner.extend(item)
        if not inner:
            return False
        layer = inner
    return True
