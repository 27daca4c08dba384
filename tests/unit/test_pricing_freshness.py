"""When a table of prices is too old."""

from __future__ import annotations

from datetime import date

import pytest

from flask_llm_cost.pricing.freshness import freshness

TODAY = date(2026, 11, 22)


@pytest.mark.parametrize(
    ("updated", "ok", "message"),
    [
        ("2026-11-22", True, "Prices: the prices are of 2026-11-22."),
        (date(2026, 10, 23), True, "Prices: the prices are of 2026-10-23."),
        ("2027-01-01T00:00:00Z", True, "Prices: the prices are of 2027-01-01."),
        ("2026-10-22", False, "Prices: the prices of 2026-10-22 are older than 30 days."),
        (None, False, "Prices: nothing says when the prices were last updated."),
        ("", False, "Prices: nothing says when the prices were last updated."),
        ("soon", False, "Prices: updated_at = 'soon' is not a date."),
        (20261122.5, False, "Prices: updated_at = 20261122.5 is not a date."),
    ],
)
def test_thirty_days_are_of_late_and_what_is_older_or_says_nothing_is_not(
    updated: object, ok: bool, message: str
) -> None:
    """Covers P-EXP-06, P-EXP-07."""
    found = freshness("Prices", updated, TODAY)
    assert found.ok is ok
    assert found.message == (message if ok else f"{message} Run: flask llm-cost prices refresh")
