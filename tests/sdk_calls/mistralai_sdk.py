"""The mistralai package, version 2 and later."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

from mistralai.client import Mistral, basesdk
from mistralai.client.utils import BackoffStrategy, RetryConfig

from sdk_calls.detours import async_http_client, http_client
from sdk_calls.optional import OptionalCall
from sdk_calls.site import EMBEDDED, QUESTION, Site, seen

MISTRAL_MODEL = "ministral-8b-2512"
EMBEDDING_MODEL = "mistral-embed"
_ASKED: dict[str, Any] = {"model": MISTRAL_MODEL, "messages": QUESTION, "max_tokens": 100}

# What the installed version sends through: httpx, and httpx2 since version 3.
FAMILY: Any = basesdk.httpx


@contextmanager
def mistral_client(site: Site) -> Iterator[Mistral]:
    # mistralai leaves clients that it was given open.
    with http_client(FAMILY, site) as given, site.wrap(Mistral(client=given, **options(site))) as client:
        yield client


@asynccontextmanager
async def async_mistral_client(site: Site) -> AsyncIterator[Mistral]:
    async with async_http_client(FAMILY, site) as given:
        async with site.wrap(Mistral(async_client=given, **options(site))) as client:
            yield client


def options(site: Site) -> dict[str, Any]:
    backoff = BackoffStrategy(initial_interval=1, max_interval=1, exponent=1, max_elapsed_time=10_000)
    retries = {"retry_config": RetryConfig("backoff", backoff, retry_connection_errors=False)} if site.retries else {}
    timeout = {} if site.timeout_s is None else {"timeout_ms": round(site.timeout_s * 1000)}
    return {"api_key": "test", **retries, **timeout} | ({} if site.real_hosts else {"server_url": site.url})


def chat(site: Site) -> Any:
    with mistral_client(site) as client:
        return seen(client.chat.complete(**_ASKED))


def chat_stream(site: Site) -> Any:
    with mistral_client(site) as client, client.chat.stream(**_ASKED) as stream:
        return site.take(stream)


def chat_async(site: Site) -> Any:
    async def ask() -> Any:
        async with async_mistral_client(site) as client:
            return seen(await client.chat.complete_async(**_ASKED))

    return site.run(ask())


def chat_async_stream(site: Site) -> Any:
    async def ask() -> Any:
        async with async_mistral_client(site) as client:
            async with await client.chat.stream_async(**_ASKED) as stream:
                return await site.take_async(stream)

    return site.run(ask())


def embeddings(site: Site) -> Any:
    with mistral_client(site) as client:
        return seen(client.embeddings.create(model=EMBEDDING_MODEL, inputs=["Paris", "London"]))


_call = partial(OptionalCall, provider="mistral", sdk="mistralai", http=FAMILY.__name__)
# Mistral has no word for reasoning.
_chat = partial(_call, tokens=(10, 4, 50, 0), model=MISTRAL_MODEL, asked=MISTRAL_MODEL)

CALLS = (
    _chat("mistral chat", stream=False, ask=chat),
    _chat("mistral chat, streamed", stream=True, ask=chat_stream, takes=True, patient=True, thorough=True),
    _chat("mistral chat, async", stream=False, ask=chat_async),
    _chat(
        "mistral chat, async, streamed",
        stream=True,
        ask=chat_async_stream,
        takes=True,
        asynchronous=True,
        thorough=True,
    ),
    _call(
        "mistral embeddings",
        model=EMBEDDING_MODEL,
        asked=EMBEDDING_MODEL,
        stream=False,
        ask=embeddings,
        operation="embeddings",
        tokens=EMBEDDED,
    ),
)
