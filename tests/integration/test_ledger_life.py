"""The ledger from opening to shutting down: outages, forks, kills, several writers."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
import pytest
from flask.cli import ScriptInfo
from sqlalchemy import URL, create_engine, func, select, text
from sqlalchemy.exc import OperationalError

from flask_llm_cost.errors import SchemaMissingError, StorageError
from flask_llm_cost.ledger import Ledger
from flask_llm_cost.ledger.event import Event
from flask_llm_cost.ledger.ledger import SPOOL_FOLDER
from flask_llm_cost.ledger.models import Call, Daily, TagDaily
from flask_llm_cost.settings import Settings

MakeEvent = Callable[..., Event]
REPOSITORY = Path(__file__).parents[2]


def counts(ledger: Ledger) -> tuple[int, int, Decimal]:
    """Calls in the ledger, calls in its rollups, and whether their totals agree."""
    with ledger.session() as session:
        calls, total = session.execute(select(func.count(Call.id), func.sum(Call.total_cost))).one()
        rolled, rolled_total = session.execute(select(func.sum(Daily.calls), func.sum(Daily.total_cost))).one()
        return calls, rolled or 0, (total or Decimal(0)) - (rolled_total or Decimal(0))


def wait_until(holds: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


def no_spools(folder: Path) -> bool:
    return not any((folder / SPOOL_FOLDER).glob("*"))


def test_opening_touches_nothing(tmp_path: Path, sqlite_url: URL) -> None:
    """Start-up must not need the database, nor make its file. Covers P-ING-10."""
    ledger = Ledger.open(url=sqlite_url, settings=Settings(durability="spool"), spool_dir=tmp_path / "absent")
    assert list(tmp_path.iterdir()) == []
    Ledger.open(url=URL.create("postgresql+psycopg", host="127.0.0.1", port=1), settings=Settings(), spool_dir=tmp_path)
    assert ledger.shutdown()


@pytest.mark.parametrize("durability", ["spool", "fsync"])
def test_a_recorded_event_is_shipped_by_itself(
    open_ledger: Any, database_url: URL, make_event: MakeEvent, durability: str
) -> None:
    """The first record starts the shipper, with no app around.

    Covers P-INB-01, P-INB-02, P-ING-01, P-ING-02, P-ING-24.
    """
    ledger = open_ledger(database_url, durability=durability)
    for _ in range(3):
        ledger.record(make_event())
    wait_until(lambda: counts(ledger) == (3, 3, Decimal(0)))
    wait_until(lambda: ledger.backlog().records == 0)


def test_flush_waits_for_everything_acknowledged(open_ledger: Any, sqlite_url: URL, make_event: MakeEvent) -> None:
    """More than one batch, from several threads. Covers P-ING-21, P-TRK-30."""
    ledger = open_ledger(sqlite_url, durability="spool")
    events = [[make_event() for _ in range(300)] for _ in range(4)]
    threads = [threading.Thread(target=lambda mine=mine: [ledger.record(event) for event in mine]) for mine in events]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger.flush(timeout=30)
    assert counts(ledger) == (1200, 1200, Decimal(0))
    assert ledger.backlog().records == 0


def test_flush_gives_up_in_time_and_keeps_what_waits(open_ledger: Any, tmp_path: Path, make_event: MakeEvent) -> None:
    """A database that is away: ``False``, and the event waits. Covers P-ING-20, P-ING-22, P-STO-04, P-TRK-28."""
    away = URL.create("postgresql+psycopg", username="u", host="127.0.0.1", port=1, database="x")
    ledger = open_ledger(away, migrate=False, durability="spool")
    ledger.record(make_event())
    assert ledger.flush(timeout=0.3) is False
    assert ledger.backlog().records == 1
    assert ledger.last_error is not None
    assert "\n" not in ledger.last_error
    assert ledger.shutdown(timeout=1) is False
    assert not no_spools(tmp_path)


def test_shutdown_ships_and_leaves_nothing(
    open_ledger: Any, sqlite_url: URL, make_event: MakeEvent, tmp_path: Path
) -> None:
    """Drains, ends the thread, removes the files; a later event is written at once.

    Covers P-ING-26, P-ING-27, P-TRK-29.
    """
    ledger = open_ledger(sqlite_url, durability="spool")
    ledger.record(make_event())
    assert ledger.shutdown(timeout=10) is True
    assert no_spools(tmp_path)
    assert [thread for thread in threading.enumerate() if thread.name == "llm-cost-shipper"] == []
    assert counts(ledger)[0] == 1
    ledger.record(make_event())
    assert counts(ledger)[0] == 2
    assert ledger.shutdown() is True


def test_shutdown_without_draining_leaves_it_to_the_next(
    open_ledger: Any, sqlite_url: URL, make_event: MakeEvent, tmp_path: Path
) -> None:
    """Covers P-ING-26; the next process adopts what was left. Also one in ``sync`` mode (P-INB-08)."""
    first = open_ledger(sqlite_url, durability="spool", migrate=False)
    first.record(make_event())
    assert first.shutdown(drain=False) is True
    second = open_ledger(sqlite_url, durability="sync")
    assert second.backlog().records == 1
    assert second.flush(timeout=10)
    assert counts(second) == (1, 1, Decimal(0))
    assert no_spools(tmp_path)


def test_a_missing_table_is_told_once_and_shipped_later(
    open_ledger: Any, sqlite_url: URL, make_event: MakeEvent, caplog: pytest.LogCaptureFixture
) -> None:
    """Capture goes on, one warning names the command, and the migration alone sets things right.

    The gem switched its inbox off for the life of the process (P-INB-07 WEAK). Covers P-ING-23.
    """
    ledger = open_ledger(sqlite_url, durability="spool", migrate=False)
    for _ in range(3):
        ledger.record(make_event())
        time.sleep(0.15)
    wait_until(lambda: ledger.last_error is not None)
    told = [record.getMessage() for record in caplog.records if "flask llm-cost db upgrade" in record.getMessage()]
    assert len(told) == 1
    assert ledger.backlog().records == 3
    ledger.upgrade()
    wait_until(lambda: ledger.backlog().records == 0)
    assert counts(ledger) == (3, 3, Decimal(0))
    assert ledger.last_error is None


def test_a_missing_table_stops_a_synchronous_record(open_ledger: Any, database_url: URL, make_event: MakeEvent) -> None:
    ledger = open_ledger(database_url, durability="sync", migrate=False)
    with pytest.raises(SchemaMissingError, match="flask llm-cost db upgrade"):
        ledger.record(make_event())
    assert ledger.schema_state() == "missing"
    ledger.upgrade()
    ledger.record(make_event())
    assert ledger.schema_state() == "current"


def test_a_database_that_comes_back_gets_everything(
    open_ledger: Any, sqlite_url: URL, make_event: MakeEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Errors of the database are retried for ever; nothing is lost, nothing twice. Covers P-ING-14, P-ING-23."""
    ledger = open_ledger(sqlite_url, durability="spool")
    write, away = ledger._writer.write_new, threading.Event()

    def sometimes(batch: Any) -> int:
        if away.is_set():
            raise OperationalError("", {}, Exception("server closed the connection"))
        return write(batch)

    monkeypatch.setattr(ledger._writer, "write_new", sometimes)
    ledger.record(make_event())
    wait_until(lambda: counts(ledger)[0] == 1)
    away.set()
    for _ in range(5):
        ledger.record(make_event())
    wait_until(lambda: ledger.last_error is not None)
    assert counts(ledger)[0] == 1
    away.clear()
    wait_until(lambda: counts(ledger) == (6, 6, Decimal(0)))


def test_a_full_spool_writes_directly_and_says_so_once(
    open_ledger: Any, sqlite_url: URL, make_event: MakeEvent, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = open_ledger(sqlite_url, durability="spool", spool_max_mb=1)
    ledger._spooled.spool._max_bytes = 10
    for _ in range(3):
        ledger.record(make_event())
    assert counts(ledger) == (3, 3, Decimal(0))
    assert caplog.text.count("The spool takes no more events") == 1


def test_a_spool_folder_that_vanished_loses_nothing(
    open_ledger: Any, sqlite_url: URL, make_event: MakeEvent, tmp_path: Path
) -> None:
    """Spool and database both away is the one case that raises. Covers P-STO-01, P-STO-04."""
    (tmp_path / "file").touch()
    ledger = Ledger.open(url=sqlite_url, settings=Settings(durability="spool"), spool_dir=tmp_path / "file")
    with pytest.raises(StorageError):
        ledger.record(make_event())
    ledger.upgrade()
    ledger.record(make_event())
    assert counts(ledger) == (1, 1, Decimal(0))
    ledger.shutdown()


def test_the_default_mode_follows_where_the_app_runs(
    open_ledger: Any, sqlite_url: URL, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Spool; sync under test and where no disk can be written (and says so)."""
    assert open_ledger(sqlite_url, migrate=False).durability == "spool"
    assert open_ledger(sqlite_url, migrate=False, testing=True).durability == "sync"
    (tmp_path / "file").touch()
    ledger = Ledger.open(url=sqlite_url, settings=Settings(), spool_dir=tmp_path / "file")
    assert ledger.durability == "sync"
    assert "LLM_COST_SPOOL_DIR" in caplog.text


@pytest.mark.parametrize(("name", "mode"), [("run", "spool"), ("report", "sync"), ("flask", "sync")])
def test_a_short_command_writes_at_once(open_ledger: Any, sqlite_url: URL, name: str, mode: str) -> None:
    """A ``flask`` command may end before a spool is shipped; a server does not, nor does another tool's worker."""
    with click.Context(click.Command(name), info_name=name, obj=ScriptInfo()):
        assert open_ledger(sqlite_url, migrate=False).durability == mode
    with click.Context(click.Command("worker"), info_name="worker"):
        assert open_ledger(sqlite_url, migrate=False).durability == "spool"


def test_log_mode_writes_lines_only(
    open_ledger: Any, sqlite_url: URL, make_event: MakeEvent, caplog: pytest.LogCaptureFixture
) -> None:
    """Covers P-STO-10, P-STO-11."""
    ledger = open_ledger(sqlite_url, durability="log")
    with caplog.at_level(logging.INFO, logger="flask_llm_cost.ledger.store"):
        ledger.record(make_event(tags={"tenant": "acme"}))
        ledger.record(make_event(total_cost=None, latency_ms=None, stream=True, usage_source="unknown", tags={}))
    assert [record.getMessage() for record in caplog.records if record.name.endswith("store")] == [
        'openai/gpt-4o tokens=1500 cost=$0.007375 latency=850ms source=response tags={"tenant":"acme"}',
        "openai/gpt-4o tokens=1500 cost=unknown stream=true",
    ]
    assert counts(ledger)[0] == 0


class Mine:
    """A store of the app's own."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def record(self, event: Event) -> None:
        if self.events:
            raise ConnectionError("queue is away")
        self.events.append(event)


def test_a_store_of_the_apps_own_takes_the_events(open_ledger: Any, sqlite_url: URL, make_event: MakeEvent) -> None:
    """Its errors become ``StorageError`` with the cause. Covers P-STO-05, P-STO-06, P-STO-04."""
    store, event = Mine(), make_event()
    ledger = open_ledger(sqlite_url, durability=store)
    ledger.record(event)
    assert store.events == [event]
    with pytest.raises(StorageError, match="ConnectionError: queue is away") as caught:
        ledger.record(event)
    assert isinstance(caught.value.__cause__, ConnectionError)
    assert ledger.durability == "Mine"


def test_an_in_memory_ledger_is_one_connection_of_its_own(open_ledger: Any, make_event: MakeEvent) -> None:
    """Reads and writes of several threads share it, also a write inside an open session."""
    ledger = open_ledger(URL.create("sqlite"), durability="sync")
    with ledger.session() as session:
        assert session.scalar(select(func.count(Call.id))) == 0
        ledger.record(make_event())
        assert session.scalar(select(func.count(Call.id))) == 1
    events = [[make_event() for _ in range(10)] for _ in range(4)]
    failures: list[Exception] = []

    def work(mine: list[Event]) -> None:
        try:
            for event in mine:
                ledger.record(event)
                counts(ledger)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(mine,)) for mine in events]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert counts(ledger) == (41, 41, Decimal(0))


def test_an_open_write_transaction_of_the_app_holds_nothing_up(
    open_ledger: Any, sqlite_url: URL, make_event: MakeEvent, tmp_path: Path
) -> None:
    """The app's rollback does not touch the ledger, on a file of its own. Covers P-INB-08, P-INB-09, P-CON-08."""
    ledger = open_ledger(sqlite_url, durability="sync")
    app = sqlite3.connect(tmp_path / "app.db", isolation_level=None)
    app.execute("CREATE TABLE users (name TEXT)")
    app.execute("BEGIN IMMEDIATE")
    app.execute("INSERT INTO users VALUES ('a')")
    ledger.record(make_event())
    app.execute("ROLLBACK")
    app.close()
    assert counts(ledger) == (1, 1, Decimal(0))


def record_many(url: str, folder: str, number: int, make: Callable[[int], Event]) -> None:
    ledger = Ledger.open(
        url=URL.create("sqlite", database=url), settings=Settings(durability="spool"), spool_dir=Path(folder)
    )
    threads = [
        threading.Thread(target=lambda start=start: [ledger.record(make(n)) for n in range(start, start + 50)])
        for start in range(number * 200, number * 200 + 200, 50)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger.shutdown(timeout=60)


def test_many_writers_on_sqlite_lose_nothing(
    open_ledger: Any, sqlite_url: URL, make_event: MakeEvent, tmp_path: Path
) -> None:
    """4 processes of 4 threads; nobody sees 'database is locked'. Covers P-CON-07, P-CON-08."""
    ledger = open_ledger(sqlite_url, durability="sync")
    events = [make_event(tags={"user": str(n % 7)}) for n in range(800)]
    fork = multiprocessing.get_context("fork")
    processes = [
        fork.Process(target=record_many, args=(sqlite_url.database, str(tmp_path), number, events.__getitem__))
        for number in range(4)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(90)
    assert [process.exitcode for process in processes] == [0, 0, 0, 0]
    assert counts(ledger) == (800, 800, Decimal(0))
    with ledger.session() as session:
        assert session.scalar(select(func.sum(TagDaily.calls))) == 800


def test_a_forked_child_records_for_itself(open_ledger: Any, database_url: URL, make_event: MakeEvent) -> None:
    """Parent and child both go on: neither uses the other's connection, file or thread. Covers P-ING-04, P-ING-05."""
    ledger = open_ledger(database_url, durability="spool")
    before, in_child, in_parent = make_event(), make_event(), make_event()
    ledger.record(before)
    assert ledger.flush(10)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            ledger.record(in_child)
            code = 0 if ledger.flush(20) and ledger.shutdown(5) else 2
        finally:
            os._exit(code)
    ledger.record(in_parent)
    assert ledger.flush(10)
    assert os.waitpid(child, 0)[1] == 0
    with ledger.session() as session:
        assert set(session.scalars(select(Call.event_id))) == {each.event_id for each in (before, in_child, in_parent)}


def test_a_child_does_not_hold_what_its_dead_parent_left(
    open_ledger: Any, sqlite_url: URL, make_event: MakeEvent
) -> None:
    """A child that only sleeps keeps no lock on the parent's spool: others can adopt it while the child lives."""
    parent = open_ledger(sqlite_url, durability="spool")
    parent._spooled.shipper.stop(0)
    parent.record(make_event())
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    try:
        parent.shutdown(drain=False)
        heir = open_ledger(sqlite_url, durability="sync")
        assert heir.flush(5)
        assert counts(heir) == (1, 1, Decimal(0))
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@pytest.mark.postgres
def test_a_child_never_uses_its_parents_connection(open_ledger: Any, postgres_url: URL, make_event: MakeEvent) -> None:
    ledger = open_ledger(postgres_url, durability="sync")

    def backend() -> int:
        with ledger._engines.writing() as connection:
            return int(connection.scalar(text("SELECT pg_backend_pid()")) or 0)

    ours = backend()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, str(backend()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    assert os.waitpid(child, 0)[1] == 0
    assert int(os.read(reader, 100)) != ours
    os.close(reader)
    # The child's end did not take the parent's connection with it.
    assert backend() == ours
    ledger.record(make_event())


KILLED = """
import json, os, signal, sys
from pathlib import Path
from sqlalchemy import URL
from flask_llm_cost.ledger import Ledger
from flask_llm_cost.ledger.event import Event
from flask_llm_cost.settings import Settings
url, folder, events = sys.argv[1:]
ledger = Ledger.open(
    url=URL.create("sqlite", database=url), settings=Settings(durability="spool"), spool_dir=Path(folder)
)
for number, line in enumerate(json.loads(events)):
    ledger.record(Event.from_json(line))
    print(number, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_acknowledged_events_survive_kill_9(
    open_ledger: Any, sqlite_url: URL, make_event: MakeEvent, tmp_path: Path
) -> None:
    """Killed right after the last acknowledgement: the next process finds every event, once."""
    import json

    ledger = open_ledger(sqlite_url, durability="spool")
    events = [make_event() for _ in range(60)]
    packed = json.dumps([event.as_json() for event in events])
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(sqlite_url.database), str(tmp_path), packed],
        cwd=REPOSITORY,
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -9, killed.stderr
    assert len(killed.stdout.split()) == 60
    assert ledger.flush(10)
    with ledger.session() as session:
        assert set(session.scalars(select(Call.event_id))) == {event.event_id for event in events}
    assert counts(ledger) == (60, 60, Decimal(0))


def test_a_process_that_ends_ships_first(
    open_ledger: Any, sqlite_url: URL, make_event: MakeEvent, tmp_path: Path
) -> None:
    """At exit the spool is drained: nothing is left behind."""
    import json

    ledger = open_ledger(sqlite_url, durability="sync")
    ending = KILLED.replace("os.kill(os.getpid(), signal.SIGKILL)", "")
    packed = json.dumps([make_event().as_json() for _ in range(5)])
    subprocess.run(
        [sys.executable, "-c", ending, str(sqlite_url.database), str(tmp_path), packed], cwd=REPOSITORY, check=True
    )
    assert counts(ledger) == (5, 5, Decimal(0))
    assert no_spools(tmp_path)


def test_a_ledger_that_nobody_holds_ends(sqlite_url: URL, make_event: MakeEvent, tmp_path: Path) -> None:
    """Apps made in tests leave no thread and no file behind."""
    import gc

    ledger = Ledger.open(url=sqlite_url, settings=Settings(durability="spool"), spool_dir=tmp_path)
    ledger.upgrade()
    ledger.record(make_event())
    del ledger
    gc.collect()
    assert [thread for thread in threading.enumerate() if thread.name == "llm-cost-shipper"] == []
    assert no_spools(tmp_path)


@pytest.mark.postgres
def test_concurrent_writers_on_postgresql_do_not_deadlock(
    open_ledger: Any, make_event: MakeEvent, request: pytest.FixtureRequest
) -> None:
    """8 threads x 10 batches that touch the same rollup rows: every event, once. Covers P-CON-08, P-ROLL-03."""
    fresh = request.getfixturevalue("postgres_url")
    ledgers = [open_ledger(fresh, durability="sync", migrate=number == 0) for number in range(8)]
    events = [[make_event(tags={"user": str(n % 5)}) for n in range(10)] for _ in ledgers]

    def work(ledger: Ledger, mine: list[Event]) -> None:
        for event in mine:
            ledger.record(event)

    threads = [threading.Thread(target=work, args=pair) for pair in zip(ledgers, events, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts(ledgers[0]) == (80, 80, Decimal(0))


@pytest.mark.postgres
def test_connections_that_were_cut_are_replaced(
    open_ledger: Any, make_event: MakeEvent, request: pytest.FixtureRequest
) -> None:
    """PostgreSQL ends our connections: the events arrive all the same."""
    url = request.getfixturevalue("postgres_url")
    ledger = open_ledger(url, durability="spool")
    ledger.record(make_event())
    assert ledger.flush(10)
    admin = create_engine(url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        others = "datname = current_database() AND pid <> pg_backend_pid()"
        cut = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}"
        assert connection.execute(text(cut)).all()
    admin.dispose()
    ledger.record(make_event())
    assert ledger.flush(10)
    assert counts(ledger) == (2, 2, Decimal(0))
