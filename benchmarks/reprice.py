"""Calls priced again per second: ``python benchmarks/reprice.py [--calls 100000] [--url postgresql+psycopg://…]``.

Fills an empty ledger with calls of an unknown price, over 30 days, 40 models and two tags, then times a dry run,
the run itself (its pauses for other writers included) and a second run that finds nothing to do.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

from flask import Flask
from sqlalchemy import URL, create_engine, make_url, text

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from flask_llm_cost.ledger import Ledger  # noqa: E402
from flask_llm_cost.ledger.event import Event  # noqa: E402
from flask_llm_cost.ledger.reprice import Selection  # noqa: E402
from flask_llm_cost.ledger.tally import Repriced  # noqa: E402
from flask_llm_cost.pricing import PriceBook  # noqa: E402
from flask_llm_cost.recorder import Recorder  # noqa: E402
from flask_llm_cost.settings import Settings  # noqa: E402
from flask_llm_cost.usage import Reading  # noqa: E402

MODELS, DAYS = 40, 30
RATES = {f"acme/m{number}": {"input": "2", "output": "8", "cache_read": "0.2"} for number in range(MODELS)}


def book(rates: dict[str, dict[str, str]]) -> PriceBook:
    return PriceBook.open(overrides=dict(rates), prices_file=None, model_aliases={})


def events(ledger: Ledger, calls: int) -> Iterator[Event]:
    recorder = Recorder(Flask("benchmark"), Settings(), book({}), ledger)
    start = datetime.now(UTC) - timedelta(days=DAYS)
    for number in range(calls):
        usage = {"input": 900 + number % 100, "cache_read": 100, "output": 300, "output.reasoning": number % 50}
        reading = Reading("acme", f"m{number % MODELS}", usage, usage_source="response", raw_usage={"total": 1300})
        at = start + timedelta(days=DAYS) * number / calls
        yield recorder.event_of(
            reading, tracked_at=at, latency_ms=800, tags={"feature": f"f{number % 10}", "user": f"u{number % 997}"}
        )


def timed(name: str, run: Callable[[], Repriced]) -> None:
    began = time.perf_counter()
    found = run()
    took = time.perf_counter() - began
    print(f"  {name:<12}{found.looked_at:>9,} looked at, {found.calls:>9,} changed in {took:6.1f} s: ", end="")
    print(f"{found.looked_at / took if found.looked_at else 0:>8,.0f} calls/s")


def measure(url: URL, calls: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        target = URL.create("sqlite", database=f"{folder}/ledger.db") if url.get_backend_name() == "sqlite" else url
        ledger = Ledger.open(url=target, settings=Settings(durability="sync"), spool_dir=Path(folder))
        ledger.upgrade()
        began = time.perf_counter()
        ledger.write(events(ledger, calls))
        print(f"{url.get_backend_name()}: {calls:,} calls written in {time.perf_counter() - began:.1f} s")
        prices = book(RATES)
        timed("dry run", lambda: ledger.reprice(prices, Selection(), dry_run=True))
        timed("run", lambda: ledger.reprice(prices, Selection()))
        timed("second run", lambda: ledger.reprice(prices, Selection()))
        ledger.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--url", default="sqlite://", help="a server in which a database may be made and dropped")
    chosen = parser.parse_args()
    url = make_url(chosen.url)
    if url.get_backend_name() == "sqlite":
        measure(url, chosen.calls)
        return
    server = create_engine(url, isolation_level="AUTOCOMMIT")
    name = f"llm_cost_benchmark_{uuid4().hex[:12]}"
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
        try:
            measure(url.set(database=name), chosen.calls)
        finally:
            connection.execute(text(f"DROP DATABASE {name}"))
    server.dispose()


if __name__ == "__main__":
    main()
