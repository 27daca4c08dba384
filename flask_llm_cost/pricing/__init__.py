"""Prices: which rate, from where, since when. Knows nothing of Flask or of a database."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cache

from flask_llm_cost.pricing.book import PriceBook
from flask_llm_cost.pricing.bundle import bundled
from flask_llm_cost.pricing.explain import Explanation
from flask_llm_cost.pricing.pricer import Catalogue
from flask_llm_cost.pricing.receipt import CostStatus, Line, Receipt
from flask_llm_cost.usage import Quantity

__all__ = ["Catalogue", "CostStatus", "Explanation", "Line", "PriceBook", "Receipt", "price"]


def price(
    provider: str,
    model: str,
    usage: Mapping[str, Quantity],
    *,
    mode: str | None = None,
    geo: str | None = None,
    speed: str | None = None,
    at: datetime | None = None,
    catalogue: Catalogue | None = None,
) -> Receipt:
    """What a call costs, with a line per meter.

    Args:
        provider: who answered ("openai", "azure", …; ``x_ai``, ``google`` and the like are understood).
        model: as answered, in the provider's own spelling.
        usage: meter → quantity, disjoint (cached tokens are not among the fresh ones).
        mode: the tier as served ("batch", "flex", "priority"); ``None`` is standard.
        geo, speed: as served, where the provider prices by them.
        at: when the request started; now by default, naive times are UTC.
        catalogue: the price tables; the bundled one by default.

    Returns:
        A receipt. A model or a meter without a rate has no cost rather than a cost of 0, see
        :class:`Receipt`.

    Raises:
        TypeError, ValueError: a quantity is neither int nor Decimal, or is negative or not finite.
    """
    chosen = _bundled_alone() if catalogue is None else catalogue
    return chosen.price(provider, model, usage, mode=mode, geo=geo, speed=speed, at=at)


@cache
def _bundled_alone() -> Catalogue:
    return Catalogue([bundled().layer])
