"""How soon is a call acknowledged, how many a second? python benchmarks/ingest.py [--events 20000] [--postgres URL …]

Per database and durability mode: the time that ``record`` takes in one thread that does nothing else ("saturated"),
how many events a second have arrived in the ledger when the last one has, and the time that ``record`` takes at 100
events a second over 16 threads ("paced"). Beside them a bare insert into the same table, committed, and the queue in
memory of the OpenTelemetry SDK (``BatchSpanProcessor``, which Langfuse builds on as well) before an exporter that
counts and sends nothing: it loses what it holds with its process, and what is more than it can hold.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sqlalchemy import URL, func, select

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from acknowledgement import PER_SECOND, Figures, figures  # noqa: E402
from databases import fresh  # noqa: E402
from flask_llm_cost.ledger import Ledger  # noqa: E402
from flask_llm_cost.ledger.engine import Engines  # noqa: E402
from flask_llm_cost.ledger.event import Event  # noqa: E402
from flask_llm_cost.ledger.models import Call  # noqa: E402
from flask_llm_cost.ledger.rows import entry_of, pack, utc_text  # noqa: E402
from flask_llm_cost.ledger.writer import Writer  # noqa: E402
from flask_llm_cost.settings import Durability, Settings  # noqa: E402

MODES: tuple[Durability, ...] = ("spool", "fsync", "sync")
# Each event a transaction: fewer of them tell as much.
SYNC_SHARE = 10

TARGETS = """\
Targets (design): spool, saturated, p50 40 us or less; paced p50 0.4 ms or less; 7,000 events/s or more into
PostgreSQL and 8,000 into SQLite; sync within 1.5 times the bare insert."""


def ours(name: str, url: URL, mode: Durability, sizes: tuple[int, int]) -> Figures:
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger.open(url=url, settings=Settings(durability=mode), spool_dir=Path(folder))
        ledger.upgrade()

        def finish() -> None:
            if not ledger.flush(600):
                raise SystemExit("The spool was not drained within 600 seconds.")

        def arrived() -> int:
            with ledger.session() as session:
                return session.scalar(select(func.count()).select_from(Call)) or 0

        found = figures((name, mode), ledger.record, finish, arrived, sizes)
        ledger.shutdown()
        return found


def bare(name: str, url: URL, sizes: tuple[int, int]) -> Figures:
    """A row in ``llm_cost_calls``, committed: no tags, no rollups."""
    engines = Engines.create(url)
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger.open(url=url, settings=Settings(durability="sync"), spool_dir=Path(folder))
        ledger.upgrade()
        ledger.shutdown()
    dialect = Writer(engines, Settings()).dialect

    def insert(event: Event) -> None:
        row = entry_of(pack(event), utc_text(datetime.now(UTC))).row
        with engines.writing() as connection:
            dialect.insert_calls(connection, [row])

    def arrived() -> int:
        with engines.reading() as connection:
            return connection.scalar(select(func.count()).select_from(Call)) or 0

    found = figures((name, "bare insert"), insert, lambda: None, arrived, sizes)
    engines.dispose()
    return found


def queue_of_opentelemetry(sizes: tuple[int, int]) -> Figures:
    """A span per call with what an LLM span says, ended: that is its acknowledgement."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    class Counting(SpanExporter):
        seen = 0

        def export(self, spans: Sequence[Any]) -> SpanExportResult:
            self.seen += len(spans)
            return SpanExportResult.SUCCESS

    counting = Counting()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(counting))
    tracer = provider.get_tracer("benchmark")

    def end_span(event: Event) -> None:
        attributes = {
            "gen_ai.request.model": event.model,
            "gen_ai.provider.name": event.provider,
            "gen_ai.usage.input_tokens": event.input_tokens,
            "gen_ai.usage.output_tokens": event.output_tokens,
            "gen_ai.response.id": event.provider_response_id or "",
            **event.tags,
        }
        tracer.start_span("chat", attributes=attributes).end()

    title = f"OpenTelemetry {version('opentelemetry-sdk')}"
    found = figures((title, "queue"), end_span, provider.force_flush, lambda: counting.seen, sizes)
    provider.shutdown()
    return found


def show(found: Figures) -> None:
    names = f"{found.database:<22}{found.mode:<12}"
    amounts = (found.p50_us, found.p99_us, found.per_second, found.paced_p50_us, found.paced_p99_us, found.lost)
    print(names + "".join(f"{amount:>12,.0f}" for amount in amounts), flush=True)


def measure(servers: dict[str, str], count: int, seconds: float) -> list[Figures]:
    whole, sparse = (count, int(seconds * PER_SECOND)), (max(1, count // SYNC_SHARE), int(seconds * PER_SECOND))
    found: list[Figures] = []

    def note(line: Figures) -> None:
        show(line)
        found.append(line)

    for name, server in servers.items():
        for mode in MODES:
            with fresh(server) as url:
                note(ours(name, url, mode, sparse if mode == "sync" else whole))
        with fresh(server) as url:
            note(bare(name, url, sparse))
    if _is_installed("opentelemetry-sdk"):
        note(queue_of_opentelemetry(whole))
    else:
        print("OpenTelemetry's SDK is not installed: its queue is left out.")
    return found


def _is_installed(package: str) -> bool:
    try:
        return bool(version(package))
    except PackageNotFoundError:
        return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=20_000, help="of each saturated run; a tenth of it for sync")
    parser.add_argument("--seconds", type=float, default=20, help="of each paced run")
    parser.add_argument(
        "--postgres", help="a server in which databases may be made and dropped: postgresql+psycopg://…"
    )
    parser.add_argument("--mariadb", help="the same: mysql+pymysql://…")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    given = parser.parse_args()
    servers = {"SQLite": "sqlite://", "PostgreSQL": given.postgres, "MariaDB": given.mariadb}
    columns = ("p50 us", "p99 us", "events/s", "paced p50", "paced p99", "lost")
    print(f"{'':<34}" + "".join(f"{column:>12}" for column in columns))
    found = measure({name: url for name, url in servers.items() if url}, given.events, given.seconds)
    print(TARGETS)
    if given.json:
        lines = [asdict(line) for line in found]
        given.json.write_text(json.dumps({"benchmark": "ingest", "lines": lines}, indent=2) + "\n")
    # The queue may drop what it cannot hold; the ledger may not.
    lost = sum(line.lost for line in found if line.mode != "queue")
    sys.exit(f"{lost} acknowledged events are not in the ledger." if lost else 0)


if __name__ == "__main__":
    main()
