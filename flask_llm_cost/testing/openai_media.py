"""OpenAI: transcription, translation, speech and images. Sound and pictures are made up, what is billed is not."""

from __future__ import annotations

import base64
import math
import re

from flask_llm_cost.testing.answer import Turn
from flask_llm_cost.testing.openai_errors import openai_headers
from flask_llm_cost.testing.reply import Reply, WireFormat, compact, indented

JSONObject = dict[str, object]

_PLAIN = frozenset({"text", "srt", "vtt"})
_PIXEL = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
_SOUND = b"\xff\xfb\x90\x44" + bytes(413)
_SECONDS_PER_TOKEN = 0.1


def _transcription_usage(turn: Turn) -> JSONObject:
    """whisper-1 is billed by the second, all others by the token (API reference, "Create transcription")."""
    if turn.model.startswith("whisper"):
        return {"type": "duration", "seconds": math.ceil(turn.input_tokens * _SECONDS_PER_TOKEN)}
    audio = turn.answer.input_audio_tokens
    return {
        "type": "tokens",
        "input_tokens": turn.input_tokens,
        "input_token_details": {"text_tokens": turn.input_tokens - audio, "audio_tokens": audio},
        "output_tokens": turn.output_tokens,
        "total_tokens": turn.input_tokens + turn.output_tokens,
    }


def _write_transcription(turn: Turn) -> Reply:
    fields = turn.request.form
    if fields.get("response_format") in _PLAIN:
        return Reply(turn.answer.status, openai_headers("text/plain; charset=utf-8"), (turn.text.encode() + b"\n",))
    usage = {"usage": _transcription_usage(turn)} if turn.answer.usage else {}
    if fields.get("stream") != "true":
        body = indented({"text": turn.text, **usage})
        return Reply(turn.answer.status, openai_headers("application/json"), (body,))
    events: list[JSONObject] = [{"type": "transcript.text.delta", "delta": piece} for piece in turn.pieces()]
    events.append({"type": "transcript.text.done", "text": turn.text, **usage})
    return _events(events)


def _write_speech(turn: Turn) -> Reply:
    return Reply(turn.answer.status, openai_headers("audio/mpeg"), (_SOUND,) * 4, streamed=True)


def _write_images(turn: Turn) -> Reply:
    asked = {**turn.request.json, **turn.request.form}
    count = int(str(asked.get("n") or 1))
    body: JSONObject = {"created": 1_795_000_000, "data": [{"b64_json": _PIXEL} for _ in range(count)]}
    if turn.answer.usage and not turn.model.startswith("dall-e"):
        body["usage"] = _image_usage(turn)
    return Reply(turn.answer.status, openai_headers("application/json"), (indented(body),))


def _image_usage(turn: Turn) -> JSONObject:
    pictures = turn.answer.input_image_tokens
    return {
        "input_tokens": turn.input_tokens,
        "input_tokens_details": {"text_tokens": turn.input_tokens - pictures, "image_tokens": pictures},
        "output_tokens": turn.output_tokens,
        "output_tokens_details": {"text_tokens": 0, "image_tokens": turn.output_tokens},
        "total_tokens": turn.input_tokens + turn.output_tokens,
    }


def _events(events: list[JSONObject]) -> Reply:
    frames = tuple(f"data: {compact(event)}\n\n".encode() for event in events)
    return Reply(200, openai_headers("text/event-stream; charset=utf-8"), frames, streamed=True)


TRANSCRIPTIONS = WireFormat(
    "openai", re.compile(r"/(?:.+/)?audio/(?:transcriptions|translations)$"), _write_transcription
)
SPEECH = WireFormat("openai", re.compile(r"/(?:.+/)?audio/speech$"), _write_speech)
IMAGES = WireFormat("openai", re.compile(r"/(?:.+/)?images/(?:generations|edits|variations)$"), _write_images)
