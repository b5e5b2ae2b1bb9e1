"""What one answer cost: its tokens by the price of its model. Pure; written down with the request, once.

Known only where the provider said all that the price needs. Cached input counts like any other.
"""

from __future__ import annotations

from authz.recording import MAX_INT
from policies.pricing import Long, Price
from proxy.usage import Usage

_PICO_OF_NANO = 1000


def cost_nano(price: Price | None, usage: Usage) -> int | None:
    """The cost in 10⁻⁹ US dollars, rounded up half; None if the price or a count of tokens is not known."""
    if price is None:
        return None
    asked: Price | Long = price
    if price.long is not None and usage.input is not None and usage.input > price.long.above:
        asked = price.long
    total = 0
    for count, each in ((usage.input, asked.input), (usage.output, asked.output)):
        if count is None:
            if each:
                return None
            continue
        total += count * each
    if usage.input is None and usage.output is None:
        return None
    cost = (total + _PICO_OF_NANO // 2) // _PICO_OF_NANO
    return cost if cost < MAX_INT else None  # a provider may say anything
