"""Laws of every reader: nothing raises, nothing is negative, and the parts add up to the provider's totals."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_llm_cost.providers import find_route, read, read_stream_events
from flask_llm_cost.providers.route import Route
from flask_llm_cost.usage import METERS, Reading

URLS = {
    "chat": "https://api.openai.com/v1/chat/completions",
    "responses": "https://api.openai.com/v1/responses",
    "embeddings": "https://api.openai.com/v1/embeddings",
    "messages": "https://api.anthropic.com/v1/messages",
    "gemini": "https://generativelanguage.googleapis.com/v1beta/models/gemini-3-pro:generateContent",
    "groq": "https://api.groq.com/openai/v1/chat/completions",
    "xai": "https://api.x.ai/v1/chat/completions",
    "openrouter": "https://openrouter.ai/api/v1/chat/completions",
    "cohere": "https://api.cohere.com/v2/chat",
    "ollama": "https://ollama.com/api/chat",
    "converse": "https://bedrock-runtime.us-east-1.amazonaws.com/model/amazon.nova-lite-v1:0/converse-stream",
    "invoke": "https://bedrock-runtime.us-east-1.amazonaws.com/model/anthropic.claude-v2/invoke",
    "transcriptions": "https://api.openai.com/v1/audio/transcriptions",
    "images": "https://api.openai.com/v1/images/generations",
}
NAMES = """usage usageMetadata prompt_tokens completion_tokens input_tokens output_tokens total_tokens cached_tokens
    prompt_tokens_details completion_tokens_details input_tokens_details output_tokens_details reasoning_tokens
    audio_tokens image_tokens cache_write_tokens cache_read_input_tokens cache_creation_input_tokens cache_creation
    ephemeral_1h_input_tokens ephemeral_5m_input_tokens iterations type model id server_tool_use web_search_requests
    promptTokenCount candidatesTokenCount thoughtsTokenCount cachedContentTokenCount toolUsePromptTokenCount
    totalTokenCount promptTokensDetails cacheTokensDetails modality tokenCount trafficType serviceTier modelVersion
    choices candidates finishReason error code response message output action tool_usage x_groq cost
    groundingMetadata webSearchQueries usage_metadata billed_units search_units image_tokens meta delta finish_reason
    prompt_eval_count eval_count done inputTokens outputTokens cacheReadInputTokens cacheWriteInputTokens cacheDetails
    ttl metadata chunk bytes amazon-bedrock-invocationMetrics inputTokenCount outputTokenCount inputTextTokenCount
    results seconds duration input_token_details data size quality"""
FIELDS = st.sampled_from(NAMES.split())
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-5, 2000)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(
        ["message_start", "message_delta", "fallback_message", "compaction", "response.completed", "AUDIO", "12"]
    )
)
JSONS = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=6), max_leaves=25
)
OBJECTS = st.dictionaries(FIELDS, JSONS, max_size=6)
COUNTS = st.integers(0, 10**6)


def route_of(url: str) -> Route:
    host, _, path = url.removeprefix("https://").partition("/")
    route = find_route("POST", host, None, "/" + path)
    assert route is not None
    return route


def answer(name: str, body: bytes, *, complete: bool = True, request: bytes = b"") -> Reading:
    url = URLS[name]
    return read(route_of(url), url=url, request_body=request, status=200, headers={}, body=body, complete=complete)


def check(reading: Reading) -> None:
    for usage in (reading.usage, *(other.usage for other in reading.extra)):
        assert all(count >= 0 for count in usage.values())
        assert {name for name in usage if not name.startswith("image.")} <= set(METERS)
    assert reading.model
    assert (reading.usage_source == "unknown") == (not reading.usage)
    assert (reading.error_type is not None) == (reading.status == "error")
    assert reading.provider_cost is None or reading.provider_cost >= 0
    json.dumps(reading.raw_usage, allow_nan=False)


@pytest.mark.parametrize("name", URLS)
@given(body=OBJECTS, request=JSONS)
def test_any_json_body_is_read(name: str, body: Mapping[str, object], request: object) -> None:
    check(answer(name, json.dumps(body).encode(), request=json.dumps(request).encode()))


@pytest.mark.parametrize("name", URLS)
@given(events=st.lists(OBJECTS, max_size=4), complete=st.booleans(), cut=st.integers(0, 400), as_array=st.booleans())
def test_any_stream_is_read_wherever_it_was_cut(
    name: str, events: list[Mapping[str, object]], complete: bool, cut: int, as_array: bool
) -> None:
    body = (
        json.dumps(events).encode()
        if as_array
        else b"".join(b"data: %s\n\n" % json.dumps(each).encode() for each in events)
    )
    check(answer(name, body[: len(body) - cut], complete=complete))
    check(answer(name, body[cut:], complete=complete))


@pytest.mark.parametrize("name", URLS)
@given(body=st.binary(max_size=200))
def test_any_bytes_are_read(name: str, body: bytes) -> None:
    check(answer(name, body, complete=False))


@given(st.text(max_size=10), st.lists(OBJECTS, max_size=4))
def test_any_told_events_are_read(provider: str, events: list[Mapping[str, object]]) -> None:
    check(read_stream_events(provider, events))


@given(
    st.tuples(COUNTS, COUNTS, COUNTS, COUNTS, COUNTS), st.tuples(COUNTS, COUNTS, COUNTS), st.booleans(), st.booleans()
)
def test_openai_parts_add_up_to_its_totals(
    prompt: tuple[int, ...], completion: tuple[int, ...], with_total: bool, responses: bool
) -> None:
    fresh, cached, written, audio, image = prompt
    said, reasoning, spoken = completion
    names = ("input", "output") if responses else ("prompt", "completion")
    usage: dict[str, object] = {
        f"{names[0]}_tokens": sum(prompt),
        f"{names[0]}_tokens_details": {
            "cached_tokens": cached,
            "cache_write_tokens": written,
            "audio_tokens": audio,
            "image_tokens": image,
        },
        f"{names[1]}_tokens": sum(completion),
        f"{names[1]}_tokens_details": {"reasoning_tokens": reasoning, "audio_tokens": spoken},
    }
    if with_total:
        usage["total_tokens"] = sum(prompt) + sum(completion)
    reading = answer("responses" if responses else "chat", json.dumps({"usage": usage}).encode())
    parts = {
        "cache_read": cached,
        "cache_write": written,
        "input.audio": audio,
        "input.image": image,
        "output.reasoning": reasoning,
        "output.audio": spoken,
    }
    assert reading.usage == {"input": fresh, "output": said, **{name: count for name, count in parts.items() if count}}
    assert reading.total_tokens == sum(prompt) + sum(completion)
    assert reading.notes == ()


@given(COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, st.booleans())
def test_gemini_parts_add_up_to_its_total(
    prompt: int, cached: int, candidates: int, thoughts: int, tools: int, with_total: bool
) -> None:
    total = prompt + cached + candidates + thoughts + tools
    usage = {
        "promptTokenCount": prompt + cached,
        "cachedContentTokenCount": cached,
        "candidatesTokenCount": candidates,
        "thoughtsTokenCount": thoughts,
        "toolUsePromptTokenCount": tools,
        **({"totalTokenCount": total} if with_total else {}),
    }
    reading = answer("gemini", json.dumps({"usageMetadata": usage}).encode())
    assert (reading.input_tokens, reading.cache_read_input_tokens) == (prompt + tools, cached)
    assert (reading.output_tokens, reading.hidden_output_tokens) == (candidates + thoughts, thoughts)
    assert (reading.total_tokens, reading.notes) == (total, ())


@given(COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS)
def test_anthropic_parts_add_up_whether_streamed_or_not(
    fresh: int, cached: int, short: int, long: int, said: int, thinking: int
) -> None:
    usage = {
        "input_tokens": fresh,
        "cache_read_input_tokens": cached,
        "cache_creation_input_tokens": short + long,
        "cache_creation": {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long},
        "output_tokens": said + thinking,
        "output_tokens_details": {"thinking_tokens": thinking},
    }
    whole = answer("messages", json.dumps({"id": "m", "usage": usage}).encode())
    assert whole.total_tokens == fresh + cached + short + long + said + thinking
    assert (whole.cache_write_1h_input_tokens, whole.hidden_output_tokens, whole.notes) == (long, thinking, ())
    counts = whole.token_counts()
    assert counts._asdict() == {name: getattr(whole, name) for name in counts._fields}
    first = {
        "type": "message_start",
        "message": {"id": "m", "usage": {**usage, "output_tokens": 1, "output_tokens_details": None}},
    }
    last = {
        "type": "message_delta",
        "usage": {name: usage[name] for name in ("output_tokens", "output_tokens_details")},
    }
    streamed = answer("messages", b"".join(b"data: %s\n\n" % json.dumps(each).encode() for each in (first, last)))
    assert (streamed.usage, streamed.provider_response_id) == (whole.usage, "m")


LAST = {
    "chat": [{"choices": [{"delta": {}, "finish_reason": "stop"}]}, {"choices": [], "usage": {"prompt_tokens": 7}}],
    "responses": [
        {"type": "response.completed", "response": {"id": "resp_1", "model": "m", "usage": {"input_tokens": 7}}}
    ],
    "messages": [{"type": "message_delta", "usage": {"output_tokens": 9}}, {"type": "message_stop"}],
}
FIRST = {
    "chat": {"id": "c", "model": "m", "service_tier": "flex", "choices": []},
    "responses": {"type": "response.created", "response": {"id": "resp_1", "model": "m"}},
    "messages": {"type": "message_start", "message": {"id": "m", "model": "m", "usage": {"input_tokens": 7}}},
}
BETWEEN = {
    "chat": st.just({"choices": [{"delta": {"content": "word"}}], "usage": None}),
    "responses": st.sampled_from(
        [
            {"type": "response.output_text.delta", "delta": "word"},
            {"type": "response.output_item.done", "item": {"type": "web_search_call", "action": {"type": "search"}}},
        ]
    ),
    "messages": st.sampled_from(
        [
            {"type": "content_block_delta", "delta": {"text": "word"}},
            {"type": "message_delta", "usage": {"input_tokens": 8}},
            {"type": "content_block_start", "content_block": {"type": "fallback", "to": {"model": "other"}}},
        ]
    ),
}


@given(st.sampled_from(sorted(LAST)), st.booleans(), st.data())
def test_a_long_stream_says_by_its_ends_what_it_says_as_a_whole(kind: str, is_whole: bool, data: st.DataObject) -> None:
    """``told_at_ends``: whatever stands between them."""
    special = data.draw(st.lists(BETWEEN[kind], max_size=3))
    events = [FIRST[kind], *special, *[{"type": "ping", "text": "x" * 90}] * 60, *(LAST[kind] if is_whole else [])]
    body = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
    # After CRLF a stream is read whole.
    assert answer(kind, body) == answer(kind, body.replace(b"\n", b"\r\n"))
