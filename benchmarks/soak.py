"""Does anything grow? python benchmarks/soak.py [--calls 200000] [--trace] [--json figures.json]

The real openai SDK over a transport in memory: whole answers, streams, streams closed early, streams dropped
unread, refusals (429) and short-lived clients, half through ``wrap`` and half through ``instrument`` alone, recorded
through the spool into a ledger in SQLite. At every tenth of the way the ledger is flushed, garbage is collected, and
resident memory, live objects and their types are counted. What the first three tenths fill (caches, pools) is warm-up;
after it nothing may grow. ``--trace`` names the lines whose memory grew (and makes it several times as slow).
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import sys
import tempfile
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import httpx2
from openai import OpenAI, RateLimitError
from sqlalchemy import func, select

from answers import MESSAGES, MODEL, transport
from contenders import app_with
from flask_llm_cost import LLMCost
from flask_llm_cost.ledger.models import Call
from memory import MB, resident

CHUNKS, CHECKS, WARM = 20, 10, 3
GROWTH_MB, GROWTH_OBJECTS = 8, 500


@dataclass(frozen=True, slots=True)
class Check:
    """How things stand.

    Attributes:
        calls: made so far.
        rss_mb: resident memory of the process.
        objects: live objects that the collector knows.
        types: the same by type.
    """

    calls: int
    seconds: float
    rss_mb: float
    objects: int
    types: Counter[str] = field(repr=False)


def whole(client: OpenAI) -> None:
    client.chat.completions.create(model=MODEL, messages=MESSAGES)


def streamed(client: OpenAI) -> None:
    options = {"include_usage": True}
    for _ in client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True, stream_options=options):
        pass


def cancelled(client: OpenAI) -> None:
    with client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True) as stream:
        next(iter(stream))


def dropped(client: OpenAI) -> None:
    client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)


def refused(client: OpenAI) -> None:
    with contextlib.suppress(RateLimitError):
        client.chat.completions.create(model="busy", messages=MESSAGES)


MIX: tuple[Callable[[OpenAI], None], ...] = (whole, streamed, whole, cancelled, whole, refused, streamed, dropped)


def make_client(llm_cost: LLMCost, *, wrapped: bool) -> OpenAI:
    http = httpx2.Client(transport=transport(CHUNKS))
    client = OpenAI(api_key="sk-none", http_client=http, max_retries=0)
    return llm_cost.wrap(client) if wrapped else client


def run(llm_cost: LLMCost, first: int, last: int, clients: tuple[OpenAI, OpenAI]) -> None:
    """Calls number ``first`` to ``last``."""
    for number in range(first, last):
        kind = MIX[number % len(MIX)]
        with llm_cost.tags(feature=kind.__name__, user=number % 500):
            if number % 100 == 0:
                with make_client(llm_cost, wrapped=number % 200 == 0) as short_lived:
                    kind(short_lived)
            else:
                kind(clients[number // len(MIX) % 2])


def look(llm_cost: LLMCost, calls: int, started: float) -> Check:
    gc.collect()  # streams dropped unread are recorded when they are collected
    if not llm_cost.flush(120):
        raise SystemExit("The spool was not drained within 120 seconds.")
    gc.collect()
    live = gc.get_objects()
    types = Counter(f"{type(each).__module__}.{type(each).__qualname__}" for each in live)
    return Check(calls, time.perf_counter() - started, resident() / MB, len(live), types)


def soak(calls: int, *, trace: bool) -> tuple[list[Check], int]:
    """The checks, and how many calls are in the ledger at the end."""
    with tempfile.TemporaryDirectory() as folder:
        _, llm_cost = app_with("spool", folder)
        llm_cost.upgrade()
        llm_cost.instrument("openai")
        clients = make_client(llm_cost, wrapped=True), make_client(llm_cost, wrapped=False)
        started = time.perf_counter()
        checks: list[Check] = []
        earlier = None
        for step in range(CHECKS):
            run(llm_cost, calls * step // CHECKS, calls * (step + 1) // CHECKS, clients)
            checks.append(look(llm_cost, calls * (step + 1) // CHECKS, started))
            show(checks[-1])
            if trace and step + 1 == WARM:
                tracemalloc.start(8)
                earlier = tracemalloc.take_snapshot()
        if earlier is not None:
            for line in tracemalloc.take_snapshot().compare_to(earlier, "lineno")[:15]:
                print(line)
        with llm_cost.session() as session:
            kept = session.scalar(select(func.count()).select_from(Call)) or 0
        llm_cost.shutdown()
    return checks, kept


def show(check: Check) -> None:
    print(f"{check.calls:>10}{check.seconds:>10.0f}{check.rss_mb:>10.1f}{check.objects:>12}", flush=True)


def faults(checks: list[Check], kept: int) -> list[str]:
    """What grew, or was lost."""
    warm, last = checks[WARM - 1], checks[-1]
    found = [] if kept == last.calls else [f"{kept} of {last.calls} calls are in the ledger"]
    if last.rss_mb - warm.rss_mb > GROWTH_MB:
        found.append(f"resident memory grew by {last.rss_mb - warm.rss_mb:.1f} MB")
    if last.objects - warm.objects > GROWTH_OBJECTS:
        grown = (last.types - warm.types).most_common(8)
        found.append(f"live objects grew by {last.objects - warm.objects}: {grown}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=200_000)
    parser.add_argument("--trace", action="store_true", help="name the lines whose memory grew")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    given = parser.parse_args()
    print(f"{'calls':>10}{'seconds':>10}{'RSS MB':>10}{'objects':>12}")
    checks, kept = soak(given.calls, trace=given.trace)
    found = faults(checks, kept)
    print(f"{kept} calls in the ledger. " + ("; ".join(found) if found else "Nothing grew."))
    if given.json:
        steps = [{name: value for name, value in asdict(check).items() if name != "types"} for check in checks]
        given.json.write_text(json.dumps({"benchmark": "soak", "checks": steps, "faults": found}, indent=2) + "\n")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
