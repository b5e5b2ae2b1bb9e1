"""An engine moved to after a change for a while, and back whatever happens there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from authz.engine import Engine
from authz.rows import Row


@contextmanager
def moved(engine: Engine, added: Sequence[Row], removed: Sequence[Row]) -> Iterator[None]:
    """Within, `engine` answers as it would after the change. The engine is the caller's own.

    Raises:
        InvalidRow: a removed row is not there, or a row cannot be taken; nothing has moved.
    """
    epoch = engine.epoch
    engine.apply(added, removed, epoch + 1)
    try:
        yield
    finally:
        engine.apply(removed, added, epoch)
