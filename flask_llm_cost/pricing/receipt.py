"""The receipt of one call: a line per meter, each with its rate and where the rate came from."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Literal, NamedTuple

from flask_llm_cost.pricing.numbers import EXACT
from flask_llm_cost.usage import COST_COLUMNS, CostColumn, Quantity, meter

CostStatus = Literal["complete", "free", "partial", "estimated", "unknown"]


class Line(NamedTuple):
    """One meter of a call.

    A named tuple, like :class:`Receipt`: a frozen dataclass takes eight times as long to make, and a call
    has up to eight lines.

    Attributes:
        meter: what was billed.
        quantity: how much of it (tokens, calls, seconds, …).
        rate: USD per ``per`` units; ``None`` where no rate is known.
        per: how many units the rate is for.
        cost: USD, rounded half up to nano-USD; ``None`` where no rate is known.
        source: where the rate came from ("genai-prices", "manual", …).
        inherited: the meter whose rate was used, where this one has none of its own.
        model: set only where another model than the call's did this part.
    """

    meter: str
    quantity: Quantity
    rate: Decimal | None
    per: int
    cost: Decimal | None
    source: str | None = None
    inherited: str | None = None
    model: str | None = None


class Receipt(NamedTuple):
    """What a call costs and why.

    Attributes:
        total: USD, the sum of the priced lines; ``None`` when nothing could be priced.
        status: "complete", "free", "partial", "estimated" or "unknown".
        lines: one per meter used.
        key: the catalogue key that matched ("anthropic/claude-sonnet-4-5").
        layer: where it was found ("overrides", "file", "bundled").
        stage: how it was found ("alias", "exact", "normalized", "snapshot", …).
        source: where the entry's rates come from.
        effective_from: since when the newest of the used rates holds.
        reason: why the status is not "complete" ("no_price", "missing_rate", "unknown_tier", …).
        cache_saved: USD that caching saved against the same tokens as fresh input, cache writes counted
            against it; may be negative; ``None`` where it cannot be told.
    """

    total: Decimal | None
    status: CostStatus
    lines: tuple[Line, ...] = ()
    key: str | None = None
    layer: str | None = None
    stage: str | None = None
    source: str | None = None
    effective_from: datetime | None = None
    reason: str | None = None
    cache_saved: Decimal | None = None

    def costs(self) -> dict[CostColumn, Decimal | None]:
        """USD per ledger column: ``None`` where a line of it has no price, 0 where it has no line."""
        costs: dict[CostColumn, Decimal | None] = dict.fromkeys(COST_COLUMNS, Decimal(0))
        for line in self.lines:
            column = meter(line.meter).column
            so_far = costs[column]
            costs[column] = None if so_far is None or line.cost is None else EXACT.add(so_far, line.cost)
        return costs

    def as_dict(self) -> Mapping[str, object]:
        """The receipt as JSON-ready values: decimals as strings, absent values left out."""
        return {
            name: value
            for name, value in (
                ("total", _text(self.total)),
                ("status", self.status),
                ("lines", [_line(line) for line in self.lines]),
                ("key", self.key),
                ("layer", self.layer),
                ("stage", self.stage),
                ("source", self.source),
                ("effective_from", self.effective_from.isoformat() if self.effective_from else None),
                ("reason", self.reason),
            )
            if value is not None
        }


def _text(value: Decimal | None) -> str | None:
    return None if value is None else format(value, "f")


def _line(line: Line) -> dict[str, object]:
    fields: dict[str, object | None] = {
        "meter": line.meter,
        "quantity": line.quantity if isinstance(line.quantity, int) else _text(line.quantity),
        "rate": _text(line.rate),
        "per": line.per,
        "cost": _text(line.cost),
        "source": line.source,
        "inherited": line.inherited,
        "model": line.model,
    }
    return {name: value for name, value in fields.items() if value is not None}
