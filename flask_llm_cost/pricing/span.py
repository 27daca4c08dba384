"""What a call costs of which only bounds are known: two receipts at the same rates, one per bound."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from flask_llm_cost.pricing.receipt import Receipt
from flask_llm_cost.usage import Usage

_KNOWN = frozenset({"complete", "free", "estimated"})
_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Span:
    """From the receipt of the least to that of the most a call can have used.

    Attributes:
        low: at the lower bound.
        high: at the upper bound; ``None`` where there is none, or no rate for a part of it.
    """

    low: Receipt
    high: Receipt | None

    @property
    def cost_low(self) -> Decimal:
        """USD, at least."""
        return self.low.total or _ZERO

    @property
    def cost_high(self) -> Decimal | None:
        """USD, at most; ``None`` where nothing honest can be said."""
        return None if self.high is None else self.high.total

    def as_dict(self) -> dict[str, object]:
        """What a stored receipt says of it: the lines at either bound, no total, and that it is estimated."""
        most = None if self.high is None else self.high.as_dict()
        least = self.low.as_dict()
        named = most if most is not None else least
        fields = {name: value for name, value in named.items() if name not in ("total", "reason", "lines")}
        return {
            **fields,
            "total": None,
            "status": "estimated",
            "reason": "usage_not_reported",
            "lines": least.get("lines", []),
            "lines_high": None if most is None else most["lines"],
        }


def span_of(lows: Sequence[Receipt], highs: Sequence[Receipt]) -> Span | None:
    """The span of the receipts at the lower bound (the first with a known cost counts) and at the upper one.

    ``None`` where the model has no price, its tier is not known, or nothing is bounded: then nothing can be said in
    dollars.
    """
    high = next((receipt for receipt in highs if receipt.status in _KNOWN), None)
    low = next((receipt for receipt in lows if receipt.status in _KNOWN), None)
    if low is None:
        # Nothing used costs nothing, at whatever rate there is.
        empty = next((receipt for receipt in lows if not receipt.lines and receipt.key is not None), None)
        low = None if empty is None else empty._replace(total=_ZERO)
    # "Nothing or more" says nothing: that is unknown.
    return None if low is None or not (low.total or high) else Span(low, high)


def cheapest(usage: Usage) -> Iterator[Usage]:
    """A usage, then the same with its cached tokens as fresh input: not every model has a rate for the former."""
    yield usage
    cached = usage.get("cache_read", 0)
    if cached:
        rest = {name: count for name, count in usage.items() if name != "cache_read"}
        yield {**rest, "input": rest.get("input", 0) + cached}
