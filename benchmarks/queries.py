"""How long does a page wait? python benchmarks/queries.py [--calls 100000,1000000] [--postgres URL] [--json FILE]

Fills ledgers of the given sizes (``scripts/fill_ledger.py``), or takes filled ones (``--database``, several times),
and runs every query of the dashboard and of ``report`` on each: p50 and p95 in milliseconds, and which of them read
all of ``llm_cost_calls`` instead of an index, by the database's own plan of every statement. Planners do so by choice
where the table is small. The first run of a query is not counted: it fills caches.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, event, func, make_url, select
from sqlalchemy.orm import Session

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from fill_ledger import fill  # noqa: E402
from traffic import Traffic  # noqa: E402

from dashboard_queries import Query, queries, sample  # noqa: E402
from databases import fresh, percentile  # noqa: E402
from flask_llm_cost.ledger.engine import Engines  # noqa: E402
from flask_llm_cost.ledger.models import Call  # noqa: E402

CALLS = "llm_cost_calls"
Statements = dict[str, Any]
"""SQL → the parameters it ran with last."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One query on one ledger.

    Attributes:
        statements: how many it sends.
        whole_table: the plans' lines that read all calls; none is what is hoped for.
    """

    database: str
    calls: int
    query: str
    p50_ms: float
    p95_ms: float
    statements: int
    whole_table: tuple[str, ...]


@contextmanager
def recorded(engine: Engine) -> Iterator[Statements]:
    """What is sent to the database meanwhile."""
    sent: Statements = {}

    def note(_: object, __: object, statement: str, parameters: object, *___: object) -> None:
        sent[statement] = parameters

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(engine, "before_cursor_execute", note)


def whole_table(session: Session, sent: Statements) -> tuple[str, ...]:
    """Lines of the statements' plans that read every call."""
    connection = session.connection()
    explain = "EXPLAIN QUERY PLAN " if connection.dialect.name == "sqlite" else "EXPLAIN "
    lines = (
        str(row[-1]).strip()
        for statement, parameters in sent.items()
        for row in connection.exec_driver_sql(explain + statement, parameters)
    )
    return tuple(dict.fromkeys(line for line in lines if _reads_all(line)))


def _reads_all(line: str) -> bool:
    if line.startswith("SCAN "):  # SQLite; with an index in its place, it says "USING".
        return line.split()[1] == CALLS and " USING " not in line
    return f"Seq Scan on {CALLS}" in line


def measure(session: Session, query: Query, runs: int) -> tuple[list[float], Statements]:
    """Milliseconds of each run."""
    engine = session.get_bind().engine
    with recorded(engine) as sent:
        query(session)
    taken = []
    for _ in range(runs):
        began = time.perf_counter()
        query(session)
        taken.append((time.perf_counter() - began) * 1000)
    return taken, sent


def measured(name: str, url: URL, runs: int, only: str) -> list[Measured]:
    """Every query on a filled ledger."""
    engines = Engines.create(url)
    found = []
    try:
        with Session(engines.read) as session:
            calls = session.scalar(select(func.count()).select_from(Call)) or 0
            for title, query in queries(sample(session)).items():
                if only in title:
                    taken, sent = measure(session, query, runs)
                    scans = whole_table(session, sent)
                    p50, p95 = percentile(taken, 0.5), percentile(taken, 0.95)
                    found.append(Measured(name, calls, title, p50, p95, len(sent), scans))
                    show(found[-1])
    finally:
        engines.dispose()
    return found


def show(line: Measured) -> None:
    scans = f"  reads all calls: {'; '.join(line.whole_table)}" if line.whole_table else ""
    print(f"{line.database:<12}{line.calls:>12,}  {line.query:<40}", end="")
    print(f"{line.p50_ms:>10.1f}{line.p95_ms:>10.1f}{line.statements:>4}{scans}", flush=True)


def growth(lines: list[Measured]) -> None:
    """A row per query, a column per ledger: p50."""
    ledgers = list(dict.fromkeys((line.database, line.calls) for line in lines))
    held: Mapping[tuple[str, str, int], float] = {
        (each.query, each.database, each.calls): each.p50_ms for each in lines
    }
    print(f"\n{'p50, ms':<40}" + "".join(f"{database} {calls:,}".rjust(24) for database, calls in ledgers))
    for title in dict.fromkeys(line.query for line in lines):
        print(f"{title:<40}" + "".join(f"{held[title, *ledger]:>24.1f}" for ledger in ledgers))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", default="100000", help="sizes of the ledgers to fill, with commas")
    parser.add_argument("--days", type=int, default=400)
    parser.add_argument("--runs", type=int, default=20, help="of each query")
    parser.add_argument("--only", default="", help="queries with this in their name")
    parser.add_argument(
        "--postgres", help="a server in which databases may be made and dropped: postgresql+psycopg://…"
    )
    parser.add_argument("--database", action="append", default=[], help="a ledger filled already; then none is filled")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    given = parser.parse_args()
    print(f"{'database':<12}{'calls':>12}  {'query':<40}{'p50 ms':>10}{'p95 ms':>10}{'sql':>4}")
    lines: list[Measured] = []
    for url in map(make_url, given.database):
        lines += measured(url.get_backend_name(), url, given.runs, given.only)
    servers = [] if given.database else [each for each in ("sqlite://", given.postgres) if each]
    for size in map(int, given.calls.split(",")):
        for server in servers:
            with fresh(server) as url:
                engines = Engines.create(url)
                fill(engines, Traffic(calls=size, days=given.days, until=datetime.now(UTC).date(), seed=1))
                engines.dispose()
                lines += measured(url.get_backend_name(), url, given.runs, given.only)
    growth(lines)
    if given.json:
        written = {"benchmark": "queries", "lines": [asdict(line) for line in lines]}
        given.json.write_text(json.dumps(written, indent=2) + "\n")


if __name__ == "__main__":
    main()
