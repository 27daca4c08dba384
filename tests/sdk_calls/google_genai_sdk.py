"""The google-genai package, on the Gemini API and on Vertex."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx2
from google import genai
from google.auth.credentials import AnonymousCredentials

from sdk_calls.site import EMBEDDED, AsyncDetour, Detour, SDKCall, Site, seen

GEMINI_MODEL = "gemini-2.5-flash"
_EMBEDDING_MODEL = "gemini-embedding-001"
_SNAPSHOT = ("gemini", GEMINI_MODEL)
_ASKED: dict[str, Any] = {"model": GEMINI_MODEL, "contents": "What is the capital of France?"}


def _options(site: Site) -> dict[str, Any]:
    # attempts=1 also keeps google-genai from waiting for seconds before its own retry of a broken connection.
    retries = genai.types.HttpRetryOptions(
        attempts=site.retries + 1, initial_delay=0.001, max_delay=0.001, jitter=0.001
    )
    timeout = {} if site.timeout_s is None else {"timeout": round(site.timeout_s * 1000)}
    return {"base_url": site.url, "retry_options": retries, **timeout}


@contextmanager
def gemini_client(site: Site) -> Iterator[genai.Client]:
    if not site.real_hosts:
        with site.wrap(genai.Client(api_key="test", http_options=_options(site))) as client:
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
        with site.wrap(genai.Client(api_key="test", http_options=_options(site))) as client:
            async with client.aio as asynchronous:
                yield asynchronous
        return
    async with httpx2.AsyncClient(transport=AsyncDetour(site.url)) as http_client:
        options = genai.types.HttpOptions(httpx_async_client=http_client)
        with site.wrap(genai.Client(api_key="test", http_options=options)) as client:
            async with client.aio as asynchronous:
                yield asynchronous


@contextmanager
def _vertex(site: Site) -> Iterator[genai.Client]:
    credentials: Any = AnonymousCredentials()  # type: ignore[no-untyped-call]
    credentials.token = "test"
    options = {"project": "test", "location": "us-central1", "credentials": credentials}
    with site.wrap(genai.Client(vertexai=True, **options, http_options=_options(site))) as client:
        yield client


@asynccontextmanager
async def _async_vertex(site: Site) -> AsyncIterator[genai.client.AsyncClient]:
    with _vertex(site) as client:
        async with client.aio as asynchronous:
            yield asynchronous


def _sync(ask: Callable[[Site, Any], Any], client: Callable[[Site], Any] = gemini_client) -> Callable[[Site], Any]:
    def call(site: Site) -> Any:
        with client(site) as opened:
            return ask(site, opened)

    return call


def _async(
    ask: Callable[[Site, Any], Awaitable[Any]], client: Callable[[Site], Any] = async_gemini_client
) -> Callable[[Site], Any]:
    def call(site: Site) -> Any:
        async def run() -> Any:
            async with client(site) as opened:
                return await ask(site, opened)

        return site.run(run())

    return call


def _generate(_site: Site, client: Any) -> Any:
    return seen(client.models.generate_content(**_ASKED))


def _stream(site: Site, client: Any) -> Any:
    return site.take(client.models.generate_content_stream(**_ASKED))


async def _generate_async(_site: Site, client: Any) -> Any:
    return seen(await client.models.generate_content(**_ASKED))


async def _async_stream(site: Site, client: Any) -> Any:
    return await site.take_async(await client.models.generate_content_stream(**_ASKED))


_TAKEN: dict[str, Any] = {"takes": True, "early_usage": True, "lazy": True}
_ASYNC: dict[str, Any] = {"asynchronous": True}

CALLS = (
    SDKCall("gemini", *_SNAPSHOT, False, _sync(_generate), patient=True),
    SDKCall("gemini, streamed", *_SNAPSHOT, True, _sync(_stream), **_TAKEN, patient=True),
    SDKCall("gemini, async", *_SNAPSHOT, False, _async(_generate_async), **_ASYNC, patient=True),
    SDKCall("gemini, async, streamed", *_SNAPSHOT, True, _async(_async_stream), **_TAKEN, **_ASYNC, patient=True),
)


def _chat(_site: Site, client: Any) -> Any:
    return seen(client.chats.create(model=GEMINI_MODEL).send_message("What is it?"))


def _chat_stream(site: Site, client: Any) -> Any:
    return site.take(client.chats.create(model=GEMINI_MODEL).send_message_stream("What is it?"))


async def _chat_async_stream(site: Site, client: Any) -> Any:
    return await site.take_async(await client.chats.create(model=GEMINI_MODEL).send_message_stream("What is it?"))


def _count_tokens(_site: Site, client: Any) -> Any:
    return seen(client.models.count_tokens(**_ASKED))


def _embed(_site: Site, client: Any) -> Any:
    return seen(client.models.embed_content(model=_EMBEDDING_MODEL, contents=["Paris", "London"]))


async def _embed_async(_site: Site, client: Any) -> Any:
    return seen(await client.models.embed_content(model=_EMBEDDING_MODEL, contents=["Paris", "London"]))


_VERTEX = ("vertex", GEMINI_MODEL)
_EMBEDDED = ("gemini", _EMBEDDING_MODEL, False)
_VERTEX_EMBEDDED = ("vertex", _EMBEDDING_MODEL, False)

MORE_CALLS = (
    SDKCall("gemini chat", *_SNAPSHOT, False, _sync(_chat)),
    SDKCall("gemini chat, streamed", *_SNAPSHOT, True, _sync(_chat_stream), **_TAKEN),
    SDKCall("gemini chat, async, streamed", *_SNAPSHOT, True, _async(_chat_async_stream), **_TAKEN, **_ASYNC),
    SDKCall("gemini count_tokens", *_SNAPSHOT, False, _sync(_count_tokens), recorded=False),
    SDKCall("vertex", *_VERTEX, False, _sync(_generate, _vertex)),
    SDKCall("vertex, streamed", *_VERTEX, True, _sync(_stream, _vertex), **_TAKEN),
    SDKCall("vertex, async", *_VERTEX, False, _async(_generate_async, _async_vertex), **_ASYNC),
    SDKCall("vertex, async, streamed", *_VERTEX, True, _async(_async_stream, _async_vertex), **_TAKEN, **_ASYNC),
    SDKCall("gemini embed_content", *_EMBEDDED, _sync(_embed), tokens=EMBEDDED),
    SDKCall("gemini embed_content, async", *_EMBEDDED, _async(_embed_async), tokens=EMBEDDED, **_ASYNC),
    SDKCall("vertex embed_content", *_VERTEX_EMBEDDED, _sync(_embed, _vertex), tokens=EMBEDDED),
    SDKCall(
        "vertex embed_content, async",
        *_VERTEX_EMBEDDED,
        _async(_embed_async, _async_vertex),
        tokens=EMBEDDED,
        **_ASYNC,
    ),
)
