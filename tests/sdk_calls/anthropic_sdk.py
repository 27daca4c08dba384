"""The anthropic package: its own API, Bedrock and Vertex."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anthropic

from sdk_calls.site import QUESTION, SDKCall, Site, seen

ANTHROPIC_MODEL = "claude-haiku-4-5"
_SNAPSHOT = ("anthropic", "claude-haiku-4-5-20251001")
_ASKED: dict[str, Any] = {"model": ANTHROPIC_MODEL, "max_tokens": 100, "messages": QUESTION}
_BEDROCK_MODEL = "anthropic.claude-haiku-4-5-20251001-v1:0"
_VERTEX_MODEL = "claude-haiku-4-5@20251001"


def anthropic_client(site: Site) -> anthropic.Anthropic:
    return site.wrap(anthropic.Anthropic(**site.options()))


def async_anthropic_client(site: Site) -> anthropic.AsyncAnthropic:
    return site.wrap(anthropic.AsyncAnthropic(**site.options(True)))


_AWS = {"aws_secret_key": "test", "aws_access_key": "test", "aws_region": "us-east-1"}
_GOOGLE = {"region": "us-central1", "project_id": "test", "access_token": "test"}


def _bedrock(site: Site) -> anthropic.AnthropicBedrock:
    return site.wrap(anthropic.AnthropicBedrock(**_AWS, base_url=site.url, **site.patience()))


def _async_bedrock(site: Site) -> anthropic.AsyncAnthropicBedrock:
    return site.wrap(anthropic.AsyncAnthropicBedrock(**_AWS, base_url=site.url, **site.patience()))


def _vertex(site: Site) -> anthropic.AnthropicVertex:
    return site.wrap(anthropic.AnthropicVertex(**_GOOGLE, base_url=f"{site.url}/v1", **site.patience()))


def _async_vertex(site: Site) -> anthropic.AsyncAnthropicVertex:
    return site.wrap(anthropic.AsyncAnthropicVertex(**_GOOGLE, base_url=f"{site.url}/v1", **site.patience()))


Ask = Callable[[Site, Any], Any]


def _sync(ask: Ask, client: Callable[[Site], Any] = anthropic_client) -> Callable[[Site], Any]:
    def call(site: Site) -> Any:
        with client(site) as opened:
            return ask(site, opened)

    return call


def _async(
    ask: Callable[[Site, Any], Awaitable[Any]], client: Callable[[Site], Any] = async_anthropic_client
) -> Callable[[Site], Any]:
    def call(site: Site) -> Any:
        async def run() -> Any:
            async with client(site) as opened:
                return await ask(site, opened)

        return site.run(run())

    return call


def _messages(model: str = ANTHROPIC_MODEL) -> Ask:
    return lambda _site, client: seen(client.messages.create(**{**_ASKED, "model": model}))


def _stream(model: str = ANTHROPIC_MODEL) -> Ask:
    return lambda site, client: site.take(client.messages.create(**{**_ASKED, "model": model}, stream=True))


def _messages_async(model: str = ANTHROPIC_MODEL) -> Callable[[Site, Any], Awaitable[Any]]:
    async def ask(_site: Site, client: Any) -> Any:
        return seen(await client.messages.create(**{**_ASKED, "model": model}))

    return ask


def _async_stream(model: str = ANTHROPIC_MODEL) -> Callable[[Site, Any], Awaitable[Any]]:
    async def ask(site: Site, client: Any) -> Any:
        return await site.take_async(await client.messages.create(**{**_ASKED, "model": model}, stream=True))

    return ask


def _stream_helper(_site: Site, client: Any) -> Any:
    with client.messages.stream(**_ASKED) as stream:
        return ["".join(stream.text_stream), seen(stream.get_final_message())]


_TAKEN: dict[str, Any] = {"takes": True, "early_usage": True}
_EARLY: dict[str, Any] = {"early_usage": True}
_ASYNC: dict[str, Any] = {"asynchronous": True}

CALLS = (
    SDKCall("anthropic messages", *_SNAPSHOT, False, _sync(_messages()), patient=True),
    SDKCall("anthropic messages, streamed", *_SNAPSHOT, True, _sync(_stream()), **_TAKEN, patient=True),
    SDKCall("anthropic stream helper", *_SNAPSHOT, True, _sync(_stream_helper), **_EARLY),
    SDKCall("anthropic messages, async", *_SNAPSHOT, False, _async(_messages_async()), **_ASYNC, patient=True),
    SDKCall(
        "anthropic messages, async, streamed",
        *_SNAPSHOT,
        True,
        _async(_async_stream()),
        **_TAKEN,
        **_ASYNC,
        patient=True,
    ),
)


def _stream_manager(site: Site, client: Any) -> Any:
    with client.messages.stream(**_ASKED) as stream:
        return site.take(stream)


async def _async_stream_manager(site: Site, client: Any) -> Any:
    async with client.messages.stream(**_ASKED) as stream:
        return await site.take_async(stream)


def _beta(_site: Site, client: Any) -> Any:
    return seen(client.beta.messages.create(**_ASKED))


def _beta_stream(site: Site, client: Any) -> Any:
    return site.take(client.beta.messages.create(**_ASKED, stream=True))


def _raw(_site: Site, client: Any) -> Any:
    raw = client.messages.with_raw_response.create(**_ASKED)
    return [raw.status_code, seen(raw.parse())]


def _raw_stream(site: Site, client: Any) -> Any:
    return site.take(client.messages.with_raw_response.create(**_ASKED, stream=True).parse())


def _streaming_response(_site: Site, client: Any) -> Any:
    with client.messages.with_streaming_response.create(**_ASKED, stream=True) as response:
        return [seen(line) for line in response.iter_lines()]


async def _async_streaming_response(_site: Site, client: Any) -> Any:
    async with client.messages.with_streaming_response.create(**_ASKED) as response:
        return seen(await response.parse())


def _count_tokens(_site: Site, client: Any) -> Any:
    return seen(client.messages.count_tokens(model=ANTHROPIC_MODEL, messages=QUESTION))


@anthropic.beta_tool
def population(city: str) -> str:
    """How many people live in a city.

    Args:
        city: its name.
    """
    return f"{len(city)} million"


def _tool_runner(_site: Site, client: Any) -> Any:
    return [seen(message) for message in client.beta.messages.tool_runner(**_ASKED, tools=[population])]


_BEDROCK = ("bedrock", _BEDROCK_MODEL)
_VERTEX = ("vertex", _VERTEX_MODEL)

MORE_CALLS = (
    SDKCall("anthropic messages.stream()", *_SNAPSHOT, True, _sync(_stream_manager), **_TAKEN),
    SDKCall("anthropic messages.stream(), async", *_SNAPSHOT, True, _async(_async_stream_manager), **_TAKEN, **_ASYNC),
    SDKCall("anthropic beta", *_SNAPSHOT, False, _sync(_beta)),
    SDKCall("anthropic beta, streamed", *_SNAPSHOT, True, _sync(_beta_stream), **_TAKEN),
    SDKCall("anthropic raw response", *_SNAPSHOT, False, _sync(_raw)),
    SDKCall("anthropic raw response, streamed", *_SNAPSHOT, True, _sync(_raw_stream), **_TAKEN),
    SDKCall("anthropic streaming response, iter_lines", *_SNAPSHOT, True, _sync(_streaming_response), **_EARLY),
    SDKCall("anthropic streaming response, async", *_SNAPSHOT, False, _async(_async_streaming_response), **_ASYNC),
    SDKCall("anthropic tool runner", *_SNAPSHOT, False, _sync(_tool_runner)),
    SDKCall("anthropic count_tokens", *_SNAPSHOT, False, _sync(_count_tokens), recorded=False),
    SDKCall("anthropic on bedrock", *_BEDROCK, False, _sync(_messages(_BEDROCK_MODEL), _bedrock)),
    SDKCall("anthropic on bedrock, streamed", *_BEDROCK, True, _sync(_stream(_BEDROCK_MODEL), _bedrock), **_TAKEN),
    SDKCall(
        "anthropic on bedrock, async",
        *_BEDROCK,
        False,
        _async(_messages_async(_BEDROCK_MODEL), _async_bedrock),
        **_ASYNC,
    ),
    SDKCall("anthropic on vertex", *_VERTEX, False, _sync(_messages(_VERTEX_MODEL), _vertex)),
    SDKCall("anthropic on vertex, streamed", *_VERTEX, True, _sync(_stream(_VERTEX_MODEL), _vertex), **_TAKEN),
    SDKCall(
        "anthropic on vertex, async, streamed",
        *_VERTEX,
        True,
        _async(_async_stream(_VERTEX_MODEL), _async_vertex),
        **_TAKEN,
        **_ASYNC,
    ),
)
