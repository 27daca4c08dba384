"""What one acknowledgement takes, of whoever gives it: in a thread that does nothing else, and at a pace."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from databases import percentile
from flask_llm_cost.ledger.event import Event
from flask_llm_cost.ledger.identity import uuid7

THREADS, PER_SECOND = 16, 100


@dataclass(frozen=True, slots=True)
class Figures:
    """One line.

    Attributes:
        p50_us, p99_us: of one acknowledgement, in a thread that does nothing else.
        per_second: events a second that have arrived when the last one has.
        paced_p50_us, paced_p99_us: of one acknowledgement, at 100 a second over 16 threads.
        lost: events that were acknowledged and never arrived.
    """

    database: str
    mode: str
    events: int
    p50_us: float
    p99_us: float
    per_second: float
    paced_p50_us: float
    paced_p99_us: float
    lost: int


def events(count: int) -> list[Event]:
    """Made before the clock runs, over the last day."""
    now = datetime.now(UTC)
    return [
        Event(
            event_id=uuid7(),
            tracked_at=now - timedelta(days=1) * (count - number) / count,
            provider="openai",
            model=f"model-{number % 40}",
            usage_source="response",
            captured_by="httpx",
            host="api.openai.com",
            input_tokens=900,
            output_tokens=300,
            total_tokens=1200,
            input_cost=Decimal("0.00225"),
            output_cost=Decimal("0.003"),
            total_cost=Decimal("0.00525"),
            cost_status="complete",
            latency_ms=500 + number % 900,
            provider_response_id=f"resp_{number}",
            receipt={"total": "0.00525", "status": "complete", "lines": [{"meter": "input", "quantity": 900}]},
            tags={"feature": f"f{number % 10}", "tenant": f"t{number % 997}"},
        )
        for number in range(count)
    ]


Acknowledge = Callable[[Event], object]


def timed(acknowledge: Acknowledge, made: Sequence[Event]) -> list[float]:
    """Microseconds of each acknowledgement."""
    taken = []
    for event in made:
        began = time.perf_counter()
        acknowledge(event)
        taken.append((time.perf_counter() - began) * 1e6)
    return taken


def paced(acknowledge: Acknowledge, made: Sequence[Event]) -> list[float]:
    """The same at ``PER_SECOND`` over ``THREADS``, every thread at its own times."""
    taken: list[list[float]] = [[] for _ in range(THREADS)]
    begin = time.perf_counter() + 0.1

    def work(thread: int) -> None:
        for number in range(thread, len(made), THREADS):
            time.sleep(max(0.0, begin + number / PER_SECOND - time.perf_counter()))
            taken[thread] += timed(acknowledge, made[number : number + 1])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [each for of_thread in taken for each in of_thread]


def figures(
    names: tuple[str, str],
    acknowledge: Acknowledge,
    finish: Callable[[], object],
    arrived: Callable[[], int],
    sizes: tuple[int, int],
) -> Figures:
    """Saturated, then paced; ``sizes`` is how many events of each."""
    timed(acknowledge, events(20))  # connections, threads and statements are made
    finish()
    saturated, at_pace = events(sizes[0]), events(sizes[1])
    began = time.perf_counter()
    taken = timed(acknowledge, saturated)
    finish()
    took = time.perf_counter() - began
    slow = paced(acknowledge, at_pace)
    finish()
    return Figures(
        *names,
        events=sizes[0],
        p50_us=percentile(taken, 0.5),
        p99_us=percentile(taken, 0.99),
        per_second=sizes[0] / took,
        paced_p50_us=percentile(slow, 0.5),
        paced_p99_us=percentile(slow, 0.99),
        lost=20 + sum(sizes) - arrived(),
    )
