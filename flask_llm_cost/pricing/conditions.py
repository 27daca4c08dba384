"""Reading a rule's conditions and dates."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime

from flask_llm_cost.errors import PriceTableError
from flask_llm_cost.pricing.entry import DAYS, When, Window
from flask_llm_cost.pricing.numbers import as_rate_number, shown

CONDITIONS = ("mode", "geo", "speed", "context_over", "context_from", "windows")
CLOCK = re.compile(r"([01]\d|2[0-4]):([0-5]\d)", re.ASCII)
MINUTES_PER_DAY = 24 * 60


def as_date(value: object, place: str) -> date | None:
    """A day, from a date or an ISO text (``2026-10-14``).

    Raises:
        PriceTableError: it is neither.
    """
    if value is None or value == "":
        return None
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    try:
        return date.fromisoformat(value) if isinstance(value, str) else _refuse_date(value, place)
    except ValueError:
        return _refuse_date(value, place)


def _refuse_date(value: object, place: str) -> date:
    raise PriceTableError(f"{place}: {shown(value)} is not a date; write it like 2026-10-14.")


def as_when(raw: object, place: str) -> When:
    """Conditions from ``{mode, geo, speed, context_over, context_from, windows}``.

    Raises:
        PriceTableError: a condition is unknown or malformed. An ignored one would price calls wrongly.
    """
    if raw is None or raw == "":
        return When()
    if not isinstance(raw, Mapping):
        raise PriceTableError(f"{place}: a mapping of conditions is needed, not {shown(raw)}.")
    for name in raw:
        if name not in CONDITIONS:
            raise PriceTableError(f"{place}: {shown(name)} is not a condition; known are {', '.join(CONDITIONS)}.")
    return When(
        _names(raw.get("mode"), f"{place}: mode"),
        _names(raw.get("geo"), f"{place}: geo"),
        _names(raw.get("speed"), f"{place}: speed"),
        _threshold(raw, place),
        _windows(raw.get("windows"), f"{place}: windows"),
    )


def _names(value: object, place: str) -> frozenset[str]:
    if value is None:
        return frozenset()
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, Sequence) or not names or not all(isinstance(name, str) and name for name in names):
        raise PriceTableError(f"{place}: a text or a list of texts is needed, not {shown(value)}.")
    return frozenset(name.casefold() for name in names)


def _threshold(raw: Mapping[str, object], place: str) -> int | None:
    """``context_from: 200000`` includes 200,000 and so is ``context_over: 199999``."""
    if "context_over" in raw and "context_from" in raw:
        raise PriceTableError(f"{place}: context_over and context_from exclude each other.")
    for name, step in (("context_over", 0), ("context_from", 1)):
        if name in raw:
            number = as_rate_number(raw[name], f"{place}: {name}")
            if number != number.to_integral_value() or number < step:
                raise PriceTableError(f"{place}: {name}: {shown(raw[name])} is not a whole number of tokens.")
            return int(number) - step
    return None


def _windows(raw: object, place: str) -> tuple[Window, ...]:
    if raw is None:
        return ()
    windows = [raw] if isinstance(raw, Mapping) else raw
    if isinstance(windows, str) or not isinstance(windows, Sequence) or not windows:
        raise PriceTableError(f"{place}: a list like [{{from: '00:30', to: '16:30'}}] is needed, not {shown(raw)}.")
    return tuple(_window(window, place) for window in windows)


def _window(raw: object, place: str) -> Window:
    if not isinstance(raw, Mapping) or set(raw) - {"from", "to", "days"}:
        raise PriceTableError(f"{place}: from, to and days are known, not {shown(raw)}.")
    start, end = _minute(raw.get("from", "00:00"), place), _minute(raw.get("to", "24:00"), place)
    days = raw.get("days", DAYS)
    names = [days] if isinstance(days, str) else days
    if not isinstance(names, Sequence) or not names or any(name not in DAYS for name in names):
        raise PriceTableError(f"{place}: days: {shown(days)}; a list of {', '.join(DAYS)} is needed.")
    return Window(start, end, frozenset(DAYS.index(name) for name in names))


def _minute(value: object, place: str) -> int:
    found = CLOCK.fullmatch(value) if isinstance(value, str) else None
    minute = int(found[1]) * 60 + int(found[2]) if found else MINUTES_PER_DAY + 1
    if minute > MINUTES_PER_DAY:
        raise PriceTableError(f"{place}: {shown(value)} is not a time of day; write it like '16:30' (UTC).")
    return minute
