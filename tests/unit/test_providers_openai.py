"""OpenAI's formats: chat completions, completions and embeddings."""

from __future__ import annotations

import json

import pytest

from flask_llm_cost.providers import read_exchange
from flask_llm_cost.usage import Bounds, Reading

CHAT = "https://api.openai.com/v1/chat/completions"
RESPONSES = "https://api.openai.com/v1/responses"
ASKED = {"model": "gpt-4o", "messages": []}
STREAMED = {**ASKED, "stream": True}


def read(body: object, *, url: str = CHAT, request: object = ASKED, status: int = 200) -> Reading:
    reading = read_exchange(
        url=url,
        request_body=json.dumps(request).encode(),
        status=status,
        headers={"Content-Type": "application/json"},
        body=json.dumps(body).encode(),
    )
    assert reading is not None
    return reading


def stream(
    *events: object, url: str = CHAT, request: object = STREAMED, done: bool = True, status: int = 200
) -> Reading:
    lines = [f"data: {json.dumps(event)}\n\n" for event in events] + (["data: [DONE]\n\n"] if done else [])
    reading = read_exchange(
        url=url,
        request_body=json.dumps(request).encode(),
        status=status,
        headers={"content-type": "text/event-stream"},
        body="".join(lines).encode(),
    )
    assert reading is not None
    return reading


def test_a_chat_completion() -> None:
    """Covers P-PARSE-OAI-04, P-PARSE-GEN-04, P-PARSE-GEN-08 (an answer that is no stream)."""
    usage = {"prompt_tokens": 150, "completion_tokens": 42, "total_tokens": 192}
    reading = read({"id": "chatcmpl-1", "model": "gpt-4o-2024-08-06", "usage": usage, "service_tier": "default"})
    assert reading == Reading(
        provider="openai",
        model="gpt-4o-2024-08-06",
        usage={"input": 150, "output": 42},
        request_model="gpt-4o",
        operation="chat",
        stream=False,
        provider_response_id="chatcmpl-1",
        usage_source="response",
        raw_usage=usage,
    )
    assert reading.total_tokens == 192


def test_audio_images_cache_writes_and_predictions() -> None:
    """Covers P-PARSE-OAI-22, going beyond it: these parts have meters of their own."""
    usage = {
        "prompt_tokens": 1000,
        "completion_tokens": 300,
        "prompt_tokens_details": {
            "cached_tokens": 400,
            "cache_write_tokens": 100,
            "audio_tokens": 200,
            "image_tokens": 50,
        },
        "completion_tokens_details": {"reasoning_tokens": 90, "audio_tokens": 60, "rejected_prediction_tokens": 7},
    }
    assert read({"usage": usage}).usage == {
        "input": 250,
        "cache_read": 400,
        "cache_write": 100,
        "input.audio": 200,
        "input.image": 50,
        "output": 150,
        "output.reasoning": 90,
        "output.audio": 60,
    }


def test_audio_that_was_cached_is_counted_once() -> None:
    """The details do not say how much of the audio was cached: what has no room beside the cache was in it."""
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 1,
        "prompt_tokens_details": {"cached_tokens": 50, "audio_tokens": 80},
    }
    reading = read({"usage": usage})
    assert (reading.usage, reading.notes) == ({"input": 0, "cache_read": 50, "input.audio": 50, "output": 1}, ())


@pytest.mark.parametrize(
    ("answered", "asked", "expected"),
    [
        ({}, {}, "unknown"),
        ({}, ASKED, "gpt-4o"),
        ({"model": None}, ASKED, "gpt-4o"),
        ({"model": "gpt-4o-2024-08-06"}, ASKED, "gpt-4o-2024-08-06"),
        ({"model": ""}, ASKED, "unknown"),
        ({"model": "  "}, ASKED, "unknown"),
        ({"model": 7}, {"model": ""}, "unknown"),
    ],
)
def test_model(answered: dict[str, object], asked: dict[str, object], expected: str) -> None:
    """Covers P-PARSE-OAI-07, P-PARSE-OAI-08, P-PARSE-GEN-03."""
    assert read({**answered, "usage": {"prompt_tokens": 1}}, request=asked).model == expected


@pytest.mark.parametrize(
    ("request_body", "expected"),
    [
        (b'{"model": "m", "stream": true}', True),
        (b'{"model": "m"}', False),
        (b'{"model": "m", "stream": false}', False),
        (b'{"model": "m", "messages": [{"content": "\\"stream\\": true"}]}', False),
        (b'{"model": "m", "messages": [{"stream": true}]}', False),
        (b"not json", False),
        (b"", False),
        (b"[1]", False),
    ],
)
def test_whether_a_stream_was_asked_for(request_body: bytes, expected: bool) -> None:
    """Covers P-PARSE-OAI-09, P-PARSE-GEN-05."""
    reading = read_exchange(url=CHAT, request_body=request_body, status=500, headers={}, body=b"")
    assert reading is not None
    assert reading.stream is expected


def test_a_big_request_is_not_misread() -> None:
    """Half a megabyte of message that names other models and tiers does not fool anybody."""
    text = '{"model": "evil", "stream": true, "service_tier": "flex"} ' * 10_000
    asked = {"messages": [{"content": text}, {"model": "nested", "service_tier": "flex"}], "model": "gpt-4o"}
    reading = read({"usage": {"prompt_tokens": 1, "completion_tokens": 1}}, request=asked)
    assert (reading.model, reading.stream, reading.pricing_mode) == ("gpt-4o", False, None)


def test_stream_usage_in_a_late_chunk() -> None:
    """Covers P-PARSE-OAI-10, P-PARSE-GEN-08 (a stream)."""
    usage = {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}
    reading = stream({"choices": [{"delta": {"content": "hi"}}]}, {"choices": [], "usage": usage})
    assert reading == Reading(
        provider="openai",
        model="gpt-4o",
        usage={"input": 12, "output": 3},
        request_model="gpt-4o",
        stream=True,
        usage_source="stream_final",
        raw_usage=usage,
    )


def test_stream_identity_is_the_first_that_is_not_blank() -> None:
    """Covers P-PARSE-OAI-11 (chat). Azure's first chunk has blanks."""
    reading = stream(
        {"id": "", "model": "", "choices": []},
        {"id": "chatcmpl-1", "model": "gpt-4o-mini", "choices": []},
        {"id": "chatcmpl-2", "model": "other", "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}},
    )
    assert (reading.provider_response_id, reading.model) == ("chatcmpl-1", "gpt-4o-mini")
    late = stream({"id": "chatcmpl-1", "choices": []}, {"id": "chatcmpl-1", "model": "gpt-4o-mini", "choices": []})
    assert (late.provider_response_id, late.model) == ("chatcmpl-1", "gpt-4o-mini")


def test_stream_without_usage() -> None:
    """Covers P-PARSE-OAI-15, P-PARSE-GEN-09."""
    reading = stream({"choices": [{"delta": {"content": "hi"}, "finish_reason": "stop"}]})
    assert reading == Reading(
        provider="openai",
        model="gpt-4o",
        request_model="gpt-4o",
        stream=True,
        notes=("no_usage",),
        bounds=Bounds({}, {"input": 289, "output": 66}),
    )
    named = stream({"id": "chatcmpl-1", "model": "gpt-4o-2024-08-06", "choices": []})
    assert (named.usage, named.model, named.provider_response_id) == ({}, "gpt-4o-2024-08-06", "chatcmpl-1")


def test_stream_with_status_500() -> None:
    """Covers P-PARSE-OAI-16: no usage; the attempt itself is kept as an error."""
    reading = stream({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}, status=500)
    assert reading == Reading(
        provider="openai", model="gpt-4o", request_model="gpt-4o", stream=True, status="error", error_type="500"
    )


def test_the_last_usage_with_something_in_it_wins() -> None:
    """Covers P-PARSE-OAI-17, P-PARSE-GEN-10."""
    reading = stream(
        {"choices": [{}], "usage": {"prompt_tokens": 12, "completion_tokens": 1}},
        {"choices": [{}], "usage": {"prompt_tokens": 12, "completion_tokens": 3}},
        ["no mapping"],
        "text",
        7,
        None,
        {"choices": [], "usage": {}},
        {"choices": [], "usage": None},
    )
    assert (reading.usage, reading.notes) == ({"input": 12, "output": 3}, ())


def test_fresh_input_is_never_negative() -> None:
    """Covers P-PARSE-OAI-18."""
    usage = {"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 9}, "completion_tokens": 1}
    reading = read({"usage": usage})
    assert (reading.usage, reading.notes) == ({"input": 0, "cache_read": 9, "output": 1}, ("inconsistent",))


def test_prompt_names_go_before_input_names() -> None:
    """Covers P-PARSE-OAI-19, P-PARSE-GEN-06: 0 and {} are there; null is not."""
    both = {
        "prompt_tokens": 0,
        "input_tokens": 9,
        "prompt_tokens_details": {},
        "input_tokens_details": {"cached_tokens": 5},
        "completion_tokens": 0,
        "output_tokens": 4,
    }
    assert read({"usage": both}).usage == {"input": 0, "output": 0}
    nulls = {**both, "prompt_tokens": None, "prompt_tokens_details": None, "completion_tokens": None}
    assert read({"usage": nulls}).usage == {"input": 4, "cache_read": 5, "output": 4}


def test_embeddings() -> None:
    """Covers P-PARSE-OAI-20. There is no output to price."""
    usage = {"prompt_tokens": 8, "total_tokens": 8}
    reading = read(
        {"object": "list", "data": [{"embedding": [0.1]}], "model": "text-embedding-3-small", "usage": usage},
        url="https://api.openai.com/v1/embeddings",
    )
    assert (reading.operation, reading.usage, reading.raw_usage) == ("embeddings", {"input": 8}, usage)


def test_a_total_that_is_larger_is_output_that_was_not_itemised() -> None:
    """Covers P-PARSE-OAI-21, where design 02 goes further: the remainder of a total is output."""
    reading = read({"usage": {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 99}})
    assert (reading.usage, reading.notes) == ({"input": 12, "output": 87}, ("remainder_is_output",))


def test_a_total_that_is_smaller_changes_nothing_but_is_noted() -> None:
    reading = read({"usage": {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 9}})
    assert (reading.usage, reading.notes) == ({"input": 12, "output": 3}, ("inconsistent",))


def test_a_missing_prompt_is_what_the_total_leaves() -> None:
    assert read({"usage": {"completion_tokens": 3, "total_tokens": 15}}).usage == {"input": 12, "output": 3}
    assert read({"usage": {"total_tokens": 15}}).usage == {"input": 15, "output": 0}


@pytest.mark.parametrize(
    ("served", "asked", "expected"),
    [
        ("default", "priority", None),
        ("standard", None, None),
        ("auto", None, None),
        ("flex", None, "flex"),
        ("priority", None, "priority"),
        ("scale", None, "scale"),
        ("batch", None, "batch"),
        ("ultrafast", None, "ultrafast"),
        (None, "flex", "flex"),
        (None, "fast", "priority"),
        (None, "auto", None),
        (None, None, None),
    ],
)
def test_the_served_tier_wins(served: str | None, asked: str | None, expected: str | None) -> None:
    body = {"usage": {"prompt_tokens": 1, "completion_tokens": 1}, "service_tier": served}
    assert read(body, request={**ASKED, "service_tier": asked}).pricing_mode == expected
    last: dict[str, object] = {"choices": [], **body}
    assert (
        stream({"choices": [], "service_tier": None}, last, request={**ASKED, "service_tier": asked}).pricing_mode
        == expected
    )


def test_an_error_in_the_midst_of_a_stream() -> None:
    reading = stream(
        {"id": "c", "model": "m", "choices": []}, {"error": {"code": "server_error", "message": "x"}}, done=False
    )
    assert (reading.status, reading.error_type, reading.notes) == ("error", "server_error", ())
    reading = stream({"type": "error", "code": "rate_limit_exceeded", "message": "x"}, url=RESPONSES, done=False)
    assert (reading.status, reading.error_type) == ("error", "rate_limit_exceeded")


def test_an_azure_deployment_stands_in_for_a_missing_model() -> None:
    url = "https://r.openai.azure.com/openai/deployments/my-gpt/chat/completions?api-version=2024-10-21"
    assert read({"usage": {"prompt_tokens": 1}}, url=url, request={}).request_model == "my-gpt"
    answered = read({"model": "gpt-4o-2024-08-06", "usage": {"prompt_tokens": 1}}, url=url, request={})
    assert (answered.provider, answered.model) == ("azure", "gpt-4o-2024-08-06")
