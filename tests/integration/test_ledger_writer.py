"""``write_batch`` on SQLite, PostgreSQL and MariaDB."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import func, select

from flask_llm_cost.errors import StorageError
from flask_llm_cost.ledger import Ledger
from flask_llm_cost.ledger.dialects import dialect_in
from flask_llm_cost.ledger.event import Event
from flask_llm_cost.ledger.models import (
    Call,
    CallTag,
    Daily,
    DeadLetter,
    Hourly,
    LatencyDaily,
    Meta,
    Tag,
    TagDaily,
    TagKeyDaily,
    TagMonthly,
)
from flask_llm_cost.ledger.rollups import latency_bin

MakeEvent = Callable[..., Event]


def stored(call: Call) -> Event:
    """The event a row was made of."""
    names = Event.__dataclass_fields__
    return Event(**{name: getattr(call, name) for name in names})


def test_a_call_is_stored_whole(ledger: Ledger, make_event: MakeEvent) -> None:
    """Every field comes back as it was recorded, money to the last digit. Covers P-DB-01, P-DB-02, P-DB-03."""
    event = make_event(provider_cost=Decimal("0.000000001"), pricing_mode="batch", first_token_ms=12, stream=True)
    ledger.record(event)
    with ledger.session() as session:
        assert [stored(call) for call in session.scalars(select(Call))] == [event]


def test_a_time_of_another_zone_is_stored_as_utc(ledger: Ledger, make_event: MakeEvent) -> None:
    event = make_event(tracked_at=datetime(2026, 1, 1, 0, 30, 0, 123456, tzinfo=timezone(timedelta(hours=2))))
    ledger.record(event)
    with ledger.session() as session:
        assert session.scalar(select(Call.tracked_at)) == datetime(2025, 12, 31, 22, 30, 0, 123456, tzinfo=UTC)
        assert session.scalar(select(Hourly.hour)) == datetime(2025, 12, 31, 22, tzinfo=UTC)
        assert session.scalar(select(Daily.day)) == date(2025, 12, 31)


def test_writing_a_batch_again_changes_nothing(ledger: Ledger, make_event: MakeEvent, rows: Any) -> None:
    """Rows, tags and rollups stay; a half-known batch adds its other half.

    Covers P-INB-05, P-DB-11, P-DB-12, P-CON-08.
    """
    events = [make_event(tags={"user": str(n % 3)}) for n in range(20)]
    tables = ["calls", "daily", "hourly", "latency_daily", "tag_daily", "tag_monthly", "tag_key_daily", "call_tags"]
    assert ledger.write(events[:10]) == 10
    before = {name: rows(ledger, f"SELECT * FROM llm_cost_{name}") for name in tables}
    assert ledger.write(events[:10]) == 0
    assert {name: rows(ledger, f"SELECT * FROM llm_cost_{name}") for name in tables} == before
    assert ledger.write(events) == 10
    with ledger.session() as session:
        assert session.scalar(select(func.sum(Daily.calls))) == 20
        assert session.scalar(select(func.sum(Daily.total_cost))) == Decimal("0.1475")


def test_one_event_twice_in_a_batch_is_one_row(ledger: Ledger, make_event: MakeEvent) -> None:
    event = make_event()
    assert ledger.write([event, event]) == 1
    with ledger.session() as session:
        assert session.scalar(select(func.count(Call.id))) == 1
        assert session.scalar(select(Daily.calls)) == 1


def test_unknown_costs_add_nothing_and_are_counted(ledger: Ledger, make_event: MakeEvent) -> None:
    """NULL stays NULL in the ledger; the rollup says how many there were. Covers P-INB-04, P-ROLL-02."""
    unknown = {"total_cost": None, "input_cost": None, "output_cost": None, "cost_status": "unknown"}
    ledger.write(
        [
            make_event(),
            make_event(**unknown),
            make_event(cost_status="partial"),
            make_event(status="error", cost_status=None),
        ]
    )
    with ledger.session() as session:
        assert session.scalar(select(func.count()).where(Call.total_cost.is_(None))) == 1
        row = session.scalars(select(Daily)).one()
        assert (row.calls, row.unpriced, row.errors, row.total_cost) == (4, 2, 1, Decimal("0.022125"))


def test_every_rollup_of_one_call(ledger: Ledger, make_event: MakeEvent) -> None:
    """One call adds to its day, its hour, its latency bin, its tags' days and months, and its keys' days."""
    ledger.record(make_event(tags={"feature": "chat"}, stream=True, usage_source="unknown", cost_status="estimated"))
    with ledger.session() as session:
        day = session.scalars(select(Daily)).one()
        assert (day.day, day.provider, day.model, day.pricing_mode) == (
            date(2026, 5, 1),
            "openai",
            "gpt-4o",
            "standard",
        )
        assert (day.calls, day.streams, day.streams_without_usage, day.estimated) == (1, 1, 1, 1)
        assert (day.untagged, day.missing_latency, day.missing_response_id) == (0, 0, 0)
        assert (day.input_tokens, day.cache_read_input_tokens, day.output_tokens) == (900, 100, 500)
        assert day.output_cost == Decimal("0.005")
        assert session.scalars(select(Hourly.hour)).all() == [datetime(2026, 5, 1, 9, tzinfo=UTC)]
        bins = session.execute(select(LatencyDaily.bin, LatencyDaily.calls)).all()
        assert bins == [(latency_bin(850), 1)]
        tag = session.scalars(select(TagDaily)).one()
        assert (tag.key, tag.value, tag.calls, tag.total_tokens) == ("feature", "chat", 1, 1500)
        month = session.scalars(select(TagMonthly)).one()
        assert (month.month, month.value, month.total_cost) == (date(2026, 5, 1), "chat", Decimal("0.007375"))
        key = session.scalars(select(TagKeyDaily)).one()
        assert (key.key, key.calls, key.distinct_values) == ("feature", 1, 1)


@pytest.mark.parametrize(
    ("utc", "day"),
    [
        (datetime(2026, 3, 28, 22, 59, tzinfo=UTC), date(2026, 3, 28)),
        (datetime(2026, 3, 28, 23, 0, tzinfo=UTC), date(2026, 3, 29)),
        # Clocks go forward on the 29th: its end comes an hour earlier in UTC.
        (datetime(2026, 3, 29, 21, 59, tzinfo=UTC), date(2026, 3, 29)),
        (datetime(2026, 3, 29, 22, 0, tzinfo=UTC), date(2026, 3, 30)),
    ],
)
def test_days_are_those_of_the_configured_zone(
    open_ledger: Any, sqlite_url: Any, make_event: MakeEvent, utc: datetime, day: date
) -> None:
    """Day boundaries follow ``LLM_COST_TIMEZONE``, on the day of a clock change too. Covers P-ROLL-06."""
    ledger = open_ledger(sqlite_url, durability="sync", timezone=ZoneInfo("Europe/Berlin"))
    ledger.record(make_event(tracked_at=utc))
    with ledger.session() as session:
        assert session.scalar(select(Daily.day)) == day
        assert session.scalar(select(TagDaily.day)) == day
        assert session.execute(select(Meta.name, Meta.value)).all() == [("rollups_timezone", "Europe/Berlin")]


def test_a_changed_time_zone_is_told_once(
    open_ledger: Any, sqlite_url: Any, make_event: MakeEvent, caplog: pytest.LogCaptureFixture
) -> None:
    open_ledger(sqlite_url, durability="sync").record(make_event())
    ledger = open_ledger(sqlite_url, durability="sync", timezone=ZoneInfo("Asia/Tokyo"))
    ledger.record(make_event())
    ledger.record(make_event())
    told = [record.getMessage() for record in caplog.records if "LLM_COST_TIMEZONE" in record.getMessage()]
    assert len(told) == 1
    assert "'Asia/Tokyo'" in told[0]
    assert "'UTC'" in told[0]


def test_values_past_the_cap_share_other(open_ledger: Any, database_url: Any, make_event: MakeEvent) -> None:
    """Known values go on being counted apart; new ones fall into ``__other__``; nothing is lost."""
    ledger = open_ledger(database_url, durability="sync", tag_values_per_day=3, rollup_exclude_tags=("request",))
    batches = [["a", "b"], ["a", "c", "d", "e"], ["b", "f", "a"]]
    for batch in batches:
        ledger.write([make_event(tags={"user": value, "request": "r"}) for value in batch])
    with ledger.session() as session:
        counted = dict(session.execute(select(TagDaily.value, TagDaily.calls)).all())
        assert counted == {"a": 3, "b": 2, "c": 1, "__other__": 3}
        monthly = dict(session.execute(select(TagMonthly.value, TagMonthly.calls)).all())
        assert monthly == counted
        key = session.scalars(select(TagKeyDaily)).one()
        assert (key.key, key.calls, key.distinct_values) == ("user", 9, 3)


def test_tags_are_found_by_the_index_of_each_database(ledger: Ledger, make_event: MakeEvent) -> None:
    """Conditions on tags mean exactly the calls that carry them, odd characters included."""
    odd = "ü'\"\\ %_ 🦊"
    one, other = make_event(tags={"user": odd, "env": "prod"}), make_event(tags={"user": "x"})
    ledger.write([one, other])
    with ledger.session() as session:
        dialect = dialect_in(session)
        assert session.scalars(select(Call.event_id).where(dialect.filter_tag("user", odd))).all() == [one.event_id]
        assert session.scalars(select(Call.event_id).where(dialect.filter_tag("env", odd))).all() == []
        assert session.scalars(select(Call.event_id).where(dialect.carries_tag_key("env"))).all() == [one.event_id]
        assert session.scalars(select(Call.event_id).where(~dialect.carries_tag_key("env"))).all() == [other.event_id]
        values = session.execute(select(Call.event_id, dialect.tag_value("env"), dialect.tag_value("user"))).all()
        assert {row[0]: row[1:] for row in values} == {one.event_id: ("prod", odd), other.event_id: (None, "x")}
        pairs = session.execute(select(Tag.key, Tag.value).join(CallTag, CallTag.tag_id == Tag.id)).all()
        assert sorted(pairs) == ([("env", "prod"), ("user", "x"), ("user", odd)] if dialect.keeps_tag_tables else [])


def test_texts_no_database_takes_are_cleaned(ledger: Ledger, make_event: MakeEvent) -> None:
    """NUL goes, lone surrogates become "?", long texts are cut, also within tags and receipts."""
    event = make_event(
        model="m\0" + "x" * 300,
        provider_response_id="a\ud800b",
        tags={"user": "\0\udfff!", "emoji": "🦊"},
        receipt={"note": ["\0n", "s\ud800"], "ratio": float("nan")},
    )
    ledger.record(event)
    with ledger.session() as session:
        call = session.scalars(select(Call)).one()
        assert call.model == "m" + "x" * 254
        assert call.provider_response_id == "a?b"
        assert call.tags == {"user": "?!", "emoji": "🦊"}
        assert call.receipt == {"note": ["n", "s?"], "ratio": None}


@pytest.mark.parametrize("field", ["input_tokens", "total_cost"])
def test_a_number_past_63_bits_is_refused_in_sync_mode(ledger: Ledger, make_event: MakeEvent, field: str) -> None:
    """It is an error of its own, and nothing of the event is stored. Covers P-STO-04, P-STO-01 (raise)."""
    with pytest.raises(StorageError, match=field):
        ledger.record(make_event(**{field: 2**63}))
    with ledger.session() as session:
        assert session.scalar(select(func.count(Call.id))) == 0


def test_what_the_database_refuses_is_bisected_out(
    open_ledger: Any, database_url: Any, make_event: MakeEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One bad event goes to the dead letters with its error; its 20 neighbours go in.

    The gem let one such row quarantine the whole batch (P-ING-18 WEAK); its money left the budgets without
    a way back (P-INB-14 WEAK): here the event is kept whole. Covers P-ING-15, P-ING-17, P-CON-08.
    """
    # Past the checks of this package, so that the database itself is the one to refuse.
    monkeypatch.setattr("flask_llm_cost.ledger.rows.MOST_UNITS", 2**80)
    ledger = open_ledger(database_url, durability="spool")
    good = [make_event() for _ in range(20)]
    bad = make_event(input_tokens=2**70)
    for event in (*good[:13], bad, *good[13:]):
        ledger.record(event)
    assert ledger.flush(10)
    with ledger.session() as session:
        assert set(session.scalars(select(Call.event_id))) == {event.event_id for event in good}
        assert session.scalar(select(func.sum(Daily.calls))) == 20
        letter = session.scalars(select(DeadLetter)).one()
        assert letter.event_id == bad.event_id
        assert str(2**70) in letter.event
        assert letter.error
    assert ledger.backlog().records == 0


def test_a_dead_letter_is_kept_once(open_ledger: Any, database_url: Any, make_event: MakeEvent) -> None:
    ledger = open_ledger(database_url, durability="spool")
    bad = make_event(output_tokens=2**60)
    ledger.record(bad)
    ledger.record(replace(bad, model="again"))
    assert ledger.flush(10)
    with ledger.session() as session:
        assert session.scalars(select(DeadLetter.event_id)).all() == [bad.event_id]
        assert session.scalar(select(func.count(Call.id))) == 0


def test_history_is_written_in_batches(ledger: Ledger, make_event: MakeEvent) -> None:
    """``Ledger.write`` takes more than a batch, over many days. Covers P-ING-12."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    events = [make_event(event_id=uuid4(), tracked_at=start + timedelta(hours=n)) for n in range(1100)]
    assert ledger.write(iter(events)) == 1100
    with ledger.session() as session:
        assert session.scalar(select(func.count()).select_from(Daily)) == 46
        assert session.scalar(select(func.sum(TagMonthly.calls))) == 2200
