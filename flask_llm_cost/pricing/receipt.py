"""The receipt of one call: a line per meter, each with its rate and where the rate came from."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Literal, NamedTuple

from flask_llm_cost.pricing.numbers import EXACT
from flask_llm_cost.usage import COST_COLUMNS, CostColumn, Quantity, meter

NANO_PER_USD = 10**9
ONE_NANO = Decimal("1E-9")
ZERO = Decimal(0)
_multiply = EXACT.multiply

CostStatus = Literal["complete", "free", "partial", "estimated", "unknown"]


class LineRate(NamedTuple):
    """The rate of a line: the part that all calls at the same price share.

    Attributes:
        usd: per ``per`` units; ``None`` where no rate is known.
        per: how many units the rate is for.
        source: where the rate came from ("genai-prices", "manual", …).
        inherited: the meter whose rate was used, where this one has none of its own.
    """

    usd: Decimal | None
    per: int
    source: str | None = None
    inherited: str | None = None


class Line(NamedTuple):
    """One meter of a call.

    A named tuple, like :class:`Receipt`: a frozen dataclass takes eight times as long to make, and a call
    has up to eight lines. What a line costs becomes a Decimal when somebody asks.

    Attributes:
        meter: what was billed.
        quantity: how much of it (tokens, calls, seconds, …).
        nano: nano-USD, rounded half up; ``None`` where no rate is known.
        at: its rate.
        model: set only where another model than the call's did this part.
    """

    meter: str
    quantity: Quantity
    nano: int | None
    at: LineRate
    model: str | None = None

    @property
    def cost(self) -> Decimal | None:
        """USD; ``None`` where no rate is known."""
        return None if self.nano is None else usd_of(self.nano)

    @property
    def rate(self) -> Decimal | None:
        """USD per ``per`` units; ``None`` where no rate is known."""
        return self.at.usd

    @property
    def per(self) -> int:
        """How many units the rate is for."""
        return self.at.per

    @property
    def source(self) -> str | None:
        """Where the rate came from."""
        return self.at.source

    @property
    def inherited(self) -> str | None:
        """The meter whose rate was used, where this one has none of its own."""
        return self.at.inherited


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
        sums: dict[CostColumn, int | None] = dict.fromkeys(COST_COLUMNS, 0)
        for name, _, nano, _, _ in self.lines:
            column = meter(name).column
            so_far = sums[column]
            sums[column] = None if so_far is None or nano is None else so_far + nano
        return {column: usd_of(nano) if nano else None if nano is None else ZERO for column, nano in sums.items()}

    def as_dict(self) -> Mapping[str, object]:
        """The receipt as JSON-ready values: decimals as strings, absent values left out."""
        fields: dict[str, object] = {
            "total": _text(self.total),
            "status": self.status,
            "lines": [_line(line) for line in self.lines],
            "key": self.key,
            "layer": self.layer,
            "stage": self.stage,
            "source": self.source,
            "effective_from": self.effective_from.isoformat() if self.effective_from else None,
            "reason": self.reason,
        }
        return _present(fields)


def _text(value: Decimal | None) -> str | None:
    if value is None:
        return None
    # A third of the time of format(), which is for the few with an exponent.
    shown = str(value)
    return format(value, "f") if "E" in shown else shown


def _present(fields: dict[str, object]) -> dict[str, object]:
    """The fields that have a value, in their order."""
    for name in [name for name, value in fields.items() if value is None]:
        del fields[name]
    return fields


def _line(line: Line) -> dict[str, object]:
    name, quantity, nano, (usd, per, source, inherited), model = line
    packed: dict[str, object] = {"meter": name, "quantity": quantity if isinstance(quantity, int) else _text(quantity)}
    if usd is not None:
        packed["rate"] = format(usd, "f")
    packed["per"] = per
    if nano is not None:
        packed["cost"] = f"{nano // NANO_PER_USD}.{nano % NANO_PER_USD:09}"
    rest = (("source", source), ("inherited", inherited), ("model", model))
    packed.update((label, value) for label, value in rest if value is not None)
    return packed


def usd_of(nano: int) -> Decimal:
    """Nano-USD as USD, to the last digit."""
    return _multiply(nano, ONE_NANO)
