"""Lines of batch result files: which request each answers, and how.

========== =====================================================================================================
OpenAI     ``{"id", "custom_id", "response": {"status_code", "body"}, "error"}`` (Batch API guide; also Azure,
           Groq, Mistral)
Anthropic  ``{"custom_id", "result": {"type": "succeeded" | "errored" | "canceled" | "expired", "message"}}``
           (SDK type ``MessageBatchIndividualResponse``)
Gemini     ``{"key", "response" | "error"}`` (Batch API guide; SDK type ``InlinedResponse``)
Vertex     ``{"request", "response", "status", "processed_time"}`` (batch prediction guide); Claude there:
           ``custom_id`` besides
========== =====================================================================================================
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256

from flask_llm_cost.providers.bodies import moment, own_name, own_time, read_body
from flask_llm_cost.providers.fields import JSON, count, mapping, text
from flask_llm_cost.providers.reader import error_type
from flask_llm_cost.providers.registry import Registry
from flask_llm_cost.usage import Reading

# Requests that never ran: they cost nothing, and nobody was answered.
_NEVER_RAN = frozenset({"canceled", "expired", "batch_cancelled", "batch_expired"})


@dataclass(frozen=True, slots=True)
class BatchLine:
    """One line.

    Attributes:
        custom_id: the app's own name of the request.
        reading: what was answered, priced as batch; ``None`` for a request that never ran.
        name: what names the line, at the provider, for good.
        at: when it was answered, where the line says.
    """

    custom_id: str | None
    reading: Reading | None
    name: str
    at: datetime | None = None


def read_batch_line(provider: str, line: JSON, own: Registry | None = None) -> BatchLine:
    """Read one decoded line of a batch's results.

    Raises:
        ValueError: it is no result line of a known provider.
    """
    custom_id = text(line, "custom_id") or text(line, "key") or text(mapping(line, "metadata"), "key")
    body, error = _outcome(line)
    name = text(line, "id") or _fingerprint(line)
    if error is not None:
        code = error_type(error, "_OTHER")
        failed = Reading(provider, "unknown", status="error", error_type=code, pricing_mode="batch")
        return BatchLine(custom_id, None if code in _NEVER_RAN else failed, name)
    reading = replace(read_body(provider, body, own), pricing_mode="batch")
    at = own_time(body) or moment(text(line, "processed_time"))
    return BatchLine(custom_id, reading, own_name(reading) or name, at)


def _outcome(line: JSON) -> tuple[JSON, JSON | None]:
    """The body of the answer, or what went wrong."""
    result, response = mapping(line, "result"), mapping(line, "response")
    if result:
        kind = text(result, "type")
        if kind == "succeeded":
            return mapping(result, "message"), None
        # What errored has the API's whole error body: {"type": "error", "error": {"type", "message"}}.
        return {}, mapping(result, "error") if kind == "errored" else {"code": kind}
    if line.get("error"):
        return {}, line
    status = count(response, "status_code")
    if status is not None:
        body = mapping(response, "body")
        return body, None if 200 <= status < 300 else {"code": str(status), **body}
    if response:
        return response, None
    if text(line, "status"):
        return {}, {"code": "failed"}
    fields = ", ".join(sorted(map(str, line))[:8]) or "nothing"
    raise ValueError(f"This is no line of a batch's results: it has {fields}.")


def _fingerprint(line: JSON) -> str:
    return sha256(json.dumps(line, sort_keys=True, default=str).encode()).hexdigest()
