"""``prune`` where calls are kept by months (PostgreSQL): whole months are dropped, the rest goes by rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from functools import partial
from typing import Any

import pytest
from sqlalchemy import URL, func, select, text

from flask_llm_cost.errors import StorageError
from flask_llm_cost.ledger import Ledger, partitions, rollup_repair
from flask_llm_cost.ledger.event import Event
from flask_llm_cost.ledger.models import Audit, Call
from flask_llm_cost.ledger.partitions import Month
from flask_llm_cost.ledger.retention import Pruned
from flask_llm_cost.ledger.rollup_repair import pruned_before
from tests.integration.test_ledger_rollup_repair import contents

pytestmark = pytest.mark.postgres

MakeEvent = Callable[..., Event]
MID_MARCH = datetime(2026, 3, 15, tzinfo=UTC)
JANUARY, FEBRUARY = (Month.of(date(2026, month, 1)) for month in (1, 2))
# One from before every month: it is in the default partition.
TIMES = [datetime(2019, 7, 1, tzinfo=UTC)] + [
    datetime(2026, month, day, 12, tzinfo=UTC) for month in (1, 2, 3) for day in (1, 14, 28)
]


@pytest.fixture
def ledger(open_ledger: Any, postgres_url: URL, make_event: MakeEvent) -> Ledger:
    """Calls of three months, each in its partition, and an older one without."""
    ledger: Ledger = open_ledger(postgres_url, durability="sync")
    ledger.write([make_event(tracked_at=at, tags={"user": f"u{at.day}"}) for at in TIMES[1:]])
    ledger.partition()
    ledger.write([make_event(tracked_at=TIMES[0])])
    return ledger


def times(ledger: Ledger) -> list[datetime]:
    with ledger.session() as session:
        return list(session.scalars(select(Call.tracked_at).order_by(Call.tracked_at)))


def audits(ledger: Ledger) -> list[Any]:
    with ledger.session() as session:
        return [audit.details for audit in session.scalars(select(Audit).where(Audit.action == "prune"))]


def tables(ledger: Ledger) -> set[str]:
    with ledger.engine.connect() as connection:
        named = text("SELECT tablename FROM pg_tables WHERE schemaname = 'llm_cost_parts'")
        return {name.removeprefix("llm_cost_calls_") for name in connection.scalars(named)}


def test_whole_months_are_dropped_and_the_rest_goes_by_rows(ledger: Ledger) -> None:
    """Rollups stay, a rebuild leaves them alone, one row of the audit tells it all; a second run finds nothing."""
    before, there = contents(ledger), tables(ledger)
    done = Pruned(MID_MARCH, calls=9, months=(JANUARY, FEBRUARY))
    assert ledger.upkeep.prune(MID_MARCH, dry_run=True) == done
    assert times(ledger) == TIMES
    told: list[tuple[int, int]] = []
    assert ledger.upkeep.prune(MID_MARCH, batch_size=2, pause=0, progress=lambda *each: told.append(each)) == done
    assert told == [(6, 9), (8, 9), (9, 9)]
    assert there - tables(ledger) == {"2026_01", "2026_02"}
    assert times(ledger) == TIMES[-1:]
    details = {
        "before": "2026-03-15T00:00:00+00:00",
        "calls": 9,
        "tags": 0,
        "rollup_days": 0,
        "months": ["2026-01", "2026-02"],
        "with_rollups": False,
    }
    assert audits(ledger) == [details]
    rebuilt = ledger.upkeep.rebuild_rollups()
    assert (rebuilt.days, rebuilt.pruned, rebuilt.rows) == (1, 9, {})
    assert contents(ledger) == before
    assert ledger.upkeep.prune(MID_MARCH, pause=0) == Pruned(MID_MARCH)


def test_rollups_of_dropped_months_go_only_where_that_is_wanted(ledger: Ledger) -> None:
    done = ledger.upkeep.prune(MID_MARCH, with_rollups=True, pause=0)
    assert done == Pruned(MID_MARCH, calls=9, rollup_days=9, months=(JANUARY, FEBRUARY))
    held = contents(ledger)
    assert {name: len(rows) for name, rows in held.items()} == dict.fromkeys(held, 1)
    assert ledger.upkeep.verify_rollups().rows == {}


def test_who_holds_a_month_holds_prune_up_and_nothing_is_half_done(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so; once the reader is done, the next run does all of it."""
    monkeypatch.setattr(partitions, "LOCK_TIMEOUT", "50ms")
    there = tables(ledger)
    with ledger.engine.connect() as reader:
        reader.execute(select(func.count()).select_from(Call))
        with pytest.raises(StorageError, match="nothing was dropped, try again"):
            ledger.upkeep.prune(MID_MARCH, pause=0)
    assert (times(ledger), tables(ledger), audits(ledger)) == (TIMES, there, [])
    with ledger.engine.connect() as connection:
        assert pruned_before(connection) is None
    assert ledger.upkeep.prune(MID_MARCH, pause=0).months == (JANUARY, FEBRUARY)


def test_a_rebuild_that_began_before_the_drop_takes_nothing_from_the_rollups(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its snapshot does not know of the prune, its calls are gone all the same: it sees that, and begins anew."""
    before, pruned, really = contents(ledger), [], rollup_repair.check_day

    def check_day(connection: Any, span: Any, *args: Any, **kwargs: Any) -> Any:
        if span.day == date(2026, 1, 14) and not pruned:
            pruned.append(ledger.upkeep.prune(MID_MARCH, pause=0))
        return really(connection, span, *args, **kwargs)

    monkeypatch.setattr(rollup_repair, "check_day", check_day)
    rebuilt = ledger.upkeep.rebuild_rollups()
    assert [each.calls for each in pruned] == [9]
    # Two days before it happened, and one that stays.
    assert (rebuilt.days, rebuilt.pruned, rebuilt.rows) == (3, 7, {})
    assert contents(ledger) == before


def test_the_command_says_which_part_goes_at_once(ledger: Ledger, make_app: Any, postgres_url: URL) -> None:
    """Before, in a dry run, and after."""
    app, _ = make_app(LLM_COST_DATABASE_URI=postgres_url.render_as_string(hide_password=False))
    run = partial(app.test_cli_runner().invoke, app.cli)
    days = str((datetime.now(UTC) - MID_MARCH).days)
    told = run(["llm-cost", "prune", "--days", days, "--dry-run"]).output
    assert "2 whole months of them would be dropped at once." in told
    assert times(ledger) == TIMES
    assert "2 whole months of them were dropped at once." in run(["llm-cost", "prune", "--days", days]).output
    assert times(ledger) == TIMES[-1:]


def test_a_ledger_in_one_table_names_no_months(ledger: Ledger) -> None:
    """The same cut-off on the same calls, by rows."""
    ledger.unpartition()
    done = ledger.upkeep.prune(MID_MARCH, pause=0)
    assert done == replace(Pruned(MID_MARCH), calls=9)
    assert times(ledger) == TIMES[-1:]
