"""Lines of receipts, written down as one reads them."""

from __future__ import annotations

from decimal import Decimal

from flask_llm_cost.pricing.receipt import NANO_PER_USD, Line, LineRate


def line(
    meter: str,
    quantity: int,
    rate: Decimal | None,
    per: int,
    cost: Decimal | None,
    source: str | None = None,
    inherited: str | None = None,
    model: str | None = None,
) -> Line:
    """A line of a receipt as one reads it."""
    nano = None if cost is None else int(cost * NANO_PER_USD)
    return Line(meter, quantity, nano, LineRate(rate, per, source, inherited), model)
