"""Reads a client's metadata document through the guarded client: bounded in size and time, never redirected."""

from __future__ import annotations

import re
from datetime import timedelta

from identity.oauth.errors import InvalidClient
from identity.oauth.registry import Fetched
from proxy.fetching import Fetch

MAX_BYTES = 16 * 1024
SECONDS = 5.0
_MAX_AGE = re.compile(r"(?:^|[\s,])max-age=\"?([0-9]{1,9})", re.IGNORECASE)
_NOT_KEPT = re.compile(r"(?:^|[\s,])no-(?:store|cache)\b", re.IGNORECASE)


class DocumentReader:
    """`identity.oauth.registry.ReadsDocuments` over the network."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch

    async def __call__(self, url: str) -> Fetched:
        """The document.

        Raises:
            InvalidClient: the answer is no document. UpstreamError: it cannot be read.
        """
        headers = [("Accept", "application/json"), ("Accept-Encoding", "identity")]
        async with self._fetch("GET", url, headers, deadline=SECONDS, idle=SECONDS) as found:
            if found.status != 200:
                raise InvalidClient(f"its server answers {found.status}")
            media = found.headers.get("Content-Type", "").partition(";")[0].strip().lower()
            if media != "application/json" and not media.endswith("+json"):
                raise InvalidClient("it is not `application/json`")
            kept = ",".join(found.headers.getall("Cache-Control", []))
            return Fetched(await found.read(MAX_BYTES), max_age_of(kept))


def max_age_of(cache_control: str) -> timedelta | None:
    """For how long an answer may be kept, if it says so."""
    if _NOT_KEPT.search(cache_control):
        return timedelta(0)
    found = _MAX_AGE.search(cache_control)
    return timedelta(seconds=int(found[1])) if found else None
