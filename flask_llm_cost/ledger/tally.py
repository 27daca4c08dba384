"""What a repricing changes, by model: counts, sums before and after, statuses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from flask_llm_cost.pricing.costing import Cost
from flask_llm_cost.pricing.numbers import EXACT

ZERO = Decimal(0)
_add = EXACT.add


@dataclass(frozen=True, slots=True)
class Amounts:
    """What a set of calls cost, USD.

    Attributes:
        total: of those whose cost is known, all or in part.
        low, high: of those that are estimates, at least and at most; without those that have no upper bound.
        unpriced: how many calls have no known upper bound: the rest is a lower bound then.
    """

    total: Decimal = ZERO
    low: Decimal = ZERO
    high: Decimal = ZERO
    unpriced: int = 0

    @property
    def least(self) -> Decimal:
        """What the calls cost at least."""
        return _add(self.total, self.low)

    @property
    def most(self) -> Decimal | None:
        """What the calls cost at most; ``None`` where nothing can be said."""
        return None if self.unpriced else _add(self.total, self.high)

    def __add__(self, other: Amounts) -> Amounts:
        return Amounts(
            _add(self.total, other.total),
            _add(self.low, other.low),
            _add(self.high, other.high),
            self.unpriced + other.unpriced,
        )

    def as_dict(self) -> dict[str, object]:
        return {
            "total_cost": format(self.total, "f"),
            "cost_low": format(self.least, "f"),
            "cost_high": None if self.most is None else format(self.most, "f"),
            "unpriced_calls": self.unpriced,
        }


@dataclass(frozen=True, slots=True)
class ModelChange:
    """The calls of one model whose cost changed.

    Attributes:
        calls: how many.
        before, after: what they cost.
        statuses: (before, after) → calls.
    """

    provider: str
    model: str
    calls: int
    before: Amounts
    after: Amounts
    statuses: Mapping[tuple[str, str], int]

    @property
    def difference(self) -> Decimal:
        """USD by which the calls cost more than before; less where negative. Of estimates, the lower bounds count."""
        return EXACT.subtract(self.after.least, self.before.least)

    def as_dict(self) -> dict[str, object]:
        """JSON-ready: USD as decimal texts."""
        return {
            "provider": self.provider,
            "model": self.model,
            "calls": self.calls,
            "before": self.before.as_dict(),
            "after": self.after.as_dict(),
            "difference": format(self.difference, "f"),
            "statuses": [
                {"before": before, "after": after, "calls": calls}
                for (before, after), calls in sorted(self.statuses.items())
            ],
        }


@dataclass(frozen=True, slots=True)
class SkippedCall:
    """A call that cannot be priced again: its receipt is none that this package wrote."""

    call_id: int
    problem: str


@dataclass(frozen=True, slots=True)
class Repriced:
    """What a run did, or would do.

    Attributes:
        run: what names it in the audit; ``None`` where it only looked.
        looked_at: calls that were priced again.
        changes: those of them whose cost changed, by model, the largest difference first.
        skipped: the first 100 that were left alone because they cannot be read.
    """

    run: str | None
    looked_at: int
    changes: tuple[ModelChange, ...]
    skipped: tuple[SkippedCall, ...] = ()

    @property
    def calls(self) -> int:
        """How many calls changed."""
        return sum(change.calls for change in self.changes)

    @property
    def before(self) -> Amounts:
        return sum((change.before for change in self.changes), Amounts())

    @property
    def after(self) -> Amounts:
        return sum((change.after for change in self.changes), Amounts())

    @property
    def difference(self) -> Decimal:
        """USD; as of a model."""
        return EXACT.subtract(self.after.least, self.before.least)

    def as_dict(self) -> dict[str, object]:
        """JSON-ready: USD as decimal texts."""
        return {
            "run": self.run,
            "looked_at": self.looked_at,
            "calls": self.calls,
            "before": self.before.as_dict(),
            "after": self.after.as_dict(),
            "difference": format(self.difference, "f"),
            "models": [change.as_dict() for change in self.changes],
            "skipped": [{"id": call.call_id, "problem": call.problem} for call in self.skipped],
        }


@dataclass(slots=True)
class _Change:
    calls: int = 0
    before: Amounts = field(default_factory=Amounts)
    after: Amounts = field(default_factory=Amounts)
    statuses: Counter[tuple[str, str]] = field(default_factory=Counter)


class Tally:
    """Adds changes up while they are made."""

    def __init__(self) -> None:
        self._changes: dict[tuple[str, str], _Change] = {}

    def add(self, call: Mapping[str, Any], cost: Cost) -> None:
        """A call (column → value) and what it costs from now on."""
        change = self._changes.setdefault((call["provider"], call["model"]), _Change())
        change.calls += 1
        held = {name: call[f"{name}_nano"] for name in ("total_cost", "cost_low", "cost_high")}
        change.before += _amounts(held, call["cost_status"])
        change.after += _amounts(cost.amounts(), cost.status)
        change.statuses[call["cost_status"] or "none", cost.status or "none"] += 1

    def include(self, other: Tally) -> None:
        for key, theirs in other._changes.items():
            ours = self._changes.setdefault(key, _Change())
            ours.calls += theirs.calls
            ours.before += theirs.before
            ours.after += theirs.after
            ours.statuses.update(theirs.statuses)

    @property
    def before(self) -> Amounts:
        return sum((each.before for each in self._changes.values()), Amounts())

    @property
    def after(self) -> Amounts:
        return sum((each.after for each in self._changes.values()), Amounts())

    def changes(self) -> tuple[ModelChange, ...]:
        """By model, the largest difference first."""
        made = (
            ModelChange(provider, model, each.calls, each.before, each.after, dict(each.statuses))
            for (provider, model), each in self._changes.items()
        )
        return tuple(sorted(made, key=lambda each: (-abs(each.difference), each.provider, each.model)))


def _amounts(costs: Mapping[str, Decimal | None], status: str | None) -> Amounts:
    total, low, high = (costs.get(name) for name in ("total_cost", "cost_low", "cost_high"))
    is_open = status == "estimated" and total is None and high is None
    return Amounts(total or ZERO, low or ZERO, high or ZERO, int(is_open or status in ("unknown", "partial")))
