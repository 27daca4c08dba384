"""The real SDKs, pointed at the provider server: they parse every answer, and see the programmed numbers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import openai
import pytest
from anthropic import Anthropic, AsyncAnthropic
from google import genai
from google.genai import errors as genai_errors
from openai import AsyncOpenAI, OpenAI

from flask_llm_cost.testing import Answer, ProviderServer

TEXT = "Paris is the capital of France, and it has been for long."
ANSWER = Answer(text=TEXT, input_tokens=70, cache_read_input_tokens=1024, output_tokens=52, hidden_output_tokens=20)
MESSAGES: list[Any] = [{"role": "user", "content": "What is the capital of France?"}]
CLAUDE: dict[str, Any] = {"model": "claude-haiku-4-5", "max_tokens": 200, "messages": MESSAGES}
GEMINI: dict[str, Any] = {"model": "gemini-2.5-flash", "contents": "What is the capital of France?"}
GPT: dict[str, Any] = {"model": "gpt-4o-mini", "messages": MESSAGES}
ASK_USAGE: dict[str, Any] = {"stream_options": {"include_usage": True}}

Seen = tuple[str, Any, str]


@pytest.fixture
def server() -> Iterator[ProviderServer]:
    with ProviderServer() as running:
        yield running


def chat_plain(url: str) -> Seen:
    with OpenAI(base_url=f"{url}/v1", api_key="k") as client:
        answer = client.chat.completions.create(**GPT)
    return answer.choices[0].message.content or "", answer.usage, answer.model


def chat_parsed(url: str) -> Seen:
    with OpenAI(base_url=f"{url}/v1", api_key="k") as client:
        answer = client.chat.completions.parse(**GPT)
    return answer.choices[0].message.content or "", answer.usage, answer.model


def chat_streamed(url: str) -> Seen:
    with OpenAI(base_url=f"{url}/v1", api_key="k") as client:
        chunks = list(client.chat.completions.create(**GPT, **ASK_USAGE, stream=True))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1])
    return text, chunks[-1].usage, chunks[-1].model


def chat_helper(url: str) -> Seen:
    with (
        OpenAI(base_url=f"{url}/v1", api_key="k") as client,
        client.chat.completions.stream(**GPT, **ASK_USAGE) as stream,
    ):
        answer = stream.get_final_completion()
    return answer.choices[0].message.content or "", answer.usage, answer.model


def chat_async(url: str) -> Seen:
    async def ask() -> Seen:
        async with AsyncOpenAI(base_url=f"{url}/v1", api_key="k") as client:
            answer = await client.chat.completions.create(**GPT)
        return answer.choices[0].message.content or "", answer.usage, answer.model

    return asyncio.run(ask())


def chat_async_streamed(url: str) -> Seen:
    async def ask() -> Seen:
        async with AsyncOpenAI(base_url=f"{url}/v1", api_key="k") as client:
            stream = await client.chat.completions.create(**GPT, **ASK_USAGE, stream=True)
            chunks = [chunk async for chunk in stream]
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1])
        return text, chunks[-1].usage, chunks[-1].model

    return asyncio.run(ask())


def responses_plain(url: str) -> Seen:
    with OpenAI(base_url=f"{url}/v1", api_key="k") as client:
        answer = client.responses.create(model="gpt-4o-mini", input="What is the capital of France?")
    return answer.output_text, answer.usage, answer.model


def responses_streamed(url: str) -> Seen:
    with OpenAI(base_url=f"{url}/v1", api_key="k") as client:
        events = list(client.responses.create(model="gpt-4o-mini", input="What?", stream=True))
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    last = events[-1]
    assert last.type == "response.completed"
    return text, last.response.usage, last.response.model


def responses_helper(url: str) -> Seen:
    with (
        OpenAI(base_url=f"{url}/v1", api_key="k") as client,
        client.responses.stream(model="gpt-4o-mini", input="?") as stream,
    ):
        answer = stream.get_final_response()
    return answer.output_text, answer.usage, answer.model


def responses_async_streamed(url: str) -> Seen:
    async def ask() -> Seen:
        client = AsyncOpenAI(base_url=f"{url}/v1", api_key="k")
        async with client, client.responses.stream(model="gpt-4o-mini", input="What?") as stream:
            answer = await stream.get_final_response()
        return answer.output_text, answer.usage, answer.model

    return asyncio.run(ask())


def messages_plain(url: str) -> Seen:
    with Anthropic(base_url=url, api_key="k") as client:
        answer = client.messages.create(**CLAUDE)
    return answer.content[-1].text, answer.usage, answer.model


def messages_streamed(url: str) -> Seen:
    with Anthropic(base_url=url, api_key="k") as client:
        events = list(client.messages.create(**CLAUDE, stream=True))
    text = "".join(e.delta.text for e in events if e.type == "content_block_delta" and e.delta.type == "text_delta")
    start, delta = events[0], events[-2]
    assert start.type == "message_start"
    assert delta.type == "message_delta"
    return text, delta.usage, start.message.model


def messages_helper(url: str) -> Seen:
    with Anthropic(base_url=url, api_key="k") as client, client.messages.stream(**CLAUDE) as stream:
        text = "".join(stream.text_stream)
        answer = stream.get_final_message()
    return text, answer.usage, answer.model


def messages_async(url: str) -> Seen:
    async def ask() -> Seen:
        async with AsyncAnthropic(base_url=url, api_key="k") as client:
            answer = await client.messages.create(**CLAUDE)
        return answer.content[-1].text, answer.usage, answer.model

    return asyncio.run(ask())


def messages_async_helper(url: str) -> Seen:
    async def ask() -> Seen:
        async with AsyncAnthropic(base_url=url, api_key="k") as client, client.messages.stream(**CLAUDE) as stream:
            answer = await stream.get_final_message()
        return answer.content[-1].text, answer.usage, answer.model  # type: ignore[union-attr]

    return asyncio.run(ask())


def _genai(url: str) -> genai.Client:
    return genai.Client(api_key="k", http_options={"base_url": url})


def gemini_plain(url: str) -> Seen:
    with _genai(url) as client:
        answer = client.models.generate_content(**GEMINI)
    return answer.text or "", answer.usage_metadata, answer.model_version or ""


def gemini_streamed(url: str) -> Seen:
    with _genai(url) as client:
        chunks = list(client.models.generate_content_stream(**GEMINI))
    return "".join(c.text or "" for c in chunks), chunks[-1].usage_metadata, chunks[-1].model_version or ""


def gemini_async(url: str) -> Seen:
    async def ask() -> Seen:
        with _genai(url) as client:
            async with client.aio as aio:
                answer = await aio.models.generate_content(**GEMINI)
        return answer.text or "", answer.usage_metadata, answer.model_version or ""

    return asyncio.run(ask())


def gemini_async_streamed(url: str) -> Seen:
    async def ask() -> Seen:
        with _genai(url) as client:
            async with client.aio as aio:
                chunks = [chunk async for chunk in await aio.models.generate_content_stream(**GEMINI)]
        return "".join(c.text or "" for c in chunks), chunks[-1].usage_metadata, chunks[-1].model_version or ""

    return asyncio.run(ask())


CHAT_COUNTS = {
    "prompt_tokens": 1094,
    "completion_tokens": 52,
    "total_tokens": 1146,
    "prompt_tokens_details": {"cached_tokens": 1024, "cache_write_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {
        "reasoning_tokens": 20,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}
RESPONSES_COUNTS = {
    "input_tokens": 1094,
    "input_tokens_details": {"cache_write_tokens": 0, "cached_tokens": 1024},
    "output_tokens": 52,
    "output_tokens_details": {"reasoning_tokens": 20},
    "total_tokens": 1146,
}
MESSAGES_COUNTS = {
    "input_tokens": 70,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 1024,
    "output_tokens": 52,
    "output_tokens_details": {"thinking_tokens": 20},
}
WHOLE_MESSAGES_COUNTS = {
    **MESSAGES_COUNTS,
    "cache_creation": {"ephemeral_1h_input_tokens": 0, "ephemeral_5m_input_tokens": 0},
    "inference_geo": "not_available",
    "service_tier": "standard",
}
GEMINI_COUNTS = {
    "cache_tokens_details": [{"modality": "TEXT", "token_count": 1024}],
    "cached_content_token_count": 1024,
    "candidates_token_count": 32,
    "prompt_token_count": 1094,
    "prompt_tokens_details": [{"modality": "TEXT", "token_count": 1094}],
    "thoughts_token_count": 20,
    "total_token_count": 1146,
}

Way = tuple[Callable[[str], Seen], dict[str, Any], str]
WAYS: list[Way] = [
    *((way, CHAT_COUNTS, "gpt-4o-mini-2024-07-18") for way in (chat_plain, chat_parsed, chat_streamed, chat_helper)),
    *((way, CHAT_COUNTS, "gpt-4o-mini-2024-07-18") for way in (chat_async, chat_async_streamed)),
    *((way, RESPONSES_COUNTS, "gpt-4o-mini-2024-07-18") for way in (responses_plain, responses_streamed)),
    *((way, RESPONSES_COUNTS, "gpt-4o-mini-2024-07-18") for way in (responses_helper, responses_async_streamed)),
    (messages_plain, WHOLE_MESSAGES_COUNTS, "claude-haiku-4-5-20251001"),
    (messages_streamed, MESSAGES_COUNTS, "claude-haiku-4-5-20251001"),
    *((way, WHOLE_MESSAGES_COUNTS, "claude-haiku-4-5-20251001") for way in (messages_helper, messages_async)),
    (messages_async_helper, WHOLE_MESSAGES_COUNTS, "claude-haiku-4-5-20251001"),
    *((way, GEMINI_COUNTS, "gemini-2.5-flash") for way in (gemini_plain, gemini_streamed)),
    *((way, GEMINI_COUNTS, "gemini-2.5-flash") for way in (gemini_async, gemini_async_streamed)),
]


def dumped(usage: Any) -> dict[str, Any]:
    whole: dict[str, Any] = usage.model_dump(exclude_none=True, mode="json")
    return whole


@pytest.mark.parametrize(("way", "counts", "model"), WAYS, ids=[way[0].__name__ for way in WAYS])
@pytest.mark.parametrize("wire", [{}, {"gzip": True, "chunk_bytes": 7}], ids=["as is", "gzip at 7 bytes"])
def test_every_way_of_an_sdk_sees_the_programmed_answer(
    server: ProviderServer, way: Callable[[str], Seen], counts: dict[str, Any], model: str, wire: dict[str, Any]
) -> None:
    """Plain, streamed, async and through the SDK's helpers: text, usage and the dated model, however it is sent."""
    fields = {name: getattr(ANSWER, name) for name in ANSWER.__slots__} | wire
    server.next(Answer(**fields))
    text, usage, answered = way(server.url)
    assert (text, dumped(usage), answered) == (TEXT, counts, model)
    assert server.pending == 0


@pytest.mark.parametrize("way", [way[0] for way in WAYS], ids=[way[0].__name__ for way in WAYS])
def test_every_way_of_an_sdk_parses_the_default_answer(server: ProviderServer, way: Callable[[str], Seen]) -> None:
    """Nothing programmed: the answer is there, it is counted, and it is the same the next time."""
    first, second = way(server.url), way(server.url)
    assert first == second
    assert first[0]
    assert dumped(first[1])


@pytest.mark.parametrize(
    "validate",
    [
        lambda url: OpenAI(base_url=f"{url}/v1", api_key="k", _strict_response_validation=True),
        lambda url: Anthropic(base_url=url, api_key="k", _strict_response_validation=True),
    ],
    ids=["openai", "anthropic"],
)
def test_answers_pass_the_strict_validation_of_the_sdks(server: ProviderServer, validate: Callable[[str], Any]) -> None:
    """The SDKs build objects leniently unless told otherwise; told so, they accept every answer and event."""
    server.respond(lambda received: ANSWER)
    with validate(server.url) as client:
        if isinstance(client, OpenAI):
            client.chat.completions.create(**GPT)
            list(client.chat.completions.create(**GPT, **ASK_USAGE, stream=True))
            client.responses.create(model="gpt-4o-mini", input="?")
            list(client.responses.create(model="gpt-4o-mini", input="?", stream=True))
            client.embeddings.create(model="text-embedding-3-small", input="?", encoding_format="float")
        else:
            client.messages.create(**CLAUDE)
            list(client.messages.create(**CLAUDE, stream=True))
    assert len(server.requests) >= 2


def test_embeddings_come_as_the_sdk_asks_for_them(server: ProviderServer) -> None:
    """The SDK asks for base64 and decodes it; asked for floats and a size, it gets those."""
    server.next(Answer(input_tokens=9))
    with OpenAI(base_url=f"{server.url}/v1", api_key="k") as client:
        packed = client.embeddings.create(model="text-embedding-3-small", input=["red", "green"])
        floats = client.embeddings.create(
            model="text-embedding-3-large", input="red", dimensions=8, encoding_format="float"
        )
    assert [len(each.embedding) for each in packed.data] == [1536, 1536]
    assert packed.data[0].embedding != packed.data[1].embedding
    assert (packed.usage.prompt_tokens, packed.usage.total_tokens, packed.model) == (9, 9, "text-embedding-3-small")
    assert len(floats.data[0].embedding) == 8
    assert sum(value * value for value in floats.data[0].embedding) == pytest.approx(1.0)


OPENAI_ERRORS = [
    (400, openai.BadRequestError),
    (401, openai.AuthenticationError),
    (404, openai.NotFoundError),
    (429, openai.RateLimitError),
    (500, openai.InternalServerError),
]
ANTHROPIC_ERRORS = [
    (400, anthropic.BadRequestError),
    (401, anthropic.AuthenticationError),
    (404, anthropic.NotFoundError),
    (429, anthropic.RateLimitError),
    (500, anthropic.InternalServerError),
    (529, anthropic.OverloadedError),
]


@pytest.mark.parametrize(("status", "kind"), OPENAI_ERRORS)
@pytest.mark.parametrize("stream", [False, True])
def test_openai_errors_raise_the_sdks_own_exceptions(
    server: ProviderServer, status: int, kind: type[openai.APIStatusError], stream: bool
) -> None:
    server.next(Answer(status=status, error_message="No, sorry."))
    with OpenAI(base_url=f"{server.url}/v1", api_key="k", max_retries=0) as client, pytest.raises(kind) as raised:
        client.chat.completions.create(**GPT, stream=stream)
    assert isinstance(raised.value.body, dict)
    assert raised.value.body["message"] == "No, sorry."
    assert (raised.value.request_id or "").startswith("req_")


@pytest.mark.parametrize(("status", "kind"), ANTHROPIC_ERRORS)
def test_anthropic_errors_raise_the_sdks_own_exceptions(
    server: ProviderServer, status: int, kind: type[anthropic.APIStatusError]
) -> None:
    server.next(Answer(status=status))
    with Anthropic(base_url=server.url, api_key="k", max_retries=0) as client, pytest.raises(kind) as raised:
        client.messages.create(**CLAUDE)
    assert isinstance(raised.value.body, dict)
    assert raised.value.body["request_id"] == raised.value.request_id


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("status", "kind", "name"),
    [
        (400, genai_errors.ClientError, "INVALID_ARGUMENT"),
        (429, genai_errors.ClientError, "RESOURCE_EXHAUSTED"),
        (503, genai_errors.ServerError, "UNAVAILABLE"),
    ],
)
def test_gemini_errors_raise_the_sdks_own_exceptions(
    server: ProviderServer, status: int, kind: type[genai_errors.APIError], name: str, stream: bool
) -> None:
    server.next(Answer(status=status))
    way = gemini_streamed if stream else gemini_plain
    with pytest.raises(kind) as raised:
        way(server.url)
    assert (raised.value.code, raised.value.status) == (status, name)


def test_sdks_retry_as_told(server: ProviderServer) -> None:
    """429, 500, 200: three requests, one answer, and no waiting longer than ``retry_after_s``."""
    server.next(Answer(status=429, retry_after_s=0.01), Answer(status=500, retry_after_s=0.01), ANSWER)
    assert chat_plain(server.url)[0] == TEXT
    assert [r.headers["x-stainless-retry-count"] for r in server.requests] == ["0", "1", "2"]


def test_a_stream_that_fails_in_the_middle_raises_in_each_sdk(server: ProviderServer) -> None:
    server.respond(lambda received: Answer(text="One two three", error_type="overloaded_error"))
    with OpenAI(base_url=f"{server.url}/v1", api_key="k") as client:
        with pytest.raises(openai.APIError, match="server had an error"):
            list(client.chat.completions.create(**GPT, stream=True))
        *_, last = client.responses.create(model="gpt-4o-mini", input="?", stream=True)
        assert last.type == "response.failed"
        assert last.response.status == "failed"
    with Anthropic(base_url=server.url, api_key="k") as claude, pytest.raises(anthropic.APIStatusError):
        list(claude.messages.create(**CLAUDE, stream=True))
    with _genai(server.url) as gemini, pytest.raises(genai_errors.APIError):
        list(gemini.models.generate_content_stream(**GEMINI))


def test_a_dropped_stream_raises_and_an_ended_one_just_stops(server: ProviderServer) -> None:
    server.next(Answer(text="a b c d e", cut_after=3), Answer(text="a b c d e", cut_after=3, cut="end"))
    received: list[str] = []
    with OpenAI(base_url=f"{server.url}/v1", api_key="k", max_retries=0) as client:
        with pytest.raises(openai.APIConnectionError):
            received.extend(
                c.choices[0].delta.content or "" for c in client.chat.completions.create(**GPT, stream=True)
            )
        ended = [c.choices[0].delta.content for c in client.chat.completions.create(**GPT, stream=True)]
    assert ended == ["", "a", " b"]


def test_a_connection_without_an_answer_is_a_connection_error(server: ProviderServer) -> None:
    server.next(Answer(hang_up=True), Answer(cut_after=0))
    with OpenAI(base_url=f"{server.url}/v1", api_key="k", max_retries=0) as client:
        for _ in range(2):
            with pytest.raises(openai.APIConnectionError):
                client.chat.completions.create(**GPT)
        assert client.chat.completions.create(**GPT).object == "chat.completion"


def test_hosted_searches_and_limits_are_told_as_each_provider_tells_them(server: ProviderServer) -> None:
    server.respond(lambda received: Answer(web_searches=2, finish="length", service_tier="priority"))
    with OpenAI(base_url=f"{server.url}/v1", api_key="k") as client:
        answer = client.responses.create(model="gpt-4o-mini", input="?")
        assert [item.type for item in answer.output] == ["web_search_call", "web_search_call", "message"]
        assert (answer.status, answer.service_tier) == ("incomplete", "priority")
        assert client.chat.completions.create(**GPT).choices[0].finish_reason == "length"
    with Anthropic(base_url=server.url, api_key="k") as claude, claude.messages.stream(**CLAUDE) as stream:
        message = stream.get_final_message()
    assert message.usage.server_tool_use is not None
    assert (message.stop_reason, message.usage.server_tool_use.web_search_requests) == ("max_tokens", 2)
    with _genai(server.url) as gemini:
        candidates = gemini.models.generate_content(**GEMINI).candidates or []
    assert candidates[0].finish_reason == "MAX_TOKENS"
    assert candidates[0].grounding_metadata is not None
    assert candidates[0].grounding_metadata.web_search_queries == ["query 1", "query 2"]
