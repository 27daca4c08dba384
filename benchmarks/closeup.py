"""What watching adds at the HTTP library itself: no SDK, no network, a ``send`` beneath that only hands an answer out.

Run: python benchmarks/closeup.py [--rounds 30] [--json figures.json]

``capture.py`` tells what a call through an SDK costs beside the peers; there a chunk's microsecond drowns in the
SDK's own fifty. Here nothing is left but the watching. Each figure is the calling thread's CPU time with the watch less
that without it, both taken in turns; of the rounds the least and the median.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import httpx2
import requests
from rich.console import Console
from rich.table import Table

from answers import ANSWER, ELSEWHERE, EVENT_STREAM, JSON_TYPE, MESSAGES, MODEL, events
from contenders import Discard, app_with

CHUNKS, LONG = 1000, 400_000
CHAT = "https://api.openai.com/v1/chat/completions"
RESPONSES = "https://api.openai.com/v1/responses"
ASKED = json.dumps({"model": MODEL, "messages": MESSAGES}).encode()
STREAMED = json.dumps({"model": MODEL, "messages": MESSAGES, "stream": True}).encode()
HEADERS = {"content-type": "application/json"}

Send = Callable[..., Any]


def responses_events() -> list[bytes]:
    """A stream of the Responses API whose last event repeats a very long answer."""
    answer = {"id": "resp_" + "0" * 48, "model": MODEL, "object": "response", "created_at": 1763769600}
    text = [{"type": "message", "content": [{"type": "output_text", "text": "word " * (LONG // 5)}]}]
    last = {**answer, "output": text, "usage": {"input_tokens": 12, "output_tokens": 80_000}, "service_tier": "flex"}
    told = [("response.created", answer), ("response.completed", last)]
    return [
        f"event: {kind}\ndata: {json.dumps({'type': kind, 'response': response})}\n\n".encode()
        for kind, response in told
    ]


STREAMS = {STREAMED: events(CHUNKS), STREAMED + b" ": responses_events()}


@dataclass(frozen=True, slots=True)
class Library:
    """An HTTP library to measure at.

    Attributes:
        owner: the class whose ``send`` is patched.
        request: method, URL and body → a request.
        answered: a whole answer.
        streamed: pieces → an answer that comes in these pieces.
        pieces: the pieces of an answer, as an app reads them.
    """

    owner: type
    request: Callable[[str, str, bytes], Any]
    answered: Callable[[], Any]
    streamed: Callable[[list[bytes]], Any]
    pieces: Callable[[Any], Iterator[bytes]]


def of_httpx(family: Any) -> Library:
    class Stream(family.SyncByteStream):  # type: ignore[misc]
        def __init__(self, pieces: list[bytes]) -> None:
            self._pieces = pieces

        def __iter__(self) -> Iterator[bytes]:
            return iter(self._pieces)

    return Library(
        family.Client,
        lambda method, url, body: family.Request(method, url, content=body, headers=HEADERS),
        lambda: family.Response(200, headers=JSON_TYPE, content=ANSWER),
        lambda pieces: family.Response(200, headers=EVENT_STREAM, stream=Stream(pieces)),
        lambda response: iter(response.stream),
    )


def of_requests() -> Library:
    class Raw:
        """As much of urllib3's response as is read here."""

        decode_content = False

        def __init__(self, pieces: list[bytes]) -> None:
            self._pieces = pieces

        def stream(self, _size: int, _decoded: bool) -> Iterator[bytes]:
            return iter(self._pieces)

    def answered() -> requests.Response:
        response = requests.Response()
        response.status_code, response.headers = 200, requests.structures.CaseInsensitiveDict(JSON_TYPE)
        response._content = ANSWER
        return response

    def streamed(pieces: list[bytes]) -> requests.Response:
        response = requests.Response()
        response.status_code, response.headers = 200, requests.structures.CaseInsensitiveDict(EVENT_STREAM)
        response.raw = Raw(pieces)
        return response

    return Library(
        requests.Session,
        lambda method, url, body: requests.Request(method, url, data=body, headers=HEADERS).prepare(),
        answered,
        streamed,
        lambda response: iter(response.raw.stream(65536, True)),
    )


class Closeup:
    """One library, its ``send`` bare and watched."""

    def __init__(self, library: Library) -> None:
        self.library = library
        self._session: Any = library.owner()
        self._whole = library.answered()
        self._sends: list[Send] = []

    def prepare(self) -> None:
        """Put a ``send`` that does nothing in place of the library's, before anybody patches it."""
        whole, streamed = self._whole, self.library.streamed

        def send(_session: object, request: Any, *, stream: bool = False) -> Any:
            if not stream:
                return whole
            body = request.body if hasattr(request, "body") else request.content
            return streamed(STREAMS[body])

        self.library.owner.send = send  # type: ignore[attr-defined]
        self._sends.append(send.__get__(self._session))

    def watched(self) -> None:
        """Take the ``send`` that is patched now."""
        self._sends.append(self._session.send)

    def call(self, method: str, url: str, body: bytes = ASKED, number: int = 200) -> tuple[float, float]:
        """Seconds of one call, bare and watched."""
        request = self.library.request(method, url, body)

        def each(send: Send) -> float:
            started = time.thread_time()
            for _ in range(number):
                send(request)
            return (time.thread_time() - started) / number

        return each(self._sends[0]), each(self._sends[1])

    def chunk(self) -> tuple[float, float]:
        """Seconds from chunk to chunk."""
        return self._streamed(CHAT, STREAMED)[0]

    def end(self) -> tuple[float, float]:
        """Seconds from the last chunk to the end."""
        return self._streamed(CHAT, STREAMED)[1]

    def long_end(self) -> tuple[float, float]:
        """The same where the last event is a very long one."""
        return self._streamed(RESPONSES, STREAMED + b" ")[1]

    def _streamed(self, url: str, body: bytes) -> tuple[tuple[float, float], tuple[float, float]]:
        request = self.library.request("POST", url, body)
        (bare, bare_end), (watched, watched_end) = (
            self._read(send, request, len(STREAMS[body])) for send in self._sends
        )
        return (bare, watched), (bare_end, watched_end)

    def _read(self, send: Send, request: Any, number: int) -> tuple[float, float]:
        response = send(request, stream=True)
        pieces = self.library.pieces(response)
        started = time.thread_time()
        for _ in range(number):
            next(pieces)
        last = time.thread_time()
        deque(pieces, maxlen=0)
        return (last - started) / number, time.thread_time() - last


LINES: dict[str, Callable[[Closeup], tuple[float, float]]] = {
    "matched call, 1 KB answer": lambda at: at.call("POST", CHAT),
    "unmatched GET": lambda at: at.call("GET", ELSEWHERE, b""),
    "unmatched POST": lambda at: at.call("POST", ELSEWHERE),
    f"chunk of {CHUNKS}": Closeup.chunk,
    f"end of {CHUNKS} chunks": Closeup.end,
    f"end with a {LONG // 1000} KB event": Closeup.long_end,
}


def measure(rounds: int) -> dict[str, dict[str, list[float]]]:
    """Library → line → microseconds added, by round."""
    closeups = {
        "httpx": Closeup(of_httpx(httpx)),
        "httpx2": Closeup(of_httpx(httpx2)),
        "requests": Closeup(of_requests()),
    }
    for at in closeups.values():
        at.prepare()
    _, llm_cost = app_with(Discard(), tempfile.mkdtemp(prefix="llm_cost_benchmark_"))
    llm_cost.instrument(*closeups)
    for at in closeups.values():
        at.watched()
    figures: dict[str, dict[str, list[float]]] = {name: {line: [] for line in LINES} for name in closeups}
    gc.collect()
    gc.freeze()
    for number in range(rounds + 2):
        for name, at in closeups.items():
            for line, run in LINES.items():
                bare, watched = run(at)
                if number >= 2:
                    figures[name][line].append((watched - bare) * 1e6)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    given = parser.parse_args()
    figures = measure(given.rounds)
    table = Table("added, µs: least / median", *figures, title="watching, close up", title_justify="left")
    for line in LINES:
        cells = (f"{min(of[line]):.2f} / {statistics.median(of[line]):.2f}" for of in figures.values())
        table.add_row(line, *cells)
    Console(width=100).print(table)
    if given.json:
        summary = {
            name: {line: {"least": min(added), "median": statistics.median(added)} for line, added in of.items()}
            for name, of in figures.items()
        }
        given.json.write_text(json.dumps({"benchmark": "closeup", "rounds": given.rounds, "added_us": summary}) + "\n")


if __name__ == "__main__":
    main()
