"""The openai package, 2.x and 3.x."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from typing import Any

import openai
from pydantic import BaseModel

from sdk_calls.site import EMBEDDED, NOTHING, QUESTION, SDKCall, Site, seen

OPENAI_MODEL = "gpt-4o-mini"
_SNAPSHOT = ("openai", "gpt-4o-mini-2024-07-18")
_CHAT: dict[str, Any] = {"model": OPENAI_MODEL, "messages": QUESTION}
_STREAMED: dict[str, Any] = {**_CHAT, "stream": True, "stream_options": {"include_usage": True}}
_ASKED: dict[str, Any] = {"model": OPENAI_MODEL, "input": "What is the capital of France?"}

Ask = Callable[[Site, Any], Any]
AsyncAsk = Callable[[Site, Any], Awaitable[Any]]


class Capital(BaseModel):
    """What ``parse`` is to find in an answer."""

    name: str


def openai_client(site: Site, **options: Any) -> openai.OpenAI:
    return site.wrap(openai.OpenAI(**site.options(path="/v1"), **options))


def async_openai_client(site: Site, **options: Any) -> openai.AsyncOpenAI:
    return site.wrap(openai.AsyncOpenAI(**site.options(True, "/v1"), **options))


def _azure(site: Site) -> openai.AzureOpenAI:
    options = {"api_key": "test", "api_version": "2025-04-01-preview", "azure_endpoint": site.url, **site.patience()}
    return site.wrap(openai.AzureOpenAI(**options))


def _azure_v1(site: Site) -> openai.OpenAI:
    return site.wrap(openai.OpenAI(api_key="test", base_url=f"{site.url}/openai/v1", **site.patience()))


def _async_azure(site: Site) -> openai.AsyncAzureOpenAI:
    options = {"api_key": "test", "api_version": "2025-04-01-preview", "azure_endpoint": site.url, **site.patience()}
    return site.wrap(openai.AsyncAzureOpenAI(**options))


def _with_default_client(site: Site) -> openai.OpenAI:
    return openai_client(site, http_client=openai.DefaultHttpxClient())


def _with_default_async_client(site: Site) -> openai.AsyncOpenAI:
    return async_openai_client(site, http_client=openai.DefaultAsyncHttpxClient())


def _with_aiohttp(site: Site) -> openai.AsyncOpenAI:
    return async_openai_client(site, http_client=openai.DefaultAioHttpClient())


def _sync(ask: Ask, client: Callable[[Site], Any] = openai_client) -> Callable[[Site], Any]:
    def call(site: Site) -> Any:
        with client(site) as opened:
            return ask(site, opened)

    return call


def _async(ask: AsyncAsk, client: Callable[[Site], Any] = async_openai_client) -> Callable[[Site], Any]:
    def call(site: Site) -> Any:
        async def run() -> Any:
            async with client(site) as opened:
                return await ask(site, opened)

        return site.run(run())

    return call


def _chat(_site: Site, client: Any) -> Any:
    return seen(client.chat.completions.create(**_CHAT))


def _chat_stream(site: Site, client: Any) -> Any:
    return site.take(client.chat.completions.create(**_STREAMED))


def _responses(_site: Site, client: Any) -> Any:
    return seen(client.responses.create(**_ASKED))


def _responses_stream(site: Site, client: Any) -> Any:
    return site.take(client.responses.create(**_ASKED, stream=True))


async def _chat_async(_site: Site, client: Any) -> Any:
    return seen(await client.chat.completions.create(**_CHAT))


async def _chat_async_stream(site: Site, client: Any) -> Any:
    return await site.take_async(await client.chat.completions.create(**_STREAMED))


async def _responses_async(_site: Site, client: Any) -> Any:
    return seen(await client.responses.create(**_ASKED))


async def _responses_async_stream(site: Site, client: Any) -> Any:
    return await site.take_async(await client.responses.create(**_ASKED, stream=True))


CALLS = (
    SDKCall("openai chat", *_SNAPSHOT, False, _sync(_chat), patient=True),
    SDKCall("openai chat, streamed", *_SNAPSHOT, True, _sync(_chat_stream), takes=True, patient=True),
    SDKCall("openai chat, async", *_SNAPSHOT, False, _async(_chat_async), asynchronous=True, patient=True),
    SDKCall(
        "openai chat, async, streamed",
        *_SNAPSHOT,
        True,
        _async(_chat_async_stream),
        takes=True,
        asynchronous=True,
        patient=True,
    ),
    SDKCall("openai responses", *_SNAPSHOT, False, _sync(_responses)),
    SDKCall("openai responses, streamed", *_SNAPSHOT, True, _sync(_responses_stream), takes=True),
    SDKCall("openai responses, async", *_SNAPSHOT, False, _async(_responses_async), asynchronous=True),
    SDKCall(
        "openai responses, async, streamed",
        *_SNAPSHOT,
        True,
        _async(_responses_async_stream),
        takes=True,
        asynchronous=True,
    ),
)


def _chat_stream_manager(site: Site, client: Any) -> Any:
    with client.chat.completions.stream(**_CHAT, stream_options={"include_usage": True}) as stream:
        return site.take(stream)


async def _chat_async_stream_manager(site: Site, client: Any) -> Any:
    async with client.chat.completions.stream(**_CHAT, stream_options={"include_usage": True}) as stream:
        return await site.take_async(stream)


def _responses_stream_manager(site: Site, client: Any) -> Any:
    with client.responses.stream(**_ASKED) as stream:
        return site.take(stream)


async def _responses_async_stream_manager(site: Site, client: Any) -> Any:
    async with client.responses.stream(**_ASKED) as stream:
        return await site.take_async(stream)


def _chat_parse(_site: Site, client: Any) -> Any:
    return seen(client.chat.completions.parse(**_CHAT, response_format=Capital))


async def _chat_async_parse(_site: Site, client: Any) -> Any:
    return seen(await client.chat.completions.parse(**_CHAT, response_format=Capital))


def _responses_parse(_site: Site, client: Any) -> Any:
    return seen(client.responses.parse(**_ASKED, text_format=Capital))


def _raw(_site: Site, client: Any) -> Any:
    raw = client.chat.completions.with_raw_response.create(**_CHAT)
    return [seen(raw.text), raw.status_code, seen(raw.parse())]


def _raw_stream(site: Site, client: Any) -> Any:
    return site.take(client.chat.completions.with_raw_response.create(**_STREAMED).parse())


async def _raw_async(_site: Site, client: Any) -> Any:
    raw = await client.chat.completions.with_raw_response.create(**_CHAT)
    return [raw.status_code, seen(raw.parse())]


def _streaming_response(read: Callable[[Site, Any], Any], **options: Any) -> Ask:
    def ask(site: Site, client: Any) -> Any:
        with client.chat.completions.with_streaming_response.create(**{**_CHAT, **options}) as response:
            return read(site, response)

    return ask


async def _async_streaming_response(site: Site, client: Any) -> Any:
    async with client.chat.completions.with_streaming_response.create(**_STREAMED) as response:
        return await site.take_async(response.iter_lines())


def _post(_site: Site, client: Any) -> Any:
    return seen(client.post("/chat/completions", body=_CHAT, cast_to=openai.types.chat.ChatCompletion))


def _module_level(site: Site) -> Any:
    openai.api_key, openai.base_url, openai.max_retries = "test", f"{site.url}/v1/", site.retries
    return seen(openai.chat.completions.create(**_CHAT))


def _embeddings(_site: Site, client: Any) -> Any:
    return seen(client.embeddings.create(model="text-embedding-3-small", input="Paris", dimensions=8))


async def _embeddings_async(_site: Site, client: Any) -> Any:
    return seen(await client.embeddings.create(model="text-embedding-3-small", input="Paris", dimensions=8))


def _moderations(_site: Site, client: Any) -> Any:
    return seen(client.moderations.create(model="omni-moderation-latest", input="Paris"))


def _completions(_site: Site, client: Any) -> Any:
    return seen(client.completions.create(model=OPENAI_MODEL, prompt="Paris is"))


def _completions_stream(site: Site, client: Any) -> Any:
    options: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
    return site.take(client.completions.create(model=OPENAI_MODEL, prompt="Paris is", **options))


_TAKEN: dict[str, Any] = {"takes": True}
_ASYNC: dict[str, Any] = {"asynchronous": True}
_AZURE = ("azure", "gpt-4o-mini-2024-07-18")
_EMBEDDED: dict[str, Any] = {"tokens": EMBEDDED}

# Under openai 2 it takes a package of its own.
_HAS_AIOHTTP = int(openai.__version__.partition(".")[0]) >= 3 or find_spec("httpx_aiohttp") is not None

MORE_CALLS = (
    SDKCall("openai chat.stream()", *_SNAPSHOT, True, _sync(_chat_stream_manager), **_TAKEN),
    SDKCall("openai chat.stream(), async", *_SNAPSHOT, True, _async(_chat_async_stream_manager), **_TAKEN, **_ASYNC),
    SDKCall("openai responses.stream()", *_SNAPSHOT, True, _sync(_responses_stream_manager), **_TAKEN),
    SDKCall(
        "openai responses.stream(), async",
        *_SNAPSHOT,
        True,
        _async(_responses_async_stream_manager),
        **_TAKEN,
        **_ASYNC,
    ),
    SDKCall("openai chat.parse()", *_SNAPSHOT, False, _sync(_chat_parse)),
    SDKCall("openai chat.parse(), async", *_SNAPSHOT, False, _async(_chat_async_parse), **_ASYNC),
    SDKCall("openai responses.parse()", *_SNAPSHOT, False, _sync(_responses_parse)),
    SDKCall("openai raw response", *_SNAPSHOT, False, _sync(_raw)),
    SDKCall("openai raw response, streamed", *_SNAPSHOT, True, _sync(_raw_stream), **_TAKEN),
    SDKCall("openai raw response, async", *_SNAPSHOT, False, _async(_raw_async), **_ASYNC),
    SDKCall(
        "openai streaming response, read",
        *_SNAPSHOT,
        False,
        _sync(_streaming_response(lambda _site, response: seen(response.read()))),
    ),
    SDKCall(
        "openai streaming response, parse",
        *_SNAPSHOT,
        False,
        _sync(_streaming_response(lambda _site, response: seen(response.parse()))),
    ),
    SDKCall(
        "openai streaming response, parsed stream",
        *_SNAPSHOT,
        True,
        _sync(_streaming_response(lambda site, response: site.take(response.parse()), **_STREAMED)),
        **_TAKEN,
    ),
    SDKCall(
        "openai streaming response, iter_bytes",
        *_SNAPSHOT,
        True,
        _sync(
            _streaming_response(lambda _site, response: [seen(piece) for piece in response.iter_bytes()], **_STREAMED)
        ),
    ),
    SDKCall(
        "openai streaming response, iter_lines",
        *_SNAPSHOT,
        True,
        _sync(_streaming_response(lambda _site, response: [seen(line) for line in response.iter_lines()], **_STREAMED)),
    ),
    SDKCall("openai streaming response, async", *_SNAPSHOT, True, _async(_async_streaming_response), **_ASYNC),
    SDKCall("openai client.post()", *_SNAPSHOT, False, _sync(_post)),
    SDKCall(
        "openai with_options()",
        *_SNAPSHOT,
        False,
        _sync(lambda site, client: _chat(site, client.with_options(timeout=9))),
    ),
    SDKCall("openai copy()", *_SNAPSHOT, False, _sync(lambda site, client: _chat(site, client.copy(timeout=9)))),
    SDKCall("openai module", *_SNAPSHOT, False, _module_level, wraps=False),
    SDKCall("openai DefaultHttpxClient", *_SNAPSHOT, True, _sync(_chat_stream, _with_default_client), **_TAKEN),
    SDKCall(
        "openai DefaultAsyncHttpxClient",
        *_SNAPSHOT,
        True,
        _async(_chat_async_stream, _with_default_async_client),
        **_TAKEN,
        **_ASYNC,
    ),
    SDKCall("azure deployment", *_AZURE, False, _sync(_chat, _azure), patient=True),
    SDKCall("azure deployment, streamed", *_AZURE, True, _sync(_chat_stream, _azure), **_TAKEN),
    SDKCall("azure deployment, async", *_AZURE, False, _async(_chat_async, _async_azure), **_ASYNC),
    SDKCall(
        "azure deployment, async, streamed", *_AZURE, True, _async(_chat_async_stream, _async_azure), **_TAKEN, **_ASYNC
    ),
    SDKCall("azure responses", *_AZURE, False, _sync(_responses, _azure)),
    SDKCall("azure v1 chat", *_AZURE, False, _sync(_chat, _azure_v1)),
    SDKCall("azure v1 responses, streamed", *_AZURE, True, _sync(_responses_stream, _azure_v1), **_TAKEN),
    SDKCall("openai embeddings", "openai", "text-embedding-3-small", False, _sync(_embeddings), **_EMBEDDED),
    SDKCall(
        "openai embeddings, async",
        "openai",
        "text-embedding-3-small",
        False,
        _async(_embeddings_async),
        **_EMBEDDED,
        **_ASYNC,
    ),
    SDKCall("openai moderations", "openai", "omni-moderation-latest", False, _sync(_moderations), tokens=NOTHING),
    SDKCall("openai completions", *_SNAPSHOT, False, _sync(_completions)),
    SDKCall("openai completions, streamed", *_SNAPSHOT, True, _sync(_completions_stream), **_TAKEN),
)

if _HAS_AIOHTTP:
    MORE_CALLS += (
        SDKCall(
            "openai DefaultAioHttpClient", *_SNAPSHOT, False, _async(_chat_async, _with_aiohttp), **_ASYNC, patient=True
        ),
        SDKCall(
            "openai DefaultAioHttpClient, streamed",
            *_SNAPSHOT,
            True,
            _async(_chat_async_stream, _with_aiohttp),
            **_TAKEN,
            **_ASYNC,
            patient=True,
        ),
    )
