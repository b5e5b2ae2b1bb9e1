"""Cursor paging: `{"data": […], "next": "<cursor>" or null}`.

A cursor is the name after which the next page starts, bound to its list. It carries no rights: what a
page shows is decided again for every page, so a guessed or old cursor shows nothing more.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from proxy.api.problem import BadQuery

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000


class PageQuery(BaseModel):
    """The parameters of every list."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT, description="Most items of one page.")] = (
        DEFAULT_LIMIT
    )
    cursor: Annotated[
        str,
        Field(
            max_length=512,
            pattern="^[A-Za-z0-9_-]*$",
            description="`next` of the page before; empty = the first.",
        ),
    ] = ""


def encode_cursor(listing: str, after: str) -> str:
    """The cursor of the page of `listing` that starts after `after`."""
    text = json.dumps([listing, after], ensure_ascii=False, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def decode_cursor(listing: str, cursor: str) -> str:
    """What the page starts after; empty for the first page.

    Raises:
        BadQuery: not a cursor, or one of another list.
    """
    if not cursor:
        return ""
    try:
        raw = base64.b64decode(
            cursor.encode("ascii") + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True
        )
        value = json.loads(raw)
    except (ValueError, binascii.Error, RecursionError) as exc:
        raise _bad() from exc
    if (
        not isinstance(value, list)
        or len(value) != 2
        or value[0] != listing
        or not isinstance(value[1], str)
    ):
        raise _bad()
    return value[1]


def _bad() -> BadQuery:
    return BadQuery(
        "the parameter `cursor` is not a cursor of this list",
        hint="pass `next` of the page before, unchanged",
    )
