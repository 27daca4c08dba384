"""Hosts that speak OpenAI's format, and where they depart from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal

import pytest

from flask_llm_cost.providers import read_exchange, read_stream_events
from flask_llm_cost.providers.openai_chat import OpenAIChat
from flask_llm_cost.providers.wire import Asked
from flask_llm_cost.usage import Reading


def read(url: str, body: object, request: object = None, **hosts: str) -> Reading:
    encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
    reading = read_exchange(
        url=url,
        request_body=json.dumps(request or {}).encode(),
        status=200,
        headers={},
        body=encoded,
        compatible_hosts={name.replace("_", "."): provider for name, provider in hosts.items()},
    )
    assert reading is not None
    return reading


def usage(prompt: int, completion: int, total: int | None = None, **more: object) -> dict[str, object]:
    counted = {} if total is None else {"total_tokens": total}
    return {"prompt_tokens": prompt, "completion_tokens": completion, **counted, **more}


def test_one_reader_serves_openai_and_the_others() -> None:
    """Covers P-PARSE-CMP-01, P-PARSE-CMP-07."""
    body = {"id": "x", "model": "m", "usage": usage(5, 2, 7)}
    own = OpenAIChat().read(body, Asked())
    for url, provider in [("https://api.mistral.ai/v1", "mistral"), ("http://llm.internal", "gateway")]:
        reading = read(f"{url}/chat/completions", body, llm_internal="gateway")
        assert (reading.provider, reading.usage, reading.provider_response_id) == (provider, own.usage, "x")


def test_openrouter_keeps_the_model_verbatim() -> None:
    """Covers P-PARSE-CMP-04."""
    reading = read(
        "https://openrouter.ai/api/v1/chat/completions", {"model": "openai/gpt-4o-mini", "usage": usage(25, 10, 35)}
    )
    assert (reading.provider, reading.model) == ("openrouter", "openai/gpt-4o-mini")
    assert reading.usage == {"input": 25, "output": 10}


def test_deepseek_without_a_version_prefix() -> None:
    """Covers P-PARSE-CMP-05."""
    reading = read(
        "https://api.deepseek.com/chat/completions", {"model": "deepseek-chat", "usage": usage(300, 80, 380)}
    )
    assert (reading.provider, reading.usage) == ("deepseek", {"input": 300, "output": 80})


def test_a_configured_host_has_the_configured_name() -> None:
    """Covers P-PARSE-CMP-06."""
    body = {"usage": {"input_tokens": 150, "output_tokens": 42, "total_tokens": 192}}
    reading = read("http://llm.internal/v1/chat/completions", body, llm_internal="house")
    assert (reading.provider, reading.usage) == ("house", {"input": 150, "output": 42})


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"cost": 0.00007159, "is_byok": False}, Decimal("0.00007159")),
        ({"cost": 0}, Decimal(0)),
        ({"cost": 0.0001, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.02}}, Decimal("0.0201")),
        ({"cost": 0.0001, "is_byok": False, "cost_details": {"upstream_inference_cost": 0.02}}, Decimal("0.0001")),
        ({"cost": 0.0001, "is_byok": True, "cost_details": {"upstream_inference_cost": None}}, Decimal("0.0001")),
        ({"cost": -1}, None),
        ({"cost": "free"}, None),
        ({}, None),
    ],
)
def test_what_openrouter_charged(more: dict[str, object], expected: Decimal | None) -> None:
    """Covers P-PARSE-CMP-08, whose extras the gem ignores."""
    reading = read("https://openrouter.ai/api/v1/chat/completions", {"usage": {**usage(25, 10), **more}})
    assert reading.provider_cost == expected


def test_deepseek_tells_the_cached_part_beside_the_prompt() -> None:
    """Covers P-PARSE-CMP-08 (cache-hit fields)."""
    body = {"usage": usage(300, 80, prompt_cache_hit_tokens=192, prompt_cache_miss_tokens=108)}
    assert read("https://api.deepseek.com/chat/completions", body).usage == {
        "input": 108,
        "cache_read": 192,
        "output": 80,
    }


def test_together_tells_the_cached_part_beside_the_prompt() -> None:
    body = {"usage": usage(41, 15, 56, cached_tokens=16)}
    assert read("https://api.together.xyz/v1/chat/completions", body).usage == {
        "input": 25,
        "cache_read": 16,
        "output": 15,
    }


def test_groq_streams_tell_usage_unasked() -> None:
    chunks = [
        {"id": "c", "model": "llama", "choices": [{"delta": {"content": "x"}}], "x_groq": {"id": "req"}},
        {"id": "c", "model": "llama", "choices": [{"delta": {"content": "y"}}]},
        {
            "id": "c",
            "choices": [],
            "x_groq": {"id": "req", "usage": usage(18, 4, 22)},
        },
    ]
    body = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
    reading = read("https://api.groq.com/openai/v1/chat/completions", body.encode())
    assert (reading.provider, reading.usage, reading.usage_source) == (
        "groq",
        {"input": 18, "output": 4},
        "stream_final",
    )


@pytest.mark.parametrize(
    ("inside", "outside", "mode"),
    [
        ("priority", None, "priority"),
        ("standard", None, None),
        ("priority", "standard", "priority"),
        (None, "priority", "priority"),
        (None, None, None),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_mistral_tells_the_tier_within_its_usage(
    stream: bool, inside: str | None, outside: str | None, mode: str | None
) -> None:
    """``UsageInfo.service_tier``: "standard or priority". It counts before one beside the usage."""
    told = {"service_tier": outside, "usage": usage(5, 2, 7, service_tier=inside)}
    body: object = {"id": "x", "model": "mistral-small-2603", **told}
    if stream:
        chunks = [{"choices": [{"delta": {"content": "x"}}]}, {"choices": [{"finish_reason": "stop"}], **told}]
        body = "".join(f"data: {json.dumps({'id': 'x', 'model': 'm', **chunk})}\n\n" for chunk in chunks).encode()
    # What was asked for does not count: "auto" may be served either way.
    reading = read("https://api.mistral.ai/v1/chat/completions", body, {"service_tier": "auto", "stream": stream})
    assert (reading.provider, reading.pricing_mode, reading.usage) == ("mistral", mode, {"input": 5, "output": 2})


@pytest.mark.parametrize(
    ("host", "last", "code"),
    [
        ("api.mistral.ai", {"choices": [{"delta": {}, "finish_reason": "error"}]}, "_OTHER"),
        ("api.groq.com", {"choices": [], "x_groq": {"error": "over_capacity"}}, "over_capacity"),
        ("api.groq.com", {"choices": [], "x_groq": {"error": "The model is over capacity."}}, "_OTHER"),
        ("api.groq.com", {"error": {"message": "No.", "code": "over_capacity"}}, "over_capacity"),
        ("llm.internal", {"object": "error", "message": "No.", "type": "InternalServerError", "code": 500}, None),
        ("api.openai.com", {"error": {"message": "No.", "code": "server_error"}}, "server_error"),
    ],
)
def test_a_stream_that_fails_says_so_in_its_hosts_own_way(host: str, last: dict[str, object], code: str | None) -> None:
    """The code is kept, and no sentence."""
    chunks = [{"id": "x", "model": "m", "choices": [{"delta": {"content": "x"}}]}] * 3
    body = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in [*chunks, last]).encode()
    reading = read(f"https://{host}/v1/chat/completions", body, {"stream": True}, llm_internal="gateway")
    told = (reading.status, reading.error_type, reading.usage, reading.usage_source)
    assert told == ("error", code or "InternalServerError", {}, "unknown")


def test_usage_beside_a_failure_counts() -> None:
    last = {"choices": [{"delta": {}, "finish_reason": "error"}], "usage": usage(5, 2, 7)}
    body = f"data: {json.dumps({'id': 'x', 'model': 'm', 'choices': []})}\n\ndata: {json.dumps(last)}\n\n".encode()
    reading = read("https://api.mistral.ai/v1/chat/completions", body, {"stream": True})
    told = (reading.status, reading.error_type, reading.usage, reading.usage_source)
    assert told == ("error", "_OTHER", {"input": 5, "output": 2}, "stream_final")


@pytest.mark.parametrize("total", [135, None])
def test_xai_reasoning_comes_on_top_of_the_completion(total: int | None) -> None:
    """docs.x.ai's own example: 32 + 9 + 94 = 135."""
    body = {
        "usage": usage(32, 9, total, completion_tokens_details={"reasoning_tokens": 94}, cost_in_usd_ticks=232856000)
    }
    reading = read("https://api.x.ai/v1/chat/completions", body)
    assert reading.usage == {"input": 32, "output": 9, "output.reasoning": 94}
    assert (reading.output_tokens, reading.notes, reading.provider_cost) == (103, (), Decimal("0.0232856"))


def test_xai_behind_a_gateway_adds_up_by_its_total() -> None:
    body = {"usage": usage(32, 9, 135, completion_tokens_details={"reasoning_tokens": 94})}
    reading = read("http://gw/v1/chat/completions", body, gw="gateway")
    assert reading.usage == {"input": 32, "output": 9, "output.reasoning": 94}


def test_an_xai_answer_that_is_inclusive_is_not_counted_twice() -> None:
    body = {"usage": usage(32, 103, 135, completion_tokens_details={"reasoning_tokens": 94})}
    assert read("https://api.x.ai/v1/chat/completions", body).usage == {
        "input": 32,
        "output": 9,
        "output.reasoning": 94,
    }


def test_gemini_on_the_openai_endpoint_tells_thoughts_in_the_total_only() -> None:
    url = "https://generativelanguage.googleapis.com/v1beta/openai/chat/completions"
    reading = read(url, {"model": "gemini-2.5-flash", "usage": usage(11, 17, 218)})
    assert (reading.provider, reading.usage) == ("gemini", {"input": 11, "output": 207})


@pytest.mark.parametrize("provider", ["groq", "GROQ"])
def test_events_told_by_the_app_are_read_as_the_provider_speaks(provider: str) -> None:
    """Covers P-PARSE-GEN-14: a provider's name is found in any case."""
    events = [{"choices": [{"finish_reason": "stop"}], "x_groq": {"usage": usage(18, 4)}}]
    reading = read_stream_events(provider, events)
    assert (reading.provider, reading.usage, reading.usage_source) == (
        provider,
        {"input": 18, "output": 4},
        "stream_final",
    )


@pytest.mark.parametrize(
    ("provider", "events", "usage_read"),
    [
        (
            "openai",
            [{"type": "response.completed", "response": {"usage": {"input_tokens": 2, "output_tokens": 1}}}],
            (2, 1),
        ),
        ("openai", [{"choices": [], "usage": usage(2, 1)}], (2, 1)),
        ("anthropic", [{"type": "message_delta", "usage": {"input_tokens": 2, "output_tokens": 1}}], (2, 1)),
        ("gemini", [{"usageMetadata": {"promptTokenCount": 2, "candidatesTokenCount": 1}}], (2, 1)),
        (
            "gemini",
            [{"usage_metadata": {"prompt_token_count": 2, "candidates_token_count": 1}, "sdk_http_response": None}],
            (2, 1),
        ),
        ("house", [{"usage": usage(2, 1)}], (2, 1)),
        ("house", [], (0, 0)),
        ("house", ["text", None, 7], (0, 0)),
        ("house", [{"type": 7, "response": "x", "usage": "y", "choices": 3}], (0, 0)),
    ],
)
def test_the_format_of_told_events_is_seen_from_their_shape(
    provider: str, events: list[dict[str, object]], usage_read: tuple[int, int]
) -> None:
    reading = read_stream_events(provider, events)
    assert (reading.provider, reading.stream) == (provider, True)
    assert (reading.input_tokens, reading.output_tokens) == usage_read


def test_a_failure_while_reading_told_events_is_an_unknown_reading() -> None:
    class Broken(dict[str, object]):
        def get(self, *_: object) -> object:
            raise RuntimeError

    events: list[Mapping[str, object]] = [{"choices": [{}]}, Broken(usage=1)]
    reading = read_stream_events("openai", events)
    assert (reading.usage_source, reading.notes) == ("unknown", ("unparsable_body",))
