"""The ledger beside the app's own database work, whatever pool it has and holds open; and where the disk ends."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import URL, NullPool, StaticPool, func, select, text

from flask_llm_cost import LLMCost
from flask_llm_cost.ledger.models import Call
from tests.integration.conftest import fresh_database

REPOSITORY = Path(__file__).parents[2]
Host = tuple[Flask, SQLAlchemy, LLMCost]

POOLS: dict[str, dict[str, Any]] = {
    "one connection": {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0.2},
    "NullPool": {"poolclass": NullPool},
    "StaticPool": {"poolclass": StaticPool},
}


@pytest.fixture
def make_host(tmp_path: Path) -> Iterator[Callable[..., Host]]:
    made: list[Host] = []

    def make(uri: str, **config: Any) -> Host:
        app = Flask("host", instance_path=str(tmp_path))
        app.config.update(SQLALCHEMY_DATABASE_URI=uri, LLM_COST_DURABILITY="sync", **config)
        db = SQLAlchemy(app)
        llm_cost = LLMCost(app)
        with app.app_context():
            llm_cost.upgrade()
        made.append((app, db, llm_cost))
        return made[-1]

    yield make
    for app, db, llm_cost in made:
        with app.app_context():
            llm_cost.shutdown(timeout=5)
            db.session.remove()
            db.engine.dispose()


def calls(llm_cost: LLMCost) -> int:
    with llm_cost.session() as session:
        return session.execute(select(func.count(Call.id))).scalar_one()


def track(llm_cost: LLMCost) -> None:
    llm_cost.track(provider="openai", model="gpt-4o", input_tokens=10, output_tokens=5)


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("kind", ["sqlite", "memory", pytest.param("postgres", marks=pytest.mark.postgres)])
def test_the_apps_open_transaction_and_ours_know_nothing_of_each_other(
    make_host: Callable[..., Host], tmp_path: Path, kind: str, pool: str
) -> None:
    """All of the app's connections are taken, its transaction has written, and is rolled back: the call is kept.

    On SQLite files and in memory as well, and nothing of the app's becomes committed by us.
    Covers P-INB-08, P-INB-10.
    """
    for url in [URL.create("sqlite")] if kind == "memory" else fresh_database(kind, tmp_path):
        options = dict(POOLS[pool])
        if kind == "memory" and pool != "StaticPool":
            # Every connection of another pool would be a database of its own.
            continue
        uri = url.render_as_string(hide_password=False)
        app, db, llm_cost = make_host(uri, SQLALCHEMY_ENGINE_OPTIONS=options)
        with app.app_context():
            db.session.execute(text("CREATE TABLE users (name VARCHAR(20))"))
            db.session.commit()
            db.session.execute(text("INSERT INTO users VALUES ('a')"))
            track(llm_cost)
            with app.app_context():
                track(llm_cost)
                assert calls(llm_cost) == 2
            db.session.rollback()
            assert db.session.execute(text("SELECT count(*) FROM users")).scalar() == 0
            assert calls(llm_cost) == 2
            db.session.remove()
            db.engine.dispose()
            llm_cost.shutdown(timeout=5)


LIMITED = """
import logging, resource, sys
from datetime import UTC, datetime
from pathlib import Path
from sqlalchemy import make_url
from flask_llm_cost.ledger import Ledger
from flask_llm_cost.ledger.event import Event
from flask_llm_cost.ledger.identity import uuid7
from flask_llm_cost.settings import Settings
logging.basicConfig(level="WARNING", stream=sys.stdout, format="%(message)s")
ledger = Ledger.open(url=make_url(sys.argv[1]), settings=Settings(durability="spool"), spool_dir=Path(sys.argv[2]))
ledger._spooled.shipper.stop(0)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
for n in range(40):
    ledger.record(Event(event_id=uuid7(), tracked_at=datetime.now(UTC), provider="openai", model="gpt-4o"))
ledger.shutdown(drain=False)
"""


@pytest.mark.postgres
def test_where_the_disk_ends_events_go_into_the_ledger(open_ledger: Any, postgres_url: URL, tmp_path: Path) -> None:
    """The kernel refuses to let the spool grow: said once, and no event is lost."""
    ledger = open_ledger(postgres_url, durability="sync")
    url = postgres_url.render_as_string(hide_password=False)
    ran = subprocess.run(
        [sys.executable, "-c", LIMITED, url, str(tmp_path)], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    told = [line for line in ran.stdout.splitlines() if line.startswith("The spool takes no more events")]
    assert len(told) == 1
    waiting = ledger.backlog().records
    assert 0 < waiting < 40
    with ledger.session() as session:
        assert session.execute(select(func.count(Call.id))).scalar_one() == 40 - waiting
    assert ledger.flush(10)
    with ledger.session() as session:
        assert session.execute(select(func.count(Call.id))).scalar_one() == 40
