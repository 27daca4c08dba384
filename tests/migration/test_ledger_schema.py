"""The packaged migrations: up and down, equal to the models, out of the host's way."""

from __future__ import annotations

import logging
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, create_engine, inspect, text

from flask_llm_cost.errors import StorageError
from flask_llm_cost.ledger import Ledger
from flask_llm_cost.ledger.event import Event
from flask_llm_cost.ledger.models import Base
from flask_llm_cost.ledger.schema import REVISIONS, VERSION_TABLE, migrations_directory
from flask_llm_cost.settings import Settings

REPOSITORY = Path(__file__).parents[2]

OpenLedger = Callable[..., Ledger]

# In the migration only: no model can say them for every database.
MIGRATION_ONLY = {
    "ix_llm_cost_calls_unpriced",
    "ix_llm_cost_calls_no_usage",
    "ix_llm_cost_calls_untagged",
    "ix_llm_cost_calls_tags",
}


@contextmanager
def connected(url: URL) -> Iterator[Connection]:
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def tables(url: URL) -> set[str]:
    with connected(url) as connection:
        return set(inspect(connection).get_table_names())


def test_up_down_up(open_ledger: OpenLedger, database_url: URL, make_event: Callable[..., Event]) -> None:
    """Down leaves the version table only; up again gives a ledger that works. Covers P-MIG-03, P-MIG-08, P-MIG-09."""
    ledger = open_ledger(database_url)
    everything = {*Base.metadata.tables, VERSION_TABLE}
    assert tables(database_url) == everything
    ledger.upgrade()
    assert (ledger.schema_state(), ledger.revision()) == ("current", REVISIONS[-1])
    ledger.downgrade("base")
    assert tables(database_url) == {VERSION_TABLE}
    assert (ledger.schema_state(), ledger.revision()) == ("missing", None)
    ledger.upgrade()
    assert tables(database_url) == everything
    assert ledger.write([make_event()]) == 1


def test_down_and_up_a_revision_keeps_what_is_recorded(
    open_ledger: OpenLedger, database_url: URL, make_event: Callable[..., Event]
) -> None:
    """Each revision's own columns and nothing else come and go. Covers P-MIG-10, P-MIG-11, P-MIG-12, P-MIG-13.

    There are no totals to fill in afterwards and no types to widen: rollups, exact money and JSON tags are there
    from the first revision.
    """
    ledger = open_ledger(database_url, durability="sync")
    ledger.write([make_event(total_cost=Decimal("4999999.999999999"), tags={"feature": "chat"}), make_event()])
    everything = ("calls", "daily", "hourly", "latency_daily", "tag_daily", "tag_monthly", "tag_key_daily", "meta")

    def held() -> dict[str, list[Any]]:
        with connected(database_url) as connection:
            return {
                name: sorted(connection.execute(text(f"SELECT * FROM llm_cost_{name}")).all(), key=str)
                for name in everything
            }

    before = held()
    for revision in REVISIONS[-2::-1]:
        ledger.downgrade(revision)
        assert (ledger.schema_state(), ledger.revision()) == ("older", revision)
        ledger.upgrade()
        assert held() == before
        assert ledger.schema_state() == "current"


def test_the_migrated_schema_is_the_declared_one(open_ledger: OpenLedger, database_url: URL) -> None:
    """Tables, columns, types, defaults, constraints and indexes, by name. Covers P-MIG-04, P-MIG-05."""
    open_ledger(database_url)

    def ours(item: Any, name: str | None, kind: str, reflected: bool, other: Any) -> bool:
        return name not in MIGRATION_ONLY and name != VERSION_TABLE

    with connected(database_url) as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True, "include_object": ours}
        )
        assert compare_metadata(context, Base.metadata) == []


def test_every_key_and_index_is_named(open_ledger: OpenLedger, database_url: URL) -> None:
    """A name the database made up could not be altered by a later migration."""
    open_ledger(database_url)
    with connected(database_url) as connection:
        schema = inspect(connection)
        for table in Base.metadata.tables:
            key = schema.get_pk_constraint(table)["name"]
            # MySQL calls every primary key PRIMARY.
            assert key == (f"pk_{table}" if connection.dialect.name != "mysql" else key)
            for unique in schema.get_unique_constraints(table):
                assert str(unique["name"]).startswith("uq_llm_cost_")
            assert not schema.get_foreign_keys(table)


@pytest.mark.postgres
def test_postgresql_has_its_own_indexes(open_ledger: OpenLedger, postgres_url: URL) -> None:
    """GIN on the tags, and partial indexes that the planner takes for exactly our conditions. Covers P-MIG-03."""
    open_ledger(postgres_url)
    with connected(postgres_url) as connection:
        found = dict(
            connection.execute(
                text("SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'llm_cost_calls'")
            ).all()
        )
        assert "gin (tags jsonb_path_ops)" in found["ix_llm_cost_calls_tags"]
        assert set(found) >= MIGRATION_ONLY
        connection.execute(text("SET enable_seqscan = off"))
        plan = connection.execute(
            text(
                "EXPLAIN SELECT 1 FROM llm_cost_calls "
                "WHERE cost_status IN ('unknown', 'partial', 'estimated') ORDER BY tracked_at"
            )
        )
        assert "ix_llm_cost_calls_unpriced" in str(plan.all())


def test_sqlite_has_partial_indexes(open_ledger: OpenLedger, sqlite_url: URL) -> None:
    open_ledger(sqlite_url)
    with connected(sqlite_url) as connection:
        plan = connection.execute(
            text("EXPLAIN QUERY PLAN SELECT 1 FROM llm_cost_calls WHERE tags = '{}' ORDER BY tracked_at")
        )
        assert "ix_llm_cost_calls_untagged" in str(plan.all())


def test_the_view_shows_dollars(open_ledger: OpenLedger, database_url: URL, make_event: Callable[..., Event]) -> None:
    """Exact where the database has exact decimals; its columns are those of the table, in dollars."""
    ledger = open_ledger(database_url)
    ledger.write([make_event(total_cost=Decimal("0.123456789")), make_event(total_cost=None)])
    with connected(database_url) as connection:
        costs = connection.execute(text("SELECT total_cost FROM llm_cost_calls_usd ORDER BY tracked_at")).scalars()
        expected = Decimal("0.123456789")
        assert list(costs) == [float(expected) if connection.dialect.name == "sqlite" else expected, None]
        schema = inspect(connection)
        shown = [column["name"] for column in schema.get_columns("llm_cost_calls_usd")]
        stored = [column["name"] for column in schema.get_columns("llm_cost_calls")]
        assert shown == [name.removesuffix("_nano") for name in stored]


def migrate_in_process(url: URL, folder: str) -> None:
    ledger = Ledger.open(url=url, settings=Settings(), spool_dir=Path(folder), testing=True)
    ledger.upgrade()
    ledger.shutdown()


def test_upgrades_that_meet_take_turns(open_ledger: OpenLedger, database_url: URL, tmp_path: Path) -> None:
    """Several processes of a deploy migrate at once: one does, the others wait and find it done."""
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=migrate_in_process, args=(database_url, str(tmp_path))) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0, 0]
    assert open_ledger(database_url, migrate=False).schema_state() == "current"


def test_a_revision_from_the_future_is_told_not_traced(open_ledger: OpenLedger, sqlite_url: URL) -> None:
    """A newer database goes on working; migrating it from here is refused in one line."""
    ledger = open_ledger(sqlite_url)
    with connected(sqlite_url) as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
        connection.commit()
    newer = open_ledger(sqlite_url, migrate=False)
    assert newer.schema_state() == "current"
    with pytest.raises(StorageError, match="9999"):
        ledger.upgrade()


def test_an_older_schema_names_the_command(
    open_ledger: OpenLedger, sqlite_url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flask_llm_cost.ledger.schema.REVISIONS", (*REVISIONS, "9998"))
    assert open_ledger(sqlite_url).schema_state() == "older"


def test_the_sql_for_a_person_builds_the_same_schema(open_ledger: OpenLedger, database_url: URL) -> None:
    """``db sql`` connects to nothing; what it prints, run by hand, is the migrated schema."""
    ledger = open_ledger(database_url, migrate=False)
    script = ledger.sql()
    assert f"INSERT INTO {VERSION_TABLE}" in script
    with connected(database_url) as connection:
        for statement in script.split(";\n"):
            lines = [line for line in statement.splitlines() if line and not line.startswith("--")]
            if lines and lines[0] not in ("BEGIN", "COMMIT", "BEGIN;"):
                connection.exec_driver_sql("\n".join(lines).replace("%", "%%"))
        connection.commit()
    assert ledger.schema_state() == "current"
    assert tables(database_url) == {*Base.metadata.tables, VERSION_TABLE}


def test_the_sql_from_a_revision_is_what_came_after_it(open_ledger: OpenLedger, database_url: URL) -> None:
    """``db sql --from 0001`` for a database that a person keeps up to date; without tables it starts at nothing."""
    ledger = open_ledger(database_url)
    ledger.downgrade("0001")
    script = ledger.sql("0001")
    assert "CREATE TABLE" not in script
    with connected(database_url) as connection:
        for statement in script.split(";\n"):
            lines = [line for line in statement.splitlines() if line and not line.startswith("--")]
            if lines and lines[0] not in ("BEGIN", "COMMIT", "BEGIN;"):
                connection.exec_driver_sql("\n".join(lines).replace("%", "%%"))
        connection.commit()
    assert (ledger.schema_state(), ledger.revision()) == ("current", REVISIONS[-1])
    with pytest.raises(StorageError, match="There is no revision '0': 0001"):
        ledger.sql("0")


def test_the_known_revisions_are_those_of_the_directory() -> None:
    config = Config()
    config.set_main_option("script_location", str(migrations_directory()))
    script = ScriptDirectory.from_config(config)
    assert tuple(each.revision for each in reversed(list(script.walk_revisions()))) == REVISIONS


def test_migrating_leaves_the_hosts_logging_alone(open_ledger: OpenLedger, sqlite_url: URL) -> None:
    host = logging.getLogger("host.app")
    before = (logging.root.handlers[:], logging.root.level, host.disabled, logging.getLogger("alembic").level)
    open_ledger(sqlite_url)
    assert (logging.root.handlers, logging.root.level, host.disabled, logging.getLogger("alembic").level) == before


HOST = """
from flask import Flask
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import make_url
from flask_llm_cost.ledger import exclude_from_host

app = Flask(__name__)
app.config["SQLALCHEMY_DATABASE_URI"] = make_url({url!r})
db = SQLAlchemy(app)


class User(db.Model):
    id = db.Column(db.Integer, primary_key=True)


def theirs(name, kind, parents):
    print("ASKED", kind, name)
    return name != "legacy"


Migrate(app, db, include_name=theirs, include_schemas={every_schema})
exclude_from_host(app.extensions["migrate"].configure_args)
"""


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("postgres", marks=pytest.mark.postgres),
        pytest.param("mariadb", marks=pytest.mark.mariadb),
    ]
)
def shared_url(request: pytest.FixtureRequest) -> URL:
    """A database that the host and the ledger share."""
    url = request.getfixturevalue(f"{request.param}_url")
    assert isinstance(url, URL)
    return url


def test_the_hosts_migrations_and_ours_ignore_each_other(
    open_ledger: OpenLedger, shared_url: URL, tmp_path: Path
) -> None:
    """With both in one database the host's ``flask db migrate`` writes about its own tables only.

    Its own ``include_name`` goes on working; ours is composed with it. Partitions are out of its sight, also
    where it looks at every schema.
    """
    on_postgres = shared_url.get_backend_name() == "postgresql"
    (tmp_path / "host.py").write_text(
        HOST.format(url=shared_url.render_as_string(hide_password=False), every_schema=on_postgres)
    )
    versions = tmp_path / "migrations" / "versions"

    def flask(*arguments: str) -> str:
        command = [sys.executable, "-m", "flask", "--app", "host", "db", *arguments]
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    ledger = open_ledger(shared_url)
    with connected(shared_url) as connection:
        connection.execute(text("CREATE TABLE legacy (id INTEGER)"))
        connection.commit()
    flask("init")
    asked = flask("migrate", "-m", "host")
    assert "ASKED table legacy" in asked
    assert "ASKED table llm_cost" not in asked
    (script,) = versions.glob("*.py")
    written = script.read_text()
    assert "create_table('user'" in written
    assert "llm_cost" not in written
    assert "legacy" not in written
    flask("upgrade")
    flask("check")
    assert tables(shared_url) == {*Base.metadata.tables, VERSION_TABLE, "user", "legacy", "alembic_version"}
    ledger.upgrade()
    assert ledger.schema_state() == "current"
    if on_postgres:
        ledger.partition()
        flask("check")
