"""Bedrock over HTTP: Converse, InvokeModel and their streams."""

from __future__ import annotations

import base64
import json
import struct
import zlib

import pytest

from flask_llm_cost.providers import read_exchange, read_stream_events
from flask_llm_cost.providers.bedrock import model_in
from flask_llm_cost.usage import Reading

CLAUDE = "anthropic.claude-3-5-haiku-20241022-v1%3A0"
TOKENS = {"inputTokens": 20, "outputTokens": 72, "totalTokens": 92}
METRICS = {"inputTokenCount": 28, "outputTokenCount": 188, "invocationLatency": 9289}
ANTHROPIC = [
    {
        "type": "message_start",
        "message": {"id": "msg_1", "model": "claude-3", "usage": {"input_tokens": 16, "output_tokens": 1}},
    },
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Ha"}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 21}},
    {"type": "message_stop", "amazon-bedrock-invocationMetrics": {"inputTokenCount": 16, "outputTokenCount": 21}},
]


def frame(kind: str, payload: object, *, message: str = "event") -> bytes:
    names = {"event": ":event-type", "exception": ":exception-type", "error": ":error-code"}
    headers = b""
    for name, value in ((names[message], kind), (":content-type", "application/json"), (":message-type", message)):
        headers += bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
    content = json.dumps(payload).encode()
    prelude = struct.pack(">II", 16 + len(headers) + len(content), len(headers))
    front = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + content
    return front + struct.pack(">I", zlib.crc32(front))


def chunk(native: object) -> bytes:
    return frame("chunk", {"bytes": base64.b64encode(json.dumps(native).encode()).decode(), "p": "abcd"})


def ask(
    body: object,
    verb: str,
    *,
    model: str = "amazon.nova-lite-v1%3A0",
    headers: dict[str, str] | None = None,
    request: object = None,
    status: int = 200,
) -> Reading:
    reading = read_exchange(
        url=f"https://bedrock-runtime.eu-west-1.amazonaws.com/model/{model}/{verb}",
        request_body=json.dumps(request or {}).encode(),
        status=status,
        headers=headers or {},
        body=body if isinstance(body, bytes) else json.dumps(body).encode(),
    )
    assert reading is not None
    return reading


def test_converse() -> None:
    """Design 02, wire formats: Bedrock Converse. The id of the request is the only one there is."""
    body = {"output": {}, "usage": TOKENS, "stopReason": "end_turn"}
    assert ask(body, "converse", headers={"X-Amzn-RequestId": "r-1"}) == Reading(
        provider="bedrock",
        model="amazon.nova-lite-v1:0",
        usage={"input": 20, "output": 72},
        request_model="amazon.nova-lite-v1:0",
        provider_response_id="r-1",
        usage_source="response",
        raw_usage=TOKENS,
    )


@pytest.mark.parametrize(
    ("cache", "expected", "notes"),
    [
        (
            {
                "cacheReadInputTokens": 5,
                "cacheWriteInputTokens": 30,
                "cacheDetails": [{"ttl": "1h", "inputTokens": 10}, {"ttl": "5m", "inputTokens": 20}],
            },
            {"cache_read": 5, "cache_write.1h": 10, "cache_write": 20},
            (),
        ),
        ({"cacheWriteInputTokens": 30}, {"cache_write": 30}, ()),
        ({"cacheDetails": [{"ttl": "5m", "inputTokens": 7}]}, {"cache_write": 7}, ()),
        (
            {"cacheWriteInputTokens": 3, "cacheDetails": [{"ttl": "1h", "inputTokens": 10}]},
            {"cache_write.1h": 10},
            ("inconsistent",),
        ),
        ({"cacheReadInputTokenCount": 5, "cacheWriteInputTokenCount": 6}, {"cache_read": 5, "cache_write": 6}, ()),
    ],
)
def test_cached_tokens_are_beside_the_input(
    cache: dict[str, object], expected: dict[str, int], notes: tuple[str, ...]
) -> None:
    reading = ask({"usage": {**TOKENS, **cache}}, "converse")
    assert (reading.usage, reading.notes) == ({"input": 20, "output": 72, **expected}, notes)


def test_the_tier_is_the_one_served_else_the_one_asked_for() -> None:
    request = {"serviceTier": {"type": "priority"}, "performanceConfig": {"latency": "optimized"}}
    asked = ask({"usage": TOKENS}, "converse", request=request)
    assert (asked.pricing_mode, asked.speed) == ("priority", "optimized")
    body = {"usage": TOKENS, "serviceTier": {"type": "default"}, "performanceConfig": {"latency": "standard"}}
    served = ask(body, "converse", request=request)
    assert (served.pricing_mode, served.speed) == (None, None)


def test_a_converse_stream() -> None:
    body = frame("messageStart", {"role": "assistant"}) + frame("contentBlockDelta", {"delta": {"text": "Ha"}})
    body += frame("messageStop", {"stopReason": "end_turn"})
    whole = ask(body + frame("metadata", {"usage": TOKENS, "serviceTier": {"type": "flex"}}), "converse-stream")
    assert whole == Reading(
        provider="bedrock",
        model="amazon.nova-lite-v1:0",
        usage={"input": 20, "output": 72},
        request_model="amazon.nova-lite-v1:0",
        stream=True,
        pricing_mode="flex",
        usage_source="stream_final",
        raw_usage=TOKENS,
    )
    cut = ask(body, "converse-stream")
    assert (cut.usage, cut.usage_source, cut.stream, cut.notes) == ({}, "unknown", True, ("cut_off",))


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (frame("throttlingException", {"message": "slow down"}, message="exception"), "throttlingException"),
        (frame("InternalError", {}, message="error"), "InternalError"),
        (frame("Broken", {}, message="error"), "BrokenError"),
    ],
)
@pytest.mark.parametrize("verb", ["converse-stream", "invoke-with-response-stream"])
def test_a_stream_that_fails_says_how(verb: str, failure: bytes, code: str) -> None:
    reading = ask(frame("messageStart", {"role": "assistant"}) + failure, verb)
    assert (reading.status, reading.error_type, reading.usage, reading.stream) == ("error", code, {}, True)


def test_a_guardrails_usage_is_not_the_models() -> None:
    trace = {"guardrail": {"invocationMetrics": {"usage": {"topicPolicyUnits": 1}}}}
    reading = ask(frame("messageStart", {"trace": trace}), "converse-stream")
    assert reading.usage == {}


def test_an_invocation_of_anthropics_is_read_as_anthropics() -> None:
    usage = {
        "input_tokens": 4,
        "cache_creation_input_tokens": 30,
        "cache_creation": {"ephemeral_1h_input_tokens": 10},
        "output_tokens": 50,
    }
    body = {"id": "msg_1", "type": "message", "model": "claude-3-5-haiku-20241022", "usage": usage}
    counts = {"x-amzn-bedrock-input-token-count": "4", "X-Amzn-Bedrock-Service-Tier": "flex"}
    reading = ask(body, "invoke", model=CLAUDE, headers=counts)
    assert reading.usage == {"input": 4, "cache_write": 20, "cache_write.1h": 10, "output": 50}
    assert (reading.model, reading.provider_response_id) == ("claude-3-5-haiku-20241022", "msg_1")
    assert (reading.request_model, reading.pricing_mode) == ("anthropic.claude-3-5-haiku-20241022-v1:0", "flex")


def test_the_global_profile_stays_visible_for_its_price() -> None:
    body = {"model": "claude-x", "usage": {"input_tokens": 4, "output_tokens": 5}}
    assert ask(body, "invoke", model="global.anthropic.claude-x-v1:0").model == "global.anthropic.claude-x-v1:0"
    assert ask(body, "invoke", model="us.anthropic.claude-x-v1:0").model == "claude-x"


def test_an_invocation_of_others_is_counted_by_the_headers() -> None:
    counts = {
        "X-Amzn-Bedrock-Input-Token-Count": "30",
        "X-Amzn-Bedrock-Output-Token-Count": "51",
        "X-Amzn-Bedrock-Cache-Read-Input-Token-Count": "5",
        "X-Amzn-Bedrock-Cache-Write-Input-Token-Count": "6",
    }
    reading = ask({"output": {}, "usage": {"inputTokens": 30}}, "invoke", headers=counts)
    assert reading.usage == {"input": 30, "output": 51, "cache_read": 5, "cache_write": 6}


@pytest.mark.parametrize(
    ("body", "usage"),
    [
        ({"usage": {"inputTokens": 30, "outputTokens": 55}}, {"input": 30, "output": 55}),
        ({"usage": {"prompt_tokens": 6, "completion_tokens": 9}}, {"input": 6, "output": 9}),
        ({"inputTextTokenCount": 9, "results": [{"tokenCount": 17.0}]}, {"input": 9, "output": 17}),
        ({"generation": "text"}, {}),
    ],
)
def test_without_headers_the_body_is_asked(body: dict[str, object], usage: dict[str, int]) -> None:
    reading = ask(body, "invoke", headers={"x-amzn-bedrock-input-token-count": "many"})
    assert reading.usage == usage


def test_an_embedding_is_one() -> None:
    counts = {"x-amzn-bedrock-input-token-count": "8"}
    reading = ask({"embedding": [0.1]}, "invoke", model="amazon.titan-embed-text-v2:0", headers=counts)
    assert (reading.operation, reading.usage) == ("embeddings", {"input": 8})


def test_a_response_stream_of_anthropics() -> None:
    reading = ask(b"".join(map(chunk, ANTHROPIC)), "invoke-with-response-stream", model=CLAUDE)
    assert (reading.model, reading.provider_response_id) == ("claude-3", "msg_1")
    assert (reading.usage, reading.usage_source, reading.stream) == ({"input": 16, "output": 21}, "stream_final", True)


def test_a_response_stream_of_anthropics_cut_off_has_its_input() -> None:
    reading = ask(b"".join(map(chunk, ANTHROPIC))[:-400], "invoke-with-response-stream", model=CLAUDE)
    assert (reading.usage, reading.usage_source) == ({"input": 16, "output": 1}, "partial")
    assert reading.notes == ("cut_off",)


def test_a_response_stream_whose_head_was_lost_is_counted_by_bedrock() -> None:
    body = b"".join(map(chunk, ANTHROPIC))[30:]
    reading = ask(body, "invoke-with-response-stream", model=CLAUDE)
    assert (reading.usage, reading.usage_source) == ({"input": 16, "output": 21}, "stream_final")
    assert reading.model == "anthropic.claude-3-5-haiku-20241022-v1:0"


@pytest.mark.parametrize(
    ("last", "usage"),
    [
        ({"outputText": "x", "amazon-bedrock-invocationMetrics": METRICS}, {"input": 28, "output": 188}),
        ({"metadata": {"usage": {"inputTokens": 30, "outputTokens": 55}}}, {"input": 30, "output": 55}),
        ({"inputTextTokenCount": 6.0, "totalOutputTextTokenCount": 3.0}, {"input": 6, "output": 3}),
    ],
)
def test_a_response_stream_of_others(last: dict[str, object], usage: dict[str, int]) -> None:
    first = {"outputText": "a", "inputTextTokenCount": 28, "totalOutputTextTokenCount": None}
    reading = ask(chunk(first) + chunk(last), "invoke-with-response-stream")
    assert (reading.usage, reading.usage_source, reading.stream) == (usage, "stream_final", True)


@pytest.mark.parametrize("packed", ["%%%", "bm8gSlNPTg==", "WzFd", None, 7])
def test_a_chunk_that_cannot_be_unpacked_is_passed_over(packed: object) -> None:
    body = frame("chunk", {"bytes": packed}) + chunk({"amazon-bedrock-invocationMetrics": METRICS})
    assert ask(body, "invoke-with-response-stream").usage == {"input": 28, "output": 188}


@pytest.mark.parametrize("verb", ["converse", "converse-stream", "invoke", "invoke-with-response-stream"])
def test_a_refused_request(verb: str) -> None:
    reading = ask({"message": "The provided model identifier is invalid."}, verb, status=400)
    assert (reading.status, reading.error_type, reading.usage, reading.notes) == ("error", "400", {}, ())


@pytest.mark.parametrize(
    ("identifier", "model"),
    [
        ("us.anthropic.claude-3-7-sonnet-20250219-v1:0", "us.anthropic.claude-3-7-sonnet-20250219-v1:0"),
        (
            "arn:aws:bedrock:us-east-1:012345678901:inference-profile/us.anthropic.claude-v2:1",
            "us.anthropic.claude-v2:1",
        ),
        ("arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0", "amazon.nova-lite-v1:0"),
        (
            "arn:aws:bedrock:us-east-1:012345678901:application-inference-profile/a1b2",
            "application-inference-profile/a1b2",
        ),
        ("arn:aws:sagemaker:us-east-1:012345678901:endpoint/mine", "endpoint/mine"),
        ("arn:aws:bedrock:us-east-1:012345678901:inference-profile/", None),
        ("", None),
    ],
)
def test_the_model_an_id_names(identifier: str, model: str | None) -> None:
    """An account's number is nobody's business but its own."""
    assert model_in(identifier) == model


def test_an_arn_in_a_url_is_escaped() -> None:
    arn = "arn%3Aaws%3Abedrock%3Aus-east-1%3A012345678901%3Ainference-profile%2Fus.anthropic.claude-v2%3A1"
    assert ask({"usage": TOKENS}, "converse", model=arn).model == "us.anthropic.claude-v2:1"


def test_events_as_botocore_hands_them_out() -> None:
    converse = [{"messageStart": {"role": "assistant"}}, {"metadata": {"usage": TOKENS}}]
    assert read_stream_events("bedrock", converse).usage == {"input": 20, "output": 72}
    invoke = [{"chunk": {"bytes": json.dumps(native).encode()}} for native in ANTHROPIC]
    assert read_stream_events("bedrock", invoke).usage == {"input": 16, "output": 21}
    failed = [{"chunk": {"bytes": b"{}"}}, {"modelTimeoutException": {"message": "too slow"}}]
    assert read_stream_events("bedrock", failed).error_type == "modelTimeoutException"


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("ValidationException", "ValidationException"),
        ("ThrottlingException:http://internal.amazon.com/coral/com.amazon.bedrock/", "ThrottlingException"),
        ("aws.bedrock#ModelTimeoutException:http://x", "ModelTimeoutException"),
        ("a sentence, with text", "429"),
        ("", "429"),
    ],
)
@pytest.mark.parametrize("verb", ["converse", "invoke"])
def test_the_kind_of_an_error_stands_in_a_header(verb: str, header: str, code: str) -> None:
    """Over HTTP the body is a sentence: ``{"message": "…"}``."""
    reading = ask({"message": "Too many."}, verb, headers={"x-amzn-ErrorType": header}, status=429)
    assert (reading.status, reading.error_type) == ("error", code)
