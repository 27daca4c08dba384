"""The pydantic-ai package, on the openai package: by agent, by model and by provider."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

from sdk_calls.detours import OPENAI_FAMILY, async_http_client
from sdk_calls.openai_sdk import OPENAI_MODEL
from sdk_calls.optional import OptionalCall
from sdk_calls.site import Site

QUESTION = "What is the capital of France?"


def ask(site: Site, make: Callable[[OpenAIProvider], Agent[None, str]], run: Callable[[Any], Any]) -> Any:
    """Runs an agent whose provider has an HTTP client that is closed at the end."""

    async def opened() -> Any:
        async with async_http_client(OPENAI_FAMILY, site) as given:
            url = None if site.real_hosts else f"{site.url}/v1"
            provider = OpenAIProvider(api_key="test", base_url=url, http_client=given)
            provider.client.max_retries = site.retries
            return await run(make(provider))

    return site.run(opened())


async def run_agent(agent: Agent[None, str]) -> Any:
    result = await agent.run(QUESTION)
    usage = used(result)
    return [result.output, usage.input_tokens, usage.cache_read_tokens, usage.output_tokens, usage.details]


async def stream_agent(agent: Agent[None, str]) -> Any:
    async with agent.run_stream(QUESTION) as stream:
        pieces = [piece async for piece in stream.stream_text(delta=True, debounce_by=None)]
        return [pieces, used(stream).input_tokens, used(stream).output_tokens]


def used(result: Any) -> Any:
    """A result's usage: a method in version 1, an attribute since."""
    return result.usage() if inspect.ismethod(result.usage) else result.usage


def by_agent(site: Site) -> Any:
    return ask(site, lambda provider: site.wrap(Agent(OpenAIChatModel(OPENAI_MODEL, provider=provider))), run_agent)


def by_model(site: Site) -> Any:
    return ask(site, lambda provider: Agent(site.wrap(OpenAIChatModel(OPENAI_MODEL, provider=provider))), run_agent)


def by_provider(site: Site) -> Any:
    return ask(site, lambda provider: Agent(OpenAIChatModel(OPENAI_MODEL, provider=site.wrap(provider))), stream_agent)


def responses(site: Site) -> Any:
    return ask(
        site, lambda provider: Agent(site.wrap(OpenAIResponsesModel(OPENAI_MODEL, provider=provider))), run_agent
    )


_call = partial(
    OptionalCall,
    provider="openai",
    sdk="pydantic-ai",
    http=OPENAI_FAMILY.__name__,
    model="gpt-4o-mini-2024-07-18",
    asked=OPENAI_MODEL,
)

CALLS = (
    _call("pydantic-ai agent", stream=False, ask=by_agent, asynchronous=True, thorough=True),
    _call("pydantic-ai model", stream=False, ask=by_model),
    _call("pydantic-ai provider, streamed", stream=True, ask=by_provider, asynchronous=True, thorough=True),
    _call("pydantic-ai responses model", stream=False, ask=responses),
)
