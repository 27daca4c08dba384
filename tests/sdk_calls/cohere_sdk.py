"""The cohere package, its version 2 client."""

from __future__ import annotations

from functools import partial
from typing import Any

import cohere
import httpx

from sdk_calls.detours import async_http_client, http_client
from sdk_calls.optional import OptionalCall
from sdk_calls.site import EMBEDDED, NOTHING, QUESTION, Site, seen

COHERE_MODEL = "command-a-03-2025"
EMBED_MODEL = "embed-v4.0"
RERANK_MODEL = "rerank-v3.5"
DOCUMENTS = ["Paris is the capital of France.", "London is not."]
_ASKED: dict[str, Any] = {"model": COHERE_MODEL, "messages": QUESTION, "max_tokens": 100}


def cohere_client(site: Site) -> cohere.ClientV2:
    own = {"httpx_client": http_client(httpx, site)} if site.real_hosts else {"base_url": site.url}
    return site.wrap(cohere.ClientV2(api_key="test", **own))


def async_cohere_client(site: Site) -> cohere.AsyncClientV2:
    own = {"httpx_client": async_http_client(httpx, site)} if site.real_hosts else {"base_url": site.url}
    return site.wrap(cohere.AsyncClientV2(api_key="test", **own))


def chat(site: Site) -> Any:
    with cohere_client(site) as client:
        return seen(client.chat(**_ASKED))


def chat_stream(site: Site) -> Any:
    with cohere_client(site) as client:
        return site.take(client.chat_stream(**_ASKED))


def chat_async(site: Site) -> Any:
    async def ask() -> Any:
        async with async_cohere_client(site) as client:
            return seen(await client.chat(**_ASKED))

    return site.run(ask())


def chat_async_stream(site: Site) -> Any:
    async def ask() -> Any:
        async with async_cohere_client(site) as client:
            return await site.take_async(client.chat_stream(**_ASKED))

    return site.run(ask())


def embed(site: Site) -> Any:
    with cohere_client(site) as client:
        return seen(
            client.embed(model=EMBED_MODEL, texts=DOCUMENTS, input_type="search_document", embedding_types=["float"])
        )


def rerank(site: Site) -> Any:
    with cohere_client(site) as client:
        return seen(client.rerank(model=RERANK_MODEL, query="What is the capital?", documents=DOCUMENTS))


_call = partial(OptionalCall, provider="cohere", sdk="cohere", http="httpx")
# Cohere bills cached input as any other, and has no word for reasoning.
_chat = partial(_call, tokens=(14, 0, 50, 0), model=COHERE_MODEL, asked=COHERE_MODEL)

CALLS = (
    _chat("cohere chat", stream=False, ask=chat),
    _chat("cohere chat, streamed", stream=True, ask=chat_stream, takes=True, lazy=True, thorough=True),
    _chat("cohere chat, async", stream=False, ask=chat_async),
    _chat(
        "cohere chat, async, streamed",
        stream=True,
        ask=chat_async_stream,
        takes=True,
        asynchronous=True,
        lazy=True,
        thorough=True,
    ),
    _call(
        "cohere embed",
        model=EMBED_MODEL,
        asked=EMBED_MODEL,
        stream=False,
        ask=embed,
        operation="embeddings",
        tokens=EMBEDDED,
    ),
    _call(
        "cohere rerank",
        model=RERANK_MODEL,
        asked=RERANK_MODEL,
        stream=False,
        ask=rerank,
        operation="rerank",
        tokens=NOTHING,
    ),
)
