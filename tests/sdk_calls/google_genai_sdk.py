"""The google-genai package, on the Gemini API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx2
from google import genai

from sdk_calls.site import AsyncDetour, Detour, SDKCall, Site, seen

GEMINI_MODEL = "gemini-2.5-flash"
_SNAPSHOT = ("gemini", GEMINI_MODEL)


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


CALLS = (
    SDKCall("gemini", *_SNAPSHOT, False, gemini),
    SDKCall("gemini, streamed", *_SNAPSHOT, True, gemini_stream),
    SDKCall("gemini, async", *_SNAPSHOT, False, gemini_async),
    SDKCall("gemini, async, streamed", *_SNAPSHOT, True, gemini_async_stream),
)
