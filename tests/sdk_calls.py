"""Calls of the real SDKs, each as a function from a server's URL to what the app sees. Used by several tests."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import anthropic
import httpx2
import openai
from google import genai

OPENAI_MODEL, ANTHROPIC_MODEL, GEMINI_MODEL = "gpt-4o-mini", "claude-haiku-4-5", "gemini-2.5-flash"
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


# What differs between any two calls, with us or without: padding, item ids, the clock.
_RANDOM = re.compile(
    r'"obfuscation": "[^"]*"|"(?:rs|msg|fc|ws)_[0-9a-f]{20,}"|"(?:date|x-request-id|server-timing)": "[^"]*"',
    re.IGNORECASE,
)


def seen(answer: Any) -> Any:
    """What the app sees of an SDK object, as plain data, without what differs between any two calls."""
    return json.loads(_RANDOM.sub(_masked, json.dumps(answer.model_dump(mode="json", warnings=False))))


def _masked(match: re.Match[str]) -> str:
    name, colon, _ = match.group().partition(": ")
    return f'{name}: ""' if colon else '""'


class Detour(httpx2.HTTPTransport):
    """Sends what is meant for a provider's own host to a local server, below the client: the URL stays the real one."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._target = httpx2.URL(url)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        return super().handle_request(_redirected(request, self._target))


class AsyncDetour(httpx2.AsyncHTTPTransport):
    def __init__(self, url: str) -> None:
        super().__init__()
        self._target = httpx2.URL(url)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        return await super().handle_async_request(_redirected(request, self._target))


def _redirected(request: httpx2.Request, target: httpx2.URL) -> httpx2.Request:
    url = request.url.copy_with(scheme=target.scheme, host=target.host, port=target.port)
    return httpx2.Request(
        request.method, url, headers=request.headers, stream=request.stream, extensions=request.extensions
    )


@dataclass(frozen=True)
class Site:
    """Where to ask: a local server under its own address, or under the providers' own host names.

    Attributes:
        url: the local server.
        real_hosts: ask api.openai.com and so on, with a detour below the client.
        wrap: what to do with each SDK client made.
    """

    url: str
    real_hosts: bool = False
    wrap: Callable[[Any], Any] = lambda client: client

    def options(self, asynchronous: bool = False, path: str = "") -> dict[str, Any]:
        options: dict[str, Any] = {"api_key": "test", "max_retries": 0}
        if not self.real_hosts:
            return {**options, "base_url": self.url + path}
        client = httpx2.AsyncClient if asynchronous else httpx2.Client
        return {**options, "http_client": client(transport=(AsyncDetour if asynchronous else Detour)(self.url))}


@dataclass(frozen=True)
class SDKCall:
    """One way of asking.

    Attributes:
        provider, model: as the ledger is to name them.
        stream: whether the answer is streamed.
        ask: asks a site and returns what the app saw.
    """

    name: str
    provider: str
    model: str
    stream: bool
    ask: Callable[[Site], Any]


def openai_client(site: Site) -> openai.OpenAI:
    return site.wrap(openai.OpenAI(**site.options(path="/v1")))


def async_openai_client(site: Site) -> openai.AsyncOpenAI:
    return site.wrap(openai.AsyncOpenAI(**site.options(True, "/v1")))


def anthropic_client(site: Site) -> anthropic.Anthropic:
    return site.wrap(anthropic.Anthropic(**site.options()))


def async_anthropic_client(site: Site) -> anthropic.AsyncAnthropic:
    return site.wrap(anthropic.AsyncAnthropic(**site.options(True)))


@contextmanager
def gemini_client(site: Site) -> Iterator[genai.Client]:
    if not site.real_hosts:
        with site.wrap(genai.Client(api_key="test", http_options={"base_url": site.url})) as client:
            yield client
        return
    # google-genai leaves clients that it was given open.
    with httpx2.Client(transport=Detour(site.url)) as http_client:
        options = genai.types.HttpOptions(httpx_client=http_client)
        with site.wrap(genai.Client(api_key="test", http_options=options)) as client:
            yield client


@asynccontextmanager
async def async_gemini_client(site: Site) -> AsyncIterator[genai.client.AsyncClient]:
    if not site.real_hosts:
        with site.wrap(genai.Client(api_key="test", http_options={"base_url": site.url})) as client:
            async with client.aio as asynchronous:
                yield asynchronous
        return
    async with httpx2.AsyncClient(transport=AsyncDetour(site.url)) as http_client:
        options = genai.types.HttpOptions(httpx_async_client=http_client)
        with site.wrap(genai.Client(api_key="test", http_options=options)) as client:
            async with client.aio as asynchronous:
                yield asynchronous


def openai_chat(site: Site) -> Any:
    with openai_client(site) as client:
        return seen(client.chat.completions.create(model=OPENAI_MODEL, messages=QUESTION))


def openai_chat_stream(site: Site) -> Any:
    with openai_client(site) as client:
        stream = client.chat.completions.create(
            model=OPENAI_MODEL, messages=QUESTION, stream=True, stream_options={"include_usage": True}
        )
        return [seen(chunk) for chunk in stream]


def openai_responses(site: Site) -> Any:
    with openai_client(site) as client:
        return seen(client.responses.create(model=OPENAI_MODEL, input="What is the capital of France?"))


def openai_responses_stream(site: Site) -> Any:
    with openai_client(site) as client:
        stream = client.responses.create(model=OPENAI_MODEL, input="What is the capital of France?", stream=True)
        return [seen(event) for event in stream]


def openai_chat_async(site: Site) -> Any:
    async def ask() -> Any:
        async with async_openai_client(site) as client:
            return seen(await client.chat.completions.create(model=OPENAI_MODEL, messages=QUESTION))

    return asyncio.run(ask())


def openai_responses_async_stream(site: Site) -> Any:
    async def ask() -> Any:
        async with async_openai_client(site) as client:
            stream = await client.responses.create(model=OPENAI_MODEL, input="What is it?", stream=True)
            return [seen(event) async for event in stream]

    return asyncio.run(ask())


def openai_chat_async_stream(site: Site) -> Any:
    async def ask() -> Any:
        async with async_openai_client(site) as client:
            stream = await client.chat.completions.create(
                model=OPENAI_MODEL, messages=QUESTION, stream=True, stream_options={"include_usage": True}
            )
            return [seen(chunk) async for chunk in stream]

    return asyncio.run(ask())


def anthropic_messages(site: Site) -> Any:
    with anthropic_client(site) as client:
        return seen(client.messages.create(model=ANTHROPIC_MODEL, max_tokens=100, messages=QUESTION))


def anthropic_stream(site: Site) -> Any:
    with anthropic_client(site) as client:
        stream = client.messages.create(model=ANTHROPIC_MODEL, max_tokens=100, messages=QUESTION, stream=True)
        return [seen(event) for event in stream]


def anthropic_stream_helper(site: Site) -> Any:
    with (
        anthropic_client(site) as client,
        client.messages.stream(model=ANTHROPIC_MODEL, max_tokens=100, messages=QUESTION) as stream,
    ):
        return ["".join(stream.text_stream), seen(stream.get_final_message())]


def anthropic_async(site: Site) -> Any:
    async def ask() -> Any:
        async with async_anthropic_client(site) as client:
            return seen(await client.messages.create(model=ANTHROPIC_MODEL, max_tokens=100, messages=QUESTION))

    return asyncio.run(ask())


def anthropic_async_stream(site: Site) -> Any:
    async def ask() -> Any:
        async with async_anthropic_client(site) as client:
            stream = await client.messages.create(model=ANTHROPIC_MODEL, max_tokens=100, messages=QUESTION, stream=True)
            return [seen(event) async for event in stream]

    return asyncio.run(ask())


def gemini(site: Site) -> Any:
    with gemini_client(site) as client:
        return seen(client.models.generate_content(model=GEMINI_MODEL, contents="What is the capital of France?"))


def gemini_stream(site: Site) -> Any:
    with gemini_client(site) as client:
        stream = client.models.generate_content_stream(model=GEMINI_MODEL, contents="What is the capital of France?")
        return [seen(chunk) for chunk in stream]


def gemini_async(site: Site) -> Any:
    async def ask() -> Any:
        async with async_gemini_client(site) as client:
            return seen(await client.models.generate_content(model=GEMINI_MODEL, contents="What is it?"))

    return asyncio.run(ask())


def gemini_async_stream(site: Site) -> Any:
    async def ask() -> Any:
        async with async_gemini_client(site) as client:
            stream = await client.models.generate_content_stream(model=GEMINI_MODEL, contents="What is it?")
            return [seen(chunk) async for chunk in stream]

    return asyncio.run(ask())


_OPENAI = ("openai", "gpt-4o-mini-2024-07-18")
_ANTHROPIC = ("anthropic", "claude-haiku-4-5-20251001")
_GEMINI = ("gemini", "gemini-2.5-flash")

SDK_CALLS = (
    SDKCall("openai chat", *_OPENAI, False, openai_chat),
    SDKCall("openai chat, streamed", *_OPENAI, True, openai_chat_stream),
    SDKCall("openai chat, async", *_OPENAI, False, openai_chat_async),
    SDKCall("openai chat, async, streamed", *_OPENAI, True, openai_chat_async_stream),
    SDKCall("openai responses", *_OPENAI, False, openai_responses),
    SDKCall("openai responses, streamed", *_OPENAI, True, openai_responses_stream),
    SDKCall("openai responses, async, streamed", *_OPENAI, True, openai_responses_async_stream),
    SDKCall("anthropic messages", *_ANTHROPIC, False, anthropic_messages),
    SDKCall("anthropic messages, streamed", *_ANTHROPIC, True, anthropic_stream),
    SDKCall("anthropic stream helper", *_ANTHROPIC, True, anthropic_stream_helper),
    SDKCall("anthropic messages, async", *_ANTHROPIC, False, anthropic_async),
    SDKCall("anthropic messages, async, streamed", *_ANTHROPIC, True, anthropic_async_stream),
    SDKCall("gemini", *_GEMINI, False, gemini),
    SDKCall("gemini, streamed", *_GEMINI, True, gemini_stream),
    SDKCall("gemini, async", *_GEMINI, False, gemini_async),
    SDKCall("gemini, async, streamed", *_GEMINI, True, gemini_async_stream),
)
