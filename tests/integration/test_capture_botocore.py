"""boto3's bedrock-runtime client over a real socket: every operation a model answers, and how it may end."""

from __future__ import annotations

import base64
import binascii
import gc
import json
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError, EventStreamError, ParamValidationError
from packaging.version import Version
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from flask_llm_cost import ConfigurationError, LLMCost
from flask_llm_cost.capture import instrument
from flask_llm_cost.capture.clients import UnknownClientError
from flask_llm_cost.ledger.models import Call

ReadCalls = Callable[[], list[Call]]

MODEL = "anthropic.claude-haiku-4-5-20251001-v1:0"
REQUEST_ID = "11111111-2222-3333-4444-555555555555"
MESSAGES: list[Any] = [{"role": "user", "content": [{"text": "What is it?"}]}]
USAGE = {"inputTokens": 1000, "outputTokens": 50, "totalTokens": 1250, "cacheReadInputTokens": 200}
NATIVE_USAGE = {"input_tokens": 1000, "output_tokens": 50, "cache_read_input_tokens": 200}
# USD per million tokens of fresh input, cached input and output, at a regional endpoint:
# aws.amazon.com/bedrock/pricing, November 2026.
COST = (1000 * Decimal("1.10") + 200 * Decimal("0.11") + 50 * Decimal("5.50")) / 1_000_000

CONVERSED = {
    "output": {"message": {"role": "assistant", "content": [{"text": "It is Paris."}]}},
    "stopReason": "end_turn",
    "usage": USAGE,
    "metrics": {"latencyMs": 12},
}
CONVERSE_EVENTS = (
    ("messageStart", {"role": "assistant"}),
    ("contentBlockDelta", {"delta": {"text": "It is "}, "contentBlockIndex": 0}),
    ("contentBlockDelta", {"delta": {"text": "Paris."}, "contentBlockIndex": 0}),
    ("contentBlockStop", {"contentBlockIndex": 0}),
    ("messageStop", {"stopReason": "end_turn"}),
    ("metadata", {"usage": USAGE, "metrics": {"latencyMs": 12}}),
)
NATIVE = {
    "id": "msg_bdrk_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-haiku-4-5-20251001",
    "content": [{"type": "text", "text": "It is Paris."}],
    "usage": NATIVE_USAGE,
}
NATIVE_EVENTS: tuple[dict[str, Any], ...] = (
    {"type": "message_start", "message": {**NATIVE, "content": [], "usage": {**NATIVE_USAGE, "output_tokens": 1}}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "It is Paris."}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 50}},
    {"type": "message_stop"},
)


def frame(payload: object, **headers: str) -> bytes:
    """One message of an AWS event stream (Smithy specification)."""
    fields = b""
    for name, value in {"content_type": "application/json", "message_type": "event", **headers}.items():
        key = ":" + name.replace("_", "-")
        fields += bytes([len(key)]) + key.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
    content = json.dumps(payload).encode()
    prelude = struct.pack(">II", 16 + len(fields) + len(content), len(fields))
    prelude += struct.pack(">I", binascii.crc32(prelude))
    return prelude + fields + content + struct.pack(">I", binascii.crc32(prelude + fields + content))


def converse_frames() -> list[bytes]:
    return [frame(payload, event_type=name) for name, payload in CONVERSE_EVENTS]


def invoke_frames() -> list[bytes]:
    packed = (base64.b64encode(json.dumps(event).encode()).decode() for event in NATIVE_EVENTS)
    return [frame({"bytes": content, "p": "abcd"}, event_type="chunk") for content in packed]


class Bedrock:
    """Bedrock's REST on a local port.

    Attributes:
        asked: path and JSON body of each request.
        frames: how a stream is answered, where not as usual.
        status: of every answer.
    """

    def __init__(self, server: HTTPServer) -> None:
        self.url = server.url_for("")
        self.asked: list[tuple[str, Any]] = []
        self.frames: list[bytes] | None = None
        self.status = 200
        server.expect_request(_Any()).respond_with_handler(self._answer)

    def client(self, service: str = "bedrock-runtime", **options: Any) -> Any:
        return boto3.client(
            service,
            endpoint_url=options.pop("endpoint_url", self.url),
            region_name="us-east-1",
            aws_access_key_id="any",
            aws_secret_access_key="any",
            config=Config(retries={"total_max_attempts": 1}),
        )

    def _answer(self, request: Request) -> Response:
        self.asked.append((unquote(request.path), json.loads(request.data)))
        if not request.path.startswith("/model/"):
            return Response("{}", content_type="application/x-amz-json-1.0")
        headers = {"x-amzn-RequestId": REQUEST_ID}
        if self.status != 200:
            headers["x-amzn-ErrorType"] = "ThrottlingException:http://internal.amazon.com/"
            return Response('{"message": "Too many requests."}', self.status, headers, content_type="application/json")
        verb = request.path.rpartition("/")[2]
        if verb in ("converse", "invoke"):
            body = CONVERSED if verb == "converse" else NATIVE
            return Response(json.dumps(body), 200, headers, content_type="application/json")
        frames = self.frames or (converse_frames() if verb == "converse-stream" else invoke_frames())
        return Response(b"".join(frames), 200, headers, content_type="application/vnd.amazon.eventstream")


class _Any(str):
    """A path that equals every other."""

    __slots__ = ()

    def __eq__(self, _other: object) -> bool:
        return True

    __hash__ = str.__hash__


@pytest.fixture
def bedrock(httpserver: HTTPServer) -> Bedrock:
    return Bedrock(httpserver)


def converse(client: Any) -> Any:
    answer = client.converse(modelId=MODEL, messages=MESSAGES)
    return {name: value for name, value in answer.items() if name != "ResponseMetadata"}


def converse_stream(client: Any) -> Any:
    return list(client.converse_stream(modelId=MODEL, messages=MESSAGES)["stream"])


def invoke(client: Any) -> Any:
    return client.invoke_model(modelId=MODEL, body=json.dumps({"messages": [], "max_tokens": 9}))["body"].read()


def invoke_in_lines(client: Any) -> Any:
    return list(client.invoke_model(modelId=MODEL, body=b'{"messages": []}')["body"].iter_lines(chunk_size=32))


def invoke_json_load(client: Any) -> Any:
    return json.load(client.invoke_model(modelId=MODEL, body=b'{"messages": []}')["body"])


def invoke_in_context(client: Any) -> Any:
    with client.invoke_model(modelId=MODEL, body=b'{"messages": []}')["body"] as raw:
        return raw.read()


def invoke_stream(client: Any) -> Any:
    answer = client.invoke_model_with_response_stream(modelId=MODEL, body=b'{"messages": []}')
    return [event["chunk"]["bytes"] for event in answer["body"]]


OPERATIONS = (
    (converse, False),
    (converse_stream, True),
    (invoke, False),
    (invoke_in_lines, False),
    (invoke_json_load, False),
    (invoke_in_context, False),
    (invoke_stream, True),
)


@pytest.mark.parametrize("way", ["wrap", "instrument before", "instrument after"])
@pytest.mark.parametrize(("ask", "stream"), OPERATIONS, ids=lambda value: getattr(value, "__name__", ""))
def test_an_operation_is_one_exact_row_and_the_app_sees_what_it_always_saw(
    ask: Callable[[Any], Any], stream: bool, way: str, llm_cost: LLMCost, bedrock: Bedrock, calls: ReadCalls
) -> None:
    expected = ask(bedrock.client())
    assert calls() == []

    if way == "instrument before":
        llm_cost.instrument("boto3")
    client = bedrock.client()
    if way == "instrument after":
        llm_cost.instrument("bedrock", "botocore")
    elif way == "wrap":
        assert llm_cost.wrap(llm_cost.wrap(client)) is client
    with llm_cost.tags(feature="chat"):
        assert ask(client) == expected

    assert bedrock.asked[0] == bedrock.asked[1]
    (row,) = calls()
    native = ask not in (converse, converse_stream)
    assert (row.provider, row.request_model, row.stream, row.status) == ("bedrock", MODEL, stream, "ok")
    assert (row.input_tokens, row.cache_read_input_tokens, row.output_tokens) == (1000, 200, 50)
    assert row.total_cost == COST
    assert row.provider_response_id == ("msg_bdrk_1" if native else REQUEST_ID)
    assert row.usage_source == ("stream_final" if stream else "response")
    assert (row.captured_by, row.host, row.tags) == ("botocore", "localhost", {"feature": "chat"})
    assert (row.first_token_ms is not None) == stream


def test_wrapped_and_instrumented_is_one_row_with_the_tags_of_the_wrapper(
    llm_cost: LLMCost, bedrock: Bedrock, calls: ReadCalls
) -> None:
    llm_cost.instrument("boto3")
    client = llm_cost.wrap(bedrock.client(), tags=lambda request: {"asked": request["modelId"]})
    converse(client)
    converse_stream(client)
    assert [row.tags for row in calls()] == [{"asked": MODEL}] * 2


def test_other_services_pass_and_cannot_be_wrapped(llm_cost: LLMCost, bedrock: Bedrock, calls: ReadCalls) -> None:
    llm_cost.instrument("boto3")
    client = bedrock.client("sqs")
    client.send_message(QueueUrl=f"{bedrock.url}queue", MessageBody="hello")
    with pytest.raises(UnknownClientError, match="bedrock-runtime client in botocore"):
        llm_cost.wrap(client)
    assert calls() == []


def test_an_operation_that_no_model_answers_is_not_recorded(
    llm_cost: LLMCost, bedrock: Bedrock, calls: ReadCalls
) -> None:
    client = llm_cost.wrap(bedrock.client())
    client.apply_guardrail(
        guardrailIdentifier="g", guardrailVersion="1", source="INPUT", content=[{"text": {"text": "Hello"}}]
    )
    assert len(bedrock.asked) == 1
    assert calls() == []


def test_images_stay_out_of_what_is_read(client: Any, bedrock: Bedrock, calls: ReadCalls) -> None:
    """Bytes among the parameters are no JSON: the call is recorded all the same."""
    image = {"image": {"format": "png", "source": {"bytes": b"\x89PNG"}}}
    client.converse(modelId=MODEL, messages=[{"role": "user", "content": [image]}], serviceTier={"type": "priority"})
    (row,) = calls()
    assert (row.status, row.total_tokens, row.pricing_mode) == ("ok", 1250, "priority")


def test_all_takes_in_botocore_and_an_old_one_is_refused_where_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(instrument, "_version", lambda _distribution: Version("1.20"))
    assert "botocore" in instrument.names(["all"])
    assert "boto3" not in instrument.names(["all"])
    assert instrument.check("botocore") == ("botocore",)
    with pytest.raises(ConfigurationError, match=r"botocore 1\.20 is installed; 1\.31\.57 or newer is needed"):
        instrument.check("boto3")


def test_botocore_is_not_imported_to_be_patched_and_patched_once_it_is(tmp_path: Path) -> None:
    script = """
import sys
from flask import Flask
from flask_llm_cost import LLMCost
LLMCost(Flask("host", instance_path=sys.argv[1])).instrument("bedrock")
assert "botocore" not in sys.modules
import boto3
import botocore.client
print(type(vars(botocore.client.BaseClient)["_make_api_call"]).__name__)
"""
    command = [sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    assert done.stdout == "_PatchedSend\n"


def test_nothing_is_seen_after_uninstrument(llm_cost: LLMCost, bedrock: Bedrock, calls: ReadCalls) -> None:
    llm_cost.instrument("boto3")
    llm_cost.uninstrument()
    converse(bedrock.client())
    assert calls() == []


@pytest.fixture
def client(llm_cost: LLMCost, bedrock: Bedrock) -> Iterator[Any]:
    client = llm_cost.wrap(bedrock.client())
    yield client
    client.close()


@pytest.mark.parametrize("ask", [converse, converse_stream, invoke], ids=lambda ask: ask.__name__)
def test_a_failure_of_ours_never_reaches_the_app(
    ask: Callable[[Any], Any],
    llm_cost: LLMCost,
    bedrock: Bedrock,
    calls: ReadCalls,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    expected = ask(bedrock.client())

    def broken(*_args: object) -> None:
        raise RuntimeError("ours")

    monkeypatch.setattr("flask_llm_cost.capture.botocore._metadata", broken)
    assert ask(llm_cost.wrap(bedrock.client())) == expected
    assert len([record for record in caplog.records if record.name.startswith("flask_llm_cost")]) == 1
    assert [(row.request_model, row.usage_source, row.total_cost) for row in calls()] == [(MODEL, "unknown", None)]


class TestEnds:
    def test_an_error_answer_is_an_error_row_with_bedrocks_code(
        self, client: Any, bedrock: Bedrock, calls: ReadCalls
    ) -> None:
        bedrock.status = 429
        with pytest.raises(ClientError, match="ThrottlingException"):
            converse(client)
        (row,) = calls()
        assert (row.status, row.error_type, row.request_model, row.total_cost) == (
            "error",
            "ThrottlingException",
            MODEL,
            None,
        )

    def test_no_connection_is_an_error_row(self, llm_cost: LLMCost, bedrock: Bedrock, calls: ReadCalls) -> None:
        client = llm_cost.wrap(bedrock.client(endpoint_url="http://127.0.0.1:9"))
        with pytest.raises(EndpointConnectionError):
            converse(client)
        (row,) = calls()
        assert (row.status, row.error_type, row.total_cost) == ("error", "EndpointConnectionError", None)

    def test_a_closed_stream_is_cancelled_with_what_was_known(self, client: Any, calls: ReadCalls) -> None:
        stream = client.invoke_model_with_response_stream(modelId=MODEL, body=b"{}")["body"]
        stream.close()
        (row,) = calls()
        assert (row.status, row.usage_source, row.total_cost) == ("cancelled", "unknown", None)

    @pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # Python's own word on such an app
    @pytest.mark.parametrize("operation", ["converse_stream", "invoke_model"])
    def test_an_answer_nobody_reads_is_recorded_when_it_is_gone(
        self, operation: str, client: Any, calls: ReadCalls
    ) -> None:
        asked: dict[str, Any] = {"messages": MESSAGES} if operation == "converse_stream" else {"body": b"{}"}
        getattr(client, operation)(modelId=MODEL, **asked)
        gc.collect()
        (row,) = calls()
        assert (row.status, row.request_model, row.total_cost) == ("cancelled", MODEL, None)

    def test_a_truncated_stream_is_not_taken_for_a_whole_one(
        self, client: Any, bedrock: Bedrock, calls: ReadCalls
    ) -> None:
        """Anthropic's first event says the input: it is kept."""
        bedrock.frames = invoke_frames()[:2]
        assert len(invoke_stream(client)) == 2
        (row,) = calls()
        assert (row.status, row.error_type, row.usage_source) == ("error", "truncated", "partial")
        assert (row.input_tokens, row.cache_read_input_tokens) == (1000, 200)

    def test_a_stream_left_half_way_is_cancelled(self, client: Any, bedrock: Bedrock, calls: ReadCalls) -> None:
        text = {"delta": {"text": "word " * 1000}, "contentBlockIndex": 0}
        bedrock.frames = [frame(text, event_type="contentBlockDelta")] * 50 + converse_frames()
        stream = client.converse_stream(modelId=MODEL, messages=MESSAGES)["stream"]
        assert next(iter(stream)) == {"contentBlockDelta": text}
        stream.close()
        (row,) = calls()
        assert (row.status, row.usage_source, row.total_cost) == ("cancelled", "unknown", None)

    def test_an_error_within_a_stream_is_an_error_row(self, client: Any, bedrock: Bedrock, calls: ReadCalls) -> None:
        failing = frame({"message": "Too many."}, message_type="exception", exception_type="throttlingException")
        bedrock.frames = [*converse_frames()[:2], failing]
        with pytest.raises(EventStreamError):
            converse_stream(client)
        gc.collect()
        (row,) = calls()
        assert (row.status, row.error_type, row.total_cost) == ("error", "throttlingException", None)

    def test_a_long_stream_is_one_exact_row(self, client: Any, bedrock: Bedrock, calls: ReadCalls) -> None:
        """More than the copy holds: head and tail are enough."""
        text = {"delta": {"text": "word " * 100}, "contentBlockIndex": 0}
        frames = converse_frames()
        bedrock.frames = [frames[0], *[frame(text, event_type="contentBlockDelta")] * 500, *frames[2:]]
        assert len(converse_stream(client)) == 505
        (row,) = calls()
        assert (row.status, row.usage_source, row.total_cost) == ("ok", "stream_final", COST)


def test_parameters_that_botocore_refuses_are_no_call(bedrock: Bedrock, llm_cost: LLMCost, calls: ReadCalls) -> None:
    """No request went out."""
    with pytest.raises(ParamValidationError):
        llm_cost.wrap(bedrock.client()).converse(modelId=MODEL, messages="What is it?")
    assert bedrock.asked == []
    assert calls() == []
