"""OpenAI: images generated, edited and varied.

GPT Image models report tokens (``input_tokens_details``, ``output_tokens_details``); DALL·E is billed by the
image, its price a matter of size and quality: one of each is one ``image.<size>.<quality>``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import ClassVar

from flask_llm_cost.providers.events import Event
from flask_llm_cost.providers.fields import JSON, count, mapping, numbers, objects, text
from flask_llm_cost.providers.multipart import form_fields
from flask_llm_cost.providers.openai_audio import fold_last_usage
from flask_llm_cost.providers.split import Split
from flask_llm_cost.providers.wire import Answer, Asked, Folded, WireFormat, answered_model, json_object

# The defaults of the API reference ("Create image") for models that are billed by the image.
_SIZE, _QUALITY = "1024x1024", "standard"
_WORD = re.compile(r"[a-z0-9]{1,16}", re.ASCII)
_LAST = ("image_generation.completed", "image_edit.completed")


class OpenAIImages(WireFormat):
    """``/images/generations``, ``/images/edits`` and ``/images/variations``."""

    name: ClassVar[str] = "openai"
    counts_tokens: ClassVar[bool] = False

    def request(self, body: bytes) -> JSON:
        return form_fields(body) if body.startswith(b"--") else json_object(body)

    def asked(self, path: str, request: JSON) -> Asked:
        asked = WireFormat.asked(self, path, request)
        stream = asked.stream or text(request, "stream") == "true"
        return replace(asked, stream=stream, usage={_meter(request): 1})

    def read(self, body: JSON, asked: Asked) -> Answer:
        model, usage = answered_model(body), mapping(body, "usage")
        if count(usage, "input_tokens", "output_tokens") is None:
            made = len(objects(body, "data"))
            return Answer(model, usage={meter: made for meter in asked.usage if made})
        split = Split()
        fresh, made_of = mapping(usage, "input_tokens_details"), mapping(usage, "output_tokens_details")
        split.divide(
            "input",
            count(usage, "input_tokens"),
            [("cache_read", count(fresh, "cached_tokens"))],
            [("input.image", count(fresh, "image_tokens"))],
        )
        split.divide("output", count(usage, "output_tokens"), [("output.image", count(made_of, "image_tokens"))])
        return Answer(model, usage=split.usage, raw_usage=numbers(usage), notes=split.notes)

    def fold(self, events: Iterable[Event]) -> Folded:
        return fold_last_usage(events, _LAST)


def _meter(request: JSON) -> str:
    return f"image.{_word(request, 'size', _SIZE)}.{_word(request, 'quality', _QUALITY)}"


def _word(request: JSON, name: str, default: str) -> str:
    """A word of the request that is safe in the name of a meter."""
    word = (text(request, name) or "").lower()
    return word if _WORD.fullmatch(word) and word != "auto" else default
