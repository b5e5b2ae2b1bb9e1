"""How each dialect says things: errors, error events in a stream, lists of models.

No translation between dialects stands here; a request and its answer pass through as they are. What
must be read out of an answer (token counts) is in `proxy/usage.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Fault:
    """What went wrong, as it may be told to the caller."""

    status: int
    code: str
    message: str
    request_id: str
    param: str | None = None
    decision_id: str = ""


class Listed(Protocol):
    """What a list says of a model (`proxy.providers.base.Upstream` has it)."""

    @property
    def name(self) -> str: ...
    @property
    def account_name(self) -> str: ...


class Voice(Protocol):
    """One dialect's way of saying things. All answers are JSON."""

    def error(self, fault: Fault) -> bytes:
        """The body of an answer that is not 2xx."""
        ...

    def error_event(self, fault: Fault) -> bytes:
        """The event that ends a stream which broke after its first byte."""
        ...

    def entry(self, model: Listed) -> bytes:
        """The body that shows one model."""
        ...

    def listing(self, models: Sequence[Listed], query: Mapping[str, str]) -> bytes:
        """The body that lists models, in the given order.

        Raises:
            GatewayError: `invalid_query`, a paging parameter cannot be read.
        """
        ...
