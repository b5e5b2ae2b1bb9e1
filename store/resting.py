"""The garbage collector during a large change.

What a large change makes lives until it is committed, and its rows and names for good: a collection that looks
through it all stalls every thread for some 5 ms a thousand documents. So the collector rests meanwhile, and
what is alive at the end is frozen out of its sight. It still dies with its last reference; only a circle among
it would stay, and the change makes none by the thousand.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from authz import collector


@contextmanager
def resting(large: bool) -> Iterator[None]:
    """The collector rests inside the block if the change is large."""
    if not large:
        yield
        return
    if gc.isenabled():
        gc.collect(
            0
        )  # what is garbage now shall not be frozen; while it rests, this would take long
    with collector.paused():
        try:
            yield
        finally:
            gc.freeze()
