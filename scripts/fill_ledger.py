"""Fill an empty ledger with made-up calls: python scripts/fill_ledger.py --database URL --calls 10000000

The calls are those of a busy app (``traffic.py``), the same for the same options; calls, tags and rollups are as if
each had been recorded. The tables are made where they are missing. Nobody else may write meanwhile. A ledger with
calls is refused; so is that of a run which was ended before its time: drop it first.
"""

from __future__ import annotations

import argparse
import sys
import time
from datetime import UTC, date, datetime
from pathlib import Path

from sqlalchemy import make_url

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from traffic import Traffic  # noqa: E402

from flask_llm_cost.errors import StorageError  # noqa: E402
from flask_llm_cost.ledger.bulk import BulkLoad  # noqa: E402
from flask_llm_cost.ledger.engine import Engines  # noqa: E402
from flask_llm_cost.ledger.schema import Schema  # noqa: E402
from flask_llm_cost.ledger.writer import Writer  # noqa: E402
from flask_llm_cost.settings import Settings  # noqa: E402


def fill(engines: Engines, traffic: Traffic, settings: Settings | None = None) -> int:
    """Make the tables, then load the calls; says every 100,000 calls how far it is. Returns how many there are.

    Raises:
        StorageError: the ledger is not empty.
    """
    Schema(engines).upgrade()
    began = time.perf_counter()

    def say(loaded: int) -> None:
        if loaded % 100_000 == 0:
            took = time.perf_counter() - began
            print(f"{loaded:>12,} calls, {took:8.0f} s, {loaded / took:8,.0f} calls/s", file=sys.stderr, flush=True)

    loaded = BulkLoad(engines, Writer(engines, settings or Settings())).load(traffic, say)
    took = time.perf_counter() - began
    print(f"{loaded:,} calls in {took:.1f} s: {loaded / took:,.0f} calls/s, indexes included.")
    return loaded


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", required=True, help="its URL, as LLM_COST_DATABASE_URI")
    parser.add_argument("--calls", type=int, default=10_000_000)
    parser.add_argument("--days", type=int, default=400)
    parser.add_argument("--until", type=date.fromisoformat, default=datetime.now(UTC).date(), help="default: today")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    if given.calls < 1 or given.days < 1:
        parser.error("--calls and --days must be 1 or more")
    engines = Engines.create(make_url(given.database))
    try:
        fill(engines, Traffic(calls=given.calls, days=given.days, until=given.until, seed=given.seed))
    except StorageError as error:
        raise SystemExit(str(error)) from None
    finally:
        engines.dispose()


if __name__ == "__main__":
    main()
