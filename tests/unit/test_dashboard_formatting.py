"""Figures as people read them."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_llm_cost.dashboard import formatting
from flask_llm_cost.queries.breakdown import Spend


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (None, "unknown"),
        ("0", "$0.00"),
        ("57.76", "$57.76"),
        ("1234567.891", "$1,234,567.89"),
        ("1", "$1.00"),
        ("0.0113", "$0.0113"),
        ("0.004401", "$0.004401"),
        ("0.000312", "$0.000312"),
        ("0.000000312", "$0.00000031"),
        ("0.000000001", "$0.000000001"),
        ("-0.001", "-$0.001000"),
        ("-12.5", "-$12.50"),
    ],
)
def test_money_keeps_the_digits_that_matter(amount: str | None, shown: str) -> None:
    """Covers P-DASH-GEN-19, with the thousands separators that design 06 adds."""
    assert formatting.money(None if amount is None else Decimal(amount)) == shown


@given(st.decimals(Decimal("0.000000001"), Decimal(10**6), places=9), st.integers(0, 9))
def test_money_is_never_rounded_to_nothing(amount: Decimal, places: int) -> None:
    for shown in (formatting.money(amount), formatting.money(amount, places)):
        assert any(digit in shown for digit in "123456789")


@given(st.lists(st.none() | st.decimals(-10, 10_000, places=9), max_size=8))
def test_a_column_of_money_shares_its_decimals(amounts: list[Decimal | None]) -> None:
    """With the places of its column, every amount has the same number of decimals, and none reads as $0."""
    places = formatting.places_for(amounts)
    shown = [formatting.money(amount, places) for amount in amounts if amount is not None]
    assert {len(text.partition(".")[2]) for text in shown} <= {places}


@given(st.lists(st.decimals(0, 100, places=9), min_size=1, max_size=8))
def test_a_receipt_adds_up_by_eye(amounts: list[Decimal]) -> None:
    """To their last digit, the lines shown add up to the total shown."""
    total = sum(amounts)
    places = formatting.exact_places(amounts)
    read = [Decimal(formatting.money(amount, places).strip("$").replace(",", "")) for amount in amounts]
    assert sum(read) == total == Decimal(formatting.money(total, places).strip("$").replace(",", ""))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "n/a"),
        (0, "0 ms"),
        (0.4, "0 ms"),
        (695.2, "695 ms"),
        (999.7, "1.0 s"),
        (1400, "1.4 s"),
        (87_500, "87.5 s"),
        (125_000, "2 min 5 s"),
    ],
)
def test_durations(value: float | None, shown: str) -> None:
    assert formatting.duration(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.0k"),
        (12_345, "12.3k"),
        (439_000, "439k"),
        (28_310_000, "28.3M"),
        (4_200_000_000, "4.2B"),
        (10**13, "10,000B"),
    ],
)
def test_large_numbers_in_three_digits(value: int, shown: str) -> None:
    assert formatting.compact(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [("0", "0.0%"), ("0.01", "<0.1%"), ("52.84", "52.8%"), ("100", "100.0%"), ("1234", "1,234.0%")]
)
def test_a_percentage_reads_0_only_when_it_is(value: str, shown: str) -> None:
    """Covers P-DASH-GEN-19, P-DASH-OVR-05."""
    assert formatting.percent(Decimal(value)) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [("0", "0%"), ("0.4", "0%"), ("45.2", "+45%"), ("-3", "-3%"), ("200", "+200%"), ("1100", "×12")]
)
def test_changes_have_a_sign(value: str, shown: str) -> None:
    assert formatting.signed_percent(Decimal(value)) == shown


def test_rates_have_every_digit() -> None:
    assert [formatting.rate(Decimal(text)) for text in ("3", "0.30", "0.0375", "22.50", "1E+1")] == [
        "$3.00",
        "$0.30",
        "$0.0375",
        "$22.50",
        "$10.00",
    ]


def test_times_are_those_of_the_zone() -> None:
    moment = datetime(2026, 11, 3, 23, 5, 7, 123_900, tzinfo=UTC)
    berlin = ZoneInfo("Europe/Berlin")
    assert formatting.clock(moment, berlin) == "Nov 4, 00:05:07"
    assert formatting.full_time(moment, berlin) == "Nov 4, 2026, 00:05:07.123 CET"
    assert formatting.day_range(date(2025, 12, 30), date(2026, 1, 2)) == "Dec 30, 2025 – Jan 2, 2026"
    assert formatting.day_range(date(2026, 1, 2), date(2026, 1, 2)) == "Jan 2, 2026"


def test_long_texts_are_cut_with_an_ellipsis() -> None:
    """Covers P-DASH-GEN-20."""
    assert formatting.shortened("x" * 40) == "x" * 40
    assert formatting.shortened("x" * 41) == "x" * 39 + "…"


@pytest.mark.parametrize(
    ("spend", "shown"),
    [
        (Spend(calls=3, total_cost=Decimal("1.5")), "$1.50"),
        (Spend(calls=3, unpriced=1, total_cost=Decimal("1.5")), "≥ $1.50"),
        (Spend(calls=3, unpriced=1), "unknown"),
        (Spend(calls=3), "$0.00"),
    ],
    ids=["all priced", "a lower bound", "failed and unpriced calls", "failed calls alone"],
)
def test_an_unknown_part_is_never_shown_as_nothing(spend: Spend, shown: str) -> None:
    """Covers P-PRC-22, P-REP-07."""
    assert formatting.spent(spend) == shown
