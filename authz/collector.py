"""The garbage collector while policy is built, and afterwards.

A million rows make millions of objects that never die: collecting over them stalls a loop for 100 ms
and more, again and again. So the collector rests while rows are loaded, and what is alive afterwards is
frozen out of its sight. Collector settings belong to the process: only whoever owns it calls `settle`.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

# The gateway makes next to no cycles a request, so that rare collections are safe (measured: 25-45 us a
# request against the interpreter's own thresholds).
THRESHOLDS = (20_000, 20, 50)


@contextmanager
def paused() -> Iterator[None]:
    """The collector rests inside the block, and is as it was afterwards."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def settle() -> None:
    """After a load, before the first request: freezes what is alive and makes collections rare.

    Blocks for some 100 ms at a million rows; it is not for the request path.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
