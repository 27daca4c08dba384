"""What watching costs, beside the peers: per call, per unmatched HTTP call, per streamed chunk, per open stream.

Run: python benchmarks/capture.py [--rounds 40] [--only ours,langfuse] [--json figures.json]

The real openai SDK over one transport in memory, for everybody. Each contender has a process of its own; a round
visits each of them, and there measures the SDK as it was and as it is watched, one right after the other. A figure
is the median over the rounds of the difference, with the middle half of them beside it. Design 02's targets for
ours: 100 µs a matched call with a 1 KB answer, 5 µs an unmatched one, 1 µs a chunk, 128 KB a stream.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from rich.console import Console
from rich.table import Table

from contenders import CONTENDERS, Contender

CALLS, STREAMS, HELD, WARM_UP = 40, 2, 3, 2


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that is measured.

    Attributes:
        title: for people, with the unit.
        scale: what a second, or a byte, is in that unit.
    """

    title: str
    scale: float


LINES = {
    "call": Line("call, 1 KB answer (µs)", 1e6),
    "unmatched": Line("unmatched HTTP call (µs)", 1e6),
    "chunk": Line("streamed chunk (µs)", 1e6),
    "stream_end": Line("end of the stream (µs)", 1e6),
    "memory": Line("held per open stream (KB)", 1 / 1024),
}


@dataclass(frozen=True, slots=True)
class Figure:
    """What a contender adds, in the line's unit: the median of the rounds, and their middle half.

    Attributes:
        bare: the same without the contender, the median.
    """

    added: float
    low: float
    high: float
    bare: float

    @classmethod
    def of(cls, pairs: list[tuple[float, float]], scale: float) -> Figure:
        added = [(watched - bare) * scale for bare, watched in pairs]
        low, middle, high = statistics.quantiles(added, n=4) if len(added) > 1 else added * 3
        return cls(middle, low, high, statistics.median(bare * scale for bare, _ in pairs))


class Worker:
    """A contender in a process of its own."""

    def __init__(self, name: str, chunks: int) -> None:
        program = Path(__file__).with_name("turns.py")
        self._process = subprocess.Popen(
            [sys.executable, str(program), name, str(chunks)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.pairs: dict[str, list[tuple[float, float]]] = {name: [] for name in LINES}

    def ask(self, what: str, number: int) -> dict[str, list[float]]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"what": what, "number": number}) + "\n")
        self._process.stdin.flush()
        answer: dict[str, list[float]] = json.loads(self._process.stdout.readline())
        return answer

    def take(self, what: str, number: int) -> None:
        for name, (bare, watched) in self.ask(what, number).items():
            self.pairs[name].append((bare, watched))

    def close(self) -> int:
        """How many calls the contender recorded."""
        seen = int(self.ask("seen", 0)["seen"])  # type: ignore[call-overload]
        self._process.communicate(timeout=60)
        return seen


def measure(names: Iterable[str], rounds: int, chunks: int) -> dict[str, dict[str, Figure]]:
    """Contender → line → figure."""
    workers = {name: Worker(name, chunks) for name in names}
    for number in range(rounds + WARM_UP):
        for worker in workers.values():
            if number == WARM_UP:
                worker.pairs = {name: [] for name in LINES}
            worker.take("call", CALLS)
            worker.take("unmatched", CALLS)
            worker.take("stream", STREAMS)
    for worker in workers.values():
        worker.take("memory", HELD)
    for name, worker in workers.items():
        if worker.close() == 0 and name != "none":
            raise SystemExit(f"{CONTENDERS[name].title} recorded nothing: what was measured is not that contender.")
    return {
        name: {line: Figure.of(worker.pairs[line], LINES[line].scale) for line in LINES}
        for name, worker in workers.items()
    }


def looks_at(contender: Contender, line: str) -> bool:
    """Whether the contender does anything there. One that only times the request does nothing in its answer."""
    return contender.http if line == "unmatched" else contender.stream or line == "call"


def show(figures: dict[str, dict[str, Figure]]) -> None:
    console = Console(width=None if sys.stdout.isatty() else 160)
    ours = figures.get("ours")
    for line, about in LINES.items():
        table = Table("", "without", "added", "middle half", "times ours", title=about.title, title_justify="left")
        for column in table.columns[1:]:
            column.justify = "right"
        for name, of in figures.items():
            figure, contender = of[line], CONTENDERS[name]
            ratio = "-"
            if name not in ("none", "ours") and ours is not None and looks_at(contender, line):
                ratio = f"{figure.added / ours[line].added:.1f}" if ours[line].added > 0 else "∞"
            title = contender.title if looks_at(contender, line) or name == "none" else f"{contender.title} (blind)"
            spread = f"{figure.low:.2f} … {figure.high:.2f}"
            table.add_row(title, f"{figure.bare:.2f}", f"{figure.added:.2f}", spread, ratio)
        console.print(table)
    console.print(
        'The row "no instrumentation" is the noise: the same twice. "Blind": does not look at such calls or answers.'
    )


def report(figures: dict[str, dict[str, Figure]], rounds: int, chunks: int) -> dict[str, object]:
    """The same for machines."""
    return {
        "benchmark": "capture",
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "machine": platform.platform(),
        "rounds": rounds,
        "chunks": chunks,
        "versions": {
            package: metadata.version(package)
            for package in (
                "flask-llm-cost",
                "openai",
                "httpx2",
                *(c.package for c in CONTENDERS.values() if c.package),
            )
            if any(package == found.metadata["Name"] for found in metadata.distributions())
        },
        "contenders": {
            name: {
                line: {
                    "bare": figure.bare,
                    "added": figure.added,
                    "low": figure.low,
                    "high": figure.high,
                    "looks": looks_at(CONTENDERS[name], line),
                }
                for line, figure in of.items()
            }
            for name, of in figures.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--chunks", type=int, default=1000, help="of each stream")
    parser.add_argument("--only", help=f"some of {', '.join(CONTENDERS)}")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    given = parser.parse_args()
    names = given.only.split(",") if given.only else list(CONTENDERS)
    missing = [name for name in names if not CONTENDERS[name].is_there()]
    if missing:
        packages = ", ".join(str(CONTENDERS[name].package) for name in missing)
        print(f"Not installed, so not measured: {packages}. See benchmarks/requirements.txt.")
    figures = measure([name for name in names if name not in missing], given.rounds, given.chunks)
    show(figures)
    if given.json:
        given.json.write_text(json.dumps(report(figures, given.rounds, given.chunks), indent=2) + "\n")


if __name__ == "__main__":
    main()
