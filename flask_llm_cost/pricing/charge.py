"""From a tariff and a usage to a receipt. The hot path of the package: no allocation that the receipt does not keep."""

from __future__ import annotations

from datetime import UTC, date, datetime, time

from flask_llm_cost.pricing.card import Card, CardRate
from flask_llm_cost.pricing.entry import default_per
from flask_llm_cost.pricing.numbers import check_quantity
from flask_llm_cost.pricing.receipt import CostStatus, Line, LineRate, Receipt, usd_of
from flask_llm_cost.pricing.tariff import Tariff
from flask_llm_cost.usage import Quantity, Usage

NO_USAGE = "no_usage"
NO_PRICE = "no_price"
MISSING_RATE = "missing_rate"
UNKNOWN_TIER = "unknown_tier"
OPENROUTER_SUFFIX = "openrouter_suffix"

_tuple = tuple.__new__


class Bill:
    """The lines of a call and their sums (in nano-USD), while they are being added."""

    __slots__ = ("cache_known", "lines", "missing", "newest", "saved", "total", "unknown_tier")

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.total = self.saved = 0
        self.missing = self.unknown_tier = False
        self.cache_known = True
        self.newest: date | None = None

    def add(self, card: Card, usage: Usage, model: str | None = None) -> None:
        """A line per meter of ``usage``, at the card's rates."""
        quick, append = card.quick, self.lines.append
        total = saved = 0
        for name, quantity in usage.items():
            try:
                numerator, half, denominator, at, caching = quick[name]
            except KeyError:
                self.add_unpriced(name, quantity, model)
                continue
            if type(quantity) is not int or quantity <= 0:
                self._add_unusual(name, quantity, card.rates[name], model)
                continue
            nano = (quantity * numerator + half) // denominator
            total += nano
            if caching is not None:
                numerator, half, denominator, remarkable = caching
                if remarkable is None:
                    saved += (quantity * numerator + half) // denominator - nano
                else:
                    self._remark(remarkable, quantity, nano)
            append(_tuple(Line, (name, quantity, nano, at, model)))
        self.total += total
        self.saved += saved

    def _remark(self, rate: CardRate, quantity: Quantity, nano: int) -> None:
        """What the whole receipt says of a line: since when its rate holds, what caching saved."""
        since = rate.rule.effective_from
        if since is not None and (self.newest is None or since > self.newest):
            self.newest = since
        if rate.fresh is not None:
            self.saved += rate.fresh.nano(quantity) - nano
        elif rate.cached:
            self.cache_known = False

    def _add_unusual(self, name: str, quantity: Quantity, rate: CardRate, model: str | None) -> None:
        """A meter of quantity zero, or counted in fractions."""
        check_quantity(name, quantity)
        nano = rate.per_unit.nano(quantity)
        self.total += nano
        if quantity:
            self._remark(rate, quantity, nano)
        self.lines.append(Line(name, quantity, nano, rate.at, model))

    def add_unpriced(self, name: str, quantity: Quantity, model: str | None = None) -> None:
        """A meter without a rate: nothing of it costs nothing, anything else has no known cost."""
        check_quantity(name, quantity)
        self.lines.append(Line(name, quantity, None if quantity else 0, LineRate(None, default_per(name)), model))
        if quantity:
            self.missing = True
            if name.startswith("cache_"):
                self.cache_known = False


def unpriced_receipt(bill: Bill) -> Receipt:
    """The receipt of a model that no table knows; other models' parts of the answer may still have prices."""
    lines = tuple(bill.lines)
    if not any(line.rate is not None and line.quantity for line in lines):
        return Receipt(None, "unknown", lines, reason=NO_PRICE if lines else NO_USAGE)
    status: CostStatus = "partial" if bill.missing else "complete"
    return Receipt(usd_of(bill.total), status, lines, reason=NO_PRICE if bill.missing else None)


def receipt(bill: Bill, tariff: Tariff) -> Receipt:
    """The receipt of a bill written with this tariff."""
    match = tariff.match
    entry = match.entry
    plain = bill.total and not (bill.missing or bill.unknown_tier or tariff.unknown_tier or match.estimated)
    status, reason = ("complete", None) if plain else _verdict(bill, tariff)
    known = status != "unknown"
    newest = bill.newest
    fields = (
        usd_of(bill.total) if known else None,
        status,
        tuple(bill.lines),
        entry.key,
        match.layer,
        match.stage,
        entry.source,
        None if newest is None else datetime.combine(newest, time(), UTC),
        reason,
        usd_of(bill.saved) if known and bill.cache_known else None,
    )
    return _tuple(Receipt, fields)


def _verdict(bill: Bill, tariff: Tariff) -> tuple[CostStatus, str | None]:
    if not bill.lines:
        return "unknown", NO_USAGE
    used = [line for line in bill.lines if line.quantity and line.rate is not None]
    if bill.missing:
        return ("partial" if used else "unknown"), MISSING_RATE
    if tariff.unknown_tier or bill.unknown_tier:
        return "partial", UNKNOWN_TIER
    if tariff.match.estimated:
        return "estimated", OPENROUTER_SUFFIX
    if used and not any(line.rate for line in used):
        return "free", None
    return "complete", None
