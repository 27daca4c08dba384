"""The anthropic package."""

from __future__ import annotations

import asyncio
from typing import Any

import anthropic

from sdk_calls.site import QUESTION, SDKCall, Site, seen

ANTHROPIC_MODEL = "claude-haiku-4-5"
_SNAPSHOT = ("anthropic", "claude-haiku-4-5-20251001")


def anthropic_client(site: Site) -> anthropic.Anthropic:
    return site.wrap(anthropic.Anthropic(**site.options()))


def async_anthropic_client(site: Site) -> anthropic.AsyncAnthropic:
    return site.wrap(anthropic.AsyncAnthropic(**site.options(True)))


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


CALLS = (
    SDKCall("anthropic messages", *_SNAPSHOT, False, anthropic_messages),
    SDKCall("anthropic messages, streamed", *_SNAPSHOT, True, anthropic_stream),
    SDKCall("anthropic stream helper", *_SNAPSHOT, True, anthropic_stream_helper),
    SDKCall("anthropic messages, async", *_SNAPSHOT, False, anthropic_async),
    SDKCall("anthropic messages, async, streamed", *_SNAPSHOT, True, anthropic_async_stream),
)
