"""What a token of a model costs: the shipped table of public prices, or what a document says instead.

Prices are whole numbers of 10⁻¹² US dollars for a token, so that costs add up exactly. A price knows its
version, which goes into the record of a request together with the cost: that of the table
(`2026-11-27:openai/gpt-4o-mini`), or the prices themselves where a document says them (`document:150000/600000`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from ruamel.yaml import YAML

from policies.provider_accounts import Cost

TABLE: Final = Path(__file__).parent / "prices" / "public.yaml"
_PICO_OF_MILLION: Final = 10**6  # a dollar for a million tokens, in 10⁻¹² dollars for one
_PICO: Final = 10**12
# A model's id may end in its date or version, and on Bedrock begin with where it may run.
_DATED = re.compile(r"(?:-(?:\d{8}|\d{4}-\d{2}-\d{2}|latest|\d{3}))?(?:-v\d+(?::\d+)?)?\Z")
_REGION = re.compile(r"(us|eu|apac|au|jp|global)\.")


@dataclass(frozen=True, slots=True)
class Long:
    """What every token of a request costs whose input is above so many tokens."""

    above: int
    input: int
    output: int


@dataclass(frozen=True, slots=True)
class Price:
    """10⁻¹² US dollars for a token that goes in, and for one that comes out."""

    input: int
    output: int
    version: str
    long: Long | None = None


def price_of(provider: str, model_id: str, cost: Cost | None) -> Price | None:
    """The price of a model, which the provider (`openai`) knows as `model_id`; None if nobody says one."""
    if cost is None or cost.metric == "public_cost":
        return public(provider, model_id)
    taken, made = _pico(cost.input_cost_per_token), _pico(cost.output_cost_per_token)
    return Price(taken, made, f"document:{taken}/{made}")


def public(provider: str, model_id: str) -> Price | None:
    """The public price of a model; None if the table does not know it."""
    models = _table().get(provider)
    if models is None:
        return None
    name = model_id.lower()
    found = _dated(models, name)
    if found is None and provider == "aws-bedrock" and (region := _REGION.match(name)):
        found = _dated(models, name.removeprefix(region[0]))
        if found is not None and region[1] != "global":
            return found.regional
    return None if found is None else found.price


def _dated(models: Mapping[str, _Public], name: str) -> _Public | None:
    return models.get(name) or models.get(_DATED.sub("", name))


def _pico(dollars: float | None) -> int:
    exact = Decimal(repr(dollars or 0.0)) * _PICO
    return int(exact.to_integral_value(ROUND_HALF_UP))


class _Public(NamedTuple):
    """What a model costs, and what it costs where it keeps to a region."""

    price: Price
    regional: Price


@lru_cache(maxsize=1)  # a file of the program: it does not change while that runs
def _table() -> Mapping[str, Mapping[str, _Public]]:
    data: Mapping[str, Any] = YAML(typ="safe").load(TABLE.read_text("utf-8"))
    version = data["version"]
    return {
        provider: {
            name: _public(f"{version}:{provider}/{name}", each) for name, each in models.items()
        }
        for provider, models in data["providers"].items()
    }


def _public(version: str, said: Mapping[str, Any]) -> _Public:
    price = _said(version, said)
    if "regional" not in said:
        return _Public(price, price)
    more = str(said["regional"])
    return _Public(price, _said(f"{version}*{more}", said, Decimal(more)))


def _said(version: str, said: Mapping[str, Any], times: Decimal = Decimal(1)) -> Price:
    def pico(dollars: float) -> int:
        return int(Decimal(str(dollars)) * times * _PICO_OF_MILLION)

    long = said.get("long")
    return Price(
        pico(said["input"]),
        pico(said["output"]),
        version,
        Long(long["above"], pico(long["input"]), pico(long["output"])) if long else None,
    )
