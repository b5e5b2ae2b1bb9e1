"""What providers share whose requests differ from one another's in address and in one header: the key's."""

from __future__ import annotations

from datetime import datetime

from proxy.providers.base import Headers, Operation, Prepared, Secret, Upstream, api_key, route


class Keyed:
    """Sends a request on with the account's API key in `key_header`, after `key_prefix`."""

    key_header = "authorization"
    key_prefix = "Bearer "

    def prepare(
        self,
        upstream: Upstream,
        operation: Operation,
        headers: Headers,
        body: bytes,
        secret: Secret | None,
        now: datetime,
    ) -> Prepared:
        """The request with its address and key. Raises as `route` and `api_key`."""
        url = route(upstream, operation)
        headers.append((self.key_header, f"{self.key_prefix}{api_key(upstream, secret)}"))
        return Prepared("POST", url, headers, body)
