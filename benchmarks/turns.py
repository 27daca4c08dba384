"""One contender at work: ``python benchmarks/turns.py NAME`` answers each line ``{"what": …}`` with a measurement.

A process per contender. In each, every turn measures the SDK as it was before the contender patched it and as
it is now, one after the other, so that what the machine does meanwhile hits both. Times are the calling
thread's own (CPU): nothing here waits, and what other processes do to a shared machine stays out.
"""

from __future__ import annotations

import gc
import json
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
from openai import OpenAI
from openai.resources.chat.completions import Completions

from answers import ELSEWHERE, MESSAGES, MODEL, transport
from contenders import CONTENDERS, Setup

STEP = 100

Create = Callable[..., Any]
Pair = tuple[float, float]


class Turns:
    """The SDK twice over the same transport: as it was, and watched."""

    def __init__(self, install: Callable[[], Setup], chunks: int) -> None:
        send, create = httpx2.Client.send, Completions.create

        class Bare(httpx2.Client):
            """Keeps the send that nobody patched."""

        Bare.send = send  # type: ignore[method-assign]
        self.setup = install()
        self.chunks = chunks
        self._http = Bare(transport=transport(chunks)), httpx2.Client(transport=transport(chunks))
        self._kept = self.setup.client(self._http[1])
        bare, watched = (
            OpenAI(api_key="sk-none", http_client=client, max_retries=0).chat.completions for client in self._http
        )
        self._create: tuple[Create, Create] = (
            lambda **asked: create(bare, **asked),
            lambda **asked: watched.create(**asked),
        )
        self._turn = 0

    def call(self, number: int) -> dict[str, Pair]:
        """Seconds of one whole call with a 1 KB answer."""
        return {"call": self._both(lambda side: _each(lambda: self._ask(side), number))}

    def unmatched(self, number: int) -> dict[str, Pair]:
        """Seconds of one HTTP call that goes to no model."""
        return {"unmatched": self._both(lambda side: _each(lambda: self._http[side].get(ELSEWHERE), number))}

    def stream(self, number: int) -> dict[str, Pair]:
        """Seconds from chunk to chunk, and from the last one to the end of the stream."""
        timed = [self._order(self._streamed) for _ in range(number)]
        least = [[min(run[side][part] for run in timed) for side in (0, 1)] for part in (0, 1)]
        return {
            "chunk": (least[0][0] / self.chunks, least[0][1] / self.chunks),
            "stream_end": (least[1][0], least[1][1]),
        }

    def memory(self, number: int) -> dict[str, Pair]:
        """Bytes held at the most by one stream that is being read."""
        return {"memory": self._both(lambda side: self._held(side, number) / number)}

    def seen(self, _number: int) -> dict[str, int]:
        return {"seen": self.setup.seen()}

    def _both(self, measure: Callable[[int], float]) -> Pair:
        pair = self._order(measure)
        return pair[0], pair[1]

    def _order(self, measure: Callable[[int], Any]) -> list[Any]:
        """Measure the bare (0) and the watched SDK (1), who goes first taking turns."""
        self._turn += 1
        order = (0, 1) if self._turn % 2 else (1, 0)
        found = {side: measure(side) for side in order}
        return [found[0], found[1]]

    def _ask(self, side: int, **asked: object) -> Any:
        return self._create[side](model=MODEL, messages=MESSAGES, **asked)

    def _open(self, side: int) -> Iterator[Any]:
        return iter(self._ask(side, stream=True, stream_options={"include_usage": True}))

    def _streamed(self, side: int) -> tuple[float, float]:
        stream = self._open(side)
        next(stream)
        started = time.thread_time()
        for _ in range(self.chunks - 1):
            next(stream)
        last = time.thread_time()
        for _ in stream:
            pass
        return last - started, time.thread_time() - last

    def _held(self, side: int, number: int) -> int:
        gc.collect()
        tracemalloc.start()
        streams = [self._open(side) for _ in range(number)]
        most = 0
        for _ in range(0, self.chunks, STEP):
            for stream in streams:
                for _ in range(min(STEP, self.chunks)):
                    next(stream)
            most = max(most, tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
        for stream in streams:
            for _ in stream:
                pass
        return most


def _each(run: Callable[[], object], number: int) -> float:
    started = time.thread_time()
    for _ in range(number):
        run()
    return (time.thread_time() - started) / number


def main() -> None:
    turns = Turns(CONTENDERS[sys.argv[1]].install, int(sys.argv[2]))
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps(getattr(turns, asked["what"])(asked["number"])), flush=True)


if __name__ == "__main__":
    main()
