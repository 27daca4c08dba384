"""The openai package."""

from __future__ import annotations

import asyncio
from typing import Any

import openai

from sdk_calls.site import QUESTION, SDKCall, Site, seen

OPENAI_MODEL = "gpt-4o-mini"
_SNAPSHOT = ("openai", "gpt-4o-mini-2024-07-18")


def openai_client(site: Site) -> openai.OpenAI:
    return site.wrap(openai.OpenAI(**site.options(path="/v1")))


def async_openai_client(site: Site) -> openai.AsyncOpenAI:
    return site.wrap(openai.AsyncOpenAI(**site.options(True, "/v1")))


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


CALLS = (
    SDKCall("openai chat", *_SNAPSHOT, False, openai_chat),
    SDKCall("openai chat, streamed", *_SNAPSHOT, True, openai_chat_stream),
    SDKCall("openai chat, async", *_SNAPSHOT, False, openai_chat_async),
    SDKCall("openai chat, async, streamed", *_SNAPSHOT, True, openai_chat_async_stream),
    SDKCall("openai responses", *_SNAPSHOT, False, openai_responses),
    SDKCall("openai responses, streamed", *_SNAPSHOT, True, openai_responses_stream),
    SDKCall("openai responses, async, streamed", *_SNAPSHOT, True, openai_responses_async_stream),
)
