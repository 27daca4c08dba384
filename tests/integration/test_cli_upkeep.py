"""``flask llm-cost rollups``, ``prune``, ``dead-letters`` and ``ingest``: exit codes, words and JSON."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from flask import Flask
from sqlalchemy import URL, func, select, update

from flask_llm_cost.cli import llm_cost as command_group
from flask_llm_cost.ledger import Ledger
from flask_llm_cost.ledger.event import Event
from flask_llm_cost.ledger.models import Audit, Call, Daily, DeadLetter, Hourly
from flask_llm_cost.settings import Settings
from flask_llm_cost.state import EXTENSION, State

MakeEvent = Callable[..., Event]
REPOSITORY = Path(__file__).parents[2]


def run(ledger: Ledger, *arguments: str) -> Result:
    app = Flask("host")
    parts: dict[str, Any] = {part.name: None for part in fields(State)}
    app.extensions[EXTENSION] = State(**parts | {"app": app, "settings": Settings(), "ledger": ledger})
    return app.test_cli_runner().invoke(command_group, list(arguments))


def count(ledger: Ledger, model: Any) -> int:
    with ledger.session() as session:
        return session.execute(select(func.count()).select_from(model)).scalar_one()


@pytest.fixture
def ledger(open_ledger: Any, sqlite_url: URL) -> Ledger:
    """Writes synchronously; also looks after what spools were left."""
    return open_ledger(sqlite_url, durability="sync")


def test_rollups_verify_finds_and_rebuild_repairs(ledger: Ledger, make_event: MakeEvent) -> None:
    """Exit code 1 where there are differences, which are named."""
    ledger.write([make_event() for _ in range(3)])
    result = run(ledger, "rollups", "verify")
    assert (result.exit_code, result.output) == (0, "1 days compared. Every rollup is the sum of its calls.\n")
    with ledger.engine.begin() as connection:
        connection.execute(update(Daily).values(calls=2))
    result = run(ledger, "rollups", "verify")
    assert result.exit_code == 1
    assert result.output == (
        "llm_cost_daily 2026-05-01 openai gpt-4o standard: calls 2 instead of 3\n"
        "1 days compared. 1 rows differ from the calls (llm_cost_daily: 1).\n"
        "Run `flask llm-cost rollups rebuild` to put them right.\n"
    )
    result = run(ledger, "rollups", "verify", "--from", "2026-05-02", "--json")
    assert result.exit_code == 0
    assert json.loads(result.output)["days"] == 0
    result = run(ledger, "rollups", "rebuild", "--from", "2026-05-01", "--to", "2026-05-01")
    assert result.exit_code == 0
    assert "1 rows were put right (llm_cost_daily: 1)." in result.output
    result = run(ledger, "rollups", "verify", "--json")
    assert (result.exit_code, json.loads(result.output)["differences"]) == (0, 0)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["rollups", "verify", "--from", "2026-05-02", "--to", "2026-05-01"], "is after"),
        (["rollups", "rebuild", "--from", "yesterday"], "yesterday"),
        (["prune"], "--days"),
        (["prune", "--days", "0"], "0 is not in the range"),
        (["prune", "--days", "30", "--batch-size", "0"], "0 is not in the range"),
        (["prune", "--days", "9999999"], "before all time"),
        (["dead-letters", "retry"], "Which ones?"),
        (["dead-letters", "drop"], "Which ones?"),
        (["ingest", "--once", "--until-empty"], "exclude each other"),
    ],
)
def test_what_makes_no_sense_is_refused(ledger: Ledger, arguments: list[str], told: str) -> None:
    result = run(ledger, *arguments)
    assert result.exit_code == 2
    assert told in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["rollups", "verify"],
        ["rollups", "rebuild"],
        ["prune", "--days", "30"],
        ["dead-letters", "list"],
        ["dead-letters", "retry", "--all"],
        ["dead-letters", "drop", "--all", "--yes"],
    ],
)
@pytest.mark.parametrize("away", [True, False])
def test_a_database_that_cannot_serve_is_one_line(
    open_ledger: Any, sqlite_url: URL, arguments: list[str], away: bool
) -> None:
    """Away, or without its tables: what to do, and exit code 2."""
    url = URL.create("postgresql+psycopg", username="u", host="127.0.0.1", port=1, database="x")
    result = run(open_ledger(url if away else sqlite_url, migrate=False), *arguments)
    assert result.exit_code == 2
    assert result.output.startswith("Error: ")
    assert result.output.count("\n") == 1
    assert "refused" in result.output if away else "flask llm-cost db upgrade" in result.output


def test_prune_says_what_goes(ledger: Ledger, make_event: MakeEvent) -> None:
    """Covers P-RET-09."""
    old = datetime.now(UTC) - timedelta(days=90)
    ledger.write([make_event(tracked_at=old), make_event(tracked_at=datetime.now(UTC))])
    looked = json.loads(run(ledger, "prune", "--days", "30", "--dry-run", "--json").output)
    assert (looked["dry_run"], looked["calls"], count(ledger, Call)) == (True, 1, 2)
    result = run(ledger, "prune", "--days", "30", "--pause", "0")
    assert result.exit_code == 0
    assert result.output == f"1 calls from before {looked['before'][:10]} 00:00 UTC deleted.\n"
    result = run(ledger, "prune", "--days", "30", "--with-rollups", "--pause", "0")
    assert result.output.endswith("Rollups of 1 days deleted.\n")
    assert (count(ledger, Call), count(ledger, Hourly)) == (1, 1)


def bury(open_ledger: Any, url: URL, *events: Event) -> None:
    """Events that the ledger would not take in its time."""
    ledger = open_ledger(url, durability="spool")
    for event in events:
        ledger.record(event)
    ledger._spooled.spool.append(b'{"a prompt": "hello"}')
    ledger._spooled.spool.append(b"\xff not json")
    ledger.flush(10)


def test_dead_letters_are_listed_without_any_text(
    ledger: Ledger, open_ledger: Any, sqlite_url: URL, make_event: MakeEvent
) -> None:
    bury(open_ledger, sqlite_url, make_event(output_tokens=2**60, tags={"secret": "tell nobody"}))
    result = run(ledger, "dead-letters", "list")
    assert result.exit_code == 0
    heads, first, *unreadable = result.output.splitlines()
    assert heads.split() == ["id", "failed", "at", "called", "at", "provider", "model", "tokens", "error"]
    assert first.split()[3:8] == ["2026-05-01T09:30:01", "openai", "gpt-4o", "1,500", "ValueError:"]
    assert len(unreadable) == 2
    assert all("unreadable: " in line for line in unreadable)
    for told in (result.output, run(ledger, "dead-letters", "list", "--json").output):
        assert "tell nobody" not in told
        assert "hello" not in told
    assert len(json.loads(run(ledger, "dead-letters", "list", "--json", "--error", "OUTPUT_tokens").output)) == 1
    assert json.loads(run(ledger, "dead-letters", "list", "--json", "--until", "2026-01-01").output) == []
    assert len(json.loads(run(ledger, "dead-letters", "list", "--json", "--limit", "2").output)) == 2


def test_dead_letters_go_in_once_they_can(
    ledger: Ledger, open_ledger: Any, sqlite_url: URL, make_event: MakeEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after an upgrade that knows better; what still cannot stays, and what cannot be read says so.

    The gem had no way back from quarantine (P-INB-14 WEAK). Covers P-INB-12.
    """
    good, bad = make_event(output_tokens=2**54), make_event(output_tokens=2**62)
    bury(open_ledger, sqlite_url, good, bad)
    assert count(ledger, DeadLetter) == 4
    monkeypatch.setattr("flask_llm_cost.ledger.rows.MOST_UNITS", 2**55)
    result = run(ledger, "dead-letters", "retry", "--all")
    assert result.exit_code == 1
    assert result.output.splitlines()[-1] == "1 written, 0 were in the ledger already, 3 stay."
    assert result.output.count("unreadable") == 2
    assert (count(ledger, Call), count(ledger, DeadLetter)) == (1, 3)
    assert ledger.upkeep.verify_rollups().rows == {}
    (letter,) = json.loads(run(ledger, "dead-letters", "list", "--json", "--error", "tokens").output)
    assert letter["event_id"] == str(bad.event_id)
    told = json.loads(run(ledger, "dead-letters", "retry", str(letter["id"]), "--json").output)
    assert [(each["outcome"], each["event_id"]) for each in told] == [("refused", str(bad.event_id))]
    monkeypatch.setattr("flask_llm_cost.ledger.rows.MOST_UNITS", 2**62)
    assert run(ledger, "dead-letters", "retry", str(letter["id"])).exit_code == 0
    assert (count(ledger, Call), count(ledger, DeadLetter)) == (2, 2)


def test_a_dead_letter_that_is_in_the_ledger_by_now_only_goes(
    ledger: Ledger, open_ledger: Any, sqlite_url: URL, make_event: MakeEvent
) -> None:
    event = make_event()
    bury(open_ledger, sqlite_url, make_event(event_id=event.event_id, tracked_at=event.tracked_at, input_tokens=2**60))
    ledger.record(event)
    with ledger.engine.begin() as connection:
        text = json.dumps(event.as_json())
        connection.execute(update(DeadLetter).where(DeadLetter.event_id == event.event_id).values(event=text))
    result = run(ledger, "dead-letters", "retry", "1")
    assert (result.exit_code, result.output) == (0, "0 written, 1 were in the ledger already, 0 stay.\n")
    assert (count(ledger, Call), count(ledger, DeadLetter)) == (1, 2)


def test_dead_letters_are_dropped_when_one_is_sure(
    ledger: Ledger, open_ledger: Any, sqlite_url: URL, make_event: MakeEvent
) -> None:
    """The audit keeps which ones they were."""
    bad = make_event(output_tokens=2**60)
    bury(open_ledger, sqlite_url, bad)
    assert run(ledger, "dead-letters", "drop", "--all").exit_code != 0
    assert count(ledger, DeadLetter) == 3
    result = run(ledger, "dead-letters", "drop", "--error", "output_tokens", "--yes")
    assert (result.exit_code, result.output) == (0, "1 dropped.\n")
    assert json.loads(run(ledger, "dead-letters", "drop", "--all", "--yes", "--json").output) == {"dropped": 2}
    with ledger.session() as session:
        audits = [(each.action, each.details) for each in session.scalars(select(Audit).order_by(Audit.id))]
    assert audits == [
        ("dead-letters drop", {"letters": 1, "event_ids": [str(bad.event_id)]}),
        ("dead-letters drop", {"letters": 2, "event_ids": []}),
    ]


RECORDER = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from sqlalchemy import make_url
from flask_llm_cost.ledger import Ledger
from flask_llm_cost.ledger.event import Event
from flask_llm_cost.ledger.identity import uuid7
from flask_llm_cost.settings import Settings
ledger = Ledger.open(url=make_url(sys.argv[1]), settings=Settings(durability="spool"), spool_dir=Path(sys.argv[2]))
ledger._spooled.shipper.stop(0)
for n in range(int(sys.argv[3])):
    ledger.record(Event(event_id=uuid7(), tracked_at=datetime.now(UTC), provider="openai", model=f"m{n % 7}"))
os.kill(os.getpid(), signal.SIGKILL)
"""

APP = """
from flask import Flask
from flask_llm_cost import LLMCost
app = Flask("host")
app.config.update(LLM_COST_DATABASE_URI={url!r}, LLM_COST_SPOOL_DIR={folder!r})
LLMCost(app)
"""


def leave(url: URL, folder: Path, events: int) -> None:
    """A process that records, and dies."""
    command = [sys.executable, "-c", RECORDER, url.render_as_string(hide_password=False), str(folder), str(events)]
    assert subprocess.run(command, cwd=REPOSITORY, check=False).returncode == -9


def start_ingest(url: URL, folder: Path, *options: str) -> subprocess.Popen[str]:
    (folder / "ingesting.py").write_text(APP.format(url=str(url), folder=str(folder)))
    path = os.pathsep.join((str(folder), str(REPOSITORY)))
    return subprocess.Popen(
        [sys.executable, "-m", "flask", "--app", "ingesting", "llm-cost", "ingest", *options],
        env={**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": "error"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_several_ingests_ship_what_dead_processes_left(ledger: Ledger, sqlite_url: URL, tmp_path: Path) -> None:
    """Each event once; they end when nothing waits any more. Covers P-ING-06, P-ING-08, P-ING-13."""
    for _ in range(3):
        leave(sqlite_url, tmp_path, 700)
    assert ledger.backlog().records == 2100
    processes = [start_ingest(sqlite_url, tmp_path, "--until-empty", "--json") for _ in range(2)]
    ended = [(*process.communicate(timeout=60), process.returncode) for process in processes]
    assert [(errors, code) for _, errors, code in ended] == [("", 0)] * 2
    told = [json.loads(line) for output, *_ in ended for line in output.splitlines()]
    assert sum(each["shipped"] for each in told) == count(ledger, Call) == 2100
    assert ledger.backlog().files == 0
    assert ledger.upkeep.verify_rollups().rows == {}


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_ingest_ends_when_it_is_told_to(ledger: Ledger, sqlite_url: URL, tmp_path: Path, sent: signal.Signals) -> None:
    """What it was at is done, exit code 0."""
    leave(sqlite_url, tmp_path, 3)
    process = start_ingest(sqlite_url, tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "3 shipped, 3 in all.\n"
    process.send_signal(sent)
    assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == 0
    assert count(ledger, Call) == 3


def test_ingest_waits_for_a_database_that_is_away(
    open_ledger: Any, sqlite_url: URL, make_event: MakeEvent, tmp_path: Path
) -> None:
    """One line for the outage; it goes on by itself when the tables are there. Covers P-ING-11."""
    ledger = open_ledger(sqlite_url, migrate=False, durability="sync")
    leave(sqlite_url, tmp_path, 4)
    stop, told = threading.Event(), []

    def tell(records: int, error: str | None) -> None:
        told.append((records, error is not None))
        ledger.upgrade()

    assert ledger.ingest().run(stop, tell, until_empty=True) is None
    assert told == [(0, True), (4, False)]
    assert count(ledger, Call) == 4


def test_ingest_once_says_what_still_waits(open_ledger: Any, sqlite_url: URL, tmp_path: Path) -> None:
    ledger = open_ledger(sqlite_url, migrate=False, durability="sync")
    result = run(ledger, "ingest", "--once")
    assert (result.exit_code, result.output) == (0, "")
    leave(sqlite_url, tmp_path, 1)
    result = run(ledger, "ingest", "--once")
    assert result.exit_code == 2
    assert result.output.splitlines()[-1].startswith("Error: Events still wait: SchemaMissingError: ")
    ledger.upgrade()
    assert run(ledger, "ingest", "--once").output == "1 shipped, 1 in all.\n"


def test_an_app_without_a_shipper_only_records(
    open_ledger: Any, sqlite_url: URL, make_event: MakeEvent, tmp_path: Path
) -> None:
    """``LLM_COST_SHIPPER = False``: no thread, no write; ``ingest`` ships while the app lives, ``flush`` on demand."""
    app = open_ledger(sqlite_url, durability="spool", shipper=False)
    threads = threading.active_count()
    for _ in range(3):
        app.record(make_event())
    assert threading.active_count() == threads
    assert count(app, Call) == 0
    ingest = open_ledger(sqlite_url, durability="sync", shipper=False)
    assert run(ingest, "ingest", "--once").output == "3 shipped, 3 in all.\n"
    app.record(make_event())
    assert app.flush(10)
    assert count(app, Call) == 4
    app.record(make_event())
    assert app.shutdown()
    assert count(ingest, Call) == 5
    assert ingest.backlog().files == 0
