"""A bulk load leaves a ledger as ``write_batch`` would have, on every database."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import URL, inspect, select

from flask_llm_cost.errors import StorageError
from flask_llm_cost.ledger.bulk import BulkLoad
from flask_llm_cost.ledger.engine import Engines
from flask_llm_cost.ledger.models import Base, Call, CallTag, Tag
from flask_llm_cost.ledger.rollup_check import COLUMNS
from flask_llm_cost.ledger.rollup_repair import Rollups
from flask_llm_cost.ledger.rows import MONEY, Entry, entry_of
from flask_llm_cost.ledger.schema import Schema
from flask_llm_cost.ledger.writer import Writer
from flask_llm_cost.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
# Few values of a tag key a day are counted apart, so that others fold.
SETTINGS = Settings(tag_values_per_day=4)


def _script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _entries(calls: int = 300) -> list[Entry]:
    made = _script("traffic").Traffic(calls=calls, days=5, until=date(2026, 6, 2), seed=7)
    return [*made]


def _packed(entry: Entry) -> dict[str, Any]:
    """The event that a row is of, packed."""
    packed: dict[str, Any] = {name: value for name, value in entry.row.items() if value is not None}
    for name in MONEY:
        nano = packed.pop(f"{name}_nano", None)
        if nano is not None:
            packed[name] = format(Decimal(nano).scaleb(-9), "f")
    return packed | {"tracked_at": f"{entry.row['tracked_at']}+00:00", "tags": entry.tags}


def _everything(engines: Engines) -> dict[str, list[tuple[object, ...]]]:
    """Every row of calls, tags and rollups, but for when it was recorded."""
    found = {}
    with engines.reading() as connection:
        for name in (*COLUMNS, Call.__tablename__, Tag.__tablename__, CallTag.__tablename__):
            table = Base.metadata.tables[name]
            columns = [column for column in table.columns if column.name not in ("recorded_at", "id", "tag_id")]
            rows = connection.execute(select(*columns).order_by(*table.primary_key))
            found[name] = sorted(map(tuple, rows), key=repr)
    return found


def _indexes(engines: Engines) -> dict[str | None, str]:
    """Name → columns and conditions."""
    found = inspect(engines.read).get_indexes("llm_cost_calls")
    # A condition is an object that only equals itself; PostgreSQL writes the casts of a text in two ways.
    options = (index.get("dialect_options", {}) for index in found)
    texts = ({name: re.sub(r"::[a-z ]+(\[])?|[()]", "", str(each)) for name, each in of.items()} for of in options)
    return {index["name"]: f"{index['column_names']} {text}" for index, text in zip(found, texts, strict=True)}


def test_made_up_rows_are_those_of_events() -> None:
    entries = _entries()
    again = [entry_of(_packed(entry), str(entry.row["recorded_at"])) for entry in entries]
    assert again == entries
    assert _entries() == entries


def test_a_bulk_load_leaves_what_write_batch_leaves(database_url: URL) -> None:
    """Calls, tags and every rollup are equal, ``__other__`` included; verify agrees; the indexes are all there."""
    entries = _entries()
    # What COPY's own format uses, within values.
    entries[3].row["request_model"] = "a\tb\\N\r\nc"
    entries[4].row["request_model"] = "\\N"
    engines = Engines.create(database_url)
    try:
        Schema(engines).upgrade()
        indexes = _indexes(engines)
        writer = Writer(engines, SETTINGS)
        packed = [_packed(entry) for entry in entries]
        assert sum(writer.write_batch(packed[start : start + 50]) for start in range(0, 300, 50)) == 300
        expected = _everything(engines)

        Schema(engines).downgrade("base")
        Schema(engines).upgrade()
        writer = Writer(engines, SETTINGS)
        told: list[int] = []
        assert BulkLoad(engines, writer, at_once=120).load(iter(entries), told.append) == 300
        assert told == [120, 240, 300]
        assert _everything(engines) == expected
        assert any("__other__" in row for row in expected["llm_cost_tag_daily"])
        assert Rollups(engines, writer, SETTINGS).verify(None, None).rows == {}
        assert _indexes(engines) == indexes

        with pytest.raises(StorageError, match="only an empty ledger can be loaded in bulk"):
            BulkLoad(engines, writer).load(entries)
        assert _everything(engines) == expected
    finally:
        engines.dispose()


def test_a_load_that_fails_leaves_the_indexes_there(database_url: URL) -> None:
    """What was loaded before stays whole, rollups included; the error is the caller's."""

    def some_then_none() -> Iterator[Entry]:
        yield from _entries()[:100]
        raise RuntimeError("no more")

    engines = Engines.create(database_url)
    try:
        Schema(engines).upgrade()
        indexes = _indexes(engines)
        writer = Writer(engines, SETTINGS)
        with pytest.raises(RuntimeError, match="no more"):
            BulkLoad(engines, writer, at_once=80).load(some_then_none())
        assert _indexes(engines) == indexes
        assert len(_everything(engines)["llm_cost_calls"]) == 80
        assert Rollups(engines, writer, SETTINGS).verify(None, None).rows == {}
    finally:
        engines.dispose()


def test_fill_ledger_fills_and_refuses_what_is_filled(sqlite_url: URL) -> None:
    """The script as a person runs it: exit status 0 and the count; 1 and the reason the second time."""
    options = ["--calls", "200", "--days", "3", "--until", "2026-06-02"]
    command = [sys.executable, "scripts/fill_ledger.py", "--database", str(sqlite_url), *options]
    first, second = (subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False) for _ in range(2))
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout.startswith("200 calls in ")
    assert second.returncode == 1
    assert second.stderr == "There are rows in llm_cost_calls: only an empty ledger can be loaded in bulk.\n"
