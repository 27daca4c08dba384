"""Monthly partitions on PostgreSQL: made from a table that is in use, kept ahead, dropped whole, undone."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import URL, Connection, Engine, inspect, select, text
from sqlalchemy.exc import DBAPIError

from flask_llm_cost.errors import SchemaMissingError, StorageError
from flask_llm_cost.ledger import Ledger
from flask_llm_cost.ledger.event import Event
from flask_llm_cost.ledger.models import Base, Call
from flask_llm_cost.ledger.partitions import Dropped, Month, MonthsAhead, drop_before, ensure, is_partitioned, months
from flask_llm_cost.ledger.schema import VERSION_TABLE

pytestmark = pytest.mark.postgres

MakeEvent = Callable[..., Event]
COUNTED = {
    "calls": "SELECT count(*), sum(total_cost_nano), count(DISTINCT event_id) FROM llm_cost_calls",
    "rollups": "SELECT sum(calls), sum(total_cost_nano) FROM llm_cost_daily",
    "view": "SELECT count(*), sum(total_cost) FROM llm_cost_calls_usd",
}
INDEXES = text("SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'llm_cost_calls'")
PLACED = text("SELECT tableoid::regclass::text AS name, count(*) FROM llm_cost_calls GROUP BY 1 ORDER BY 1")


@pytest.fixture
def ledger(open_ledger: Any, postgres_url: URL) -> Ledger:
    ledger = open_ledger(postgres_url, durability="sync")
    assert isinstance(ledger, Ledger)
    return ledger


@pytest.fixture
def engine(ledger: Ledger) -> Engine:
    return ledger.engine


def at(year: int, month: int, day: int = 15) -> datetime:
    return datetime(year, month, day, 12, tzinfo=UTC)


def counted(engine: Engine) -> dict[str, tuple[Any, ...]]:
    with engine.connect() as connection:
        return {name: tuple(connection.execute(text(sql)).one()) for name, sql in COUNTED.items()}


def placed(engine: Engine) -> dict[str, int]:
    with engine.connect() as connection:
        rows = connection.execute(PLACED).all()
    return {name.removeprefix("llm_cost_parts.llm_cost_calls_"): count for name, count in rows}


def shape(engine: Engine) -> dict[str, Any]:
    """Indexes, columns and the view, however the calls are kept."""
    with engine.connect() as connection:
        # PostgreSQL shows casts and brackets of an IN otherwise when it has read its own words.
        shown = {name: definition.replace("ON ONLY", "ON") for name, definition in connection.execute(INDEXES)}
        found = {name: re.sub(r"::[a-z ]+(\[\])?|[()]", "", definition) for name, definition in shown.items()}
        found["pk_llm_cost_calls"] = found["pk_llm_cost_calls"].replace("id, tracked_at", "id")
        for each in inspect(connection).get_columns("llm_cost_calls"):
            found[each["name"]] = f"{each['type']}, {each['nullable']}, {each['default']}"
        found["view"] = str(connection.scalar(text("SELECT pg_get_viewdef('llm_cost_calls_usd'::regclass)")))
    return found


def differences(engine: Engine) -> list[Any]:
    """What separates the database from the declared schema, as ``test_ledger_schema`` compares them."""
    only_migrated = {f"ix_llm_cost_calls_{name}" for name in ("unpriced", "no_usage", "untagged", "tags")}

    def ours(item: Any, name: str | None, kind: str, reflected: bool, other: Any) -> bool:
        return name not in only_migrated and name != VERSION_TABLE

    with engine.connect() as connection:
        options = {"compare_type": True, "compare_server_default": True, "include_object": ours}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata))


def test_there_and_back_keeps_every_call_and_everything_about_the_table(
    ledger: Ledger, engine: Engine, make_event: MakeEvent
) -> None:
    """Calls, rollups, indexes, defaults, view and grants; recording goes on in either shape. Covers P-MIG-04."""
    times = [at(2024, 2), at(2024, 2), at(2026, 5), datetime(2026, 6, 1, tzinfo=UTC), at(2026, 6)]
    events = [make_event(tracked_at=each, total_cost=Decimal("0.000000001")) for each in times]
    ledger.write(events)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE INDEX theirs ON llm_cost_calls (lower(model)) WHERE host <> '100%%:x'")
        connection.execute(text("GRANT SELECT ON llm_cost_calls_usd TO PUBLIC"))
        connection.execute(text("GRANT SELECT ON llm_cost_calls TO PUBLIC"))
    before, as_it_was = counted(engine), shape(engine)
    now = Month.of(datetime.now(UTC))
    coming = [now.later(ahead).partition for ahead in range(3)]
    with engine.connect() as connection:
        assert not is_partitioned(connection)
    assert ledger.partition() == (*(f"llm_cost_calls_{name}" for name in ("2024_02", "2026_05", "2026_06")), *coming)
    assert counted(engine) == before
    assert shape(engine) == as_it_was
    assert [each[0] for each in differences(engine)] == ["remove_index"]
    assert placed(engine) == {"2024_02": 2, "2026_05": 1, "2026_06": 2}
    assert ledger.partition() == ()
    again = ledger.write_new([*events, make_event(tracked_at=at(2026, 6), total_cost=Decimal("0.000000002"))])
    assert len(again) == 1
    with engine.connect() as connection:
        assert is_partitioned(connection)
        connection.execute(text("SET enable_seqscan = off"))
        plan = connection.execute(
            text(
                "EXPLAIN SELECT 1 FROM llm_cost_calls WHERE tracked_at > '2026-06-01' AND tracked_at < '2026-07-01' "
                "AND cost_status IN ('unknown', 'partial', 'estimated')"
            )
        )
        scanned = set(re.findall(r"llm_cost_calls_2\w+", str(plan.all())))
        children = connection.scalars(
            text(
                "SELECT inhrelid::regclass::text FROM pg_inherits "
                "WHERE inhparent = 'ix_llm_cost_calls_unpriced'::regclass"
            )
        )
        (index,) = {name.removeprefix("llm_cost_parts.") for name in children} & scanned
        assert scanned == {index, "llm_cost_calls_2026_06"}
        # GIN is on every partition, the default one included.
        gin = connection.execute(text("SELECT tablename FROM pg_indexes WHERE indexdef LIKE '%jsonb_path_ops%'"))
        assert len(set(gin.scalars())) == 1 + 6 + 1
        grants = connection.execute(
            text(
                "SELECT table_name FROM information_schema.role_table_grants WHERE grantee = 'PUBLIC' AND "
                "table_name LIKE 'llm_cost%' ORDER BY 1"
            )
        )
        assert list(grants.scalars()) == ["llm_cost_calls", "llm_cost_calls_usd"]
        ids = list(connection.scalars(select(Call.id)))
        assert len(set(ids)) == len(ids)
    assert ledger.unpartition() is True
    assert ledger.unpartition() is False
    assert shape(engine) == as_it_was
    assert placed(engine) == {"llm_cost_calls": 6}
    assert ledger.write([make_event()]) == 1


def test_apps_that_record_meanwhile_lose_nothing(ledger: Ledger, engine: Engine, make_event: MakeEvent) -> None:
    """Four threads write and one reads while the table changes its shape, there and back: each write is there once."""
    ledger.write([make_event(tracked_at=at(2026, 1 + index % 6)) for index in range(2_000)])
    stop, written, failed = threading.Event(), [], []

    def record() -> None:
        while not stop.is_set():
            event = make_event(tracked_at=at(2026, 7))
            try:
                ledger.record(event)
                written.append(event.event_id)
            except Exception as error:
                failed.append(error)

    def read() -> None:
        while not stop.is_set():
            with ledger.session() as session:
                session.scalars(select(Call.id).limit(10)).all()

    threads = [threading.Thread(target=each) for each in (record, record, record, record, read)]
    for thread in threads:
        thread.start()
    ledger.partition()
    ledger.unpartition()
    ledger.partition()
    stop.set()
    for thread in threads:
        thread.join()
    assert failed == []
    with ledger.session() as session:
        held = list(session.scalars(select(Call.event_id).where(Call.tracked_at == at(2026, 7))))
    assert sorted(held) == sorted(written)
    found = counted(engine)
    assert found["calls"][0] == found["rollups"][0] == 2_000 + len(written)


def test_what_has_no_month_goes_to_the_default_partition_and_gets_one(
    ledger: Ledger, engine: Engine, make_event: MakeEvent
) -> None:
    """Nothing is refused, whatever its time; ``partition`` again sorts it in. Late outcomes find their call."""
    ledger.partition()
    old = make_event(tracked_at=at(2019, 3), usage_source="unknown", total_cost=None, cost_status="unknown")
    ledger.write([old, make_event(tracked_at=at(2020, 12, 31)), make_event(tracked_at=at(2150, 1))])
    assert placed(engine) == {"default": 3}
    known = make_event(event_id=old.event_id, tracked_at=old.tracked_at, total_cost=Decimal(2), cost_status="complete")
    ledger.write([known])
    assert ledger.partition() == tuple(f"llm_cost_calls_{name}" for name in ("2019_03", "2020_12", "2150_01"))
    assert placed(engine) == {"2019_03": 1, "2020_12": 1, "2150_01": 1}
    with ledger.session() as session:
        assert session.scalars(select(Call.total_cost).where(Call.event_id == old.event_id)).one() == Decimal(2)
    assert ledger.write_new([known]) == frozenset()
    assert differences(engine) == []


def test_the_writer_makes_the_months_to_come(open_ledger: Any, ledger: Ledger, make_event: MakeEvent) -> None:
    """A process that writes makes this month and the next two; it looks once an hour."""
    ledger.partition()
    coming = Month.of(datetime.now(UTC)).later(2)
    ledger.write([make_event(tracked_at=coming.start)])
    with ledger.engine.begin() as connection:
        connection.execute(text(f"DROP TABLE llm_cost_parts.{coming.partition}"))
    ledger.write([make_event(tracked_at=coming.start)])
    assert placed(ledger.engine) == {"default": 1}
    later = open_ledger(ledger.engine.url, durability="sync", migrate=False)
    later.write([make_event(tracked_at=coming.start + timedelta(days=1))])
    assert placed(ledger.engine) == {f"{coming.start:%Y_%m}": 2}


def test_a_month_that_cannot_be_made_stops_no_write(
    ledger: Ledger, make_event: MakeEvent, caplog: pytest.LogCaptureFixture
) -> None:
    """Its name is taken, say: the log warns, and the write goes in."""
    ledger.partition()
    coming = Month.of(datetime.now(UTC)).later(2)
    with ledger.engine.begin() as connection:
        connection.execute(text(f"DROP TABLE llm_cost_parts.{coming.partition}"))
        connection.execute(text(f"CREATE TABLE llm_cost_parts.{coming.partition} (id int)"))
    ledger._writer._months_ahead = MonthsAhead(ledger._engines)
    assert ledger.write([make_event(tracked_at=coming.start)]) == 1
    assert placed(ledger.engine) == {"default": 1}
    assert "for the months to come were not made" in caplog.text


def test_retention_drops_whole_months_and_leaves_the_rollups(
    ledger: Ledger, engine: Engine, make_event: MakeEvent
) -> None:
    """Months that are over before the moment; not the month it is in."""
    ledger.write([make_event(tracked_at=at(2026, month, day)) for month in (1, 2, 3, 4) for day in (1, 28)])
    with engine.begin() as connection:
        assert drop_before(connection, at(2026, 3)) == Dropped()
    ledger.partition()
    rollups = counted(engine)["rollups"]
    end_of_march = datetime(2026, 3, 31, 23, 59, tzinfo=UTC)
    with engine.begin() as connection:
        months_gone = (Month.of(date(2026, 1, 1)), Month.of(date(2026, 2, 1)))
        assert drop_before(connection, end_of_march) == Dropped(months_gone, calls=4)
        assert drop_before(connection, end_of_march) == Dropped()
    assert placed(engine) == {"2026_03": 2, "2026_04": 2}
    assert counted(engine)["rollups"] == rollups
    with engine.begin() as connection:
        assert drop_before(connection, datetime(2026, 4, 1, tzinfo=UTC)) == Dropped((Month.of(date(2026, 3, 9)),), 2)


def test_a_reader_holds_retention_up_for_seconds_only(ledger: Ledger, engine: Engine, make_event: MakeEvent) -> None:
    """Then it gives up with an error that the dialect calls a conflict, and nothing is dropped."""
    ledger.write([make_event(tracked_at=at(2026, 1))])
    ledger.partition()
    with engine.connect() as reader:
        reader.execute(text("SELECT count(*) FROM llm_cost_calls"))
        with pytest.raises(DBAPIError) as caught, engine.begin() as connection:
            drop_before(connection, at(2026, 3))
    assert ledger._writer.dialect.is_conflict(caught.value)
    assert placed(engine) == {"2026_01": 1}


def test_a_conversion_that_fails_changes_nothing(ledger: Ledger, engine: Engine, make_event: MakeEvent) -> None:
    """A view of the DBA's own depends on the table: the error names it, and all is as before."""
    ledger.write([make_event()])
    with engine.begin() as connection:
        connection.execute(text("CREATE VIEW theirs AS SELECT id FROM llm_cost_calls"))
    before = counted(engine), shape(engine)
    with pytest.raises(StorageError, match="depend"):
        ledger.partition()
    assert (counted(engine), shape(engine)) == before
    with engine.connect() as connection:
        assert not is_partitioned(connection)
        assert months(connection) == ()
        assert inspect(connection).get_table_names("llm_cost_parts") == []


def test_migrations_go_down_and_up_on_partitions(ledger: Ledger, engine: Engine, make_event: MakeEvent) -> None:
    """Every revision but the first keeps the partitions and what is in them; base drops them too."""
    ledger.partition()
    ledger.write([make_event(tracked_at=datetime.now(UTC)), make_event(tracked_at=at(2019, 1))])
    before, as_it_was = counted(engine), shape(engine)
    ledger.downgrade("0001")
    ledger.upgrade()
    assert counted(engine) == before
    assert shape(engine) == as_it_was
    assert differences(engine) == []
    ledger.downgrade("base")
    with engine.connect() as connection:
        assert inspect(connection).get_table_names("llm_cost_parts") == []
    ledger.upgrade()
    ledger.partition()
    assert ledger.write([make_event()]) == 1


def test_missing_tables_and_other_databases_are_told(open_ledger: Any, postgres_url: URL, sqlite_url: URL) -> None:
    missing = open_ledger(postgres_url, migrate=False)
    with pytest.raises(SchemaMissingError, match="flask llm-cost db upgrade"):
        missing.partition()
    elsewhere = open_ledger(sqlite_url)
    for refused in (elsewhere.partition, elsewhere.unpartition):
        with pytest.raises(StorageError, match="on PostgreSQL only; this ledger is on sqlite"):
            refused()
    with elsewhere.engine.connect() as connection:
        assert not is_partitioned(connection)
        assert drop_before(connection, at(2026, 1)) == Dropped()


def test_two_who_make_one_month_take_turns(ledger: Ledger, engine: Engine) -> None:
    """Both want it; one makes it and the other one finds it made."""
    ledger.partition()
    made: list[bool] = []

    def make(connection: Connection) -> None:
        made.append(ensure(connection, date(2031, 5, 1)))
        connection.commit()

    with engine.connect() as first, engine.connect() as second:
        made.append(ensure(first, date(2031, 5, 1)))
        thread = threading.Thread(target=make, args=(second,))
        thread.start()
        first.commit()
        thread.join()
    assert sorted(made) == [False, True]


def test_a_month_is_utcs() -> None:
    """Also of an instant in another zone; December is followed by January."""
    assert Month.of(date(2026, 12, 31)) == Month(datetime(2026, 12, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))
    assert Month.of(datetime.fromisoformat("2026-12-01T00:30+01:00")).partition == "llm_cost_calls_2026_11"
    assert Month.of(date(2026, 11, 1)).later(2).partition == "llm_cost_calls_2027_01"
