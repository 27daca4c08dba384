"""Which wire format a path speaks, and the answer of each to a request."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from flask_llm_cost.testing import anthropic, bedrock, cohere, gemini, mistral, openai_errors
from flask_llm_cost.testing.answer import Answer, plausible_answer, turn
from flask_llm_cost.testing.anthropic import MESSAGES
from flask_llm_cost.testing.bedrock import MODELS
from flask_llm_cost.testing.cohere import COHERE
from flask_llm_cost.testing.gemini import GENERATE_CONTENT
from flask_llm_cost.testing.gemini_embeddings import EMBED_CONTENT
from flask_llm_cost.testing.groq import GROQ_CHAT
from flask_llm_cost.testing.mistral import MISTRAL_CHAT, MISTRAL_EMBEDDINGS
from flask_llm_cost.testing.openai_chat import CHAT_COMPLETIONS
from flask_llm_cost.testing.openai_embeddings import EMBEDDINGS
from flask_llm_cost.testing.openai_media import IMAGES, SPEECH, TRANSCRIPTIONS
from flask_llm_cost.testing.openai_plain import COMPLETIONS, MODERATIONS
from flask_llm_cost.testing.openai_responses import RESPONSES
from flask_llm_cost.testing.received import Received
from flask_llm_cost.testing.reply import Refusal, Reply, WireFormat

# In this order: the first one that serves a request answers it.
WIRE_FORMATS: tuple[WireFormat, ...] = (
    GROQ_CHAT,
    MISTRAL_CHAT,
    MISTRAL_EMBEDDINGS,
    CHAT_COMPLETIONS,
    RESPONSES,
    EMBEDDINGS,
    COMPLETIONS,
    MODERATIONS,
    MESSAGES,
    anthropic.COUNT_TOKENS,
    GENERATE_CONTENT,
    gemini.COUNT_TOKENS,
    *EMBED_CONTENT,
    MODELS,
    TRANSCRIPTIONS,
    SPEECH,
    IMAGES,
    *COHERE,
)

_REFUSALS: Mapping[str, Refusal] = MappingProxyType(
    {
        "openai": openai_errors.refuse,
        "groq": openai_errors.refuse,
        "anthropic": anthropic.refuse,
        "gemini": gemini.refuse,
        "bedrock": bedrock.refuse,
        "mistral": mistral.refuse,
        "cohere": cohere.refuse,
    }
)


def reply(request: Received, answer: Answer | None = None) -> Reply:
    """What the provider behind ``request.path`` answers, without any server.

    ``answer`` is what to say; without one it is plausible and follows from the request alone. A path that
    no provider has is a 404 unless the answer brings its own body, a body that names no model a 400, in the
    shape of the provider it looks like.
    """
    for wire_format in WIRE_FORMATS:
        if wire_format.serves(request):
            return _answered(wire_format, request, answer)
    if answer is not None and answer.body is not None:
        return _brought(answer)
    return _REFUSALS[_provider_by_look(request)](
        request, Answer(status=404, error_message=f"No such path: {request.path}")
    )


def _brought(answer: Answer) -> Reply:
    """An answer that brings its own body is given on every path: so speak the providers that are not built in.

    With the content type of server-sent events it is a stream, an event a frame.
    """
    headers = {"content-type": "application/json", **{name.lower(): value for name, value in answer.headers.items()}}
    body = answer.body or b""
    if not headers["content-type"].startswith("text/event-stream"):
        return Reply(answer.status, headers, (body,))
    events = tuple(event for event in re.split(rb"(?<=\n\n)", body) if event)
    return Reply(answer.status, headers, events or (b"",), streamed=True)


def _answered(wire_format: WireFormat, request: Received, answer: Answer | None) -> Reply:
    refuse = _REFUSALS[wire_format.provider]
    if request.method != "POST":
        return refuse(request, Answer(status=405, error_message=f"{request.method} is not allowed here."))
    if not request.model:
        return refuse(request, Answer(status=400, error_message="The body must be a JSON object that names a model."))
    answer = answer or plausible_answer(request)
    if answer.status >= 400:
        return _with_own(refuse(request, answer), answer)
    return _with_own(wire_format.write(turn(request, answer)), answer)


def _with_own(written: Reply, answer: Answer) -> Reply:
    """The reply with the headers and the body that the answer brings along."""
    headers = {**written.headers, **{name.lower(): value for name, value in answer.headers.items()}}
    frames = written.frames if answer.body is None else (answer.body,)
    return replace(written, headers=headers, frames=frames)


def _provider_by_look(request: Received) -> str:
    if "anthropic-version" in request.headers or "/messages" in request.path:
        return "anthropic"
    return "gemini" if "x-goog-api-client" in request.headers or request.path.startswith("/v1beta") else "openai"
