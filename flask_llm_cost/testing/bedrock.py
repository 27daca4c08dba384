"""Bedrock: Converse and ConverseStream, and InvokeModel with Anthropic's own bodies, as AWS event streams too.

``inputTokens`` excludes what was cached. Only the last event of a stream reports usage.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import struct
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from flask_llm_cost.testing import anthropic
from flask_llm_cost.testing.answer import Answer, Turn
from flask_llm_cost.testing.received import Received
from flask_llm_cost.testing.reply import Reply, WireFormat, compact

JSONObject = dict[str, object]

# Amazon Bedrock Runtime API reference, "Errors"; texts of our own.
_ERRORS: Mapping[int, tuple[str, str]] = MappingProxyType(
    {
        400: ("ValidationException", "The request is not valid."),
        401: ("UnrecognizedClientException", "The security token is not valid."),
        403: ("AccessDeniedException", "You have no access to the model."),
        404: ("ResourceNotFoundException", "The model is not found."),
        429: ("ThrottlingException", "Too many requests."),
        500: ("InternalServerException", "The server had an error."),
        503: ("ServiceUnavailableException", "The service is not available."),
    }
)
_REQUEST_ID = "11111111-2222-3333-4444-555555555555"
_STOPS = {"stop": "end_turn", "length": "max_tokens"}
_STREAM_TYPE = "application/vnd.amazon.eventstream"


def frame(payload: Mapping[str, object], **headers: str) -> bytes:
    """One message of an AWS event stream (Smithy specification, "Amazon Event Stream")."""
    fields = b""
    for name, value in {"content-type": "application/json", "message-type": "event", **headers}.items():
        key = ":" + name.replace("_", "-")
        fields += bytes([len(key)]) + key.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
    content = json.dumps(payload).encode()
    prelude = struct.pack(">II", 16 + len(fields) + len(content), len(fields))
    prelude += struct.pack(">I", binascii.crc32(prelude))
    return prelude + fields + content + struct.pack(">I", binascii.crc32(prelude + fields + content))


def _metadata(turn: Turn) -> JSONObject:
    answer = turn.answer
    cached = answer.cache_read_input_tokens + answer.cache_write_input_tokens
    usage: JSONObject = {
        "inputTokens": turn.input_tokens,
        "outputTokens": turn.output_tokens,
        "totalTokens": turn.input_tokens + cached + turn.output_tokens,
        "cacheReadInputTokens": answer.cache_read_input_tokens,
        "cacheWriteInputTokens": answer.cache_write_input_tokens,
    }
    return {**({"usage": usage} if answer.usage else {}), "metrics": {"latencyMs": 12}}


def _converse(turn: Turn) -> Reply:
    message = {"role": "assistant", "content": [{"text": turn.text}]}
    body = {"output": {"message": message}, "stopReason": _STOPS[turn.answer.finish], **_metadata(turn)}
    return _json(turn.answer.status, compact(body))


def _converse_events(turn: Turn) -> Iterator[bytes]:
    yield frame({"role": "assistant"}, event_type="messageStart")
    for piece in turn.pieces():
        yield frame({"delta": {"text": piece}, "contentBlockIndex": 0}, event_type="contentBlockDelta")
    if turn.answer.error_type:
        yield _failure(turn.answer)
        return
    yield frame({"contentBlockIndex": 0}, event_type="contentBlockStop")
    yield frame({"stopReason": _STOPS[turn.answer.finish]}, event_type="messageStop")
    yield frame(_metadata(turn), event_type="metadata")


def _invoke(turn: Turn) -> Reply:
    return _json(turn.answer.status, compact(anthropic.message(turn)))


def _invoke_events(turn: Turn) -> Iterator[bytes]:
    for event in anthropic.events(turn):
        if event["type"] == "error":
            yield _failure(turn.answer)
            return
        packed = base64.b64encode(compact(event).encode()).decode()
        yield frame({"bytes": packed}, event_type="chunk")


def _failure(answer: Answer) -> bytes:
    message = answer.error_message or "The model had an error."
    return frame({"message": message}, message_type="exception", exception_type="modelStreamErrorException")


def _json(status: int, body: str) -> Reply:
    return Reply(status, _headers("application/json"), (body.encode(),))


def _headers(content_type: str) -> dict[str, str]:
    return {"content-type": content_type, "x-amzn-requestid": _REQUEST_ID}


def _write(turn: Turn) -> Reply:
    verb = turn.request.path.rpartition("/")[2]
    if verb == "converse":
        return _converse(turn)
    if verb == "invoke":
        return _invoke(turn)
    events = _converse_events(turn) if verb == "converse-stream" else _invoke_events(turn)
    headers = _headers(_STREAM_TYPE) | {"x-amzn-bedrock-content-type": "application/json"}
    return Reply(200, headers, tuple(events), streamed=True)


def refuse(request: Received, answer: Answer) -> Reply:
    """An error as Bedrock answers it."""
    name, message = _ERRORS.get(answer.status, _ERRORS[500 if answer.status >= 500 else 400])
    headers = _headers("application/json") | {"x-amzn-errortype": f"{answer.error_type or name}:http://internal/"}
    body = compact({"message": answer.error_message or message})
    return Reply(answer.status, headers, (body.encode(),))


MODELS = WireFormat(
    "bedrock",
    re.compile(r"/model/.+/(?:converse|converse-stream|invoke|invoke-with-response-stream)$"),
    _write,
)
