"""What an answer cost, exactly."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from authz.recording import MAX_INT
from policies.pricing import Long, Price
from policies.provider_accounts import Cost
from proxy.catalogue import Catalogue
from proxy.prices import cost_nano
from proxy.usage import NO_USAGE, Usage
from tests.proxy.world import SnapshotOf, world

MINI = Price(150_000, 600_000, "2026-11-27:openai/gpt-4o-mini")


def test_tokens_times_their_prices() -> None:
    # 0.15 and 0.60 dollars for a million: 1000 in and 500 out are 0.00045 dollars.
    assert cost_nano(MINI, Usage(1000, 500)) == 450_000


def test_what_is_not_known_has_no_cost() -> None:
    assert cost_nano(None, Usage(1, 1)) is None
    assert cost_nano(MINI, NO_USAGE) is None
    assert cost_nano(MINI, Usage(5, None)) is None and cost_nano(MINI, Usage(None, 5)) is None


def test_embeddings_make_no_tokens_and_need_none() -> None:
    assert cost_nano(Price(20_000, 0, "x"), Usage(1_000_000, None)) == 20_000_000


def test_a_long_request_costs_its_own_price_for_every_token() -> None:
    price = Price(2_000_000, 10_000_000, "x", Long(272_000, 4_000_000, 15_000_000))
    assert cost_nano(price, Usage(272_000, 10)) == 272_000 * 2_000 + 10 * 10_000
    assert cost_nano(price, Usage(272_001, 10)) == 272_001 * 4_000 + 10 * 15_000


def test_halves_are_rounded_up_and_nonsense_is_not_written_down() -> None:
    assert [cost_nano(Price(pico, 0, "x"), Usage(1)) for pico in (499, 500, 1499)] == [0, 1, 1]
    assert cost_nano(Price(10**12, 0, "x"), Usage(MAX_INT - 1)) is None


@given(st.integers(0, 10**7), st.integers(0, 10**7), st.integers(0, 10**9), st.integers(0, 10**9))
def test_the_cost_is_within_half_a_nano_dollar(taken: int, made: int, inn: int, out: int) -> None:
    cost = cost_nano(Price(inn, out, "x"), Usage(taken, made))
    assert cost is not None
    assert abs(cost - Fraction(taken * inn + made * out, 1000)) <= Fraction(1, 2)


async def test_the_cost_of_a_request_is_written_down_with_its_price(tmp_path: Path) -> None:
    own = Cost(metric="custom_cost", input_cost_per_token=1e-06, output_cost_per_token=2e-06)
    async with world(tmp_path) as w:
        await w.call()
        catalogue = w.gateway._parts.catalogue
        assert isinstance(catalogue, Catalogue)
        priced = [
            account.model_copy(
                update={
                    "integrations": tuple(
                        one.model_copy(update={"cost": own}) for one in account.integrations
                    )
                }
            )
            for account in catalogue._accounts.values()
        ]
        catalogue.load(SnapshotOf(priced))
        await w.call()
        before, after = await w.records("request")
    assert "cost" not in before and "price" not in before
    # Three tokens in and five out.
    assert (after["cost"], after["price"]) == (13_000, "document:1000000/2000000")
