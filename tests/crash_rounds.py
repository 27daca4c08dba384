"""Kill recorders and shippers at random moments, for long, and count: ``python tests/crash_rounds.py --rounds 200``.

``sqlite`` and ``postgres`` kill processes; ``outages`` does so while a PostgreSQL of its own is stopped (immediate
mode) and started again and again. Exits with 1 if anything acknowledged is lost, doubled or altered, or a rollup is
not the sum of its calls, or something stays in the spool.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path

from rich.console import Console
from rich.table import Table
from sqlalchemy import URL, create_engine, make_url, text

from crash.account import Account
from crash.cluster import private_cluster
from crash.rounds import Outcome, killed

SERVER = make_url("postgresql+psycopg://postgres@127.0.0.1:5432/postgres")
WHERE = ("sqlite", "postgres", "outages")


def run(where: str, rounds: int, folder: Path) -> tuple[Outcome, int]:
    """What came of it, and how often the database was stopped."""

    def tell(number: int) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{where}: {number} of {rounds}")

    if where == "outages":
        with private_cluster() as cluster:
            meanwhile = cluster.failing(up=1, down=0.5)
            return killed(cluster.url, folder, rounds, meanwhile, tell=tell), cluster.failures
    if where == "postgres":
        with fresh_database() as url:
            return killed(url, folder, rounds, tell=tell), 0
    return killed(URL.create("sqlite", database=str(folder / "ledger.db")), folder, rounds, tell=tell), 0


@contextmanager
def fresh_database() -> Iterator[URL]:
    """A database on the server at 127.0.0.1:5432, dropped afterwards."""
    server = create_engine(SERVER, isolation_level="AUTOCOMMIT")
    name = f"llm_cost_crash_{time.time_ns()}"
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
        try:
            yield SERVER.set(database=name)
        finally:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    server.dispose()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=200, help="how often all are killed; 4 kills each")
    parser.add_argument("--database", choices=WHERE, action="append", help="only there; may be repeated")
    chosen = parser.parse_args()
    names = [field.name.replace("_", " ") for field in fields(Account)]
    table, failed = Table("", "seconds", "kill -9", "stops", *names, title=f"{chosen.rounds} rounds"), False
    for where in chosen.database or WHERE:
        begun = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            outcome, stops = run(where, chosen.rounds, Path(folder))
        counts = (time.monotonic() - begun, outcome.kills, stops, *asdict(outcome.account).values())
        table.add_row(where, *(f"{count:,.0f}" for count in counts))
        failed |= bool(outcome.account.faults) or "locked" in outcome.log
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
