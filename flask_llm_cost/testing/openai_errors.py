"""OpenAI: errors and the headers of every answer."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from types import MappingProxyType

from flask_llm_cost.testing.answer import Answer
from flask_llm_cost.testing.received import Received
from flask_llm_cost.testing.reply import Reply, indented, retry_headers

# type, code and a text of our own for the statuses of https://platform.openai.com/docs/guides/error-codes
_ERRORS: Mapping[int, tuple[str, str | None, str]] = MappingProxyType(
    {
        400: ("invalid_request_error", None, "The request is not valid."),
        401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
        403: ("invalid_request_error", "unsupported_country_region_territory", "Access is not allowed."),
        404: ("invalid_request_error", "model_not_found", "The model does not exist or you do not have access to it."),
        429: ("requests", "rate_limit_exceeded", "Rate limit reached."),
        500: ("server_error", None, "The server had an error while processing your request."),
        503: ("server_error", None, "The engine is currently overloaded, please try again later."),
    }
)


def error_object(answer: Answer) -> dict[str, object]:
    """The ``error`` member of an error body, or of the last event of a stream that fails."""
    status = answer.status if answer.status >= 400 else 500
    kind, code, message = _ERRORS.get(status, _ERRORS[500 if status >= 500 else 400])
    return {
        "message": answer.error_message or message,
        "type": kind,
        "param": None,
        "code": answer.error_type or code,
    }


def openai_headers(content_type: str) -> dict[str, str]:
    """The headers that OpenAI sends with every answer."""
    return {
        "content-type": content_type,
        "openai-organization": "local-provider-server",
        "openai-processing-ms": str(80 + secrets.randbelow(900)),
        "openai-version": "2020-10-01",
        "x-request-id": f"req_{secrets.token_hex(16)}",
        "x-ratelimit-limit-requests": "10000",
        "x-ratelimit-remaining-requests": "9999",
    }


def refuse(request: Received, answer: Answer) -> Reply:
    """An error as OpenAI answers it."""
    headers = openai_headers("application/json; charset=utf-8") | retry_headers(answer)
    return Reply(answer.status, headers, (indented({"error": error_object(answer)}),))
