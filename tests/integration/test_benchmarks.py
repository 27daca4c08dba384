"""The benchmarks run: tiny sizes, whole programs. What they measure is for people to read, not for tests."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def figures_of(program: str, *options: str, folder: Path) -> dict[str, Any]:
    written = folder / "figures.json"
    command = [sys.executable, f"benchmarks/{program}.py", *options, "--json", str(written)]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    figures: dict[str, Any] = json.loads(written.read_text())
    return figures


def test_capture_measures_every_line_for_nobody_and_for_us(tmp_path: Path) -> None:
    figures = figures_of("capture", "--rounds", "1", "--chunks", "100", "--only", "none,ours", folder=tmp_path)
    lines = {"call", "unmatched", "chunk", "stream_end", "memory"}
    assert {name: set(of) for name, of in figures["contenders"].items()} == {"none": lines, "ours": lines}


def test_closeup_measures_every_line_at_every_library(tmp_path: Path) -> None:
    added = figures_of("closeup", "--rounds", "1", folder=tmp_path)["added_us"]
    assert {library: len(lines) for library, lines in added.items()} == {"httpx": 6, "httpx2": 6, "requests": 6}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="resident memory is read from /proc")
def test_memory_holds_streams_open_and_every_one_is_recorded(tmp_path: Path) -> None:
    figures = figures_of("memory", "--streams", "3", "--chunks", "3", folder=tmp_path)
    assert {name: side["recorded"] for name, side in figures["sides"].items()} == {"none": 0, "ours": 4}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="resident memory is read from /proc")
def test_soak_keeps_every_call_of_its_mix(tmp_path: Path) -> None:
    figures = figures_of("soak", "--calls", "400", folder=tmp_path)
    assert [check["calls"] for check in figures["checks"]] == list(range(40, 401, 40))
    assert figures["faults"] == []


def test_ingest_loses_nothing_in_any_mode(tmp_path: Path) -> None:
    lines = figures_of("ingest", "--events", "20", "--seconds", "0.1", folder=tmp_path)["lines"]
    ours = [line for line in lines if line["mode"] != "queue"]  # there where OpenTelemetry is installed
    assert [(line["mode"], line["events"], line["lost"]) for line in ours] == [
        ("spool", 20, 0),
        ("fsync", 20, 0),
        ("sync", 2, 0),
        ("bare insert", 2, 0),
    ]


def test_queries_are_all_timed_and_use_an_index(tmp_path: Path) -> None:
    """At every size the same, and on SQLite an index serves each of them."""
    options = ("--calls", "200,400", "--days", "40", "--runs", "1")
    lines = figures_of("queries", *options, folder=tmp_path)["lines"]
    queries = [line["query"] for line in lines if line["calls"] == 200]
    assert len(queries) == len(set(queries)) > 30
    assert [line["query"] for line in lines if line["calls"] == 400] == queries
    assert {line["query"]: line["whole_table"] for line in lines if line["whole_table"]} == {}


def test_a_plan_that_reads_every_call_is_named(tmp_path: Path) -> None:
    program = (
        "from queries import whole_table; from sqlalchemy import create_engine; from sqlalchemy.orm import Session\n"
        "engine = create_engine('sqlite://'); connection = engine.connect()\n"
        "connection.exec_driver_sql('CREATE TABLE llm_cost_calls (id INTEGER PRIMARY KEY, model TEXT)')\n"
        "select = 'SELECT * FROM llm_cost_calls WHERE '\n"
        "sent = {select + 'model = ?': ('m',), select + 'id = 1': ()}\n"
        "print(whole_table(Session(connection), sent))\n"
    )
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'benchmarks'}", "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "('SCAN llm_cost_calls',)\n"
