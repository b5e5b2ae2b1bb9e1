"""What a `$ref` means: a place in the same document, and nothing else.

A reference to another file or address is refused, because following it would let a document choose what
this process fetches.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from authz.errors import GatewardenError

_CHAIN = 32  # references that lead from one to the next
_LONGEST = 1_000


class OpenApiError(GatewardenError):
    """The document cannot be read, or a part of it cannot be a tool."""

    code = "openapi_invalid"


def pointed(document: Mapping[str, Any], reference: object) -> Any:
    """What `reference` points to.

    Raises:
        OpenApiError: it leads out of the document, or nowhere.
    """
    if not isinstance(reference, str) or len(reference) > _LONGEST:
        raise OpenApiError("a `$ref` is not a text, or too long")
    if not (reference == "#" or reference.startswith("#/")):
        raise OpenApiError(
            f"the reference `{reference[:120]}` leads out of the document",
            hint="bundle the document, so that every `$ref` starts with `#/`",
        )
    here: Any = document
    for part in reference[2:].split("/") if len(reference) > 2 else ():
        key = unquote(part).replace("~1", "/").replace("~0", "~")  # RFC 6901 4, in this order
        if isinstance(here, Mapping) and key in here:
            here = here[key]
        elif (
            isinstance(here, list) and key.isascii() and key.isdigit() and int(key[:9]) < len(here)
        ):
            here = here[int(key[:9])]
        else:
            raise OpenApiError(f"the reference `{reference[:120]}` leads nowhere")
    return here


def resolved(document: Mapping[str, Any], value: object) -> Mapping[str, Any]:
    """`value`, or the object that it refers to (through other references too).

    Raises:
        OpenApiError: as `pointed`; the references go in a circle; it is no object.
    """
    for _ in range(_CHAIN):
        if not isinstance(value, Mapping):
            raise OpenApiError("the document holds something else where an object is wanted")
        if "$ref" not in value:
            return value
        value = pointed(document, value["$ref"])
    raise OpenApiError("references of the document lead in a circle")
