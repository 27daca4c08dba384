"""What an acknowledgement is worth when processes and databases die. ``tests/crash_rounds.py`` does it for longer."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import URL, select
from sqlalchemy.orm import make_transient

from crash.account import account
from crash.cluster import NoPostgreSQL, private_cluster
from crash.rounds import THREADS, Outcome, crowded, killed, survive
from flask_llm_cost.ledger import Ledger
from flask_llm_cost.ledger.models import Call
from flask_llm_cost.settings import Durability, Settings

pytestmark = pytest.mark.crash


def assert_kept(outcome: Outcome) -> None:
    assert outcome.account.faults == {}, outcome
    assert outcome.account.acknowledged > 0
    # What a thread was at when it was killed, and no more.
    assert outcome.account.untold <= outcome.kills * THREADS
    assert "locked" not in outcome.log


def test_kill_9_on_sqlite(sqlite_url: URL, tmp_path: Path) -> None:
    """Recorders and shippers killed at random: acknowledged = found, no duplicates, rollups = ledger, empty spool."""
    outcome = killed(sqlite_url, tmp_path, rounds=3)
    assert outcome.kills == 12
    assert_kept(outcome)


@pytest.mark.postgres
def test_kill_9_on_postgres(postgres_url: URL, tmp_path: Path) -> None:
    """The same on PostgreSQL; another process of the app ships what was left."""
    outcome = killed(postgres_url, tmp_path, rounds=3, drain=survive)
    assert outcome.kills == 12
    assert_kept(outcome)


@pytest.mark.postgres
def test_kill_9_while_the_database_is_stopped_and_started(tmp_path: Path) -> None:
    """Recording goes on while PostgreSQL is away, and nothing is lost where both die."""
    try:
        with private_cluster() as cluster:
            outcome = killed(cluster.url, tmp_path, rounds=3, meanwhile=cluster.failing(up=0.5, down=0.5))
    except NoPostgreSQL as reason:
        if os.environ.get("LLM_COST_REQUIRE_SERVERS") == "1":
            raise
        pytest.skip(str(reason))
    assert cluster.failures > 0
    assert_kept(outcome)


@pytest.mark.parametrize(("durability", "each"), [("spool", 100), ("sync", 10)])
def test_8_processes_of_4_threads_on_one_sqlite_file(
    sqlite_url: URL, tmp_path: Path, durability: Durability, each: int
) -> None:
    """Nobody hears of a lock, nothing is lost."""
    outcome = crowded(sqlite_url, tmp_path, processes=8, threads=4, each=each, durability=durability)
    assert outcome.log == ""
    assert_kept(outcome)
    assert outcome.account.acknowledged == 8 * 4 * each


def test_the_count_sees_what_is_wrong(sqlite_url: URL, tmp_path: Path) -> None:
    """A row lost, one altered, one doubled: the proof would fail."""
    outcome = crowded(sqlite_url, tmp_path, processes=1, threads=1, each=4, durability="sync")
    assert outcome.account.faults == {}
    ledger = Ledger.open(url=sqlite_url, settings=Settings(), spool_dir=tmp_path)
    with ledger.session() as session:
        lost, altered, doubled, _ = session.scalars(select(Call).order_by(Call.id))
        told = list(session.scalars(select(Call.event_id)))
        session.delete(lost)
        altered.output_tokens += 1
        make_transient(doubled)
        doubled.id, doubled.tracked_at = None, doubled.tracked_at + timedelta(seconds=1)
        session.add(doubled)
        session.commit()
    faults = account(sqlite_url, tmp_path, told).faults
    assert faults.pop("rollup_differences") > 0
    # The double has a time of its own, or the database would have refused it.
    assert faults == {"lost": 1, "harmed": 2, "duplicates": 1}
    ledger.shutdown()
