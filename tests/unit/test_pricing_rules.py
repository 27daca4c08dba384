"""Which rates of an entry hold: dates, tiers of service, sizes of prompts, hours; and what the receipt calls it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from flask_llm_cost.pricing import Catalogue, Receipt, price
from flask_llm_cost.pricing.catalog import Layer
from flask_llm_cost.pricing.table import parse_table
from receipt_lines import line

SONNET: Mapping[str, object] = {
    "source": "genai-prices",
    "rates": [
        {
            "input": "3",
            "output": "15",
            "cache_read": "0.30",
            "cache_write": "3.75",
            "cache_write.1h": "6",
            "tool.web_search": {"usd": "10", "per": 1000},
        },
        {
            "when": {"context_over": 200000},
            "input": "6",
            "output": "22.50",
            "cache_read": "0.60",
            "cache_write": "7.50",
        },
        {
            "when": {"mode": "batch"},
            "effective_from": "2026-10-14",
            "input": "1.5",
            "output": "7.5",
            "cache_read": "0.15",
        },
        {"when": {"geo": "us"}, "multiplier": "1.1"},
    ],
}
NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)


def priced(entry: Mapping[str, object], usage: Mapping[str, int | Decimal], **conditions: object) -> Receipt:
    catalogue = Catalogue([Layer.of("overrides", parse_table({"acme/model": entry}, "test"))])
    conditions.setdefault("at", NOVEMBER)
    return price("acme", "model", usage, catalogue=catalogue, **conditions)  # type: ignore[arg-type]


def rates_of(receipt: Receipt) -> dict[str, str | None]:
    return {line.meter: None if line.rate is None else format(line.rate.normalize(), "f") for line in receipt.lines}


def test_a_receipt_says_which_rate_from_where_and_since_when() -> None:
    receipt = priced(SONNET, {"input": 1000, "output.reasoning": 200, "tool.web_search": 3}, mode="batch")
    assert receipt == Receipt(
        total=Decimal("0.033"),
        status="complete",
        lines=(
            line("input", 1000, Decimal("1.5"), 10**6, Decimal("0.0015"), "genai-prices"),
            line("output.reasoning", 200, Decimal("7.5"), 10**6, Decimal("0.0015"), "genai-prices", "output"),
            line("tool.web_search", 3, Decimal(10), 1000, Decimal("0.03"), "genai-prices"),
        ),
        key="acme/model",
        layer="overrides",
        stage="exact",
        source="genai-prices",
        effective_from=datetime(2026, 10, 14, tzinfo=UTC),
        cache_saved=Decimal(0),
    )


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({}, {"input": "3", "output": "15", "cache_read": "0.3", "cache_write": "3.75"}),
        ({"mode": "batch"}, {"input": "1.5", "output": "7.5", "cache_read": "0.15", "cache_write": "3.75"}),
        ({"mode": "BATCH"}, {"input": "1.5", "output": "7.5", "cache_read": "0.15", "cache_write": "3.75"}),
        ({"geo": "us"}, {"input": "3.3", "output": "16.5", "cache_read": "0.33", "cache_write": "4.125"}),
        (
            {"geo": "us", "mode": "batch"},
            {"input": "1.65", "output": "8.25", "cache_read": "0.165", "cache_write": "4.125"},
        ),
        ({"geo": "global"}, {"input": "3", "output": "15", "cache_read": "0.3", "cache_write": "3.75"}),
        (
            {"geo": "not_available", "mode": "standard", "speed": "standard"},
            {"input": "3", "output": "15", "cache_read": "0.3", "cache_write": "3.75"},
        ),
    ],
)
def test_overrides_are_per_meter_and_a_multiplier_reaches_what_it_is_not_written_for(
    conditions: dict[str, object], expected: dict[str, str]
) -> None:
    receipt = priced(SONNET, {"input": 1, "output": 1, "cache_read": 1, "cache_write": 1}, **conditions)
    assert (receipt.status, rates_of(receipt)) == ("complete", expected)


def test_a_multiplier_leaves_fees_alone_and_gives_way_to_rates_for_the_same_tier() -> None:
    """An undated 50% rule must not halve rates that are already batch rates, nor a search fee."""
    entry = {
        "rates": [
            {"input": "4", "output": "8", "tool.web_search": {"usd": 10, "per": 1000}},
            {"when": {"mode": "batch"}, "effective_from": "2026-06-01", "input": "2.2"},
            {"when": {"mode": "batch"}, "multiplier": "0.5"},
        ]
    }
    usage = {"input": 1, "output": 1, "tool.web_search": 1}
    before = priced(entry, usage, mode="batch", at=datetime(2026, 5, 31, 23, 59, tzinfo=UTC))
    assert rates_of(before) == {"input": "2", "output": "4", "tool.web_search": "10"}
    after = priced(entry, usage, mode="batch", at=datetime(2026, 6, 1, tzinfo=UTC))
    assert rates_of(after) == {"input": "2.2", "output": "8", "tool.web_search": "10"}


@pytest.mark.parametrize(
    ("usage", "rate"),
    [
        ({"input": 200_000}, "3"),
        ({"input": 200_001}, "6"),
        ({"input": 1, "cache_read": 199_999}, "3"),
        ({"input": 1, "cache_read": 100_000, "cache_write": 50_000, "cache_write.1h": 50_000}, "6"),
        ({"input": 1, "output": 900_000}, "3"),
        ({"input": 1, "tool.web_search": 900_000}, "3"),
        ({"input": Decimal("200000.5")}, "6"),
    ],
)
def test_the_whole_request_is_billed_at_the_tier_of_its_prompt(usage: dict[str, int | Decimal], rate: str) -> None:
    """Fresh, cache read and cache write count as the prompt; output and tools do not. Covers P-PRC-48."""
    assert rates_of(priced(SONNET, usage))["input"] == rate


def test_context_from_includes_its_number() -> None:
    entry = {
        "rates": [
            {"input": "1"},
            {"when": {"context_from": 128_000}, "input": "2"},
            {"when": {"context_over": 256_000}, "input": "4"},
        ]
    }
    found = [rates_of(priced(entry, {"input": size}))["input"] for size in (127_999, 128_000, 256_000, 256_001)]
    assert found == ["1", "2", "2", "4"]


def test_a_tier_of_service_beats_the_size_of_the_prompt_and_both_together_beat_each() -> None:
    entry = {
        "rates": [
            {"input": "1", "output": "1"},
            {"when": {"context_over": 10}, "input": "2", "output": "2"},
            {"when": {"mode": "flex"}, "input": "3"},
            {"when": {"mode": "batch"}, "input": "4"},
            {"when": {"mode": "batch", "context_over": 10}, "input": "5"},
        ]
    }
    usage = {"input": 11, "output": 1}
    assert rates_of(priced(entry, usage, mode="flex")) == {"input": "3", "output": "2"}
    assert rates_of(priced(entry, usage, mode="batch")) == {"input": "5", "output": "2"}


def test_a_call_is_priced_at_the_time_it_started() -> None:
    """Old rates stay; the day is the UTC day whatever the zone of the time. Covers P-PRC-41."""
    entry = {
        "rates": [
            {"input": "3"},
            {"effective_from": "2026-03-01", "effective_until": "2026-09-01", "input": "7"},
            {"effective_from": "2026-06-15", "effective_until": "2026-09-01", "input": "6"},
        ]
    }
    moments = {
        datetime(2026, 2, 28, 23, 59, 59, tzinfo=UTC): ("3", None),
        datetime(2026, 3, 1, tzinfo=UTC): ("7", datetime(2026, 3, 1, tzinfo=UTC)),
        datetime(2026, 6, 14, 23, 0): ("7", datetime(2026, 3, 1, tzinfo=UTC)),  # noqa: DTZ001 - naive means UTC
        datetime(2026, 6, 14, 23, 0, tzinfo=timezone(timedelta(hours=-2))): ("6", datetime(2026, 6, 15, tzinfo=UTC)),
        datetime(2026, 9, 1, 1, 0, tzinfo=timezone(timedelta(hours=2))): ("6", datetime(2026, 6, 15, tzinfo=UTC)),
        datetime(2026, 9, 1, tzinfo=UTC): ("3", None),
    }
    found = {at: priced(entry, {"input": 1}, at=at) for at in moments}
    assert {at: (rates_of(receipt)["input"], receipt.effective_from) for at, receipt in found.items()} == moments


def test_the_newest_of_the_used_rates_dates_the_receipt() -> None:
    entry = {"rates": [{"effective_from": "2026-01-01", "input": "1"}, {"effective_from": "2026-02-01", "output": "1"}]}
    assert priced(entry, {"input": 1}).effective_from == datetime(2026, 1, 1, tzinfo=UTC)
    assert priced(entry, {"input": 1, "output": Decimal("0.5")}).effective_from == datetime(2026, 2, 1, tzinfo=UTC)
    assert priced(entry, {"input": 1, "output": 0}).effective_from == datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("at", "rate"),
    [
        ("2026-11-02T00:29", "1"), ("2026-11-02T00:30", "2"), ("2026-11-02T16:29", "2"), ("2026-11-02T16:30", "1"),
        ("2026-11-07T12:00", "1"), ("2026-11-07T22:00", "3"), ("2026-11-08T05:59", "3"), ("2026-11-08T06:00", "1"),
        ("2026-11-06T23:00", "1"),
    ],
)  # fmt: skip
def test_windows_are_utc_hours_on_named_days(at: str, rate: str) -> None:
    """2 November 2026 is a Monday; a window over midnight holds on the days it names."""
    entry = {
        "rates": [
            {"input": "1"},
            {"when": {"windows": [{"from": "00:30", "to": "16:30", "days": ["mon", "tue"]}]}, "input": "2"},
            {"when": {"windows": [{"from": "22:00", "to": "06:00", "days": ["sat", "sun"]}]}, "input": "3"},
        ]
    }
    moment = datetime.fromisoformat(at).replace(tzinfo=UTC)
    assert rates_of(priced(entry, {"input": 1}, at=moment)) == {"input": rate}


@pytest.mark.parametrize(
    "conditions",
    [{"mode": "warp"}, {"speed": "fast"}, {"geo": "eu"}, {"mode": "batch", "at": datetime(2026, 10, 13, tzinfo=UTC)}],
)
def test_a_tier_nobody_knows_is_partial_and_never_silently_standard(conditions: dict[str, object]) -> None:
    """The standard rates are a guess and marked as one, also before the day from which a tier is known."""
    receipt = priced(SONNET, {"input": 100_000}, **conditions)
    assert (receipt.status, receipt.reason, receipt.total) == ("partial", "unknown_tier", Decimal("0.3"))


def test_a_region_is_no_tier_where_no_price_depends_on_it() -> None:
    assert priced({"input": 1, "output": 2}, {"input": 1}, geo="eu").status == "complete"


@pytest.mark.parametrize(
    ("entry", "usage", "expected"),
    [
        ({"input": 1, "output": 2}, {"input": 10**6, "output": 10**6}, ("complete", None, Decimal(3))),
        ({"input": 0, "output": 0}, {"input": 10**6, "output": 5}, ("free", None, Decimal(0))),
        ({"input": 0, "output": 1}, {"input": 10**6, "output": 0}, ("free", None, Decimal(0))),
        ({"input": "0.000001", "output": 0}, {"input": 1}, ("complete", None, Decimal(0))),
        ({"input": 1}, {"input": 10**6, "output": 5}, ("partial", "missing_rate", Decimal(1))),
        ({"input": 0}, {"input": 10**6, "output": 5}, ("partial", "missing_rate", Decimal(0))),
        ({"input": 1}, {"output": 5}, ("unknown", "missing_rate", None)),
        ({"input": 1}, {"input": 10**6, "output": 0}, ("complete", None, Decimal(1))),
        ({"input": 1}, {"output": 0}, ("complete", None, Decimal(0))),
        ({}, {"input": 5}, ("unknown", "missing_rate", None)),
        ({"input": 1}, {}, ("unknown", "no_usage", None)),
        ({"input": 1, "output": 1}, {"image.1024x1024.high": 2}, ("unknown", "missing_rate", None)),
        ({"image.1024x1024.high": "0.25"}, {"image.1024x1024.high": 2}, ("complete", None, Decimal("0.5"))),
    ],
)  # fmt: skip
def test_statuses(
    entry: dict[str, object], usage: dict[str, int], expected: tuple[str, str | None, Decimal | None]
) -> None:
    """Unknown is never zero. Covers P-PRC-02, P-PRC-15 and P-PRC-16, and answers P-PRC-22 and P-UNK-06."""
    receipt = priced(entry, usage)
    assert (receipt.status, receipt.reason, receipt.total) == expected
    assert receipt.key == "acme/model"


def test_an_unknown_model_keeps_its_quantities() -> None:
    """Covers P-PRC-02."""
    receipt = price("acme", "nobody-knows", {"input": 7, "cache_read": 0, "page": 2})
    assert receipt == Receipt(
        total=None,
        status="unknown",
        lines=(
            line("input", 7, None, 10**6, None),
            line("cache_read", 0, None, 10**6, Decimal(0)),
            line("page", 2, None, 1, None),
        ),
        reason="no_price",
    )
    assert price("acme", "nobody-knows", {}) == Receipt(None, "unknown", reason="no_usage")


def test_only_the_meter_table_lets_a_meter_inherit() -> None:
    """An hour's cache write is never priced as five minutes', audio never as text. Covers P-PRC-23."""
    usage = dict.fromkeys(
        ("input.image", "input.video", "output.reasoning", "input.audio", "output.audio", "cache_write.1h"), 1
    )
    receipt = priced({"input": 1, "output": 2, "cache_write_input": 3}, usage)
    assert {line.meter: (line.inherited, line.rate) for line in receipt.lines} == {
        "input.image": ("input", Decimal(1)),
        "input.video": ("input", Decimal(1)),
        "output.reasoning": ("output", Decimal(2)),
        "input.audio": (None, None),
        "output.audio": (None, None),
        "cache_write.1h": (None, None),
    }


@pytest.mark.parametrize(
    ("table", "mode", "expected"),
    [
        ({"input": 3, "output": 15}, None, {"cache_read": ("3", "input"), "cache_write": ("3", "input")}),
        ({"input": 3, "batch_input": 1, "output": 15}, "batch",
         {"cache_read": ("1", "input"), "cache_write": ("1", "input")}),
        ({"input": 3, "batch_input": 1, "cache_read_input": "0.3"}, "batch",
         {"cache_read": ("0.3", None), "cache_write": ("1", "input")}),
        ({"input": 3, "priority_cache_read_input": 0}, "priority",
         {"cache_read": ("0", None), "cache_write": ("3", "input")}),
    ],
)  # fmt: skip
def test_in_a_users_table_cache_meters_fall_to_input(
    table: dict[str, object], mode: str | None, expected: dict[str, tuple[str, str | None]]
) -> None:
    """Covers P-PRC-14, P-PRC-18 and P-PRC-19; the receipt says so."""
    receipt = priced(table, {"cache_read": 1, "cache_write": 1}, mode=mode)
    assert {line.meter: (str(line.rate), line.inherited) for line in receipt.lines} == expected


def test_a_mode_of_the_flat_form_overrides_per_rate() -> None:
    """Covers P-PRC-17: batch 0.5 and 1.0 give 1.5, batch input alone with the base output 2.0 gives 2.5."""
    usage = {"input": 10**6, "output": 10**6}
    assert priced(
        {"input": 1, "output": 2, "batch_input": 0.5, "batch_output": 1.0}, usage, mode="batch"
    ).total == Decimal("1.5")
    assert priced({"input": 1, "output": 2, "batch_input": 0.5}, usage, mode="batch").total == Decimal("2.5")
