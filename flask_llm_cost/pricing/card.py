"""Rate cards: the rules that hold for a call, compiled to one rate per meter, and the arithmetic on them.

Money is integer nano-USD until it is shown: a cost is ``quantity × numerator / denominator``, exact,
rounded half up once per meter, so that the total of a receipt is the sum of its lines.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from math import gcd
from typing import NamedTuple

from flask_llm_cost.pricing.entry import (
    Entry,
    Rate,
    Rule,
    is_token_meter,
)
from flask_llm_cost.pricing.numbers import EXACT
from flask_llm_cost.pricing.receipt import NANO_PER_USD, LineRate
from flask_llm_cost.usage import METERS, Quantity, meter


class PerUnit(NamedTuple):
    """Nano-USD for one unit of a meter, exactly: ``numerator / denominator``, in lowest terms."""

    numerator: int
    denominator: int

    def nano(self, quantity: Quantity) -> int:
        """The cost of a quantity, rounded half up."""
        top, bottom = quantity.as_integer_ratio()
        bottom *= self.denominator
        # Where bottom is odd there are no halves, and bottom // 2 rounds to the nearest.
        return (top * self.numerator + bottom // 2) // bottom


@dataclass(frozen=True, slots=True)
class CardRate:
    """A meter's rate on a card.

    Attributes:
        per_unit: nano-USD for one unit.
        usd: USD per ``per`` units, with every multiplier applied.
        per: how many units ``usd`` is for.
        source: where it comes from.
        inherited: the meter whose rate it is, if not its own.
        cached: whether the meter is a cache's.
        fresh: for a cache's meter, what the same tokens cost uncached; ``None`` where that is unknown.
        rule: the rule it stands in.
    """

    per_unit: PerUnit
    usd: Decimal
    per: int
    source: str
    inherited: str | None
    cached: bool
    fresh: PerUnit | None
    rule: Rule

    @property
    def quick(self) -> QuickRate:
        """What the hot path needs, in the order in which it needs it."""
        numerator, denominator = self.per_unit
        return numerator, denominator // 2, denominator, self.at, self._quick_caching()

    @property
    def at(self) -> LineRate:
        """The rate as a receipt's line has it."""
        return LineRate(self.usd, self.per, self.source, self.inherited)

    def _quick_caching(self) -> QuickCaching | None:
        remarkable = (self.cached and self.fresh is None) or self.rule.effective_from is not None
        if self.fresh is None:
            return (0, 0, 1, self) if remarkable else None
        numerator, denominator = self.fresh
        return numerator, denominator // 2, denominator, self if remarkable else None


# Of fresh input in a cache's place: numerator, half the denominator, denominator; and the whole rate where
# the receipt has more to say about it.
QuickCaching = tuple[int, int, int, CardRate | None]
# numerator, half the denominator, denominator, rate, caching.
QuickRate = tuple[int, int, int, LineRate, QuickCaching | None]


@dataclass(frozen=True, slots=True)
class Card:
    """The rates that hold for one combination of conditions; ``quick`` is the same for the hot path."""

    rates: Mapping[str, CardRate]
    quick: Mapping[str, QuickRate]


def compile_card(entry: Entry, rules: tuple[Rule, ...]) -> Card:
    """The rate of every meter, from the rules that hold, the most particular first."""
    own = {name: found for name in _metered(rules) if (found := _own_rate(rules, name)) is not None}
    rates: dict[str, CardRate] = {}
    for name in (*own, *_heirs(own, user=entry.user)):
        donor = _donor(own, name, user=entry.user)
        if donor is not None:
            rates[name] = _card_rate(entry, own, name, donor)
    return Card(rates, {name: rate.quick for name, rate in rates.items()})


def _metered(rules: tuple[Rule, ...]) -> Iterator[str]:
    return iter(dict.fromkeys(name for rule in rules for name in rule.rates))


def _own_rate(rules: tuple[Rule, ...], name: str) -> tuple[Rate, Rule] | None:
    """The rate in the first rule that has the meter, times the multipliers that reach it."""
    for rule in rules:
        rate = rule.rates.get(name)
        if rate is not None:
            usd = rate.usd
            if is_token_meter(name):
                for factor in _multipliers(rules):
                    usd = EXACT.multiply(usd, factor)
            return Rate(usd, rate.per), rule
    return None


def _multipliers(rules: tuple[Rule, ...]) -> Iterator[Decimal]:
    """One multiplier per set of conditions, the first; none where rates are written for those conditions."""
    seen = set()
    written = [rule.when for rule in rules if rule.rates]
    for rule in rules:
        if rule.multiplier is None or rule.when in seen:
            continue
        seen.add(rule.when)
        particular = bool(rule.when.modes or rule.when.geos or rule.when.speeds)
        if not (particular and any(when.covers(rule.when) for when in written if when is not rule.when)):
            yield rule.multiplier


def _heirs(own: Mapping[str, object], *, user: bool) -> Iterator[str]:
    for name, known in METERS.items():
        if name not in own and (known.inherits or (user and known.user_inherits)):
            yield name


def _donor(own: Mapping[str, object], name: str, *, user: bool) -> str | None:
    """The meter whose rate a meter has: its own, else as far up as the meter table allows."""
    donor: str | None = name
    while donor is not None and donor not in own:
        known = meter(donor)
        donor = known.inherits or (known.user_inherits if user else None)
    return donor


def _card_rate(entry: Entry, own: Mapping[str, tuple[Rate, Rule]], name: str, donor: str) -> CardRate:
    rate, rule = own[donor]
    family, _, kind = name.partition(".")
    cached = family in ("cache_read", "cache_write")
    fresh = own.get(f"input.{kind}") or own.get("input") if cached else None
    return CardRate(
        _per_unit(rate),
        rate.usd,
        rate.per,
        rule.source or entry.source,
        None if donor == name else donor,
        cached,
        _per_unit(fresh[0]) if fresh else None,
        rule,
    )


def _per_unit(rate: Rate) -> PerUnit:
    top, bottom = rate.usd.as_integer_ratio()
    top, bottom = top * NANO_PER_USD, bottom * rate.per
    shared = gcd(top, bottom)
    return PerUnit(top // shared, bottom // shared)
