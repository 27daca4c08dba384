"""A price entry: dated rules, each with the conditions under which its rates hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from flask_llm_cost.usage import METERS, MILLION, CostColumn, meter

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
TOKEN_FAMILIES = frozenset({"input", "cache_read", "cache_write", "output"})
PROMPT_COLUMNS: frozenset[CostColumn] = frozenset({"input", "cache_read", "cache_write"})

# What providers call the tier that costs the list price. OpenAI answers "default", Groq "on_demand",
# Anthropic "standard" and, asked to avoid priority, "standard_only".
STANDARD_MODES = frozenset({"", "default", "standard", "auto", "on_demand", "standard_only"})
STANDARD_SPEEDS = frozenset({"", "default", "standard", "normal"})
# Anthropic answers "not_available" for models without data residency, "global" where it may run anywhere.
STANDARD_GEOS = frozenset({"", "not_available"})


def is_token_meter(name: str) -> bool:
    """Whether a meter counts tokens, be it in the meter table or only of a token family ("cache_read.image")."""
    known = METERS.get(name)
    return known.unit == "token" if known is not None else name.partition(".")[0] in TOKEN_FAMILIES


def default_per(name: str) -> int:
    """How many units a bare rate of this meter is for."""
    return MILLION if is_token_meter(name) else meter(name).per


@dataclass(frozen=True, slots=True)
class Rate:
    """``usd`` for ``per`` units of a meter."""

    usd: Decimal
    per: int


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of the UTC day.

    Attributes:
        start, end: minutes after midnight; ``end`` is exclusive and may be before ``start`` (over midnight).
        days: 0 is Monday; the day on which a moment falls counts, not the day on which the stretch began.
    """

    start: int
    end: int
    days: frozenset[int] = frozenset(range(7))

    def holds(self, minute: int, weekday: int) -> bool:
        if weekday not in self.days:
            return False
        if self.start < self.end:
            return self.start <= minute < self.end
        return minute >= self.start or minute < self.end


@dataclass(frozen=True, slots=True)
class When:
    """Conditions; every one that is set must hold.

    Attributes:
        modes, geos, speeds: case-folded; any one of them.
        context_over: the prompt (fresh + cache read + cache write) has more tokens than this.
        windows: any one of them.
    """

    modes: frozenset[str] = frozenset()
    geos: frozenset[str] = frozenset()
    speeds: frozenset[str] = frozenset()
    context_over: int | None = None
    windows: tuple[Window, ...] = ()

    @property
    def precedence(self) -> tuple[bool, bool, bool, bool, int]:
        """The more particular conditions are, the higher: a tier is more particular than a long prompt."""
        over = -1 if self.context_over is None else self.context_over
        return bool(self.modes), bool(self.speeds), bool(self.geos), bool(self.windows), over

    def covers(self, other: When) -> bool:
        """Whether rates written for these conditions are written for ``other``'s mode, geo and speed too."""
        return all(
            not theirs or bool(ours & theirs)
            for ours, theirs in (
                (self.modes, other.modes),
                (self.geos, other.geos),
                (self.speeds, other.speeds),
            )
        )


@dataclass(frozen=True, slots=True)
class Rule:
    """Rates, or a multiplier on token rates, that hold under conditions from one day to another.

    Attributes:
        when: the conditions.
        rates: meter → rate.
        multiplier: what every token rate without a rate of its own for these conditions is multiplied by.
        effective_from: first UTC day; ``None`` is "always".
        effective_until: first UTC day on which it no longer holds.
        source: where the rule comes from, if not from where its entry does.
    """

    when: When = When()
    rates: Mapping[str, Rate] = field(default_factory=dict)
    multiplier: Decimal | None = None
    effective_from: date | None = None
    effective_until: date | None = None
    source: str | None = None

    def in_force(self, day: date) -> bool:
        started = self.effective_from is None or self.effective_from <= day
        return started and (self.effective_until is None or day < self.effective_until)


@dataclass(frozen=True, slots=True)
class Entry:
    """What one model costs at one provider.

    Attributes:
        key: as the table spells it ("anthropic/claude-sonnet-4-5").
        rules: the most particular first; among equals the newer, then the earlier written.
        source: where the prices come from ("genai-prices", "manual", …).
        user: whether a user wrote it, which lets cache meters fall to the input rate.
        checked_at: when a person or a build last compared it with its source.
    """

    key: str
    rules: tuple[Rule, ...]
    source: str
    user: bool = False
    checked_at: date | None = None

    def rules_on(self, day: date) -> tuple[Rule, ...]:
        return tuple(rule for rule in self.rules if rule.in_force(day))


def by_precedence(rules: list[Rule]) -> tuple[Rule, ...]:
    """Rules in the order in which they are asked for a rate."""
    newest = sorted(rules, key=lambda rule: rule.effective_from or date.min, reverse=True)
    return tuple(sorted(newest, key=lambda rule: rule.when.precedence, reverse=True))
