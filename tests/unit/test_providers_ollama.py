"""Ollama's own API: counts at the top of the body or of a stream's last line."""

from __future__ import annotations

import json

import pytest

from flask_llm_cost.providers import read_exchange, read_stream_events
from flask_llm_cost.usage import Reading

REQUEST = {"model": "llama3", "messages": []}
LINES = [
    {"model": "llama3", "message": {"role": "assistant", "content": "Hel"}, "done": False},
    {"model": "llama3", "message": {"role": "assistant", "content": '"usage": {"eval_count": 9}'}, "done": False},
    {"model": "llama3", "done": True, "done_reason": "stop", "prompt_eval_count": 17, "eval_count": 63},
]


def ask(body: object, path: str = "chat", *, status: int = 200, request: object = REQUEST) -> Reading:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    reading = read_exchange(
        url=f"http://localhost:11434/api/{path}",
        request_body=json.dumps(request).encode(),
        status=status,
        headers={},
        body=content,
        compatible_hosts={"localhost:11434": "ollama"},
    )
    assert reading is not None
    return reading


def lines(*objects: object) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in objects)


def test_a_whole_answer() -> None:
    """Design 02, wire formats: Ollama."""
    assert ask({**LINES[2], "total_duration": 5, "message": {}}, request={**REQUEST, "stream": False}) == Reading(
        provider="ollama",
        model="llama3",
        usage={"input": 17, "output": 63},
        request_model="llama3",
        usage_source="response",
        raw_usage={"prompt_eval_count": 17, "eval_count": 63},
    )


def test_a_stream_of_lines_is_what_is_answered_unless_told_not_to() -> None:
    assert ask(lines(*LINES)) == Reading(
        provider="ollama",
        model="llama3",
        usage={"input": 17, "output": 63},
        request_model="llama3",
        stream=True,
        usage_source="stream_final",
        raw_usage={"prompt_eval_count": 17, "eval_count": 63},
    )


def test_a_prompt_in_memory_is_not_evaluated_and_nothing_is_made_up_for_it() -> None:
    reading = ask(lines(LINES[0], {"model": "llama3", "done": True, "eval_count": 58}), "generate")
    assert (reading.usage, reading.operation, reading.usage_source) == (
        {"output": 58},
        "text_completion",
        "stream_final",
    )


def test_zero_is_a_number() -> None:
    assert ask({"model": "m", "prompt_eval_count": 0, "eval_count": 0}).usage == {"input": 0, "output": 0}


def test_a_stream_cut_off_before_its_last_line_has_no_usage() -> None:
    reading = ask(lines(*LINES[:2]))
    assert (reading.model, reading.usage, reading.usage_source) == ("llama3", {}, "unknown")
    assert reading.notes == ("cut_off",)


def test_embeddings() -> None:
    reading = ask({"model": "nomic", "embeddings": [[0.1, 0.2]], "prompt_eval_count": 8}, "embed")
    assert (reading.model, reading.operation, reading.usage, reading.stream) == (
        "nomic",
        "embeddings",
        {"input": 8},
        False,
    )


def test_the_older_embeddings_say_nothing_about_usage() -> None:
    reading = ask({"embedding": [0.1]}, "embeddings")
    assert (reading.model, reading.usage, reading.notes) == ("llama3", {}, ("no_usage",))


@pytest.mark.parametrize(("status", "expected"), [(404, "404"), (200, "_OTHER")])
def test_an_error_is_one_and_its_sentence_is_not_kept(status: int, expected: str) -> None:
    body = {"error": "model 'x' not found"}
    reading = ask(body, status=status)
    assert (reading.status, reading.error_type, reading.usage) == ("error", expected, {})


def test_an_error_within_a_stream() -> None:
    reading = ask(lines(LINES[0], {"error": "out of memory"}))
    assert (reading.status, reading.stream, reading.usage) == ("error", True, {})


def test_an_explicit_client_is_told_by_its_path() -> None:
    reading = read_exchange(
        url="http://gpu/api/chat", request_body=b"{}", status=200, headers={}, body=lines(*LINES), provider=""
    )
    assert reading is not None
    assert (reading.provider, reading.usage) == ("ollama", {"input": 17, "output": 63})


def test_told_events() -> None:
    assert read_stream_events("ollama", LINES).usage == {"input": 17, "output": 63}
