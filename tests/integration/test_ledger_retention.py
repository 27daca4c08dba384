"""``prune`` on every database: calls go, what they cost stays known."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import URL, func, insert, select

from flask_llm_cost.errors import InvalidFilterError
from flask_llm_cost.ledger import Ledger
from flask_llm_cost.ledger.dialects import dialect_of
from flask_llm_cost.ledger.event import Event
from flask_llm_cost.ledger.models import Audit, BudgetTotal, Call, CallTag, Daily, DeadLetter, Tag
from flask_llm_cost.ledger.retention import Pruned, cutoff
from tests.integration.test_ledger_rollup_repair import contents

MakeEvent = Callable[..., Event]
REPOSITORY = Path(__file__).parents[2]
NOW = datetime.now(UTC)
NOON = NOW.replace(hour=12, minute=0, second=0, microsecond=0)


def days_ago(days: int) -> datetime:
    return NOON - timedelta(days=days)


def count(ledger: Ledger, model: Any) -> int:
    with ledger.session() as session:
        return session.execute(select(func.count()).select_from(model)).scalar_one()


def spent(ledger: Ledger) -> None:
    budget = {"budget": "all", "scope": "", "period_start": days_ago(100).date(), "limit": Decimal(1)}
    with ledger.engine.begin() as connection:
        connection.execute(insert(BudgetTotal).values(**budget, spent=Decimal("0.75"), reserved=Decimal(0)))


def budgets(ledger: Ledger) -> list[Any]:
    with ledger.session() as session:
        return list(session.execute(select(BudgetTotal.spent, BudgetTotal.reserved)).all())


def test_old_calls_go_and_their_sums_stay(ledger: Ledger, make_event: MakeEvent) -> None:
    """100 and 91 days gone, 1 day kept; in batches of 2; no rollup and no budget changes; the audit says so.

    The gem subtracted what it deleted from the totals that budgets are enforced by, and so reopened what was spent
    (P-RET-06, P-RET-07 WEAK): here nothing is subtracted. Covers P-RET-01, P-RET-03, P-RET-08, P-ROLL-11.
    """
    old = [make_event(tracked_at=days_ago(days), tags={"user": f"u{days}", "feature": "x"}) for days in (100, 91, 91)]
    new = [make_event(tracked_at=days_ago(1), tags={"user": "u1", "feature": "x"}) for _ in range(2)]
    ledger.write([*old, *new])
    spent(ledger)
    before = contents(ledger)
    looked = ledger.upkeep.prune(30, dry_run=True)
    assert looked.calls == 3
    assert count(ledger, Call) == 5
    told: list[tuple[int, int]] = []
    done = ledger.upkeep.prune(30, batch_size=2, pause=0, progress=lambda *each: told.append(each))
    keeps_tags = dialect_of(ledger.engine.dialect.name).keeps_tag_tables
    assert done == Pruned(looked.before, calls=3, tags=2 if keeps_tags else 0)
    assert told == [(2, 3), (3, 3)]
    with ledger.session() as session:
        assert set(session.scalars(select(Call.event_id))) == {event.event_id for event in new}
        if keeps_tags:
            assert set(session.scalars(select(Tag.value))) == {"u1", "x"}
            assert session.scalar(select(func.count()).select_from(CallTag)) == 4
        (audit,) = session.scalars(select(Audit)).all()
    assert audit.action == "prune"
    assert audit.details == {**done.as_dict(), "with_rollups": False}
    assert contents(ledger) == before
    assert budgets(ledger) == [(Decimal("0.75"), Decimal(0))]
    assert ledger.upkeep.prune(30).calls == 0


def test_history_without_its_calls_is_never_rebuilt(open_ledger: Any, sqlite_url: URL, make_event: MakeEvent) -> None:
    """A rebuild of everything leaves the days alone whose calls were pruned, and says how many."""
    ledger = open_ledger(sqlite_url, durability="sync")
    ledger.write(make_event(tracked_at=days_ago(days)) for days in (60, 59, 2, 1))
    before = contents(ledger)
    ledger.upkeep.prune(30)
    # A late one for a pruned day counts in its day, and takes nothing from what was there.
    ledger.record(make_event(tracked_at=days_ago(60)))
    late = contents(ledger)
    assert late != before
    verified = ledger.upkeep.verify_rollups()
    assert (verified.days, verified.pruned, verified.rows) == (2, 2, {})
    rebuilt = ledger.upkeep.rebuild_rollups()
    assert (rebuilt.days, rebuilt.pruned, rebuilt.rows) == (2, 2, {})
    assert contents(ledger) == late


def test_rollups_go_too_where_that_is_wanted(ledger: Ledger, make_event: MakeEvent) -> None:
    """With whole days of them; months that go on keep the days that stay, and budgets what was spent."""
    keep, cut = days_ago(2), days_ago(40)
    ledger.write([make_event(tracked_at=at, tags={"user": f"u{at.day}"}) for at in (keep, cut, cut)])
    spent(ledger)
    looked = ledger.upkeep.prune(30, with_rollups=True, dry_run=True)
    done = ledger.upkeep.prune(30, with_rollups=True, pause=0)
    assert (done.calls, done.rollup_days) == (looked.calls, looked.rollup_days) == (2, 1)
    with ledger.session() as session:
        assert session.execute(select(Daily.day, Daily.calls)).all() == [(keep.date(), 1)]
    held = contents(ledger)
    assert {name: len(rows) for name, rows in held.items()} == dict.fromkeys(held, 1)
    assert budgets(ledger) == [(Decimal("0.75"), Decimal(0))]
    assert ledger.upkeep.verify_rollups().rows == {}


def test_a_month_keeps_the_days_that_stay(open_ledger: Any, sqlite_url: URL, make_event: MakeEvent) -> None:
    """Cut in the middle of a month: the month's tags are those of its later days."""
    ledger = open_ledger(sqlite_url, durability="sync")
    days = [datetime(2026, 3, day, 12, tzinfo=UTC) for day in (3, 9, 10, 20)]
    ledger.write([make_event(tracked_at=at, tags={"user": f"u{at.day % 2}"}) for at in days])
    ledger.upkeep.prune(datetime(2026, 3, 10, tzinfo=UTC), with_rollups=True, pause=0)
    monthly = contents(ledger)["llm_cost_tag_monthly"]
    assert [(row[3], row[4]) for row in monthly] == [("u0", 2)]
    assert ledger.upkeep.verify_rollups().rows == {}


KILLED = """
import os, signal, sys
from datetime import timedelta
from pathlib import Path
from sqlalchemy import make_url
from flask_llm_cost.ledger import Ledger
from flask_llm_cost.settings import Settings

def kill(done, total):
    if done >= 20:
        os.kill(os.getpid(), signal.SIGKILL)

ledger = Ledger.open(url=make_url(sys.argv[1]), settings=Settings(durability="sync"), spool_dir=Path(sys.argv[2]))
ledger.upkeep.prune(30, batch_size=10, pause=0, progress=kill)
"""


def test_killed_in_the_middle_the_next_one_goes_on(
    open_ledger: Any, sqlite_url: URL, make_event: MakeEvent, tmp_path: Path
) -> None:
    """After ``kill -9`` nothing is half gone, and all of it is accounted for. Covers P-RET-10."""
    ledger = open_ledger(sqlite_url, durability="sync")
    ledger.write(make_event(tracked_at=days_ago(50), tags={"user": str(n)}) for n in range(45))
    before = contents(ledger)
    killed = subprocess.run([sys.executable, "-c", KILLED, str(sqlite_url), str(tmp_path)], cwd=REPOSITORY, check=False)
    assert killed.returncode == -9
    assert (count(ledger, Call), count(ledger, CallTag), count(ledger, Tag)) == (25, 25, 25)
    assert ledger.upkeep.verify_rollups().pruned == 1
    assert ledger.upkeep.prune(30, batch_size=10, pause=0).calls == 25
    assert (count(ledger, Call), count(ledger, CallTag), count(ledger, Tag)) == (0, 0, 0)
    assert contents(ledger) == before
    with ledger.session() as session:
        assert sum(audit.details["calls"] for audit in session.scalars(select(Audit))) == 45


def test_a_tag_in_use_is_never_taken_for_an_orphan(open_ledger: Any, database_url: URL, make_event: MakeEvent) -> None:
    """New calls carry tags that prune is about to remove with the last old ones: each call is found by its tags."""
    ledger = open_ledger(database_url, durability="sync")
    users = [f"u{n}" for n in range(30)]
    for _ in range(3):
        ledger.write(make_event(tracked_at=days_ago(50), tags={"user": user}) for user in users)
    done, failures = threading.Event(), []

    def write() -> None:
        own = open_ledger(database_url, migrate=False, durability="sync")
        try:
            while not done.is_set():
                own.write([make_event(event_id=uuid4(), tracked_at=days_ago(1), tags={"user": u}) for u in users])
        except Exception as error:
            failures.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    assert ledger.upkeep.prune(30, batch_size=7, pause=0).calls == 90
    done.set()
    writer.join()
    assert failures == []
    dialect = dialect_of(ledger.engine.dialect.name)
    with ledger.session() as session:
        total = session.execute(select(func.count(Call.id))).scalar_one()
        found = sum(
            session.execute(select(func.count(Call.id)).where(dialect.filter_tag("user", user))).scalar_one()
            for user in users
        )
        assert found == total
    assert ledger.upkeep.verify_rollups().rows == {}


def test_dead_letters_are_never_pruned(open_ledger: Any, sqlite_url: URL, make_event: MakeEvent) -> None:
    """Covers P-RET-11."""
    ledger = open_ledger(sqlite_url, durability="spool")
    ledger.record(make_event(tracked_at=days_ago(500), output_tokens=2**60))
    assert ledger.flush(10)
    ledger.upkeep.prune(1)
    assert count(ledger, DeadLetter) == 1


def test_what_is_old_can_be_said_in_three_ways() -> None:
    """Whole days are those of the time zone; a duration and a time are exact. Covers P-RET-02."""
    now, berlin = datetime(2026, 7, 10, 15, 30, tzinfo=UTC), ZoneInfo("Europe/Berlin")
    assert cutoff(30, berlin, now) == datetime(2026, 6, 9, 22, 0, tzinfo=UTC)
    assert cutoff(timedelta(hours=36), berlin, now) == datetime(2026, 7, 9, 3, 30, tzinfo=UTC)
    moment = datetime(2026, 7, 1, 12, tzinfo=berlin)
    assert cutoff(moment, berlin, now) == datetime(2026, 7, 1, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    "older_than",
    [
        0,
        -3,
        True,
        1.5,
        "30",
        date(2026, 1, 1),
        datetime(2026, 1, 1),  # noqa: DTZ001
        timedelta(0),
        timedelta(days=-1),
        datetime(2026, 7, 10, 15, 30, tzinfo=UTC),
        datetime(2030, 1, 1, tzinfo=UTC),
        10**9,
    ],
)
def test_what_is_not_in_the_past_is_refused(older_than: Any) -> None:
    """Covers P-RET-04, P-RET-05."""
    with pytest.raises(InvalidFilterError):
        cutoff(older_than, ZoneInfo("UTC"), datetime(2026, 7, 10, 15, 30, tzinfo=UTC))


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"batch_size": True}, {"batch_size": 50_001}, {"pause": -1}])
def test_a_batch_has_its_bounds(open_ledger: Any, sqlite_url: URL, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidFilterError):
        open_ledger(sqlite_url, durability="sync").upkeep.prune(30, **wrong)
