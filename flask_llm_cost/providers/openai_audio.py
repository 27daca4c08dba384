"""OpenAI: transcription, translation and speech, also as other hosts speak them.

A transcription is billed by tokens (``usage.type`` "tokens", audio among them) or by duration. Speech is sound:
what was read out is known from the request, tokens only where it was asked for as events. As plain text or
subtitles a transcription says nothing about its cost.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from typing import ClassVar

from flask_llm_cost.providers.events import Event
from flask_llm_cost.providers.fields import JSON, count, mapping, numbers, text
from flask_llm_cost.providers.multipart import form_fields
from flask_llm_cost.providers.split import Split
from flask_llm_cost.providers.sse import events_of
from flask_llm_cost.providers.wire import Answer, Asked, Folded, WireFormat, answered_model, json_object
from flask_llm_cost.usage import Quantity

_LONGEST = 10**9


class OpenAITranscription(WireFormat):
    """``/audio/transcriptions`` and ``/audio/translations``."""

    name: ClassVar[str] = "openai"
    counts_tokens: ClassVar[bool] = False
    opaque: ClassVar[bool] = True

    def request(self, body: bytes) -> JSON:
        return form_fields(body) if body.startswith(b"--") else json_object(body)

    def asked(self, path: str, request: JSON) -> Asked:
        asked = WireFormat.asked(self, path, request)
        return replace(asked, stream=asked.stream or text(request, "stream") == "true")

    def read(self, body: JSON, asked: Asked) -> Answer:
        model, usage = answered_model(body), mapping(body, "usage")
        # Mistral counts tokens too but bills seconds; hosts without usage say how long in a verbose answer.
        seconds = _seconds(usage, "seconds", "prompt_audio_seconds")
        seconds = _seconds(body, "duration") if seconds is None else seconds
        tokens = count(usage, "input_tokens", "output_tokens") is not None
        if seconds is not None and not tokens:
            return Answer(model, usage={"audio.second": seconds}, raw_usage=numbers(usage))
        if not tokens:
            return Answer(model)
        split = Split()
        audio = count(mapping(usage, "input_token_details"), "audio_tokens")
        split.divide("input", count(usage, "input_tokens"), [("input.audio", audio)])
        split.divide("output", count(usage, "output_tokens"), [])
        return Answer(model, usage=split.usage, raw_usage=numbers(usage), notes=split.notes)

    def events(self, content: bytes) -> list[Event]:
        return _events(content)

    def fold(self, events: Iterable[Event]) -> Folded:
        return fold_last_usage(events, ("transcript.text.done", "transcription.done"))


class OpenAISpeech(WireFormat):
    """``/audio/speech``."""

    name: ClassVar[str] = "openai"
    counts_tokens: ClassVar[bool] = False
    opaque: ClassVar[bool] = True

    def asked(self, path: str, request: JSON) -> Asked:
        spoken = request.get("input")
        asked = WireFormat.asked(self, path, request)
        stream = asked.stream or text(request, "stream_format") == "sse"
        if not isinstance(spoken, str) or not spoken:
            return replace(asked, stream=stream)
        return replace(asked, stream=stream, usage={"character": len(spoken)})

    def read(self, body: JSON, asked: Asked) -> Answer:
        model, usage = answered_model(body), mapping(body, "usage")
        if count(usage, "input_tokens", "output_tokens") is None:
            return Answer(model, usage={} if body.get("error") else asked.usage)
        split = Split()
        split.divide("input", count(usage, "input_tokens"), [])
        split.divide("output", count(usage, "output_tokens"), [])
        return Answer(model, usage=split.usage, raw_usage=numbers(usage), notes=split.notes)

    def events(self, content: bytes) -> list[Event]:
        return _events(content)

    def fold(self, events: Iterable[Event]) -> Folded:
        return fold_last_usage(events, ("speech.audio.done",))


def fold_last_usage(events: Iterable[Event], last: tuple[str, ...]) -> Folded:
    """Fold a stream whose usage comes with the event that ends it; other fields of that event are kept."""
    body: dict[str, object] = {}
    final = False
    for event in events:
        decoded = event.decoded()
        if event.done or decoded is None:
            final = final or event.done
            continue
        if decoded.get("error") or text(decoded, "type") == "error":
            body["error"] = decoded.get("error") or decoded
        if text(decoded, "type") in last or mapping(decoded, "usage"):
            body.update({name: value for name, value in decoded.items() if name not in ("type", "text", "b64_json")})
            final = True
    return Folded(body, final)


def _events(content: bytes) -> list[Event]:
    """Its events, where it has any: megabytes of sound are not cut into lines to find out."""
    start = content[:64].lstrip()
    return events_of(content) if start.startswith((b"data:", b"event:", b":", b"{")) else []


def _seconds(parent: JSON, *names: str) -> Quantity | None:
    for name in names:
        value = parent.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if math.isfinite(value) and 0 <= value < _LONGEST:
            return value if isinstance(value, int) else Decimal(repr(value))
    return None
