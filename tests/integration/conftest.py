"""Ledgers on every database, and events to put in them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import URL, create_engine, make_url, text
from sqlalchemy.exc import OperationalError

from flask_llm_cost.ledger import Ledger
from flask_llm_cost.ledger.event import Event
from flask_llm_cost.settings import Settings

OpenLedger = Callable[..., Ledger]

SERVERS = {
    "postgres": make_url("postgresql+psycopg://postgres@127.0.0.1:5432/postgres"),
    "mariadb": make_url("mysql+pymysql://root@127.0.0.1:3306/mysql"),
}
EVERYWHERE = [
    "sqlite",
    pytest.param("postgres", marks=pytest.mark.postgres),
    pytest.param("mariadb", marks=pytest.mark.mariadb),
]


def fresh_database(kind: str, folder: Path) -> Iterator[URL]:
    """The URL of an empty database of that kind, dropped afterwards."""
    if kind == "sqlite":
        yield URL.create("sqlite", database=str(folder / "ledger.db"))
        return
    server = create_engine(SERVERS[kind], isolation_level="AUTOCOMMIT")
    name = f"llm_cost_test_{uuid4().hex[:12]}"
    try:
        try:
            connection = server.connect()
        except OperationalError as error:
            if os.environ.get("LLM_COST_REQUIRE_SERVERS") == "1":
                raise
            pytest.skip(f"no {kind} server: {error.orig}")
        with connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
            yield SERVERS[kind].set(database=name)
            force = " WITH (FORCE)" if kind == "postgres" else ""
            connection.execute(text(f"DROP DATABASE {name}{force}"))
    finally:
        server.dispose()


@pytest.fixture(params=EVERYWHERE)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[URL]:
    """An empty database on SQLite, PostgreSQL and MariaDB in turn."""
    yield from fresh_database(request.param, tmp_path)


@pytest.fixture
def postgres_url(tmp_path: Path) -> Iterator[URL]:
    yield from fresh_database("postgres", tmp_path)


@pytest.fixture
def mariadb_url(tmp_path: Path) -> Iterator[URL]:
    yield from fresh_database("mariadb", tmp_path)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> URL:
    return URL.create("sqlite", database=str(tmp_path / "ledger.db"))


@pytest.fixture
def open_ledger(tmp_path: Path) -> Iterator[OpenLedger]:
    """Opens ledgers whose spools share a folder; shuts them down afterwards."""
    opened: list[Ledger] = []

    def open_ledger(url: URL, *, migrate: bool = True, testing: bool = False, **settings: Any) -> Ledger:
        ledger = Ledger.open(url=url, settings=Settings(**settings), spool_dir=tmp_path, testing=testing)
        opened.append(ledger)
        if migrate:
            ledger.upgrade()
        return ledger

    yield open_ledger
    for ledger in opened:
        ledger.shutdown(timeout=5, drain=False)


@pytest.fixture
def ledger(open_ledger: OpenLedger, database_url: URL) -> Ledger:
    """A migrated ledger on every database in turn; events are written synchronously."""
    return open_ledger(database_url, durability="sync")


A_CALL = Event(
    event_id=UUID(int=0),
    tracked_at=datetime(2026, 5, 1, 9, 30, tzinfo=UTC),
    provider="openai",
    model="gpt-4o",
    request_model="gpt-4o",
    usage_source="response",
    captured_by="httpx",
    host="api.openai.com",
    input_tokens=900,
    cache_read_input_tokens=100,
    output_tokens=500,
    hidden_output_tokens=20,
    total_tokens=1500,
    input_cost=Decimal("0.00225"),
    cache_read_cost=Decimal("0.000125"),
    cache_write_cost=Decimal(0),
    output_cost=Decimal("0.005"),
    other_cost=Decimal(0),
    total_cost=Decimal("0.007375"),
    cost_status="complete",
    latency_ms=850,
    provider_response_id="resp_1",
    price_key="openai/gpt-4o",
    price_source="genai-prices",
    receipt={"total": "0.007375", "status": "complete", "lines": [{"meter": "input", "quantity": 900}]},
    tags={"feature": "chat", "tenant": "acme"},
)


@pytest.fixture
def make_event() -> Callable[..., Event]:
    """Events that differ by id, a second apart; keyword arguments override fields."""
    made = 0

    def make(**changes: Any) -> Event:
        nonlocal made
        made += 1
        changes = {"event_id": uuid4(), "tracked_at": A_CALL.tracked_at + timedelta(seconds=made), **changes}
        return replace(A_CALL, **changes)

    return make


@pytest.fixture
def rows() -> Callable[[Ledger, str], list[dict[str, Any]]]:
    """What a statement answers, as dictionaries."""

    def rows(ledger: Ledger, statement: str) -> list[dict[str, Any]]:
        with ledger.session() as session:
            return [dict(row) for row in session.execute(text(statement)).mappings()]

    return rows
