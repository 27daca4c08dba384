"""What ten thousand open streams hold: python benchmarks/memory.py [--streams 10000] [--json figures.json]

The real async openai SDK over a transport in memory, in one process without us and in one with ``instrument()``.
Every stream is opened, read to within one chunk of its end, and left open; then the process's resident memory is
looked at. Design's target: under 1.3 GB in all.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx2
from openai import AsyncOpenAI

from answers import MESSAGES, MODEL, transport
from contenders import Discard, app_with

LIMIT_GB = 1.3
# Long pieces fill our copy to its limit in few steps of the SDK.
TEXT = "x" * 2000
MB = 1 << 20


def resident() -> int:
    """Bytes of this process in memory."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) << 10
    raise SystemExit("VmRSS is not known here: this needs Linux.")


async def hold(streams: int, chunks: int) -> dict[str, float]:
    """Bytes resident before, and while all are open; the answers are the same for both sides."""
    limits = httpx2.Limits(max_connections=None)
    async with AsyncOpenAI(
        api_key="sk-none",
        http_client=httpx2.AsyncClient(transport=transport(chunks, TEXT), limits=limits),
        max_retries=0,
    ) as client:

        async def opened() -> object:
            stream = await client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)
            for _ in range(chunks):
                await stream.__anext__()
            return stream

        await opened()
        before = resident()
        held = [await opened() for _ in range(streams)]
        after = resident()
        for stream in held:
            await stream.close()  # type: ignore[attr-defined]
    return {"before": before, "held": after}


def child(watched: bool, streams: int, chunks: int) -> None:
    store = Discard()
    with tempfile.TemporaryDirectory() as folder:
        if watched:
            _, llm_cost = app_with(store, folder)
            llm_cost.instrument("openai")
        figures = asyncio.run(hold(streams, chunks))
    print(json.dumps({**figures, "recorded": store.events}))


def measure(watched: bool, streams: int, chunks: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--side", "ours" if watched else "none"]
    command += ["--streams", str(streams), "--chunks", str(chunks)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    figures: dict[str, float] = json.loads(answer.stdout)
    if figures["recorded"] != (streams + 1 if watched else 0):
        raise SystemExit(f"{figures['recorded']} of {streams + 1} streams were recorded.")
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=10_000)
    parser.add_argument("--chunks", type=int, default=30, help="read of each: enough to fill our copy to its limit")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    parser.add_argument("--side", choices=("none", "ours"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        child(given.side == "ours", given.streams, given.chunks)
        return
    sides = {name: measure(name == "ours", given.streams, given.chunks) for name in ("none", "ours")}
    per = {name: (of["held"] - of["before"]) / given.streams for name, of in sides.items()}
    print(f"{given.streams} open streams, {given.chunks} chunks read of each")
    print(f"{'':<22}{'process MB':>12}{'KB per stream':>16}")
    for name, title in (("none", "no instrumentation"), ("ours", "flask-llm-cost")):
        print(f"{title:<22}{sides[name]['held'] / MB:>12.0f}{per[name] / 1024:>16.1f}")
    share, total = per["ours"] - per["none"], sides["ours"]["held"]
    print(f"{'our share':<22}{'':>12}{share / 1024:>16.1f}")
    print(f"{total / (1 << 30):.2f} GB in all: {'under' if total < LIMIT_GB * (1 << 30) else 'OVER'} {LIMIT_GB} GB.")
    if given.json:
        figures = {"benchmark": "memory", "streams": given.streams, "chunks": given.chunks, "sides": sides}
        given.json.write_text(json.dumps({**figures, "share_bytes_per_stream": share}, indent=2) + "\n")


if __name__ == "__main__":
    main()
