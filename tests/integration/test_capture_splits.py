"""However a stream's bytes are cut on their way, the event is the same."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from io import BytesIO
from itertools import pairwise
from typing import Any, cast
from urllib.parse import urlsplit
from uuid import UUID

import aiohttp
import brotli
import httpx
import pytest
import requests
import urllib3
import zstandard
from aiohttp.base_protocol import BaseProtocol
from aiohttp.streams import StreamReader
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flask_llm_cost import LLMCost
from flask_llm_cost.capture.aiohttp import ContentTee
from flask_llm_cost.capture.exchange import Exchange
from flask_llm_cost.capture.http import RawTee
from flask_llm_cost.capture.httpx import AsyncStreamTee, StreamTee
from flask_llm_cost.capture.target import Target
from flask_llm_cost.ledger.event import Event
from flask_llm_cost.ledger.models import Call
from flask_llm_cost.ledger.recent import Recent
from flask_llm_cost.providers import find_route
from flask_llm_cost.state import state_of
from flask_llm_cost.testing import Answer, ProviderServer
from integration.conftest import A_CALL
from integration.test_corpus import EXPLICIT, WITHOUT, body_of, exchanges

CORPUS = exchanges()
ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "": lambda data: data,
    "gzip": gzip.compress,
    "br": lambda data: brotli.compress(data, quality=1),
    "zstd": zstandard.compress,
}


class Kept:
    """A ledger that keeps its events in a list."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def record(self, event: Event) -> None:
        self.events.append(event)


@pytest.fixture
def kept(make_app: Any) -> tuple[Any, Kept]:
    """An app's state whose recorder writes into a list."""
    app, _ = make_app()
    kept, state = Kept(), state_of(app)
    assert state is not None
    state.recorder._ledger = kept
    return state, kept


def begun(state: Any, recorded: dict[str, Any], encoding: str) -> Exchange:
    state.recorder._recent = Recent()  # each reading of a background answer is to count as the first
    parts = urlsplit(recorded["url"])
    provider = "" if recorded["provider_hint"] in EXPLICIT else None
    route = find_route("POST", parts.hostname or "", parts.port, parts.path, compatible_hosts={}, provider=provider)
    assert route is not None
    target = Target(recorded["url"], parts.port, parts.path, recorded["request_body"].encode(), captured_by="test")
    exchange = Exchange(state, route, host=parts.hostname or "", target=target, tags={})
    exchange.answered(recorded["status"], {**recorded["headers"], "content-encoding": encoding})
    exchange.streams()
    return exchange


def through_httpx(exchange: Exchange, pieces: list[bytes]) -> bytes:
    return b"".join(StreamTee(pieces, exchange))


def through_async_httpx(exchange: Exchange, pieces: list[bytes]) -> bytes:
    async def stream() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    async def read() -> bytes:
        return b"".join([piece async for piece in AsyncStreamTee(stream(), exchange)])

    return asyncio.run(read())


class Socket(BytesIO):
    """What urllib3 reads from: each read returns no more than the next piece."""

    def __init__(self, pieces: list[bytes]) -> None:
        super().__init__(b"".join(pieces))
        self._pieces = iter(pieces)

    def read(self, size: int | None = -1) -> bytes:
        return super().read(len(next(self._pieces, b""))) if size and size > 0 else super().read(size)


def through_urllib3(exchange: Exchange, pieces: list[bytes]) -> bytes:
    encoding = exchange._headers["content-encoding"]
    raw = urllib3.HTTPResponse(cast("Any", Socket(pieces)), {"content-encoding": encoding}, preload_content=False)
    tee, whole = RawTee(raw, exchange), []
    while piece := tee.read(1 << 16):
        whole.append(piece)
    return b"".join(whole)


def through_plain_file(exchange: Exchange, pieces: list[bytes]) -> bytes:
    """What botocore's streams do with the response they hold: ``read(amt)``."""
    tee, whole = RawTee(Socket(pieces), exchange), []
    while piece := tee.read(1 << 16):
        whole.append(piece)
    return b"".join(whole)


def through_aiohttp(exchange: Exchange, pieces: list[bytes]) -> bytes:
    async def read() -> bytes:
        reader = aiohttp_reader(pieces)
        return b"".join([piece async for piece in ContentTee(reader, exchange).iter_any()])

    return asyncio.run(read())


def aiohttp_reader(pieces: list[bytes]) -> Any:
    class Fed(StreamReader):
        """Gives one piece at a time, as a slow connection does."""

        async def readany(self) -> bytes:
            if piece := next(left, b""):
                self.feed_data(piece)
            else:
                self.feed_eof()
            return await super().readany()

    left = iter(pieces)
    loop = asyncio.get_running_loop()
    return Fed(BaseProtocol(loop), 1 << 20, loop=loop)


Through = Callable[[Exchange, list[bytes]], bytes]
THROUGH: list[Through] = [through_httpx, through_async_httpx, through_urllib3, through_plain_file, through_aiohttp]


def taken(kept: Kept) -> Event:
    """The one event, without what differs between any two calls."""
    events, kept.events = kept.events, []
    (event,) = events
    first = None if event.first_token_ms is None else 0
    return replace(event, event_id=UUID(int=0), tracked_at=A_CALL.tracked_at, latency_ms=0, first_token_ms=first)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges) if end > start]


def whole_event(kept: tuple[Any, Kept], recorded: dict[str, Any]) -> Event:
    through_httpx(begun(kept[0], recorded, ""), [body_of(recorded)])
    return taken(kept[1])


@pytest.mark.skipif(not CORPUS, reason=WITHOUT)
def test_cut_after_every_byte_the_event_is_the_same(kept: tuple[Any, Kept]) -> None:
    """Every recorded stream, so also inside characters, line ends and binary frames."""
    for recorded in CORPUS:
        if recorded["stream"]:
            expected = whole_event(kept, recorded)
            body = body_of(recorded)
            handed_on = through_httpx(begun(kept[0], recorded, ""), [body[i : i + 1] for i in range(len(body))])
            assert (handed_on, taken(kept[1])) == (body, expected), recorded["id"]


@pytest.mark.skipif(not CORPUS, reason=WITHOUT)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    recorded=st.sampled_from(CORPUS or [{}]),
    through=st.sampled_from(THROUGH),
    encoding=st.sampled_from(sorted(ENCODERS)),
    places=st.lists(st.integers(0, 1 << 20), max_size=24),
)
def test_cut_anywhere_the_event_is_the_same_whoever_reads_and_however_it_is_packed(
    recorded: dict[str, Any], through: Through, encoding: str, places: list[int], kept: tuple[Any, Kept]
) -> None:
    expected = whole_event(kept, recorded)
    body = body_of(recorded)
    packed = ENCODERS[encoding](body)
    handed_on = through(begun(kept[0], recorded, encoding), cut(packed, places))
    inflated = through is through_urllib3 and encoding in urllib3.HTTPResponse.CONTENT_DECODERS
    assert handed_on == (body if inflated else packed)
    assert taken(kept[1]) == expected


@pytest.mark.parametrize("chunk_bytes", [1, 2, 3, 64])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_over_a_socket_in_small_pieces_the_rows_are_the_same(
    chunk_bytes: int, packed: bool, llm_cost: LLMCost, provider: ProviderServer, calls: Callable[[], list[Call]]
) -> None:
    """Each stack reads the same stream, its text full of characters of several bytes."""
    provider.respond(
        lambda _: Answer(
            text="Grüße, 世界 🌍", input_tokens=10, output_tokens=5, chunk_bytes=chunk_bytes, gzip=packed, chunks=2
        )
    )
    url = f"{provider.url}/v1/chat/completions"
    asked = {"model": "gpt-4o-mini", "messages": [], "stream": True, "stream_options": {"include_usage": True}}

    async def ask() -> None:
        async with httpx.AsyncClient(transport=llm_cost.async_httpx_transport()) as client:
            async with client.stream("POST", url, json=asked) as answer:
                assert [line async for line in answer.aiter_lines()][-2:] == ["data: [DONE]", ""]
        async with llm_cost.wrap(aiohttp.ClientSession()) as session, session.post(url, json=asked) as answer:
            assert [line async for line in answer.content][-2:] == [b"data: [DONE]\n", b"\n"]

    with httpx.Client(transport=llm_cost.httpx_transport()) as client, client.stream("POST", url, json=asked) as answer:
        assert list(answer.iter_lines())[-2:] == ["data: [DONE]", ""]
    with llm_cost.mount(requests.Session()) as session, session.post(url, json=asked, stream=True) as answer:
        assert list(answer.iter_lines())[-2:] == [b"data: [DONE]", b""]
    asyncio.run(ask())
    rows = [(row.captured_by, row.status, row.usage_source, row.input_tokens, row.output_tokens) for row in calls()]
    assert rows == [(stack, "ok", "stream_final", 10, 5) for stack in ("httpx", "requests", "httpx", "aiohttp")]
