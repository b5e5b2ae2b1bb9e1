"""The path of an operation as a template that stays below the base address, whatever fills its places."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

from proxy.mcp.openapi.pointers import OpenApiError

PLACE = re.compile(r"\{([^{}]*)\}")


def template(path: str) -> str:
    """`path` with its literal parts escaped.

    Raises:
        OpenApiError: it does not start with `/`, or could lead out of the base address.
    """
    if not path.startswith("/") or len(path) > 2_048:
        raise OpenApiError("its path does not start with `/`, or is too long")
    literal = PLACE.sub("", path)
    if re.search(r"[{}?#\\\x00-\x20\x7f]", literal):
        raise OpenApiError("its path holds a character that a path must not")
    for segment in path.split("/"):
        plain = unquote(unquote(PLACE.sub("x", segment)))
        if plain in (".", "..") or re.search(r"[/\\?#\x00-\x20\x7f]", plain):
            raise OpenApiError("its path climbs or hides a separator")
    parts = re.split(r"(\{[^{}]*\})", path)
    return "".join(
        part if part.startswith("{") else quote(part, safe="/-._~:@!$&'()*+,;=%") for part in parts
    )
