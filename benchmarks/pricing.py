"""Time per priced call beside genai-prices, in one run: ``python benchmarks/pricing.py``.

genai-prices is an optional peer; without it only our own figures are shown. Each figure is the median (and the
least) of many rounds; the peers take turns, so that both see the same moods of the machine.
"""

from __future__ import annotations

import argparse
import gc
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from flask_llm_cost.pricing import PriceBook  # noqa: E402

MODEL = "claude-sonnet-4-5-20250929"
USAGE = {
    "input": 12_000,
    "cache_read": 80_000,
    "cache_write": 3_000,
    "cache_write.1h": 1_000,
    "output": 900,
    "output.reasoning": 400,
    "tool.web_search": 2,
    "tool.web_fetch": 1,
}
COLD_OURS = (
    "import time\nstart = time.perf_counter()\nfrom flask_llm_cost.pricing.bundle import bundled\n"
    "imported = time.perf_counter()\nbundled()\nloaded = time.perf_counter()\n"
    "from flask_llm_cost.pricing import price\nprice('openai', 'gpt-4o', {'input': 1})\n"
    "print(imported - start, loaded - imported, time.perf_counter() - start)"
)
COLD_PEER = (
    "import time\nstart = time.perf_counter()\nimport genai_prices\nimported = time.perf_counter()\n"
    "genai_prices.calc_price(genai_prices.Usage(input_tokens=1), model_ref='gpt-4o', provider_id='openai')\n"
    "print(imported - start, 0, time.perf_counter() - start)"
)


def ours() -> Callable[[], object]:
    book = PriceBook.open(overrides={}, prices_file=None, model_aliases={})
    at = datetime.now(UTC)
    receipt = book.price("anthropic", MODEL, USAGE, at=at)
    assert receipt.status == "complete", receipt
    return lambda: book.price("anthropic", MODEL, USAGE, at=at)


def peer() -> Callable[[], object] | None:
    try:
        from genai_prices import Usage, calc_price
    except ImportError:
        return None
    # The same call in its inclusive terms. It has no meter for web fetches.
    usage = Usage(
        input_tokens=96_000,
        cache_read_tokens=80_000,
        cache_write_tokens=4_000,
        cache_write_1h_tokens=1_000,
        output_tokens=1_300,
        output_reasoning_tokens=400,
        web_searches=2,
    )
    at = datetime.now(UTC)
    return lambda: calc_price(usage, model_ref=MODEL, provider_id="anthropic", genai_request_timestamp=at)


def timed(call: Callable[[], object], number: int) -> float:
    start = time.perf_counter()
    for _ in range(number):
        call()
    return (time.perf_counter() - start) / number * 1e6


def warm(rounds: int) -> dict[str, list[float]]:
    calls = {"flask-llm-cost": (ours(), 400)}
    other = peer()
    if other is not None:
        calls["genai-prices"] = (other, 20)
    figures: dict[str, list[float]] = {name: [] for name in calls}
    gc.disable()
    for _ in range(rounds):
        for name, (call, number) in calls.items():
            figures[name].append(timed(call, number))
    gc.enable()
    return figures


def cold(program: str, rounds: int = 5) -> tuple[float, float, float]:
    """Milliseconds in new processes, the medians: import, load of the data, everything up to the first price."""
    runs = []
    for _ in range(rounds):
        answer = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
        runs.append([float(figure) * 1e3 for figure in answer.stdout.split()])
    imported, loaded, total = (median(column) for column in zip(*runs, strict=True))
    return imported, loaded, total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    figures = warm(parser.parse_args().rounds)
    base = median(figures["flask-llm-cost"])
    print(f"{'warm, 8 meters':<22}{'median µs':>12}{'least µs':>12}{'ratio':>8}")
    for name, values in figures.items():
        print(f"{name:<22}{median(values):>12.2f}{min(values):>12.2f}{median(values) / base:>8.1f}")
    print("\nIn new processes; our import is the whole package's, Flask and SQLAlchemy included.")
    own = cold(COLD_OURS)
    print(f"{'cold':<22}{'import ms':>12}{'load ms':>12}{'first price ms':>16}{'ratio':>8}")
    print(f"{'flask-llm-cost':<22}{own[0]:>12.1f}{own[1]:>12.1f}{own[2]:>16.1f}{1:>8.1f}")
    if "genai-prices" in figures:
        other = cold(COLD_PEER)
        print(f"{'genai-prices':<22}{other[0]:>12.1f}{'-':>12}{other[2]:>16.1f}{other[2] / own[2]:>8.1f}")
    else:
        print("genai-prices is not installed, so there is nothing to compare with: pip install genai-prices")


if __name__ == "__main__":
    main()
