"""What a call costs: recording asks it of a fresh reading, repricing of one that the ledger kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from flask_llm_cost.pricing.receipt import CostStatus, Receipt
from flask_llm_cost.pricing.span import Span, cheapest, span_of
from flask_llm_cost.usage import Bounds, Reading, Usage

Price = Callable[[Usage], Receipt]
"""Prices a usage as that of one certain call."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What the ledger keeps of a call's price.

    Attributes:
        receipt: its receipt, of an estimate the one at the lower bound; ``None`` where there is nothing to price.
        span: of an estimate, both bounds.
    """

    receipt: Receipt | None
    span: Span | None = None

    @property
    def status(self) -> CostStatus | None:
        if self.span is not None:
            return "estimated"
        return None if self.receipt is None else self.receipt.status

    def amounts(self) -> dict[str, Decimal | None]:
        """USD by the ledger's names; what is not among them is not known."""
        if self.span is not None:
            # No column of an estimate is filled: those of all calls add up to the totals.
            return {"cost_low": self.span.cost_low, "cost_high": self.span.cost_high}
        if self.receipt is None:
            return {}
        costs = {f"{column}_cost": cost for column, cost in self.receipt.costs().items()}
        return {**costs, "total_cost": self.receipt.total, "cache_saved": self.receipt.cache_saved}

    def as_dict(self) -> dict[str, object]:
        """JSON-ready values: what a stored receipt says of the price."""
        packed: dict[str, object] = dict(self.receipt.as_dict()) if self.receipt is not None else {}
        return packed if self.span is None else packed | self.span.as_dict()


def cost_of(reading: Reading, price: Price) -> Cost:
    """What a call costs; bounds of it where its usage is not fully known and something can be said in dollars."""
    span = None if reading.bounds is None else _span(reading.bounds, price)
    if span is not None:
        return Cost(span.low, span)
    return Cost(None if _costs_nothing(reading) else price(reading.usage))


def _span(bounds: Bounds, price: Price) -> Span | None:
    return span_of(
        [price(usage) for usage in cheapest(bounds.low)],
        [] if bounds.high is None else [price(bounds.high)],
    )


def _costs_nothing(reading: Reading) -> bool:
    """A failed attempt without usage is not charged: there is nothing to price, and nothing unknown about it.

    One that may have been charged has bounds.
    """
    return reading.status == "error" and not reading.usage and not reading.extra and reading.bounds is None
