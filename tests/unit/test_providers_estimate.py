"""Bounds on usage that no answer told: what arrived, what was allowed, and what nobody can know."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from flask_llm_cost.providers import find_route, read, unanswered
from flask_llm_cost.providers.estimate import Delivered, bounds
from flask_llm_cost.providers.hosts import Route
from flask_llm_cost.providers.most_output import most_output
from flask_llm_cost.providers.request_size import request_size
from flask_llm_cost.usage import Bounds, Reading

CHAT = "https://api.openai.com/v1/chat/completions"
RESPONSES = "https://api.openai.com/v1/responses"
MESSAGES = "https://api.anthropic.com/v1/messages"
GEMINI = "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash:streamGenerateContent"
COHERE = "https://api.cohere.com/v2/chat"
OLLAMA = "https://ollama.com/api/chat"
CONVERSE = "https://bedrock-runtime.us-east-1.amazonaws.com/model/amazon.nova-lite-v1:0/converse-stream"
INVOKE = "https://bedrock-runtime.us-east-1.amazonaws.com/model/meta.llama3-8b/invoke-with-response-stream"
PICTURE = base64.b64encode(b"\x89PNG" * 40_000).decode()


def route(url: str) -> Route:
    _, _, rest = url.partition("://")
    host, _, path = rest.partition("/")
    found = find_route("POST", host, None, f"/{path}")
    assert found is not None
    return found


def answer(url: str, request: dict[str, Any], *events: dict[str, Any], complete: bool = False) -> Reading:
    body = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
    return read(
        route(url),
        url=url,
        request_body=json.dumps(request).encode(),
        status=200,
        headers={},
        body=body,
        complete=complete,
    )


@pytest.mark.parametrize(
    ("url", "document", "said"),
    [
        (CHAT, {"choices": [{"delta": {"role": "assistant", "content": "Hi"}}]}, ["Hi"]),
        (CHAT, {"choices": [{"delta": {"reasoning_content": "Hm", "content": None}}]}, ["Hm"]),
        (
            CHAT,
            {
                "choices": [
                    {"delta": {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{"}}]}}
                ]
            },
            ["f", "{"],
        ),
        (CHAT, {"choices": [{"text": "one"}, {"text": "two"}]}, ["one", "two"]),
        (CHAT, {"choices": [{"delta": {"content": "b"}, "message": {"content": "a b"}}]}, ["b"]),
        (RESPONSES, {"type": "response.output_text.delta", "delta": "Hi"}, ["Hi"]),
        (RESPONSES, {"type": "response.function_call_arguments.delta", "delta": "{}"}, ["{}"]),
        (RESPONSES, {"type": "response.reasoning_summary_text.delta", "delta": "In short"}, []),
        (RESPONSES, {"type": "response.output_text.done", "text": "Hi"}, []),
        (MESSAGES, {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "Hi"}}, ["Hi"]),
        (MESSAGES, {"type": "content_block_delta", "delta": {"partial_json": '{"a'}}, ['{"a']),
        (MESSAGES, {"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": "summary"}}, []),
        (
            MESSAGES,
            {"type": "content_block_start", "content_block": {"type": "tool_use", "name": "f", "input": {}}},
            ["f"],
        ),
        (GEMINI, {"candidates": [{"content": {"parts": [{"text": "a"}, {"text": "b", "thought": True}]}}]}, ["a"]),
        (
            GEMINI,
            {"candidates": [{"content": {"parts": [{"functionCall": {"name": "f", "args": {"x": "y"}}}]}}]},
            ["f", "y"],
        ),
        (OLLAMA, {"message": {"role": "assistant", "content": "Hi", "thinking": "Hm"}, "done": False}, ["Hi", "Hm"]),
        (COHERE, {"type": "content-delta", "delta": {"message": {"content": {"text": "Hi"}}}}, ["Hi"]),
        (COHERE, {"type": "citation-start", "delta": {"message": {"citations": {"text": "Hi"}}}}, []),
        (COHERE, {"event_type": "stream-end", "text": "all of it again"}, []),
        (CONVERSE, {"contentBlockDelta": {"delta": {"text": "Hi"}}}, ["Hi"]),
        (CONVERSE, {"delta": {"toolUse": {"input": '{"a'}}}, ['{"a']),
        (CONVERSE, {"output": {"message": {"content": [{"text": "Hi"}]}}}, ["Hi"]),
        (INVOKE, {"bytes": base64.b64encode(b'{"generation": "Hi"}').decode()}, ["Hi"]),
        (
            INVOKE,
            {"bytes": base64.b64encode(b'{"delta": {"text": "Hi"}, "type": "content_block_delta"}').decode()},
            ["Hi"],
        ),
    ],
)
def test_what_a_model_said_is_counted_once_and_nothing_else_is(
    url: str, document: dict[str, Any], said: list[str]
) -> None:
    assert [text for text in route(url).wire.said(document) if text] == said


def test_a_text_has_at_most_as_many_tokens_as_bytes_and_at_least_half_as_many_as_words() -> None:
    size = request_size({"messages": [{"role": "user", "content": "ein süßes Wort"}]}, 1000)
    names_and_role = len("messagesrolecontentuser")
    assert (size.most(), size.least()) == (names_and_role + len("ein süßes Wort".encode()) + 256, 1)


@pytest.mark.parametrize(
    "image",
    [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}},
        {"type": "image_url", "image_url": {"url": "https://pictures.example/cat.png"}},
        {"type": "input_image", "image_url": f"data:image/png;base64,{PICTURE}"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PICTURE}},
        {"inlineData": {"mimeType": "image/png", "data": PICTURE}},
        {"image": {"format": "png", "source": {"bytes": None}}},
        {"role": "user", "images": [PICTURE]},
    ],
)
def test_an_image_is_as_many_tokens_as_an_image_can_be_not_as_its_bytes(image: dict[str, Any]) -> None:
    most = request_size({"content": [image]}, 1000).most()
    assert most is not None
    assert 1000 <= most < 1600


def test_sound_is_tokens_by_its_length() -> None:
    minute = base64.b64encode(bytes(60 * 2_000)).decode()
    size = request_size({"input_audio": {"data": minute, "format": "wav"}}, 1000)
    assert size.has_audio
    assert 60 * 32 <= (size.most() or 0) < 16_000


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"previous_response_id": "resp_1", "input": "and then?"},
        {"input": "x", "tools": [{"type": "web_search"}]},
        {"messages": [], "tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        {"contents": [], "tools": [{"googleSearch": {}}]},
        {"contents": [{"fileData": {"mimeType": "application/pdf", "fileUri": "gs://b/f"}}]},
        {"content": [{"type": "document", "source": {"media_type": "application/pdf", "data": PICTURE}}]},
        {"content": [{"type": "file", "file": {"file_id": "file-1"}}]},
    ],
)
def test_what_the_request_does_not_show_has_no_upper_bound(request_: dict[str, Any]) -> None:
    assert request_size(request_, 1000).most() is None


def test_a_text_in_a_document_and_the_apps_own_tools_are_text() -> None:
    document = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "plain words"}}
    tools = [
        {"type": "function", "function": {"name": "f", "parameters": {"file": {"description": "A file."}}}},
        {"name": "g", "input_schema": {}},
        {"functionDeclarations": [{"name": "h"}]},
        {"type": "bash_20250124", "name": "bash"},
    ]
    assert (request_size({"content": [document], "tools": tools}, 1000).most() or 0) < 2_000


@pytest.mark.parametrize(
    ("limits", "most"),
    [
        ({"max_tokens": 100}, 164),
        ({"max_completion_tokens": 100, "n": 3}, 364),
        ({"max_output_tokens": 100}, 164),
        ({"inferenceConfig": {"maxTokens": 100}}, 164),
        ({"generationConfig": {"maxOutputTokens": 100, "candidateCount": 2}}, 264),
        ({"options": {"num_predict": 100}}, 164),
        ({"prompt": ["a", "b"], "max_tokens": 50}, 164),
        ({"options": {"num_predict": -1}}, None),
        ({}, None),
    ],
)
def test_the_most_output_is_what_the_request_allows_for_every_answer(limits: dict[str, Any], most: int | None) -> None:
    reading = Reading("local", "mystery", usage={"input": 7}, usage_source="partial")
    found = bounds(route(CHAT).wire, reading, {"messages": [], **limits}, Delivered((), whole=False))
    assert found == Bounds({"input": 7}, None if most is None else {"input": 7, "output": most})


@pytest.mark.parametrize(
    ("model", "most"),
    [
        ("gpt-4o-2024-08-06", 16_384),
        ("openai/gpt-4.1-mini", 32_768),
        ("gpt-5-pro", 272_000),
        ("gpt-5-mini", 128_000),
        ("o3-mini", 100_000),
        ("gpt-4-0613", 8_192),
        ("models/gemini-2.5-pro", 65_536),
        ("gpt-4-1106-vision", 8_192),
        ("qwen-of-tomorrow", None),
    ],
)
def test_a_model_has_a_limit_of_its_own(model: str, most: int | None) -> None:
    assert most_output(model) == most


def test_a_whole_answer_of_a_model_that_hides_nothing_was_read_in_full() -> None:
    event = {"model": "gpt-4o-mini", "choices": [{"delta": {"content": "one two three"}, "finish_reason": "stop"}]}
    whole = answer(CHAT, {"model": "gpt-4o-mini", "messages": []}, event, complete=True)
    assert whole.bounds == Bounds({"output": 1}, {"input": 8 + 5 + 11 + 256, "output": 13 + 64})


@pytest.mark.parametrize("changes", [{"model": "gpt-5"}, {"reasoning_effort": "low"}, {"prediction": {"content": "x"}}])
def test_hidden_output_counts_up_to_the_limit(changes: dict[str, Any]) -> None:
    event = {"choices": [{"delta": {"content": "one two three"}, "finish_reason": "stop"}]}
    request = {"model": "gpt-4o", "messages": [], "max_tokens": 5000, **changes}
    found = answer(CHAT, request, event, complete=True).bounds
    assert found is not None
    assert found.high is not None
    assert found.high["output"] == 5064


def test_anthropics_first_event_makes_the_input_exact() -> None:
    start = {
        "type": "message_start",
        "message": {"model": "claude-haiku-4-5", "usage": {"input_tokens": 120, "output_tokens": 1}},
    }
    delta = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "a b c d e f"}}
    reading = answer(MESSAGES, {"model": "claude-haiku-4-5", "max_tokens": 1000, "messages": []}, start, delta)
    assert reading.bounds == Bounds({"input": 120, "output": 3}, {"input": 120, "output": 1064})


def test_an_unreported_prompt_may_have_been_cached_or_written_to_the_cache() -> None:
    block = {"type": "text", "text": "a b c d", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    found = answer(MESSAGES, {"model": "m", "max_tokens": 10, "messages": [{"content": [block]}]}).bounds
    assert found is not None
    assert found.low == {"cache_read": 2}
    assert list(found.high or {}) == ["cache_write.1h", "output"]


def test_an_error_instead_of_an_answer_has_no_bounds_one_within_it_starts_at_nothing() -> None:
    error = {"type": "error", "error": {"type": "overloaded_error"}}
    delta = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "a b c d"}}
    request = {"model": "m", "max_tokens": 10, "messages": []}
    assert answer(MESSAGES, request, error).bounds is None
    within = answer(MESSAGES, request, delta, error)
    assert within.status == "error"
    assert within.bounds is not None
    assert (within.bounds.low, (within.bounds.high or {})["output"]) == ({}, 74)


def test_no_answer_at_all_is_anything_from_nothing_to_all_that_was_allowed() -> None:
    request = json.dumps({"model": "gpt-4o", "messages": [], "max_tokens": 10}).encode()
    reading = unanswered(route(CHAT), url=CHAT, request_body=request)
    assert reading.bounds is not None
    assert (reading.bounds.low, (reading.bounds.high or {})["output"]) == ({}, 74)


def test_what_is_not_billed_by_tokens_has_no_bounds() -> None:
    url = "https://api.openai.com/v1/images/generations"
    assert answer(url, {"model": "dall-e-3", "prompt": "a cat"}).bounds is None
