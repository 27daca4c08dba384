"""The langchain-openai package: on the openai package, whose HTTP clients its objects share."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

from sdk_calls.detours import OPENAI_FAMILY, async_http_client, http_client
from sdk_calls.openai_sdk import OPENAI_MODEL
from sdk_calls.optional import OptionalCall
from sdk_calls.site import EMBEDDED, Site, seen

EMBEDDING_MODEL = "text-embedding-3-small"
QUESTION = "What is the capital of France?"
_RUN = re.compile(r'"(?:run-|lc_run--)[0-9a-f-]+"')


class Capital(BaseModel):
    """What the structured call is asked for."""

    city: str


def options(site: Site) -> dict[str, Any]:
    return {"api_key": "test", **site.patience()} | ({} if site.real_hosts else {"base_url": f"{site.url}/v1"})


@contextmanager
def chat_model(site: Site, **more: Any) -> Iterator[ChatOpenAI]:
    # LangChain closes no client, neither those it was given nor its own.
    with http_client(OPENAI_FAMILY, site) as given:
        yield site.wrap(ChatOpenAI(model=OPENAI_MODEL, http_client=given, **options(site), **more))


@asynccontextmanager
async def async_chat_model(site: Site, **more: Any) -> AsyncIterator[ChatOpenAI]:
    async with async_http_client(OPENAI_FAMILY, site) as given:
        yield site.wrap(ChatOpenAI(model=OPENAI_MODEL, http_async_client=given, **options(site), **more))


def said(message: Any) -> Any:
    """A message without the id that LangChain gives each run."""
    return json.loads(_RUN.sub('"run"', json.dumps(seen(message))))


def chat(site: Site) -> Any:
    with chat_model(site) as model:
        return said(model.invoke(QUESTION))


def chat_stream(site: Site) -> Any:
    with chat_model(site, stream_usage=True) as model:
        return [said(chunk) for chunk in site.take(model.stream(QUESTION))]


def chat_async(site: Site) -> Any:
    async def ask() -> Any:
        async with async_chat_model(site) as model:
            return said(await model.ainvoke(QUESTION))

    return site.run(ask())


def chat_async_stream(site: Site) -> Any:
    async def ask() -> Any:
        async with async_chat_model(site, stream_usage=True) as model:
            return [said(chunk) for chunk in await site.take_async(model.astream(QUESTION))]

    return site.run(ask())


def responses(site: Site) -> Any:
    with chat_model(site, use_responses_api=True) as model:
        return said(model.invoke(QUESTION))


def structured(site: Site) -> Any:
    with chat_model(site) as model:
        answer = model.with_structured_output(Capital, method="json_mode", include_raw=True).invoke(QUESTION)
    return [said(answer["raw"]), seen(answer["parsed"])]


def embeddings(site: Site) -> Any:
    with http_client(OPENAI_FAMILY, site) as given:
        embedder = OpenAIEmbeddings(
            model=EMBEDDING_MODEL, check_embedding_ctx_length=False, http_client=given, **options(site)
        )
        return site.wrap(embedder).embed_documents(["Paris", "London"])


_call = partial(OptionalCall, provider="openai", sdk="langchain-openai", http=OPENAI_FAMILY.__name__)
_chat = partial(_call, model="gpt-4o-mini-2024-07-18", asked=OPENAI_MODEL)

CALLS = (
    _chat("langchain chat", stream=False, ask=chat),
    _chat("langchain chat, streamed", stream=True, ask=chat_stream, takes=True, lazy=True, patient=True, thorough=True),
    _chat("langchain chat, async", stream=False, ask=chat_async),
    _chat(
        "langchain chat, async, streamed",
        stream=True,
        ask=chat_async_stream,
        takes=True,
        asynchronous=True,
        lazy=True,
        thorough=True,
    ),
    _chat("langchain responses", stream=False, ask=responses),
    _chat("langchain structured output", stream=False, ask=structured),
    _call(
        "langchain embeddings",
        model=EMBEDDING_MODEL,
        asked=EMBEDDING_MODEL,
        stream=False,
        ask=embeddings,
        operation="embeddings",
        tokens=EMBEDDED,
    ),
)
