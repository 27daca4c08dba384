"""What watching costs, in process: per matched call, per unmatched HTTP call, per streamed chunk.

Run: python benchmarks/capture.py [--calls 2000]

The same client over the same in-memory transport, without and with ``instrument()``, in one run and in
turns, so that a slow moment of the machine hits both. The difference is ours: watching, reading, pricing
and building the event, up to but without the store. Design 02's targets: 100 µs a matched call with a
1 KB answer, 5 µs an unmatched one, 1 µs a chunk.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice

import httpx
from flask import Flask
from rich.console import Console
from rich.table import Table

from flask_llm_cost import Event, LLMCost

CHUNKS = 1000
OPENAI = "https://api.openai.com/v1/chat/completions"
ELSEWHERE = "https://example.com/v1/things"
REQUEST = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}).encode()
ANSWER = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "x" * 500}, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": 120,
            "completion_tokens": 45,
            "total_tokens": 165,
            "prompt_tokens_details": {"cached_tokens": 20, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 5, "audio_tokens": 0},
        },
        "service_tier": "default",
    }
).encode()
DELTA = {"id": "chatcmpl-1", "model": "gpt-4o-mini-2024-07-18", "choices": [{"delta": {"content": " word"}}]}
LAST = {**DELTA, "choices": [], "usage": {"prompt_tokens": 120, "completion_tokens": 1000}}
EVENTS = [f"data: {json.dumps(DELTA)}\n\n".encode()] * CHUNKS
EVENTS += [f"data: {json.dumps(LAST)}\n\n".encode(), b"data: [DONE]\n\n"]


class Discard:
    """A store that keeps nothing: the append is the ledger's benchmark."""

    def record(self, event: Event) -> None:
        """Take the event and forget it."""


class Stream(httpx.SyncByteStream):
    """The chunks of a streamed answer."""

    def __iter__(self) -> Iterator[bytes]:
        yield from EVENTS


def answer(request: httpx.Request) -> httpx.Response:
    if request.headers.get("accept") == "text/event-stream":
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=Stream())
    return httpx.Response(200, headers={"content-type": "application/json"}, content=ANSWER)


Timed = Callable[[], float]


def call(client: httpx.Client, url: str) -> Timed:
    """Seconds of one whole call."""
    request = client.build_request("POST", url, content=REQUEST, headers={"content-type": "application/json"})

    def run() -> float:
        started = time.perf_counter()
        client.send(request)
        return time.perf_counter() - started

    return run


def streamed(client: httpx.Client, *, end: bool) -> Timed:
    """Seconds of handing out the chunks, or of everything after the last one."""
    request = client.build_request("POST", OPENAI, content=REQUEST, headers={"accept": "text/event-stream"})

    def run() -> float:
        chunks = client.send(request, stream=True).iter_raw()
        started = time.perf_counter()
        for _ in islice(chunks, len(EVENTS)):
            pass
        last = time.perf_counter()
        for _ in chunks:
            pass
        return time.perf_counter() - last if end else last - started

    return run


def medians(bare: Timed, watched: Timed, rounds: int) -> tuple[float, float]:
    """Median seconds of each, taken in turns."""
    times: dict[Timed, list[float]] = {bare: [], watched: []}
    for number in range(rounds + 50):
        for run in (bare, watched):
            seconds = run()
            if number >= 50:
                times[run].append(seconds)
    return statistics.median(times[bare]), statistics.median(times[watched])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=2000)
    rounds = parser.parse_args().calls

    # A subclass taken before instrumenting keeps the bare send: the peer without us, in the same process.
    bare_send = httpx.Client.send

    class Bare(httpx.Client):
        def send(self, *args: object, **kwargs: object) -> httpx.Response:
            return bare_send(self, *args, **kwargs)  # type: ignore[arg-type]

    class Watched(httpx.Client):
        def send(self, *args: object, **kwargs: object) -> httpx.Response:
            return httpx.Client.send(self, *args, **kwargs)  # type: ignore[arg-type]

    with tempfile.TemporaryDirectory() as folder:
        app = Flask(__name__, instance_path=folder)
        app.config["LLM_COST_DURABILITY"] = Discard()
        llm_cost = LLMCost(app)
        llm_cost.instrument("httpx")
        transport = httpx.MockTransport(answer)
        with app.app_context(), Bare(transport=transport) as bare, Watched(transport=transport) as watched:
            table = Table("what", "without (µs)", "with (µs)", "ours (µs)", "ratio", title="capture, in process")
            for column in table.columns[1:]:
                column.justify = "right"
            for name, one, other, per, repeats in (
                ("matched call, 1 KB JSON", call(bare, OPENAI), call(watched, OPENAI), 1, rounds),
                ("unmatched call", call(bare, ELSEWHERE), call(watched, ELSEWHERE), 1, rounds),
                ("streamed chunk", streamed(bare, end=False), streamed(watched, end=False), CHUNKS, rounds // 20),
                (
                    f"end of a stream of {CHUNKS} chunks",
                    streamed(bare, end=True),
                    streamed(watched, end=True),
                    1,
                    rounds // 20,
                ),
            ):
                without, with_us = (seconds * 1e6 / per for seconds in medians(one, other, repeats))
                table.add_row(
                    name, f"{without:.2f}", f"{with_us:.2f}", f"{with_us - without:.2f}", f"{with_us / without:.2f}"
                )
            Console().print(table)


if __name__ == "__main__":
    main()
