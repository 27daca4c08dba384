"""``rollups verify`` and ``rebuild`` on every database, also while others record."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import URL, delete, func, select, update

from flask_llm_cost.errors import SchemaMissingError, StorageError
from flask_llm_cost.ledger import Ledger
from flask_llm_cost.ledger.event import Event
from flask_llm_cost.ledger.models import (
    Audit,
    Base,
    Call,
    Daily,
    Hourly,
    LatencyDaily,
    TagDaily,
    TagKeyDaily,
    TagMonthly,
)

MakeEvent = Callable[..., Event]
ROLLUPS = (Daily, Hourly, LatencyDaily, TagDaily, TagMonthly, TagKeyDaily)
START = datetime(2026, 3, 1, 12, tzinfo=UTC)


def contents(ledger: Ledger) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every rollup."""
    tables = [Base.metadata.tables[rollup.__tablename__] for rollup in ROLLUPS]
    with ledger.session() as session:
        return {table.name: sorted(map(tuple, session.execute(select(table)))) for table in tables}


def damage(ledger: Ledger, *statements: Any) -> None:
    with ledger.engine.begin() as connection:
        for statement in statements:
            connection.execute(statement)


def test_a_difference_of_one_unit_is_told_and_put_right(ledger: Ledger, make_event: MakeEvent) -> None:
    """The smallest one there is, with the row and the column it is in; the repair is in the audit."""
    ledger.write([make_event() for _ in range(3)])
    before = contents(ledger)
    damage(ledger, update(Daily).values(total_cost=Daily.total_cost + Decimal("0.000000001")))
    report = ledger.upkeep.verify_rollups()
    assert report.as_dict() == {
        "days": 1,
        "pruned_days": 0,
        "differences": 1,
        "rollups": {"llm_cost_daily": 1},
        "counted_in": None,
        "examples": [
            {
                "rollup": "llm_cost_daily",
                "key": {"day": "2026-05-01", "provider": "openai", "model": "gpt-4o", "pricing_mode": "standard"},
                "columns": {"total_cost_nano": {"calls": 22125000, "rollup": 22125001}},
            }
        ],
    }
    assert ledger.upkeep.rebuild_rollups().rows == {"llm_cost_daily": 1}
    assert contents(ledger) == before
    with ledger.session() as session:
        (audit,) = session.scalars(select(Audit)).all()
    assert (audit.action, audit.details) == ("rollups rebuild", {"day": "2026-05-01", "rows": {"llm_cost_daily": 1}})


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "America/Havana", "Europe/Berlin"])
def test_days_of_every_length_are_rebuilt_as_they_were(
    open_ledger: Any, sqlite_url: URL, make_event: MakeEvent, zone: str
) -> None:
    """Days of 23 and 25 hours, a clock that goes back at midnight, hours that lie in two days. Covers P-ROLL-06."""
    ledger = open_ledger(sqlite_url, durability="sync", timezone=zone_info(zone))
    for first in (datetime(2026, 3, 6, tzinfo=UTC), datetime(2026, 10, 23, tzinfo=UTC)):
        times = [first + timedelta(minutes=37 * n) for n in range(120)]
        times += [first + timedelta(days=8, minutes=37 * n) for n in range(120)]
        ledger.write(make_event(tracked_at=at, latency_ms=n * 7) for n, at in enumerate(times))
    before = contents(ledger)
    assert ledger.upkeep.verify_rollups().rows == {}
    damage(ledger, *(delete(rollup) for rollup in ROLLUPS))
    assert ledger.upkeep.rebuild_rollups().differences > 100
    assert contents(ledger) == before
    some = ledger.upkeep.verify_rollups(date(2026, 3, 8), date(2026, 3, 8))
    assert (some.days, some.rows) == (1, {})


def zone_info(name: str) -> Any:
    from zoneinfo import ZoneInfo

    return ZoneInfo(name)


def test_a_rebuild_is_right_while_others_record(open_ledger: Any, database_url: URL, make_event: MakeEvent) -> None:
    """Two writers and two rebuilds of the same damaged days at once: nothing is counted twice, nothing lost."""
    settings = {"durability": "sync", "tag_values_per_day": 20}
    ledger = open_ledger(database_url, **settings)
    models = ["a", "b", "c"]

    def some(n: int) -> list[Event]:
        return [
            make_event(
                event_id=uuid4(),
                tracked_at=START + timedelta(hours=7 * (each % 9)),
                model=models[each % 3],
                tags={"user": f"u{(n * 13 + each) % 40}", "feature": "chat"},
            )
            for each in range(20)
        ]

    for n in range(10):
        ledger.write(some(n))
    damage(
        ledger,
        delete(Daily).where(Daily.model == "a"),
        update(Hourly).values(calls=Hourly.calls * 3),
        delete(TagDaily).where(TagDaily.key == "user"),
        delete(TagMonthly),
        update(LatencyDaily).values(calls=1),
    )
    stop, written, failures = threading.Event(), [200, 0], []

    def write(number: int) -> None:
        own = open_ledger(database_url, migrate=False, **settings)
        try:
            n = number
            while not stop.is_set():
                written[number] += own.write(some(n))
                n += 2
        except Exception as error:
            failures.append(error)

    def rebuild() -> None:
        own = open_ledger(database_url, migrate=False, **settings)
        try:
            own.upkeep.rebuild_rollups()
        except StorageError as error:
            if "another rebuild" not in str(error):
                failures.append(error)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    rebuilds = [threading.Thread(target=rebuild) for _ in range(2)]
    for thread in (*writers, *rebuilds):
        thread.start()
    for thread in rebuilds:
        thread.join()
    ledger.upkeep.rebuild_rollups()
    stop.set()
    for thread in writers:
        thread.join()
    assert failures == []
    report = ledger.upkeep.verify_rollups()
    assert report.rows == {}, report.as_dict()
    with ledger.session() as session:
        assert session.scalar(select(func.count(Call.id))) == sum(written)
        assert session.scalar(select(func.sum(Daily.calls))) == sum(written)
        assert session.scalar(select(func.sum(TagDaily.calls)).where(TagDaily.key == "user")) == sum(written)


def test_tags_follow_the_settings_of_today(open_ledger: Any, sqlite_url: URL, make_event: MakeEvent) -> None:
    """A higher cap brings values out of ``__other__``; keys that get no rollup any more lose theirs."""
    ledger = open_ledger(sqlite_url, durability="sync", tag_values_per_day=2)
    ledger.write([make_event(tags={"user": f"u{n}", "request": str(n)}) for n in range(5)])
    assert ledger.upkeep.verify_rollups().rows == {}
    roomy = open_ledger(sqlite_url, durability="sync", tag_values_per_day=100, rollup_exclude_tags=("request",))
    assert roomy.upkeep.verify_rollups().rows == {}
    roomy.upkeep.rebuild_rollups()
    with roomy.session() as session:
        for rollup in (TagDaily, TagMonthly):
            assert session.execute(select(rollup.key, rollup.value, rollup.calls).order_by(rollup.value)).all() == [
                ("user", f"u{n}", 1) for n in range(5)
            ]
        assert session.execute(select(TagKeyDaily.key, TagKeyDaily.distinct_values)).all() == [("user", 5)]


def test_another_time_zone_takes_a_rebuild_of_everything(
    open_ledger: Any, sqlite_url: URL, make_event: MakeEvent
) -> None:
    ledger = open_ledger(sqlite_url, durability="sync")
    ledger.write([make_event(tracked_at=START + timedelta(hours=5 * n)) for n in range(20)])
    moved = open_ledger(sqlite_url, durability="sync", timezone=zone_info("Asia/Tokyo"))
    report = moved.upkeep.verify_rollups()
    assert report.other_zone == "UTC"
    assert report.differences > 0
    with pytest.raises(StorageError, match="counted in 'UTC' so far, LLM_COST_TIMEZONE is 'Asia/Tokyo'"):
        moved.upkeep.rebuild_rollups(date(2026, 3, 1))
    moved.upkeep.rebuild_rollups()
    after = moved.upkeep.verify_rollups()
    assert (after.rows, after.other_zone) == ({}, None)


def test_rollups_of_before_the_estimates_are_completed(
    open_ledger: Any, sqlite_url: URL, make_event: MakeEvent
) -> None:
    """Revision 0002 left 0 in what tags cost at least and at most."""
    ledger = open_ledger(sqlite_url, durability="sync")
    bounds = {"total_cost": None, "cost_low": Decimal("0.001"), "cost_high": Decimal("0.004")}
    ledger.write([make_event(cost_status="estimated", **bounds)])
    before = contents(ledger)
    damage(ledger, *(update(each).values(cost_low=0, cost_high=0) for each in (TagDaily, TagMonthly, TagKeyDaily)))
    assert ledger.upkeep.verify_rollups().rows == {
        "llm_cost_tag_daily": 2,
        "llm_cost_tag_key_daily": 2,
    }
    ledger.upkeep.rebuild_rollups()
    assert contents(ledger) == before


@pytest.mark.parametrize("migrate", [False, True])
def test_a_schema_that_is_not_current_is_told(
    open_ledger: Any, sqlite_url: URL, monkeypatch: pytest.MonkeyPatch, migrate: bool
) -> None:
    """Missing or older: the message names the command. Covers P-DB-04, P-ROLL-04."""
    ledger = open_ledger(sqlite_url, migrate=migrate)
    if migrate:
        monkeypatch.setattr("flask_llm_cost.ledger.schema.REVISIONS", ("0001", "0002", "9998"))
        ledger._schema._current = False
    works = (
        ledger.upkeep.verify_rollups,
        ledger.upkeep.rebuild_rollups,
        lambda: ledger.upkeep.prune(30),
        lambda: list(ledger.upkeep.dead_letters(which())),
        lambda: list(ledger.upkeep.retry_dead_letters(which())),
        lambda: ledger.upkeep.drop_dead_letters(which()),
    )
    for work in works:
        with pytest.raises(SchemaMissingError, match="older" if migrate else "missing"):
            work()


def which() -> Any:
    from flask_llm_cost.ledger.dead_letters import Which

    return Which()
