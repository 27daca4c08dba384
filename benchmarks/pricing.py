"""Time and memory per priced call beside genai-prices, LiteLLM and tokencost: ``python benchmarks/pricing.py``.

The peers are optional and may live in an environment of their own, since LiteLLM holds other packages back::

    python -m venv build/peers && build/peers/bin/pip install genai-prices litellm tokencost
    python benchmarks/pricing.py --peers build/peers/bin/python

Each engine runs in a process of its own; they take turns, so that all see the same moods of the machine. A figure is
the median (and the least) of many rounds. Nothing is fetched.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]

# An engine is an import, and a function for each mix that it can price. The eight meters are a Claude call with both
# cache writes, thinking, a search and a fetch; the simple mix is 1,200 tokens into gpt-4o and 300 out of it.
OURS = """
from flask_llm_cost.pricing import PriceBook
from datetime import UTC, datetime
book = PriceBook.open(overrides={}, prices_file=None, model_aliases={})
at = datetime.now(UTC)
many = {"input": 12_000, "cache_read": 80_000, "cache_write": 3_000, "cache_write.1h": 1_000, "output": 900,
        "output.reasoning": 400, "tool.web_search": 2, "tool.web_fetch": 1}
few = {"input": 1_200, "output": 300}
assert book.price("anthropic", CLAUDE, many, at=at).status == "complete"
MIXES = {"simple": lambda: book.price("openai", "gpt-4o", few, at=at),
         "eight": lambda: book.price("anthropic", CLAUDE, many, at=at)}
"""
# It has no meter for fetches.
GENAI_PRICES = """
from genai_prices import Usage, calc_price
from datetime import UTC, datetime
at = datetime.now(UTC)
many = Usage(input_tokens=96_000, cache_read_tokens=80_000, cache_write_tokens=4_000, cache_write_1h_tokens=1_000,
             output_tokens=1_300, output_reasoning_tokens=400, web_searches=2)
few = Usage(input_tokens=1_200, output_tokens=300)
MIXES = {"simple": lambda: calc_price(few, model_ref="gpt-4o", provider_id="openai", genai_request_timestamp=at),
         "eight": lambda: calc_price(many, model_ref=CLAUDE, provider_id="anthropic", genai_request_timestamp=at)}
"""
LITELLM = """
from litellm import completion_cost
from litellm.types.utils import ModelResponse, Usage
many = ModelResponse(model=CLAUDE, usage=Usage(
    prompt_tokens=96_000, completion_tokens=1_300, total_tokens=97_300, cache_read_input_tokens=80_000,
    cache_creation_input_tokens=4_000, completion_tokens_details={"reasoning_tokens": 400},
    prompt_tokens_details={"cached_tokens": 80_000, "cache_creation_token_details": {
        "ephemeral_5m_input_tokens": 3_000, "ephemeral_1h_input_tokens": 1_000}},
    server_tool_use={"web_search_requests": 2}))
few = ModelResponse(model="gpt-4o", usage=Usage(prompt_tokens=1_200, completion_tokens=300, total_tokens=1_500))
MIXES = {"simple": lambda: completion_cost(few, model="openai/gpt-4o"),
         "eight": lambda: completion_cost(many, model="anthropic/" + CLAUDE)}
"""
# It prices fresh input and output only.
TOKENCOST = """
from tokencost import calculate_cost_by_tokens
MIXES = {"simple": lambda: (calculate_cost_by_tokens(1_200, "gpt-4o", "input")
                            + calculate_cost_by_tokens(300, "gpt-4o", "output"))}
"""
PROGRAM = """
import gc, resource, sys, time
CLAUDE = "claude-sonnet-4-5-20250929"

def megabytes():
    try:
        with open("/proc/self/statm") as pages:
            return int(pages.read().split()[1]) * resource.getpagesize() / 1e6
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6

bare, started = megabytes(), time.perf_counter()
{engine}
MIXES["simple"]()
print((time.perf_counter() - started) * 1e3, megabytes() - bare, *MIXES, flush=True)
gc.collect()
gc.freeze()
gc.disable()
for line in sys.stdin:
    mix, number = line.split()
    call = MIXES[mix]
    started = time.perf_counter()
    for _ in range(int(number)):
        call()
    print((time.perf_counter() - started) / int(number) * 1e6, flush=True)
    gc.collect()
"""
LOAD = """
import time
started = time.perf_counter()
import flask, flask_sqlalchemy
print((time.perf_counter() - started) * 1e3)
from flask_llm_cost.pricing import bundle
times = []
for _ in range(30):
    started = time.perf_counter()
    bundle.as_bundled(bundle._read())
    times.append((time.perf_counter() - started) * 1e3)
print(min(times), sorted(times)[15])
"""


@dataclass
class Engine:
    """One engine under test, and what was measured of it.

    Attributes:
        calls: how many calls one timing is of.
        cold_ms: import and first price, in new processes.
        megabytes: resident memory that both took.
        microseconds: mix → times per call.
    """

    name: str
    program: str
    calls: int
    python: str
    process: subprocess.Popen[str] | None = None
    cold_ms: list[float] = field(default_factory=list)
    megabytes: float = 0.0
    microseconds: dict[str, list[float]] = field(default_factory=dict)

    def start(self) -> bool:
        """A new process, up to its first price; false where the engine is not installed."""
        self.stop()
        # Else LiteLLM's import fetches its map.
        surroundings = {**os.environ, "PYTHONPATH": str(ROOT), "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        self.process = subprocess.Popen(
            [self.python, "-c", PROGRAM.replace("{engine}", self.program)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=surroundings,
        )
        answer = self._read().split()
        if not answer:
            return False
        self.cold_ms.append(float(answer[0]))
        self.megabytes = float(answer[1])
        self.microseconds = {mix: [] for mix in answer[2:]}
        return True

    def time(self) -> None:
        """One timing of each mix."""
        for mix, times in self.microseconds.items():
            assert self.process is not None
            assert self.process.stdin is not None
            self.process.stdin.write(f"{mix} {self.calls}\n")
            self.process.stdin.flush()
            times.append(float(self._read()))

    def stop(self) -> None:
        if self.process is not None:
            self.process.communicate()

    def _read(self) -> str:
        assert self.process is not None
        assert self.process.stdout is not None
        return self.process.stdout.readline()


def measured(engines: list[Engine], rounds: int, starts: int) -> list[Engine]:
    """The engines that are installed, after all rounds."""
    found = [engine for engine in engines if engine.start()]
    for _ in range(starts - 1):
        for engine in found:
            engine.start()
    for _ in range(rounds):
        for engine in found:
            engine.time()
    for engine in found:
        engine.stop()
    return found


def row(engine: Engine, ours: Engine) -> str:
    cells = []
    for mix in ("simple", "eight"):
        times, own = engine.microseconds.get(mix), ours.microseconds[mix]
        figures = (
            (f"{median(times):.2f}", f"{min(times):.2f}", f"{median(times) / median(own):.0f}") if times else "---"
        )
        cells.append("{:>10}{:>10}{:>7}".format(*figures))
    return f"{engine.name:<16}{''.join(cells)}{median(engine.cold_ms):>12.0f}{engine.megabytes:>10.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100, help="timings of each mix")
    parser.add_argument("--starts", type=int, default=5, help="new processes of each engine")
    parser.add_argument("--peers", default=sys.executable, help="an interpreter that has the peers")
    arguments = parser.parse_args()
    engines = [
        Engine("flask-llm-cost", OURS, 400, sys.executable),
        Engine("genai-prices", GENAI_PRICES, 40, arguments.peers),
        Engine("litellm", LITELLM, 20, arguments.peers),
        Engine("tokencost", TOKENCOST, 200, arguments.peers),
    ]
    found = measured(engines, arguments.rounds, arguments.starts)
    print(f"{'warm, µs a call':<16}{'simple mix':>20}{'':>7}{'eight meters':>20}{'':>7}{'cold ms':>12}{'MB':>10}")
    print(f"{'':<16}" + f"{'median':>10}{'least':>10}{'ratio':>7}" * 2)
    for engine in found:
        print(row(engine, found[0]))
    for engine in engines:
        if engine not in found:
            print(f"{engine.name} is not installed under {arguments.peers}")
    answer = subprocess.run([sys.executable, "-c", LOAD], cwd=ROOT, capture_output=True, text=True, check=True)
    host, least, middle = map(float, answer.stdout.split())
    print("\nCold is import and first price in a new process, ours with the whole package: an app that has Flask and")
    print(
        f"Flask-SQLAlchemy has paid {host:.0f} ms of it. The catalogue loads in {middle:.1f} ms, least {least:.1f} ms."
    )


if __name__ == "__main__":
    main()
