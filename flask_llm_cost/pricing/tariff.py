"""What one entry charges on one day at one tier: its rules in force, and a rate card per prompt size and hour."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction

from flask_llm_cost.pricing.card import Card, compile_card
from flask_llm_cost.pricing.entry import PROMPT_COLUMNS, STANDARD_GEOS, STANDARD_MODES, STANDARD_SPEEDS, Rule
from flask_llm_cost.pricing.match import Match
from flask_llm_cost.pricing.numbers import check_quantity
from flask_llm_cost.usage import Usage, meter


@dataclass(frozen=True, slots=True)
class Conditions:
    """The tier of a call, case folded; an empty text is the standard."""

    mode: str = ""
    geo: str = ""
    speed: str = ""


@dataclass(frozen=True, slots=True)
class Tariff:
    """All cards of one match on one day.

    Attributes:
        match: the entry and how it was found.
        conditions: the tier of the call.
        rules: the entry's rules in force that day.
        thresholds: prompt sizes at which rates change, ascending.
        boundaries: minutes of the day at which rates change, ascending.
        unknown_tier: whether the entry knows nothing of the tier.
        cards: (number of thresholds passed, number of boundaries passed) → card.
    """

    match: Match
    conditions: Conditions
    rules: tuple[Rule, ...]
    thresholds: tuple[int, ...]
    boundaries: tuple[int, ...]
    unknown_tier: bool
    weekday: int
    cards: dict[tuple[int, int], Card]

    def card(self, usage: Usage, at: datetime) -> Card:
        """The card for a call of this size at this time (UTC)."""
        passed = self._thresholds_passed(usage) if self.thresholds else 0
        minute = at.hour * 60 + at.minute if self.boundaries else 0
        segment = bisect_right(self.boundaries, minute) if self.boundaries else 0
        card = self.cards.get((passed, segment))
        if card is None:
            card = compile_card(self.match.entry, self._holding(passed, minute))
            self.cards[passed, segment] = card
        return card

    def _holding(self, passed: int, minute: int) -> tuple[Rule, ...]:
        """The rules for prompts beyond ``passed`` thresholds, at that minute of the day."""
        limits = self.thresholds[:passed]
        return tuple(
            rule
            for rule in self.rules
            if (rule.when.context_over is None or rule.when.context_over in limits)
            and (not rule.when.windows or any(window.holds(minute, self.weekday) for window in rule.when.windows))
        )

    def _thresholds_passed(self, usage: Usage) -> int:
        try:
            everything = sum(usage.values())
        except (TypeError, ArithmeticError):
            everything = Decimal(0)
        # A sum with a Decimal in it depends on the app's decimal context, so only one of ints can be relied on.
        if type(everything) is int and everything <= self.thresholds[0]:
            return 0
        prompt = Fraction(0)
        for name, count in usage.items():
            if is_prompt(name):
                check_quantity(name, count)
                prompt += Fraction(count)
        return sum(prompt > threshold for threshold in self.thresholds)


def is_prompt(name: str) -> bool:
    """Whether a meter counts toward the size of the prompt."""
    return meter(name).column in PROMPT_COLUMNS or name.partition(".")[0] in PROMPT_COLUMNS


def tariff(match: Match, mode: str | None, geo: str | None, speed: str | None, day: date) -> Tariff:
    """The cards of a match for one tier and day, none of them compiled yet."""
    conditions = Conditions(
        _tier(mode, STANDARD_MODES), _tier(geo or match.geo, STANDARD_GEOS), _tier(speed, STANDARD_SPEEDS)
    )
    in_force = match.entry.rules_on(day)
    rules = tuple(rule for rule in in_force if _tier_holds(rule, conditions))
    over = {rule.when.context_over for rule in rules if rule.when.context_over is not None}
    edges = {edge for rule in rules for window in rule.when.windows for edge in (window.start, window.end)}
    return Tariff(
        match,
        conditions,
        rules,
        tuple(sorted(over)),
        tuple(sorted(edges)),
        _is_unknown(in_force, conditions),
        day.weekday(),
        {},
    )


def _tier(name: str | None, standard: frozenset[str]) -> str:
    folded = (name or "").strip().casefold()
    return "" if folded in standard else folded


def _tier_holds(rule: Rule, conditions: Conditions) -> bool:
    when = rule.when
    return (
        (not when.modes or conditions.mode in when.modes)
        and (not when.geos or conditions.geo in when.geos)
        and (not when.speeds or conditions.speed in when.speeds)
    )


def _is_unknown(rules: tuple[Rule, ...], conditions: Conditions) -> bool:
    """Whether no rule in force knows the mode or the speed, or the region where regions make a difference."""
    modes = frozenset[str]().union(*(rule.when.modes for rule in rules))
    speeds = frozenset[str]().union(*(rule.when.speeds for rule in rules))
    if conditions.mode and conditions.mode not in modes:
        return True
    if conditions.speed and conditions.speed not in speeds:
        return True
    regional = (rule for rule in rules if _tier_holds(rule, replace(conditions, geo=next(iter(rule.when.geos), ""))))
    dearer = frozenset[str]().union(*(rule.when.geos for rule in regional)) - {"global"}
    return bool(dearer and conditions.geo and conditions.geo != "global" and conditions.geo not in dearer)
