"""The groq package."""

from __future__ import annotations

from functools import partial
from typing import Any

import groq
import httpx

from sdk_calls.detours import async_http_client, http_client
from sdk_calls.optional import OptionalCall
from sdk_calls.site import QUESTION, Site, seen

GROQ_MODEL = "openai/gpt-oss-20b"
_ASKED: dict[str, Any] = {"model": GROQ_MODEL, "messages": QUESTION, "max_tokens": 100}


def groq_client(site: Site) -> groq.Groq:
    own = {"http_client": http_client(httpx, site)} if site.real_hosts else {"base_url": site.url}
    return site.wrap(groq.Groq(api_key="test", **site.patience(), **own))


def async_groq_client(site: Site) -> groq.AsyncGroq:
    own = {"http_client": async_http_client(httpx, site)} if site.real_hosts else {"base_url": site.url}
    return site.wrap(groq.AsyncGroq(api_key="test", **site.patience(), **own))


def chat(site: Site) -> Any:
    with groq_client(site) as client:
        return seen(client.chat.completions.create(**_ASKED))


def chat_stream(site: Site) -> Any:
    with groq_client(site) as client:
        return site.take(client.chat.completions.create(**_ASKED, stream=True))


def chat_raw(site: Site) -> Any:
    with groq_client(site) as client:
        return seen(client.chat.completions.with_raw_response.create(**_ASKED).parse())


def chat_async(site: Site) -> Any:
    async def ask() -> Any:
        async with async_groq_client(site) as client:
            return seen(await client.chat.completions.create(**_ASKED))

    return site.run(ask())


def chat_async_stream(site: Site) -> Any:
    async def ask() -> Any:
        async with async_groq_client(site) as client:
            stream = await client.chat.completions.create(**_ASKED, stream=True)
            return await site.take_async(stream)

    return site.run(ask())


_call = partial(OptionalCall, provider="groq", sdk="groq", http="httpx", model=GROQ_MODEL, asked=GROQ_MODEL)

CALLS = (
    _call("groq chat", stream=False, ask=chat),
    _call("groq chat, streamed", stream=True, ask=chat_stream, takes=True, patient=True, thorough=True),
    _call("groq chat, raw response", stream=False, ask=chat_raw),
    _call("groq chat, async", stream=False, ask=chat_async),
    _call(
        "groq chat, async, streamed", stream=True, ask=chat_async_stream, takes=True, asynchronous=True, thorough=True
    ),
)
