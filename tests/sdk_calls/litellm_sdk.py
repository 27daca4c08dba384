"""The litellm package: OpenAI through the openai package, the others through HTTP clients of its own.

It has no client object. Its async clients send through aiohttp, below httpx.
"""

from __future__ import annotations

import os
from functools import partial
from typing import Any

# Not to fetch its price list over the network when it is imported.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

import litellm

from sdk_calls.optional import OptionalCall
from sdk_calls.site import EMBEDDED, QUESTION, Site, seen

_OPENAI = "openai/gpt-4o-mini"
_ANTHROPIC = "anthropic/claude-haiku-4-5"
_MISTRAL = "mistral/ministral-8b-2512"
_EMBEDDING = "openai/text-embedding-3-small"


def options(site: Site, model: str) -> dict[str, Any]:
    # It keeps its HTTP clients, and with them the proxies that there were when they were made: another test's.
    litellm.in_memory_llm_clients_cache.flush_cache()
    url = site.url if model == _ANTHROPIC else f"{site.url}/v1"
    return {"model": model, "api_base": url, "api_key": "test", "num_retries": 0, "max_retries": 0}


def said(answer: Any) -> Any:
    """An answer without the id and the time that litellm makes up for providers without them."""
    return {name: value for name, value in seen(answer).items() if name not in ("id", "created")}


def chat(model: str, site: Site) -> Any:
    return said(litellm.completion(messages=QUESTION, **options(site, model)))


def chat_stream(model: str, site: Site) -> Any:
    stream = litellm.completion(
        messages=QUESTION, stream=True, stream_options={"include_usage": True}, **options(site, model)
    )
    return [said(chunk) for chunk in stream]


def chat_async(model: str, site: Site) -> Any:
    async def ask() -> Any:
        return said(await litellm.acompletion(messages=QUESTION, **options(site, model)))

    return site.run(ask())


def chat_async_stream(model: str, site: Site) -> Any:
    async def ask() -> Any:
        stream = await litellm.acompletion(
            messages=QUESTION, stream=True, stream_options={"include_usage": True}, **options(site, model)
        )
        return [said(chunk) async for chunk in stream]

    return site.run(ask())


def embeddings(site: Site) -> Any:
    return said(litellm.embedding(input=["Paris", "London"], **options(site, _EMBEDDING)))


_call = partial(OptionalCall, sdk="litellm", http="httpx", wraps=False)
_openai = partial(_call, provider="openai", model="gpt-4o-mini-2024-07-18", asked="gpt-4o-mini")
_anthropic = partial(_call, provider="anthropic", model="claude-haiku-4-5-20251001", asked="claude-haiku-4-5")
_mistral = partial(
    _call, tokens=(10, 4, 50, 0), provider="mistral", model="ministral-8b-2512", asked="ministral-8b-2512"
)

CALLS = (
    _openai("litellm openai", stream=False, ask=partial(chat, _OPENAI), thorough=True),
    _openai("litellm openai, streamed", stream=True, ask=partial(chat_stream, _OPENAI)),
    _openai("litellm openai, async", stream=False, ask=partial(chat_async, _OPENAI)),
    _openai("litellm openai, async, streamed", stream=True, ask=partial(chat_async_stream, _OPENAI)),
    _anthropic("litellm anthropic", stream=False, ask=partial(chat, _ANTHROPIC)),
    _anthropic("litellm anthropic, streamed", stream=True, ask=partial(chat_stream, _ANTHROPIC), lingers=True),
    _anthropic("litellm anthropic, async", stream=False, ask=partial(chat_async, _ANTHROPIC)),
    _anthropic(
        "litellm anthropic, async, streamed", stream=True, ask=partial(chat_async_stream, _ANTHROPIC), lingers=True
    ),
    _mistral("litellm mistral", stream=False, ask=partial(chat, _MISTRAL)),
    _mistral("litellm mistral, async", stream=False, ask=partial(chat_async, _MISTRAL)),
    _call(
        "litellm embeddings",
        provider="openai",
        model="text-embedding-3-small",
        asked="text-embedding-3-small",
        stream=False,
        ask=embeddings,
        operation="embeddings",
        tokens=EMBEDDED,
    ),
)
