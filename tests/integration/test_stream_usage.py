"""Streams that nobody asked for their usage: asked by us where the setting says so, warned of where it does not."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import aiohttp
import httpx
import httpx2
import openai
import pytest
import requests

from flask_llm_cost import LLMCost
from flask_llm_cost.ledger.models import Call
from flask_llm_cost.testing import Answer, ProviderServer

REQUEST = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}], "stream": True}
COST = (10 * Decimal("0.15") + 5 * Decimal("0.60")) / 1_000_000
_PADDING = re.compile(rb'"obfuscation":"[^"]*"')

Seen = list[bytes]
Client = Callable[[LLMCost | None, str], Seen]


def answer(**changes: Any) -> Answer:
    return Answer(
        text='Say "usage" to me.', input_tokens=10, output_tokens=5, response_id="answer-1", created_at=1, **changes
    )


def steady(pieces: Seen) -> tuple[list[int], bytes]:
    """The sizes of the pieces and what is in them, without the padding, which differs between any two answers."""
    return [len(piece) for piece in pieces], _PADDING.sub(b"", b"".join(pieces))


def httpx_raw(family: Any) -> Client:
    def ask(llm_cost: LLMCost | None, url: str) -> Seen:
        with family.Client() as client:
            if llm_cost:
                llm_cost.wrap(client)
            request = client.build_request("POST", url, json=REQUEST)
            before = (request.content, dict(request.headers))
            response = client.send(request, stream=True)
            pieces = list(response.iter_bytes())
            assert response.request is request
            assert (request.content, dict(request.headers)) == before
            return pieces

    return ask


def httpx_transport(family: Any) -> Client:
    def ask(llm_cost: LLMCost | None, url: str) -> Seen:
        transport = llm_cost.httpx_transport() if llm_cost else None
        with family.Client(transport=transport) as client, client.stream("POST", url, json=REQUEST) as response:
            assert json.loads(response.request.content) == REQUEST
            return list(response.iter_bytes())

    return ask


def httpx_whole(family: Any) -> Client:
    def ask(llm_cost: LLMCost | None, url: str) -> Seen:
        with family.Client() as client:
            if llm_cost:
                llm_cost.wrap(client)
            return [client.post(url, json=REQUEST).content]

    return ask


def httpx_async(family: Any) -> Client:
    def ask(llm_cost: LLMCost | None, url: str) -> Seen:
        async def run() -> Seen:
            async with family.AsyncClient() as client:
                if llm_cost:
                    llm_cost.wrap(client)
                async with client.stream("POST", url, json=REQUEST) as response:
                    return [piece async for piece in response.aiter_bytes()]

        return asyncio.run(run())

    return ask


def httpx_async_transport(family: Any) -> Client:
    def ask(llm_cost: LLMCost | None, url: str) -> Seen:
        async def run() -> Seen:
            transport = llm_cost.async_httpx_transport() if llm_cost else None
            async with family.AsyncClient(transport=transport) as client:
                async with client.stream("POST", url, json=REQUEST) as response:
                    return [piece async for piece in response.aiter_bytes()]

        return asyncio.run(run())

    return ask


def with_requests(read: Callable[[requests.Response], Seen], *, stream: bool = True) -> Client:
    def ask(llm_cost: LLMCost | None, url: str) -> Seen:
        with requests.Session() as session:
            if llm_cost:
                llm_cost.mount(session)
            response = session.post(url, json=REQUEST, stream=stream)
            assert json.loads(response.request.body or b"") == REQUEST
            return read(response)

    return ask


def requests_read(response: requests.Response) -> Seen:
    pieces = []
    while piece := response.raw.read(50):
        pieces.append(piece)
    return pieces


def requests_read1(response: requests.Response) -> Seen:
    pieces = []
    while piece := response.raw.read1(5000):
        pieces.append(piece)
    return [b"".join(pieces)]


def with_aiohttp(read: Callable[[aiohttp.ClientResponse], Any], **options: Any) -> Client:
    def ask(llm_cost: LLMCost | None, url: str) -> Seen:
        async def run() -> Seen:
            async with aiohttp.ClientSession() as session:
                if llm_cost:
                    llm_cost.wrap(session)
                sent = options or {"json": REQUEST}
                async with session.post(url, **sent) as response:
                    pieces: Seen = await read(response)
                    return pieces

        return asyncio.run(run())

    return ask


async def aiohttp_lines(response: aiohttp.ClientResponse) -> Seen:
    return [line async for line in response.content]


async def aiohttp_any(response: aiohttp.ClientResponse) -> Seen:
    return [b"".join([piece async for piece in response.content.iter_any()])]


async def aiohttp_chunks(response: aiohttp.ClientResponse) -> Seen:
    return [piece async for piece, _ in response.content.iter_chunks() if piece]


async def aiohttp_sized(response: aiohttp.ClientResponse) -> Seen:
    return [b"".join([piece async for piece in response.content.iter_chunked(13)])]


async def aiohttp_whole(response: aiohttp.ClientResponse) -> Seen:
    return [await response.read()]


async def aiohttp_exactly(response: aiohttp.ClientResponse) -> Seen:
    first = await response.content.readexactly(100)
    separated = await response.content.readuntil(b"}\n\n")
    rest = []
    while not response.content.at_eof():
        rest.append(await response.content.readany())
    return [first, separated, b"".join(rest)]


CLIENTS: dict[str, Client] = {
    **{
        f"{family.__name__}, {name}": way(family)
        for family in (httpx, httpx2)
        for name, way in {
            "wrapped": httpx_raw,
            "read at once": httpx_whole,
            "transport": httpx_transport,
            "async": httpx_async,
            "async transport": httpx_async_transport,
        }.items()
    },
    "requests, iter_lines": with_requests(lambda response: list(response.iter_lines())),
    "requests, iter_content": with_requests(lambda response: list(response.iter_content(7))),
    "requests, content": with_requests(lambda response: [response.content], stream=False),
    "requests, raw.read": with_requests(requests_read),
    "requests, raw.read1": with_requests(requests_read1),
    "requests, raw": with_requests(lambda response: list(response.raw)),
    "requests, raw.stream": with_requests(lambda response: list(response.raw.stream(40))),
    "aiohttp, lines": with_aiohttp(aiohttp_lines),
    "aiohttp, iter_any": with_aiohttp(aiohttp_any),
    "aiohttp, iter_chunks": with_aiohttp(aiohttp_chunks),
    "aiohttp, iter_chunked": with_aiohttp(aiohttp_sized),
    "aiohttp, read": with_aiohttp(aiohttp_whole),
    "aiohttp, readexactly": with_aiohttp(aiohttp_exactly),
    "aiohttp, a text": with_aiohttp(aiohttp_whole, data=json.dumps(REQUEST)),
    "aiohttp, bytes": with_aiohttp(aiohttp_whole, data=json.dumps(REQUEST).encode()),
}


@pytest.fixture
def url(provider: ProviderServer) -> str:
    provider.respond(lambda _received: answer())
    return f"{provider.url}/v1/chat/completions"


@pytest.fixture
def asking(make_app: Any, provider: ProviderServer) -> LLMCost:
    host = provider.url.removeprefix("http://")
    _, llm_cost = make_app(LLM_COST_INJECT_STREAM_USAGE=[host], LLM_COST_OPENAI_COMPATIBLE_HOSTS={host: "openai"})
    return llm_cost


def rows(llm_cost: LLMCost) -> list[tuple[Any, ...]]:
    assert llm_cost.flush(5)
    with llm_cost.session() as session:
        return [
            (row.status, row.input_tokens, row.output_tokens, row.total_cost, row.usage_source)
            for row in session.query(Call).order_by(Call.tracked_at)
        ]


EXACT = ("ok", 10, 5, COST, "stream_final")


def options_received(provider: ProviderServer) -> list[object]:
    return [received.json.get("stream_options") for received in provider.requests]


@pytest.mark.parametrize("name", CLIENTS)
def test_the_app_sees_what_it_would_and_the_usage_is_recorded(
    name: str, asking: LLMCost, provider: ProviderServer, url: str
) -> None:
    """Bytes and their boundaries are those of a client without us; the app's own request stays as it is."""
    expected = CLIENTS[name](None, url)
    assert steady(CLIENTS[name](asking, url)) == steady(expected)
    assert options_received(provider) == [None, {"include_usage": True}]
    assert rows(asking) == [EXACT]


@pytest.mark.parametrize("size", [1, 150])
@pytest.mark.parametrize(
    "name", ["httpx, wrapped", "httpx2, async", "requests, iter_lines", "requests, raw.read", "aiohttp, lines"]
)
def test_events_cut_anywhere_arrive_whole(
    name: str, size: int, asking: LLMCost, provider: ProviderServer, url: str
) -> None:
    _, expected = steady(CLIENTS[name](None, url))
    provider.respond(lambda _received: answer(chunk_bytes=size))
    assert steady(CLIENTS[name](asking, url))[1] == expected
    assert rows(asking) == [EXACT]


@pytest.mark.parametrize("name", ["requests, iter_lines", "requests, content", "aiohttp, lines", "httpx, read at once"])
def test_an_answer_compressed_unasked_is_stripped_where_the_library_inflates_it(
    name: str, asking: LLMCost, provider: ProviderServer, url: str
) -> None:
    provider.respond(lambda _received: answer(gzip=True))
    expected = CLIENTS[name](None, url)
    assert steady(CLIENTS[name](asking, url)) == steady(expected)
    assert rows(asking) == [EXACT]


def test_the_answer_is_asked_for_uncompressed_and_a_host_that_compresses_all_the_same_is_asked_once(
    asking: LLMCost, provider: ProviderServer, url: str
) -> None:
    provider.respond(lambda _received: answer(gzip=True))
    for _ in range(2):
        httpx_raw(httpx)(asking, url)
    assert [received.headers["accept-encoding"] == "identity" for received in provider.requests] == [True, False]
    assert options_received(provider) == [{"include_usage": True}, None]
    assert rows(asking) == [EXACT, ("ok", 0, 0, None, "unknown")]


def seen_by_openai(llm_cost: LLMCost | None, url: str, *, is_async: bool, **options: Any) -> list[Any]:
    wrap: Any = llm_cost.wrap if llm_cost else lambda client: client
    arguments: Any = {**REQUEST, **options}
    settings: Any = {"api_key": "test", "base_url": url.removesuffix("/chat/completions"), "max_retries": 2}

    async def run() -> list[Any]:
        async with wrap(openai.AsyncOpenAI(**settings)) as client:
            stream = await client.chat.completions.create(**arguments)
            return [chunk.to_dict() async for chunk in stream]

    if is_async:
        chunks = asyncio.run(run())
    else:
        with wrap(openai.OpenAI(**settings)) as client:
            chunks = [chunk.to_dict() for chunk in client.chat.completions.create(**arguments)]
    for chunk in chunks:
        del chunk["obfuscation"]
    return chunks


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_the_openai_sdk_yields_the_same_chunks_also_after_a_retry(
    is_async: bool, asking: LLMCost, provider: ProviderServer, url: str
) -> None:
    """``chunk.choices[0]`` works on every one. A retry asks once more, not twice."""
    expected = seen_by_openai(None, url, is_async=is_async)
    provider.next(Answer(status=500, retry_after_s=0))
    chunks = seen_by_openai(asking, url, is_async=is_async)
    assert chunks == expected
    assert all(chunk["choices"] for chunk in chunks)
    assert options_received(provider) == [None, {"include_usage": True}, {"include_usage": True}]
    assert provider.requests[1].body == provider.requests[2].body
    assert rows(asking) == [("error", 0, 0, None, "unknown"), EXACT]


def test_what_the_app_asks_itself_it_gets(asking: LLMCost, provider: ProviderServer, url: str) -> None:
    options = {"stream_options": {"include_usage": True}}
    expected = seen_by_openai(None, url, is_async=False, **options)
    assert seen_by_openai(asking, url, is_async=False, **options) == expected
    assert expected[-1]["choices"] == []
    assert provider.requests[0].body == provider.requests[1].body
    assert rows(asking) == [EXACT]


def test_one_request_object_sent_twice_is_asked_twice_and_stays_the_apps(
    asking: LLMCost, provider: ProviderServer, url: str
) -> None:
    """As Mistral's SDK does when it tries again."""
    with httpx.Client() as client:
        asking.wrap(client)
        request = client.build_request("POST", url, json=REQUEST)
        contents = [client.send(request).content for _ in range(2)]
    assert steady(contents[:1]) == steady(contents[1:])
    assert b'"usage":' not in contents[0]
    assert json.loads(request.content) == REQUEST
    assert options_received(provider) == [{"include_usage": True}] * 2
    assert rows(asking) == [EXACT] * 2


def test_every_way_in_at_once_asks_once(asking: LLMCost, provider: ProviderServer, url: str) -> None:
    asking.instrument("httpx")
    with httpx.Client(transport=asking.httpx_transport()) as client:
        content = asking.wrap(client).post(url, json=REQUEST).content
    assert b'"usage":' not in content
    assert options_received(provider) == [{"include_usage": True}]
    assert rows(asking) == [EXACT]


def test_a_host_that_is_not_listed_is_not_asked(make_app: Any, provider: ProviderServer, url: str) -> None:
    _, llm_cost = make_app(LLM_COST_INJECT_STREAM_USAGE=True)
    for name in ("httpx, wrapped", "requests, iter_lines", "aiohttp, lines"):
        CLIENTS[name](llm_cost, url)
    assert options_received(provider) == [None] * 3


def test_a_host_that_refuses_is_asked_once(
    asking: LLMCost, provider: ProviderServer, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    complaint = b'{"detail": [{"loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted"}]}'
    provider.respond(
        lambda received: Answer(status=422, body=complaint) if "stream_options" in received.json else answer()
    )
    with httpx.Client() as client:
        asking.wrap(client)
        statuses = [client.post(url, json=REQUEST).status_code for _ in range(2)]
    assert statuses == [422, 200]
    assert options_received(provider) == [{"include_usage": True}, None]
    assert "refused to be asked for a stream's usage" in caplog.text


def test_a_signed_request_goes_out_as_it_is(asking: LLMCost, provider: ProviderServer, url: str) -> None:
    headers = {"Content-Digest": "sha-256=:x:"}
    with httpx.Client(headers=headers) as client:
        asking.wrap(client).post(url, json=REQUEST)
    assert options_received(provider) == [None]


def test_a_body_that_is_streamed_up_goes_out_as_it_is(asking: LLMCost, provider: ProviderServer, url: str) -> None:
    body = json.dumps(REQUEST).encode()
    with httpx.Client() as client:
        headers = {"content-length": str(len(body))}
        asking.wrap(client).post(url, content=iter([body]), headers=headers)
    assert options_received(provider) == [None]


def test_an_error_refers_to_the_apps_own_request(asking: LLMCost) -> None:
    own = httpx.Request("POST", "http://127.0.0.1:9/v1/chat/completions", json=REQUEST)
    with httpx.Client() as client, pytest.raises(httpx.ConnectError) as caught:
        asking.wrap(client).send(own)
    assert caught.value.request is own


def test_a_broken_stream_hands_on_what_it_held_and_raises_what_it_always_raised(
    asking: LLMCost, provider: ProviderServer, url: str
) -> None:
    def read(llm_cost: LLMCost | None) -> bytes:
        provider.next(answer(chunk_bytes=100, cut_after=3))
        pieces: Seen = []
        with httpx.Client() as client:
            if llm_cost:
                llm_cost.wrap(client)
            with client.stream("POST", url, json=REQUEST) as response, pytest.raises(httpx.RemoteProtocolError):
                pieces.extend(response.iter_raw())
        return b"".join(pieces)

    assert len(read(None)) == 300
    assert 250 <= len(read(asking)) <= 300
    assert [row[0] for row in rows(asking)] == ["error"]


class TestWarning:
    """Streams that end well without usage, because nobody asked. Covers P-PARSE-OAI-15."""

    def warnings(self, caplog: pytest.LogCaptureFixture) -> list[str]:
        return [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]

    def test_it_comes_once_per_host_and_names_the_fix(
        self, llm_cost: LLMCost, url: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        for _ in range(3):
            httpx_raw(httpx)(llm_cost, url)
        expected = (
            "A stream from 127.0.0.1 ended without its usage, because nobody asked for it: its cost is unknown. Pass "
            "stream_options={\"include_usage\": True}, or set LLM_COST_INJECT_STREAM_USAGE = ['127.0.0.1']."
        )
        assert self.warnings(caplog) == [expected]

    def test_a_stream_left_half_way_or_asked_for_its_usage_is_not_warned_of(
        self, llm_cost: LLMCost, provider: ProviderServer, url: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        with httpx.Client() as client:
            llm_cost.wrap(client)
            with client.stream("POST", url, json=REQUEST) as response:
                next(response.iter_raw(20))
            client.post(url, json={**REQUEST, "stream_options": {"include_usage": True}})
            provider.respond(lambda _received: answer(usage=False))
            client.post(url, json={**REQUEST, "stream_options": {"include_usage": True}})
        assert self.warnings(caplog) == []
