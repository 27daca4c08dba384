"""What an acknowledgement is worth when processes and databases die. ``tests/crash_rounds.py`` does it for longer."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from sqlalchemy import URL

from crash.cluster import NoPostgreSQL, private_cluster
from crash.rounds import Outcome, crowded, killed
from flask_llm_cost.settings import Durability

pytestmark = pytest.mark.crash


def assert_kept(outcome: Outcome) -> None:
    assert outcome.account.faults == {}, outcome
    assert outcome.account.acknowledged > 0
    assert "locked" not in outcome.log


def test_kill_9_on_sqlite(sqlite_url: URL, tmp_path: Path) -> None:
    """Recorders and shippers killed at random: acknowledged = found, no duplicates, rollups = ledger, empty spool."""
    outcome = killed(sqlite_url, tmp_path, rounds=4)
    assert outcome.kills == 16
    assert_kept(outcome)


@pytest.mark.postgres
def test_kill_9_on_postgres(postgres_url: URL, tmp_path: Path) -> None:
    """The same on PostgreSQL."""
    outcome = killed(postgres_url, tmp_path, rounds=4)
    assert outcome.kills == 16
    assert_kept(outcome)


@pytest.mark.postgres
def test_kill_9_while_the_database_is_stopped_and_started(tmp_path: Path) -> None:
    """Recording goes on while PostgreSQL is away, and nothing is lost where both die."""
    try:
        with private_cluster() as cluster:
            outcome = killed(cluster.url, tmp_path, rounds=4, meanwhile=cluster.failing(up=0.5, down=0.5))
    except NoPostgreSQL as reason:
        if os.environ.get("LLM_COST_REQUIRE_SERVERS") == "1":
            raise
        pytest.skip(str(reason))
    assert cluster.stops > 0
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
