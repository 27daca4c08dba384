"""Figures as people read them. Money never rounds to $0, and a column of it shares its decimals."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal
from zoneinfo import ZoneInfo

from flask_llm_cost.queries.breakdown import Spend
from flask_llm_cost.queries.totals import CostSpan

CENT = Decimal("0.01")
MOST_PLACES = 9
UNKNOWN = "unknown"


def places_for(amounts: Iterable[Decimal | None], least: int = 2) -> int:
    """How many decimals show every amount, those under a cent with two significant digits: ``least`` to 9."""
    return max([least, *(_places(amount) for amount in amounts if amount)])


def exact_places(amounts: Iterable[Decimal | None], least: int = 2) -> int:
    """How many decimals show every amount to its last digit: a receipt must add up by eye."""
    exponents = [amount.normalize().as_tuple().exponent for amount in amounts if amount]
    return min(MOST_PLACES, max([least, *(-each for each in exponents if isinstance(each, int))]))


def money(amount: Decimal | None, places: int | None = None) -> str:
    """USD: 2 decimals from a dollar, 4 from a cent, 6 and more below, or as many as ``places`` says.

    More are used where the amount would otherwise read as $0. ``None`` is "unknown".
    """
    if amount is None:
        return UNKNOWN
    shown = _natural_places(amount) if places is None else places
    if amount and abs(amount) < Decimal(5).scaleb(-shown - 1):
        shown = _places(amount)
    rounded = abs(amount).quantize(Decimal(1).scaleb(-shown), ROUND_HALF_UP)
    return f"{'-' if amount < 0 and rounded else ''}${rounded:,.{shown}f}"


def spent(spend: Spend, places: int | None = None) -> str:
    """What something cost; "unknown" where no part of it is known."""
    return span(spend.span, places)


def span(bounds: CostSpan, places: int | None = None, *, at_least: str = "≥ ") -> str:
    """A cost within bounds: "$12.34 – $12.91"; "≥ $12.34" without an upper one, "≤ $0.02" without a lower one.

    One amount where both are the same; "unknown" without either. ``at_least`` is the sign of a lower bound, for
    where words beside it say so already.
    """
    low, high = bounds.low, bounds.high
    if high is None:
        return f"{at_least}{money(low, places)}" if low else UNKNOWN
    if low == high:
        return money(low, places)
    if not low:
        return f"≤ {money(high, places)}"
    # Both with the decimals that show the lower one, and more where they would read the same.
    places = max(_natural_places(low) if places is None else places, _places(low))
    while places < MOST_PLACES and money(low, places) == money(high, places):
        places += 1
    return f"{money(low, places)} – {money(high, places)}"


def estimate(low: Decimal | None, high: Decimal | None, places: int | None = None) -> str:
    """What an estimated call cost: its own bounds."""
    return span(CostSpan(low or Decimal(0), high), places)


def _natural_places(amount: Decimal) -> int:
    size = abs(amount)
    if size >= 1 or not size:
        return 2
    return 4 if size >= CENT else max(6, _places(amount))


def _places(amount: Decimal) -> int:
    """The decimals that an amount needs: cents, or two significant digits below a cent."""
    return 2 if abs(amount) >= CENT else min(MOST_PLACES, 1 - amount.adjusted())


def rate(amount: Decimal) -> str:
    """A price as the price table has it: every digit, at least two decimals."""
    exact = amount.normalize()
    exponent = exact.as_tuple().exponent
    places = max(2, -exponent) if isinstance(exponent, int) else 2
    return f"${exact:,.{places}f}"


def count(number: int | Decimal) -> str:
    """A whole number with thousands separators; a part is kept where there is one."""
    return f"{number:,}" if isinstance(number, int) or number != number.to_integral_value() else f"{int(number):,}"


def compact(number: int) -> str:
    """A number in about three digits: 999, 12.3k, 28.3M."""
    size = Decimal(number)
    for unit in ("", "k", "M", "B"):
        if size < 1000 or unit == "B":
            break
        size /= 1000
    if not unit:
        return str(number)
    rounded = size.quantize(Decimal("0.1") if size < 100 else Decimal(1), ROUND_HALF_UP)
    return f"{rounded:,}{unit}"


def duration(milliseconds: float | None) -> str:
    """A duration: "695 ms", "1.4 s", "2 min 5 s"; "n/a" where it was not measured."""
    if milliseconds is None:
        return "n/a"
    if milliseconds < 999.5:
        return f"{milliseconds:.0f} ms"
    seconds = milliseconds / 1000
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes:,} min {rest} s"


def percent(value: Decimal | float, places: int = 1) -> str:
    """A percentage that reads 0 only when it is."""
    size = Decimal(value)
    smallest = Decimal(1).scaleb(-places)
    if 0 < size < smallest / 2:
        return f"<{smallest}%"
    return f"{size.quantize(smallest, ROUND_HALF_UP):,}%"


def signed_percent(value: Decimal) -> str:
    """A change in percent with its sign: "+45%", "-3%", "0%"; large ones as a factor, "×12"."""
    if value >= 1000:
        return f"×{count(int(value / 100 + 1))}"
    rounded = value.quantize(Decimal(1), ROUND_HALF_UP)
    return f"{rounded:+}%" if rounded else "0%"


def day(value: date, *, year: bool = False) -> str:
    """A day as "Nov 3", or "Nov 3, 2026"."""
    return f"{value:%b} {value.day}, {value.year}" if year else f"{value:%b} {value.day}"


def day_range(first: date, last: date) -> str:
    """Two days as "Oct 24 – Nov 22, 2026"; one day alone."""
    if first == last:
        return day(last, year=True)
    return f"{day(first, year=first.year != last.year)} – {day(last, year=True)}"


def clock(moment: datetime, timezone: ZoneInfo) -> str:
    """A moment as "Nov 3, 15:55:07" in the time zone."""
    local = moment.astimezone(timezone)
    return f"{day(local)}, {local:%H:%M:%S}"


def full_time(moment: datetime, timezone: ZoneInfo) -> str:
    """A moment with its year, milliseconds and zone: "Nov 3, 2026, 15:55:07.123 CET"."""
    local = moment.astimezone(timezone)
    return f"{day(local, year=True)}, {local:%H:%M:%S}.{local.microsecond // 1000:03d} {local:%Z}"


def shortened(text: str, longest: int = 40) -> str:
    """A text cut to a length, with an ellipsis where something is missing."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
