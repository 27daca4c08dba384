"""Packed events to plain values, and sums over them: laws that need no database."""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_llm_cost.ledger.event import Event
from flask_llm_cost.ledger.rollups import AMOUNTS, SUMS, latency_bin, summarise
from flask_llm_cost.ledger.rows import clean_json, clean_text, entry_of, pack, utc_text
from flask_llm_cost.ledger.segment import parse

CALL = Event(
    event_id=UUID(int=7), tracked_at=datetime(2026, 5, 1, 9, 30, tzinfo=UTC), provider="openai", model="gpt-4o"
)
NOW = "2026-05-01 10:00:00.000000"

texts = st.text(st.characters(codec="utf-8"), max_size=6) | st.sampled_from(["a\0b", "\ud800", ""])
nano = st.none() | st.integers(0, 10**12).map(lambda count: Decimal(count).scaleb(-9))
events = st.builds(
    Event,
    event_id=st.uuids(),
    tracked_at=st.datetimes(datetime(2026, 3, 28), datetime(2026, 3, 31), timezones=st.just(UTC)),  # noqa: DTZ001
    provider=st.sampled_from(["openai", "anthropic"]),
    model=st.sampled_from(["a", "b"]),
    status=st.sampled_from(["ok", "error", "cancelled"]),
    usage_source=st.sampled_from(["response", "unknown"]),
    stream=st.booleans(),
    pricing_mode=st.sampled_from([None, "batch"]),
    input_tokens=st.integers(0, 10**9),
    output_tokens=st.integers(0, 10**9),
    total_tokens=st.integers(0, 10**9),
    total_cost=nano,
    input_cost=nano,
    cost_status=st.sampled_from([None, "complete", "partial", "unknown", "estimated"]),
    latency_ms=st.none() | st.integers(0, 10**6),
    provider_response_id=st.none() | texts,
    tags=st.dictionaries(st.sampled_from(["user", "feature"]), texts, max_size=2),
)


@given(st.lists(events, max_size=30), st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kolkata", "Asia/Kathmandu"]))
def test_every_rollup_sums_to_the_calls(batch: list[Event], zone: str) -> None:
    """Days, hours and latency bins each add up to the calls, in every zone. Covers P-ROLL-01, P-ROLL-10."""
    entries = [entry_of(pack(event), NOW) for event in batch]
    summary = summarise(entries, ZoneInfo(zone))
    expected = [sum(int(entry.row[name] or 0) for entry in entries) for name in AMOUNTS]
    for rollup in (summary.daily, summary.hourly):
        sums = [sum(column) for column in zip(*rollup.values(), strict=True)] or [0] * len(SUMS)
        assert sums[-len(AMOUNTS) :] == expected
        assert sums[0] == len(batch)
    timed = [event for event in batch if event.latency_ms is not None]
    assert sum(calls for (calls,) in summary.latency.values()) == len(timed)
    days = {event.tracked_at.astimezone(ZoneInfo(zone)).date().isoformat() for event in batch}
    assert {day for day, *_ in summary.daily} == days


@given(st.lists(events, max_size=30))
def test_tag_rollups_sum_to_the_tagged_calls(batch: list[Event]) -> None:
    entries = [entry_of(pack(event), NOW) for event in batch]
    summary = summarise(entries, ZoneInfo("UTC"), ["feature"])
    users = [entry for entry in entries if "user" in entry.tags]
    assert {key for key, *_ in summary.tags} <= {"user"}
    for rollup in (summary.tags, summary.tag_keys):
        assert sum(sums[0] for sums in rollup.values()) == len(users)
        assert sum(sums[3] for sums in rollup.values()) == sum(int(each.row["total_cost_nano"] or 0) for each in users)


@given(events)
def test_a_spooled_event_writes_the_same_row(event: Event) -> None:
    """What goes through JSON, as the spool keeps it, is the row that goes straight in. Covers P-INB-11."""
    assert entry_of(json.loads(json.dumps(pack(event))), NOW) == entry_of(pack(event), NOW)


@given(st.text(max_size=20), st.integers(1, 10))
def test_cleaned_text_fits_every_database(text: str, length: int) -> None:
    cleaned = clean_text(text, length)
    assert "\0" not in cleaned
    assert len(cleaned) <= length
    cleaned.encode("utf-8")


def test_cleaned_json_reaches_into_everything() -> None:
    value = {"a\0": ["\ud800", {"n": float("inf")}], "emoji": "🦊", "kept": [1, None, True, 0.5]}
    assert json.loads(clean_json(value)) == {"a": ["?", {"n": None}], "emoji": "🦊", "kept": [1, None, True, 0.5]}


def test_a_row_holds_plain_values() -> None:
    """Money is integer nano-USD, rounded half up; what is absent is NULL; latencies stay within 32 bits."""
    event = replace(
        CALL, total_cost=Decimal("0.0000000015"), input_tokens=3, latency_ms=10**12, tags={"k": "v"}, stream=True
    )
    row, tags = entry_of(pack(event), NOW)
    assert tags == {"k": "v"}
    assert (row["event_id"], row["tracked_at"]) == (UUID(int=7).hex, "2026-05-01 09:30:00.000000")
    assert (row["total_cost_nano"], row["input_cost_nano"], row["input_tokens"]) == (2, None, 3)
    assert (row["latency_ms"], row["first_token_ms"], row["stream"]) == (2**31 - 1, None, True)
    assert (row["receipt"], row["tags"]) == ("{}", '{"k":"v"}')


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("event_id", "no uuid"),
        ("tracked_at", "2026-05-01T09:30:00"),
        ("tracked_at", "yesterday"),
        ("provider", None),
        ("model", 5),
        ("input_tokens", 2**53 + 1),
        ("input_tokens", "12"),
        ("total_cost", "NaN"),
        ("total_cost", "1e30"),
        ("tags", ["a"]),
        ("tags", {"a": 1}),
    ],
)
def test_what_is_no_event_is_refused(field: str, value: Any) -> None:
    with pytest.raises((KeyError, ValueError, TypeError, ArithmeticError, AttributeError)):
        entry_of({**pack(CALL), field: value}, NOW)


def test_a_naive_time_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        utc_text(datetime(2026, 5, 1))  # noqa: DTZ001


@given(st.integers(0, 10**8))
def test_a_latency_lies_in_its_bin(latency_ms: int) -> None:
    number = latency_bin(latency_ms)
    assert (1.15**number if number >= 0 else 0) <= latency_ms < 1.15 ** (number + 1)


def record(payload: bytes) -> bytes:
    return struct.pack(">4sII", b"\xfeREC", len(payload), zlib.crc32(payload)) + payload


@given(st.lists(st.binary(max_size=30), max_size=5), st.data())
def test_a_torn_tail_loses_nothing_before_it(payloads: list[bytes], data: st.DataObject) -> None:
    """Cut anywhere: every whole record is read, and the offset is where the torn one begins."""
    whole = b"".join(record(payload) for payload in payloads)
    cut = data.draw(st.integers(0, len(whole)))
    found, end, damaged = parse(whole[:cut], 100)
    assert found == payloads[: len(found)]
    assert end == sum(len(record(payload)) for payload in found)
    assert damaged == 0
    assert len(found) == len(payloads) or end <= cut < end + len(record(payloads[len(found)]))


@given(st.binary(max_size=40).filter(lambda noise: b"\xfeREC" not in noise + b"\xfeREC"[:3]))
def test_records_behind_damage_are_found(noise: bytes) -> None:
    data = record(b"one") + noise + record(b"two")
    assert parse(data, 100) == ([b"one", b"two"], len(data), len(noise))


def test_a_limit_leaves_the_rest() -> None:
    assert parse(record(b"one") + record(b"two"), 1) == ([b"one"], len(record(b"one")), 0)


def test_an_hour_may_lie_in_two_days() -> None:
    """In India a UTC hour spans midnight: one hour bucket, two days."""
    moments = (datetime(2026, 5, 1, 18, 29, tzinfo=UTC), datetime(2026, 5, 1, 18, 30, tzinfo=UTC))
    entries = [entry_of(pack(replace(CALL, tracked_at=moment)), NOW) for moment in moments]
    summary = summarise(entries, ZoneInfo("Asia/Kolkata"))
    assert [day for day, *_ in summary.daily] == ["2026-05-01", "2026-05-02"]
    assert {hour: sums[0] for (hour, *_), sums in summary.hourly.items()} == {"2026-05-01 18:00:00.000000": 2}


def test_a_time_of_another_zone_is_utc() -> None:
    event = replace(CALL, tracked_at=CALL.tracked_at.astimezone(ZoneInfo("Asia/Tokyo")) + timedelta(microseconds=5))
    assert entry_of(pack(event), NOW).row["tracked_at"] == "2026-05-01 09:30:00.000005"
