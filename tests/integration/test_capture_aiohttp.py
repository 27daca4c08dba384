"""aiohttp: plain sessions, google-genai's async path and openai's aiohttp client, however the answer is read."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
from aiohttp.abc import AbstractResolver
from google import genai
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from flask_llm_cost import ConfigurationError, LLMCost
from flask_llm_cost.capture import instrument
from flask_llm_cost.ledger.models import Call
from flask_llm_cost.testing import Answer, ProviderServer
from sdk_calls.google_genai_sdk import GEMINI_MODEL
from sdk_calls.site import QUESTION, seen

ReadCalls = Callable[[], list[Call]]
Reader = Callable[[aiohttp.ClientResponse], Awaitable[Any]]

REQUEST = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}
STREAMED = {**REQUEST, "stream": True, "stream_options": {"include_usage": True}}
ANSWER = Answer(
    text="Hello to you, and a good day.", input_tokens=10, output_tokens=5, response_id="answer-1", created_at=1
)
COST = (10 * Decimal("0.15") + 5 * Decimal("0.60")) / 1_000_000


@pytest.fixture
def url(provider: ProviderServer) -> str:
    provider.respond(lambda _received: ANSWER)
    return f"{provider.url}/v1/chat/completions"


def essence(row: Call) -> tuple[Any, ...]:
    return (row.status, row.model, row.input_tokens, row.output_tokens, row.total_cost, row.usage_source, row.tags)


def exact(source: str = "response", **tags: str) -> tuple[Any, ...]:
    return ("ok", "gpt-4o-mini-2024-07-18", 10, 5, COST, source, tags)


def post(
    url: str,
    read: Reader,
    *,
    json: Any = STREAMED,
    wrap: Callable[[aiohttp.ClientSession], object] = lambda session: session,
    **session_options: Any,
) -> Any:
    """What a plain session gives the app."""

    async def ask() -> Any:
        async with aiohttp.ClientSession(**session_options) as session:
            wrap(session)
            async with session.post(url, json=json) as response:
                return await read(response)

    return asyncio.run(ask())


async def read_whole(response: aiohttp.ClientResponse) -> Any:
    return await response.read()


async def read_text(response: aiohttp.ClientResponse) -> Any:
    return await response.text()


async def lines(response: aiohttp.ClientResponse) -> Any:
    return [line async for line in response.content]


async def lines_until_eof(response: aiohttp.ClientResponse) -> Any:
    found = []
    while not response.content.at_eof():
        found.append(await response.content.readline())
    return found


async def chunks_of_seven(response: aiohttp.ClientResponse) -> Any:
    return [chunk async for chunk in response.content.iter_chunked(7)]


async def anything(response: aiohttp.ClientResponse) -> Any:
    return b"".join([chunk async for chunk in response.content.iter_any()])


async def http_chunks(response: aiohttp.ClientResponse) -> Any:
    return [chunk async for chunk in response.content.iter_chunks() if chunk[0]]


async def until_blank_lines(response: aiohttp.ClientResponse) -> Any:
    found = [await response.content.readuntil(b"\n\n")]
    while found[-1]:
        found.append(await response.content.readuntil(b"\n\n"))
    return found


async def exactly(response: aiohttp.ClientResponse) -> Any:
    head = await response.content.readexactly(100)
    with pytest.raises(asyncio.IncompleteReadError) as failure:
        await response.content.readexactly(1_000_000)
    return head + failure.value.partial


async def now_and_then(response: aiohttp.ClientResponse) -> Any:
    head = await response.content.read(1)
    head += response.content.read_nowait(3)
    return head + await response.content.read()


READERS = (
    read_whole,
    read_text,
    lines,
    lines_until_eof,
    chunks_of_seven,
    anything,
    http_chunks,
    until_blank_lines,
    exactly,
    now_and_then,
)


@pytest.mark.parametrize("read", READERS, ids=lambda read: read.__name__)
def test_a_stream_is_one_exact_row_and_the_same_pieces_however_it_is_read(
    read: Reader, llm_cost: LLMCost, httpserver: HTTPServer, provider: ProviderServer, url: str, calls: ReadCalls
) -> None:
    # Sent in one piece by the second server, so that the boundaries the app sees cannot depend on the network.
    whole = post(url, read_whole)
    httpserver.expect_request("/v1/chat/completions").respond_with_data(whole, content_type="text/event-stream")
    fixed = httpserver.url_for("/v1/chat/completions")
    expected = post(fixed, read)

    assert post(fixed, read, wrap=llm_cost.wrap) == expected
    assert [essence(row) for row in calls()] == [exact("stream_final")]


def test_json_is_one_exact_row(llm_cost: LLMCost, url: str, calls: ReadCalls) -> None:
    async def read(response: aiohttp.ClientResponse) -> Any:
        assert isinstance(response.content, aiohttp.StreamReader)
        return await response.json(), await response.json(), response.closed

    expected = post(url, read, json=REQUEST)
    assert post(url, read, json=REQUEST, wrap=lambda session: llm_cost.wrap(session, tags={"via": "wrap"})) == expected
    (row,) = calls()
    assert essence(row) == exact(via="wrap")
    assert (row.captured_by, row.stream, row.first_token_ms) == ("aiohttp", False, None)
    assert row.latency_ms is not None


def test_a_stream_has_a_time_to_its_first_token(llm_cost: LLMCost, url: str, calls: ReadCalls) -> None:
    post(url, lines, wrap=llm_cost.wrap)
    (row,) = calls()
    assert row.first_token_ms is not None


@pytest.mark.parametrize("decompress", [True, False], ids=["inflated by aiohttp", "left to the app"])
def test_gzip_is_read_whoever_inflates_it(
    decompress: bool, llm_cost: LLMCost, provider: ProviderServer, calls: ReadCalls
) -> None:
    provider.respond(lambda _received: Answer(input_tokens=10, output_tokens=5, gzip=True))
    body = post(
        f"{provider.url}/v1/chat/completions",
        read_whole,
        json=REQUEST,
        wrap=llm_cost.wrap,
        auto_decompress=decompress,
        headers={"accept-encoding": "gzip"},
    )
    assert json.loads(body if decompress else gzip.decompress(body))["model"] == "gpt-4o-mini-2024-07-18"
    assert [essence(row) for row in calls()] == [exact()]


def test_a_session_with_a_base_url_and_bytes_is_watched(
    llm_cost: LLMCost, provider: ProviderServer, url: str, calls: ReadCalls
) -> None:
    async def ask() -> None:
        async with aiohttp.ClientSession(base_url=f"{provider.url}/v1/") as session:
            llm_cost.wrap(llm_cost.wrap(session))
            response = await session.request("post", "chat/completions", data=json.dumps(REQUEST).encode())
            await response.read()

    asyncio.run(ask())
    (row,) = calls()
    assert (essence(row), row.request_model) == (exact(), "gpt-4o-mini")


class TestEnds:
    def test_released_half_way_is_cancelled(self, llm_cost: LLMCost, url: str, calls: ReadCalls) -> None:
        async def first(response: aiohttp.ClientResponse) -> Any:
            return await response.content.readline()

        assert post(url, first, wrap=llm_cost.wrap).startswith(b"data: {")
        (row,) = calls()
        assert (row.status, row.usage_source, row.total_cost) == ("cancelled", "unknown", None)

    def test_left_after_the_last_event_is_whole(self, llm_cost: LLMCost, url: str, calls: ReadCalls) -> None:
        async def until_done(response: aiohttp.ClientResponse) -> None:
            async for line in response.content:
                if line == b"data: [DONE]\n":
                    response.close()
                    return

        post(url, until_done, wrap=llm_cost.wrap)
        assert [essence(row) for row in calls()] == [exact("stream_final")]

    def test_never_read_is_cancelled(self, llm_cost: LLMCost, url: str, calls: ReadCalls) -> None:
        async def nothing(response: aiohttp.ClientResponse) -> int:
            return response.status

        assert post(url, nothing, wrap=llm_cost.wrap) == 200
        (row,) = calls()
        assert (row.status, row.model, row.total_cost) == ("cancelled", "gpt-4o-mini", None)

    @pytest.mark.filterwarnings("ignore:Unclosed connection:ResourceWarning")  # aiohttp's own word on such an app
    def test_dropped_without_a_word_is_recorded_when_it_is_gone(
        self, llm_cost: LLMCost, url: str, calls: ReadCalls
    ) -> None:
        async def ask() -> None:
            async with aiohttp.ClientSession() as session:
                llm_cost.wrap(session)
                response = await session.post(url, json=STREAMED)
                await response.content.readline()

        asyncio.run(ask())
        gc.collect()
        (row,) = calls()
        assert (row.status, row.usage_source) == ("cancelled", "unknown")

    def test_a_cancelled_task_is_cancelled_and_sees_it(
        self, llm_cost: LLMCost, provider: ProviderServer, calls: ReadCalls
    ) -> None:
        provider.next(Answer(text="a b c d e f", delay_s=0.2))

        async def ask() -> None:
            async with aiohttp.ClientSession() as session:
                llm_cost.wrap(session)
                response = await session.post(f"{provider.url}/v1/chat/completions", json=STREAMED)
                await response.content.readline()
                task = asyncio.create_task(response.read())
                await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert response.closed

        asyncio.run(ask())
        (row,) = calls()
        assert (row.status, row.provider_response_id is None, row.total_cost) == ("cancelled", False, None)

    def test_a_read_that_timed_out_can_be_read_on(
        self, llm_cost: LLMCost, provider: ProviderServer, calls: ReadCalls
    ) -> None:
        """A time-out around one read is no end of the stream."""
        provider.next(Answer(input_tokens=10, output_tokens=5, text="a b", delay_s=0.1))

        async def impatient(response: aiohttp.ClientResponse) -> int:
            timeouts = 0
            while not response.content.at_eof():
                try:
                    await asyncio.wait_for(response.content.readany(), 0.02)
                except TimeoutError:
                    timeouts += 1
            return timeouts

        assert post(f"{provider.url}/v1/chat/completions", impatient, wrap=llm_cost.wrap) > 0
        assert [essence(row) for row in calls()] == [exact("stream_final")]

    @pytest.mark.parametrize("read", [read_whole, lines], ids=lambda read: read.__name__)
    def test_a_dropped_connection_raises_what_it_always_raised(
        self, read: Reader, llm_cost: LLMCost, provider: ProviderServer, calls: ReadCalls
    ) -> None:
        """What came before the break is kept, even where aiohttp gives the app none of it."""
        provider.next(Answer(text="a b c d e", cut_after=3, response_id="answer-1"))
        with pytest.raises(aiohttp.ClientPayloadError):
            post(f"{provider.url}/v1/chat/completions", read, wrap=llm_cost.wrap)
        (row,) = calls()
        assert (row.status, row.error_type, row.total_cost) == ("error", "ClientPayloadError", None)
        assert (row.model, row.provider_response_id) == ("gpt-4o-mini-2024-07-18", "answer-1")

    def test_a_refused_connection_is_an_error_row(self, llm_cost: LLMCost, calls: ReadCalls) -> None:
        with pytest.raises(aiohttp.ClientConnectorError):
            post("http://127.0.0.1:9/v1/chat/completions", read_whole, wrap=llm_cost.wrap)
        (row,) = calls()
        assert (row.status, row.error_type, row.model, row.cost_status) == (
            "error",
            "ClientConnectorError",
            "gpt-4o-mini",
            None,
        )

    def test_an_error_answer_is_an_error_row_with_the_providers_code(
        self, llm_cost: LLMCost, provider: ProviderServer, calls: ReadCalls
    ) -> None:
        provider.next(Answer(status=401))
        assert "error" in json.loads(post(f"{provider.url}/v1/chat/completions", read_whole, wrap=llm_cost.wrap))
        (row,) = calls()
        assert (row.status, row.error_type, row.cost_status) == ("error", "invalid_api_key", None)

    def test_raise_for_status_is_an_error_row_with_the_status(
        self, llm_cost: LLMCost, provider: ProviderServer, calls: ReadCalls
    ) -> None:
        provider.next(Answer(status=429))
        with pytest.raises(aiohttp.ClientResponseError):
            post(f"{provider.url}/v1/chat/completions", read_whole, wrap=llm_cost.wrap, raise_for_status=True)
        (row,) = calls()
        assert (row.status, row.error_type, row.cost_status) == ("error", "429", None)

    def test_a_body_that_cannot_be_sent_raises_what_it_always_raised(
        self, llm_cost: LLMCost, url: str, calls: ReadCalls
    ) -> None:
        with pytest.raises(TypeError, match="not JSON serializable"):
            post(url, read_whole, json={"model": object()}, wrap=llm_cost.wrap)
        (row,) = calls()
        assert (row.status, row.error_type) == ("error", "TypeError")


def test_a_redirect_chain_is_one_call(llm_cost: LLMCost, httpserver: HTTPServer, url: str, calls: ReadCalls) -> None:
    def redirect(_request: Request) -> Response:
        return Response(status=307, headers={"location": url})

    httpserver.expect_request("/v1/chat/completions").respond_with_handler(redirect)
    post(httpserver.url_for("/v1/chat/completions"), read_whole, json=REQUEST, wrap=llm_cost.wrap)
    assert [essence(row) for row in calls()] == [exact()]


class Detour(AbstractResolver):
    """Every host name is the local server."""

    def __init__(self, url: str) -> None:
        self._port = int(url.rpartition(":")[2])

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET) -> Any:
        return [
            {
                "hostname": host,
                "host": "127.0.0.1",
                "port": self._port,
                "family": socket.AF_INET,
                "proto": 0,
                "flags": socket.AI_NUMERICHOST,
            }
        ]

    async def close(self) -> None:
        """Nothing is open."""


class TestInstrument:
    def test_plain_sessions_to_known_hosts_are_seen_and_no_others(
        self, llm_cost: LLMCost, provider: ProviderServer, url: str, calls: ReadCalls
    ) -> None:
        llm_cost.instrument("aiohttp")
        llm_cost.instrument("aiohttp")

        async def ask() -> None:
            connector = aiohttp.TCPConnector(resolver=Detour(provider.url))
            async with aiohttp.ClientSession(connector=connector) as session:
                for host in ("api.openai.com", "example.org"):
                    async with session.post(f"http://{host}/v1/chat/completions", json=REQUEST) as response:
                        assert response.status == 200
                        await response.read()
                async with session.get("http://api.openai.com/v1/models") as response:
                    await response.read()

        asyncio.run(ask())
        (row,) = calls()
        assert (essence(row), row.host) == (exact(), "api.openai.com")

    def test_wrapped_and_instrumented_is_one_row(self, make_app: Any, provider: ProviderServer, url: str) -> None:
        host = provider.url.removeprefix("http://")
        app, llm_cost = make_app(LLM_COST_OPENAI_COMPATIBLE_HOSTS={host: "openai"})
        llm_cost.instrument("aiohttp")
        with app.app_context():
            post(url, lines, wrap=lambda session: llm_cost.wrap(session, tags={"via": "wrap"}))
            assert llm_cost.flush(5)
            with llm_cost.session() as session:
                rows = session.query(Call).all()
        assert [essence(row) for row in rows] == [exact("stream_final", via="wrap")]

    def test_nothing_is_seen_after_uninstrument(self, make_app: Any, provider: ProviderServer, url: str) -> None:
        host = provider.url.removeprefix("http://")
        app, llm_cost = make_app(LLM_COST_OPENAI_COMPATIBLE_HOSTS={host: "openai"})
        llm_cost.instrument("aiohttp")
        llm_cost.uninstrument()
        with app.app_context():
            post(url, read_whole)
            assert llm_cost.flush(5)
            with llm_cost.session() as session:
                assert session.query(Call).count() == 0

    def test_aiohttp_is_not_imported_to_be_patched_and_patched_once_it_is(self, tmp_path: Path) -> None:
        script = """
import sys
from flask import Flask
from flask_llm_cost import LLMCost
app = Flask("host", instance_path=sys.argv[1])
LLMCost(app).instrument("aiohttp")
assert "aiohttp" not in sys.modules
import aiohttp
print(type(vars(aiohttp.ClientSession)["_request"]).__name__)
"""
        command = [sys.executable, "-c", script, str(tmp_path)]
        done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
        assert done.stdout == "_PatchedSend\n"

    def test_asking_for_aiohttp_where_it_is_missing_fails(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(instrument.importlib.util, "find_spec", lambda _name: None)
        with pytest.raises(ConfigurationError, match="the package aiohttp is not installed"):
            instrument.check("aiohttp")


@pytest.mark.parametrize("step", ["__init__", "append", "already_decoded", "content"])
@pytest.mark.parametrize("read", [read_whole, lines], ids=lambda read: read.__name__)
def test_a_failure_of_ours_never_reaches_the_app(
    read: Reader,
    step: str,
    llm_cost: LLMCost,
    httpserver: HTTPServer,
    url: str,
    calls: ReadCalls,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The call is recorded as far as it is known, and logged at most once, without its text."""
    whole = post(url, read_whole)
    httpserver.expect_request("/v1/chat/completions").respond_with_data(whole, content_type="text/event-stream")
    fixed = httpserver.url_for("/v1/chat/completions")
    expected = post(fixed, read)

    def broken(*_args: object) -> None:
        raise RuntimeError("ours")

    monkeypatch.setattr(f"flask_llm_cost.capture.body.BoundedBody.{step}", broken)
    assert post(fixed, read, wrap=llm_cost.wrap) == expected
    logged = [record for record in caplog.records if record.name.startswith("flask_llm_cost")]
    if read is read_whole and step in ("append", "content"):
        assert logged == []  # a whole answer goes another way
        assert [essence(row) for row in calls()] == [exact("stream_final")]
        return
    assert len(logged) == 1
    assert "Hello" not in caplog.text
    if step != "content":
        assert [(row.model, row.usage_source, row.total_cost) for row in calls()] == [("gpt-4o-mini", "unknown", None)]


@contextmanager
def gemini(llm_cost: LLMCost | None, url: str, **options: Any) -> Iterator[genai.Client]:
    with genai.Client(api_key="test", http_options={"base_url": url, **options}) as client:
        yield client if llm_cost is None else llm_cost.wrap(client)


def ask_gemini(llm_cost: LLMCost | None, url: str, *, stream: bool) -> Any:
    async def ask(client: genai.client.AsyncClient) -> Any:
        if not stream:
            return seen(await client.models.generate_content(model=GEMINI_MODEL, contents="What is it?"))
        chunks = await client.models.generate_content_stream(model=GEMINI_MODEL, contents="What is it?")
        return [seen(chunk) async for chunk in chunks]

    async def both_loops() -> Any:
        async with client.aio as asynchronous:
            return await ask(asynchronous)

    with gemini(llm_cost, url) as client:
        # A session per event loop: the client makes a second one here.
        return [asyncio.run(both_loops()), asyncio.run(both_loops())]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
class TestGoogleGenai:
    def test_each_call_of_a_wrapped_client_is_one_exact_row(
        self, stream: bool, llm_cost: LLMCost, provider: ProviderServer, calls: ReadCalls
    ) -> None:
        provider.respond(lambda _received: ANSWER)
        expected = ask_gemini(None, provider.url, stream=stream)
        assert ask_gemini(llm_cost, provider.url, stream=stream) == expected
        rows = [(row.provider, row.model, row.total_tokens, row.captured_by, row.stream) for row in calls()]
        assert rows == [("gemini", GEMINI_MODEL, 15, "aiohttp", stream)] * 2

    def test_an_instrumented_client_is_one_exact_row(
        self, stream: bool, llm_cost: LLMCost, provider: ProviderServer, calls: ReadCalls
    ) -> None:
        provider.respond(lambda _received: ANSWER)
        llm_cost.instrument("google-genai")

        async def ask() -> None:
            connector = aiohttp.TCPConnector(resolver=Detour(provider.url))
            async with aiohttp.ClientSession(connector=connector) as session:
                options = {"aiohttp_client": session}
                url = "http://generativelanguage.googleapis.com"
                with gemini(None, url, **options) as client, llm_cost.tags(feature="chat"):
                    if stream:
                        async for _ in await client.aio.models.generate_content_stream(
                            model=GEMINI_MODEL, contents="What is it?"
                        ):
                            pass
                    else:
                        await client.aio.models.generate_content(model=GEMINI_MODEL, contents="What is it?")
                    await client.aio.aclose()

        asyncio.run(ask())
        (row,) = calls()
        assert (row.provider, row.host, row.total_tokens, row.usage_source, row.tags) == (
            "gemini",
            "generativelanguage.googleapis.com",
            15,
            "stream_final" if stream else "response",
            {"feature": "chat"},
        )

    def test_openais_aiohttp_client_is_one_row(
        self, stream: bool, llm_cost: LLMCost, provider: ProviderServer, calls: ReadCalls
    ) -> None:
        """Its transport sits on aiohttp below httpx2: both are watched, one records."""
        provider.respond(lambda _received: ANSWER)
        llm_cost.instrument("openai", "aiohttp")

        async def ask() -> Any:
            client = openai.AsyncOpenAI(
                base_url=f"{provider.url}/v1", api_key="test", http_client=openai.DefaultAioHttpClient()
            )
            async with llm_cost.wrap(client):
                arguments = {"model": "gpt-4o-mini", "messages": QUESTION}
                if not stream:
                    return seen(await client.chat.completions.create(**arguments))
                chunks = await client.chat.completions.create(
                    **arguments, stream=True, stream_options={"include_usage": True}
                )
                return [seen(chunk) async for chunk in chunks]

        assert asyncio.run(ask())
        (row,) = calls()
        assert (essence(row), row.captured_by) == (exact("stream_final" if stream else "response"), "httpx2")
