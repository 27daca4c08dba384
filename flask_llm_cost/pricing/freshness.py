"""How old a table of prices is, and when that is too old."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

OLD_DAYS = 30
REMEDY = "flask llm-cost prices refresh"


@dataclass(frozen=True, slots=True)
class Freshness:
    """Whether prices can be relied on to be today's.

    Attributes:
        ok: not older than ``OLD_DAYS``.
        message: in a sentence, with what to do.
        day: when it was last updated; ``None`` where nothing says so.
    """

    ok: bool
    message: str
    day: date | None = None


def freshness(what: str, updated: object, today: date) -> Freshness:
    """Of a table that says that it was last updated on a day, as a date or an ISO text.

    Args:
        what: the table, as the message names it.
    """
    if updated is None or updated == "":
        return Freshness(False, f"{what}: nothing says when the prices were last updated. Run: {REMEDY}")
    day = _day(updated)
    if day is None:
        return Freshness(False, f"{what}: updated_at = {updated!r} is not a date. Run: {REMEDY}")
    if (today - day).days > OLD_DAYS:
        return Freshness(False, f"{what}: the prices of {day} are older than {OLD_DAYS} days. Run: {REMEDY}", day)
    return Freshness(True, f"{what}: the prices are of {day}.", day)


def _day(value: object) -> date | None:
    if isinstance(value, date):
        return value
    try:
        return date.fromisoformat(value[:10]) if isinstance(value, str) else None
    except ValueError:
        return None
