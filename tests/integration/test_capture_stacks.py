"""HTTP/2, transports of the app's own, adapters around adapters, and answers that are read in odd ways."""

from __future__ import annotations

import asyncio
import gc
import gzip
import io
import json
import socket
import threading
import weakref
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import aiohttp
import h2.config
import h2.connection
import h2.events
import httpx
import httpx2
import httpx_aiohttp
import pytest
import requests
from pytest_httpserver import HTTPServer
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3.util.retry import Retry

from flask_llm_cost import LLMCost
from flask_llm_cost.ledger.models import Call
from flask_llm_cost.ledger.writer import Writer
from flask_llm_cost.testing import Answer, ProviderServer

ReadCalls = Callable[[], list[Call]]

URL = "https://api.openai.com/v1/chat/completions"
ASKED = {"model": "gpt-4o-mini", "messages": [], "stream": True, "stream_options": {"include_usage": True}}
PIECE = {"id": "chat-1", "object": "chat.completion.chunk", "model": "gpt-4o-mini-2024-07-18"}
PIECES = [
    b"data: " + json.dumps({**PIECE, "choices": [{"index": 0, "delta": {"content": "Paris"}}]}).encode() + b"\n\n",
    b"data: " + json.dumps({**PIECE, "usage": {"prompt_tokens": 10, "completion_tokens": 5}}).encode() + b"\n\n",
    b"data: [DONE]\n\n",
]
STREAM = b"".join(PIECES)
EXACT = ("ok", "stream_final", 10, 5)
TYPE = {"content-type": "text/event-stream"}


def essence(row: Call) -> tuple[Any, ...]:
    return (row.status, row.usage_source, row.input_tokens, row.output_tokens)


def check_times(row: Call) -> None:
    assert row.first_token_ms is not None
    assert row.latency_ms is not None
    assert 0 <= row.first_token_ms <= row.latency_ms


@pytest.fixture
def http2_url() -> Iterator[str]:
    """A server that speaks HTTP/2 and nothing else, one connection at a time."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve_http2, args=(listening,), daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1/chat/completions"


def serve_http2(listening: socket.socket) -> None:
    while True:
        try:
            connected, _ = listening.accept()
        except OSError:
            return
        with connected:
            speak_http2(connected)


def speak_http2(connected: socket.socket) -> None:
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    connection.initiate_connection()
    connected.sendall(connection.data_to_send())
    while data := connected.recv(65536):
        for event in connection.receive_data(data):
            if isinstance(event, h2.events.StreamEnded):
                connection.send_headers(event.stream_id, [(":status", "200"), *TYPE.items()])
                for piece in PIECES:
                    connection.send_data(event.stream_id, piece)
                    connected.sendall(connection.data_to_send())
                connection.end_stream(event.stream_id)
        connected.sendall(connection.data_to_send())


class TestHTTP2:
    def test_two_streams_of_one_connection_are_two_exact_rows(
        self, llm_cost: LLMCost, http2_url: str, calls: ReadCalls
    ) -> None:
        with llm_cost.wrap(httpx.Client(http1=False, http2=True)) as client:
            for _ in range(2):
                with client.stream("POST", http2_url, json=ASKED) as answer:
                    assert answer.http_version == "HTTP/2"
                    assert b"".join(answer.iter_raw()) == STREAM
        rows = calls()
        assert [essence(row) for row in rows] == [EXACT, EXACT]
        for row in rows:
            check_times(row)

    def test_async_streams_at_once_on_one_connection_are_exact_rows(
        self, llm_cost: LLMCost, http2_url: str, calls: ReadCalls
    ) -> None:
        async def one(client: httpx.AsyncClient, number: int) -> bytes:
            with llm_cost.tags(number=number):
                async with client.stream("POST", http2_url, json=ASKED) as answer:
                    return await answer.aread()

        async def ask() -> list[bytes]:
            transport = llm_cost.async_httpx_transport(httpx.AsyncHTTPTransport(http1=False, http2=True))
            async with httpx.AsyncClient(transport=transport) as client:
                return await asyncio.gather(*(one(client, number) for number in range(3)))

        assert asyncio.run(ask()) == [STREAM] * 3
        rows = calls()
        assert [essence(row) for row in rows] == [EXACT] * 3
        assert {row.tags["number"] for row in rows} == {"0", "1", "2"}


def wsgi(_environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", list(TYPE.items()))
    return PIECES


async def asgi(_scope: Any, _receive: Any, send: Callable[[Any], Awaitable[None]]) -> None:
    head = [(name.encode(), value.encode()) for name, value in TYPE.items()]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    for piece in PIECES:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


@pytest.mark.parametrize("family", [httpx, httpx2], ids=["httpx", "httpx2"])
class TestTransportsOfTheAppsOwn:
    @pytest.mark.parametrize("wrapped", [True, False], ids=["wrap", "transport"])
    @pytest.mark.parametrize("kind", ["own", "wsgi", "mock", "mock that streams"])
    def test_sync(self, kind: str, wrapped: bool, family: Any, llm_cost: LLMCost, calls: ReadCalls) -> None:
        class Own(family.BaseTransport):  # type: ignore[misc]
            def handle_request(self, _request: Any) -> Any:
                return family.Response(200, headers=TYPE, content=iter(PIECES))

        transports = {
            "own": Own(),
            "wsgi": family.WSGITransport(wsgi),
            "mock": family.MockTransport(lambda _: family.Response(200, headers=TYPE, content=STREAM)),
            "mock that streams": family.MockTransport(
                lambda _: family.Response(200, headers=TYPE, content=iter(PIECES))
            ),
        }
        inner = transports[kind]
        with family.Client(transport=inner if wrapped else llm_cost.httpx_transport(inner)) as client:
            if wrapped:
                llm_cost.wrap(client)
            assert client.post(URL, json=ASKED).content == STREAM
            with client.stream("POST", URL, json=ASKED) as answer:
                assert b"".join(answer.iter_bytes()) == STREAM
        assert [essence(row) for row in calls()] == [EXACT, EXACT]

    @pytest.mark.parametrize("wrapped", [True, False], ids=["wrap", "transport"])
    @pytest.mark.parametrize("kind", ["asgi", "mock"])
    def test_async(self, kind: str, wrapped: bool, family: Any, llm_cost: LLMCost, calls: ReadCalls) -> None:
        async def ask() -> None:
            mock = family.MockTransport(lambda _: family.Response(200, headers=TYPE, content=STREAM))
            inner = family.ASGITransport(asgi) if kind == "asgi" else mock
            async with family.AsyncClient(
                transport=inner if wrapped else llm_cost.async_httpx_transport(inner)
            ) as client:
                if wrapped:
                    llm_cost.wrap(client)
                assert (await client.post(URL, json=ASKED)).content == STREAM

        asyncio.run(ask())
        assert [essence(row) for row in calls()] == [EXACT]

    def test_pool_proxies_and_time_outs_of_a_wrapped_client_stay(self, family: Any, llm_cost: LLMCost) -> None:
        client = family.Client(limits=family.Limits(max_connections=7), proxy="http://127.0.0.1:1", timeout=3)
        before = (client._transport, dict(client._mounts), client.timeout)
        llm_cost.wrap(client)
        assert (client._transport, dict(client._mounts), client.timeout) == before
        assert client._transport._pool._max_connections == 7
        client.close()


def test_httpx_on_aiohttp_is_one_row(llm_cost: LLMCost, provider: ProviderServer, calls: ReadCalls) -> None:
    provider.next(Answer(input_tokens=10, output_tokens=5))

    async def ask() -> None:
        async with llm_cost.wrap(httpx_aiohttp.HttpxAiohttpClient()) as client:
            async with client.stream("POST", f"{provider.url}/v1/chat/completions", json=ASKED) as answer:
                assert (await answer.aread()).endswith(b"[DONE]\n\n")

    asyncio.run(ask())
    (row,) = calls()
    assert essence(row) == EXACT
    check_times(row)


class FileAdapter(BaseAdapter):
    """An adapter whose answers are plain files, as those for tests and for local files are."""

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        response = requests.Response()
        response.status_code, response.url, response.request = 200, str(request.url), request
        response.headers.update(TYPE)
        response.raw = io.BytesIO(STREAM)
        return response

    def close(self) -> None:
        """Nothing is open."""


def whole(response: requests.Response) -> Any:
    return response.content


def lines(response: requests.Response) -> Any:
    return list(response.iter_lines())


def raw_read(response: requests.Response) -> Any:
    return response.raw.read()


def raw_in_parts(response: requests.Response) -> Any:
    return list(iter(lambda: response.raw.read(13), b""))


def raw_lines(response: requests.Response) -> Any:
    return list(iter(response.raw.readline, b""))


def raw_iterated(response: requests.Response) -> Any:
    return list(response.raw)


def raw_read1(response: requests.Response) -> Any:
    return list(iter(lambda: response.raw.read1(13), b""))


def raw_readinto(response: requests.Response) -> Any:
    buffer, pieces = bytearray(13), []
    while count := response.raw.readinto(buffer):
        pieces.append(bytes(buffer[:count]))
    return pieces


def raw_stream(response: requests.Response) -> Any:
    return list(response.raw.stream(13))


def raw_data(response: requests.Response) -> Any:
    return response.raw.data


def raw_as_text(response: requests.Response) -> Any:
    return io.TextIOWrapper(response.raw, encoding="utf-8").read()


class TestRequests:
    @pytest.mark.parametrize("read", [whole, lines, raw_read, raw_in_parts, raw_lines, raw_iterated, raw_read1])
    def test_an_answer_that_is_a_plain_file_is_read_as_ever(
        self, read: Callable[[requests.Response], Any], llm_cost: LLMCost, calls: ReadCalls
    ) -> None:
        results = []
        for watched in (False, True):
            with requests.Session() as session:
                session.mount("https://", llm_cost.adapter(FileAdapter()) if watched else FileAdapter())
                response = session.post(URL, json=ASKED, stream=True)
                results.append((hasattr(response.raw, "stream"), hasattr(response.raw, "release_conn"), read(response)))
                response.close()
        assert results[0] == results[1]
        assert [essence(row) for row in calls()] == [EXACT]

    @pytest.mark.parametrize(
        "read",
        [raw_read, raw_lines, raw_iterated, raw_read1, raw_readinto, raw_stream, raw_data, raw_as_text],
        ids=lambda read: read.__name__,
    )
    @pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
    def test_urllib3s_own_ways_of_reading_are_copied(
        self,
        read: Callable[[requests.Response], Any],
        packed: bool,
        llm_cost: LLMCost,
        httpserver: HTTPServer,
        calls: ReadCalls,
    ) -> None:
        body, headers = (gzip.compress(STREAM), {"content-encoding": "gzip"}) if packed else (STREAM, {})
        httpserver.expect_request("/v1/chat/completions").respond_with_data(body, headers=headers | TYPE)
        results = []
        for watched in (False, True):
            with requests.Session() as session:
                if watched:
                    llm_cost.mount(session)
                with session.post(httpserver.url_for("/v1/chat/completions"), json=ASKED, stream=True) as response:
                    if packed and read in (raw_lines, raw_as_text, raw_readinto, raw_read1):
                        response.raw.decode_content = True
                    results.append(read(response))
        assert results[0] == results[1]
        assert [essence(row) for row in calls()] == [EXACT]

    def test_a_retrying_adapter_around_ours_is_a_row_for_each_attempt(
        self, llm_cost: LLMCost, provider: ProviderServer, calls: ReadCalls
    ) -> None:
        """Within urllib3 the attempts are one exchange with one answer; around us each is its own."""

        class Again(HTTPAdapter):
            def __init__(self, inner: BaseAdapter) -> None:
                super().__init__(max_retries=Retry(0))
                self.inner = inner

            def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
                response = self.inner.send(request, *args, **kwargs)
                return response if response.ok else self.inner.send(request, *args, **kwargs)

        provider.next(Answer(status=503), Answer(input_tokens=10, output_tokens=5))
        with requests.Session() as session:
            session.mount("http://", Again(llm_cost.adapter()))
            session.post(f"{provider.url}/v1/chat/completions", json=ASKED)
        rows = calls()
        assert sorted(essence(row)[0] for row in rows) == ["error", "ok"]
        assert sum(row.output_tokens for row in rows) == 5


class TestAiohttp:
    def test_what_is_put_back_and_read_again_is_copied_once(
        self, llm_cost: LLMCost, provider: ProviderServer, calls: ReadCalls
    ) -> None:
        provider.next(Answer(text="Paris.", input_tokens=10, output_tokens=5))

        async def ask() -> tuple[bytes, bytes]:
            async with (
                llm_cost.wrap(aiohttp.ClientSession()) as session,
                session.post(f"{provider.url}/v1/chat/completions", json=ASKED) as answer,
            ):
                first = await answer.content.readline()
                with pytest.warns(DeprecationWarning, match="unread_data"):
                    answer.content.unread_data(first)
                assert await answer.content.readline() == first
                copied = answer.content._self_exchange.body.content()
                assert (await answer.read()).endswith(b"[DONE]\n\n")
                return first, copied

        first, copied = asyncio.run(ask())
        assert copied == first
        assert [essence(row) for row in calls()] == [EXACT]


def test_what_was_left_behind_is_collected(llm_cost: LLMCost, provider: ProviderServer, calls: ReadCalls) -> None:
    """Streams dropped unread leave neither their response nor its copy alive, and each a row."""
    provider.respond(lambda _: Answer(text="word " * 50))
    left: list[weakref.ref[Any]] = []
    with llm_cost.wrap(httpx.Client()) as client, llm_cost.mount(requests.Session()) as session:
        for _ in range(3):
            streamed = client.send(
                client.build_request("POST", f"{provider.url}/v1/chat/completions", json=ASKED), stream=True
            )
            next(streamed.iter_raw(16))
            posted = session.post(f"{provider.url}/v1/chat/completions", json=ASKED, stream=True)
            next(posted.iter_content(16))
            left += [weakref.ref(streamed), weakref.ref(posted), weakref.ref(streamed.stream), weakref.ref(posted.raw)]
            copies = [streamed.stream._self_exchange, posted.raw._self_exchange]
        del streamed, posted
        gc.collect()
        assert [reference() for reference in left] == [None] * len(left)
        assert [exchange.body for exchange in copies] == [None, None]
    assert [row.status for row in calls()] == ["cancelled"] * 6


def test_a_gateways_keep_alive_comments_are_no_first_token(llm_cost: LLMCost, calls: ReadCalls) -> None:
    waiting, told = [b": PROCESSING\n\n", b":\n\n", b"\n"], []

    def pieces() -> Iterator[bytes]:
        yield from waiting
        told.append(exchange._first_byte)
        yield from PIECES
        told.append(exchange._first_byte)

    transport = httpx.MockTransport(lambda _: httpx.Response(200, headers=TYPE, content=pieces()))
    with llm_cost.wrap(httpx.Client(transport=transport)) as client:
        with client.stream("POST", URL, json=ASKED) as answer:
            exchange = answer.stream._self_exchange  # type: ignore[attr-defined]
            answer.read()
    assert (told[0], told[1] is not None) == (None, True)
    (row,) = calls()
    assert essence(row) == EXACT
    check_times(row)


def test_a_stream_found_dropped_while_another_call_is_recorded_waits_its_turn(
    llm_cost: LLMCost, calls: ReadCalls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The garbage collector may run with our own transaction open: recording there would wait for itself."""
    left: list[Any] = []
    inside: list[list[Any]] = []
    write = Writer.write_batch

    def writing(writer: Writer, batch: Any) -> int:
        inside.append(batch)
        if left:
            left.clear()  # as the collector would, here
            assert len(inside) == 1
        return write(writer, batch)

    transport = httpx.MockTransport(lambda _: httpx.Response(200, headers=TYPE, content=iter(PIECES)))
    with llm_cost.wrap(httpx.Client(transport=transport)) as client:
        left.append(client.send(client.build_request("POST", URL, json=ASKED), stream=True))
        monkeypatch.setattr(Writer, "write_batch", writing)
        assert client.post(URL, json=ASKED).content == STREAM
    assert sorted(row.status for row in calls()) == ["cancelled", "ok"]


def test_latency_ends_with_the_last_byte_however_long_the_app_keeps_the_stream_open(
    llm_cost: LLMCost, calls: ReadCalls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """litellm leaves Anthropic's streams open after their last event. Covers P-CAP-32."""
    clock = [100.0]
    monkeypatch.setattr("flask_llm_cost.capture.exchange.time.perf_counter", lambda: clock[0])

    class Timed(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            for seconds, piece in zip((101.0, 102.0, 103.5), PIECES, strict=True):
                clock[0] = seconds
                yield piece

    answer = httpx.MockTransport(lambda _: httpx.Response(200, headers=TYPE, stream=Timed()))
    with (
        httpx.Client(transport=llm_cost.httpx_transport(answer)) as client,
        client.stream("POST", URL, json=ASKED) as response,
    ):
        pieces = response.iter_raw()
        assert [next(pieces) for _ in PIECES] == PIECES
        clock[0] = 160.0
    assert [(essence(row), row.first_token_ms, row.latency_ms) for row in calls()] == [(EXACT, 1000, 3500)]
