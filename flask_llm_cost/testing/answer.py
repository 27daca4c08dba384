"""What the provider server is told to answer, and what it answers when it is told nothing."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from flask_llm_cost.testing.encodings import Encoding
from flask_llm_cost.testing.received import Received
from flask_llm_cost.testing.snapshots import snapshot_of

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One programmed answer. The counts are those the ledger ends up with, whatever the wire format calls them.

    A wire format that has no word for a count reports those tokens within its nearest one: Gemini knows no
    cache writes and Anthropic no modalities, so they count as fresh input there.

    Attributes:
        text: what the model says; ``None`` is a plausible text made from the request.
        model: the model as answered; ``None`` is the dated snapshot of the one asked for.
        input_tokens: fresh input tokens, all modalities, cached ones not among them; ``None`` follows the prompt.
        input_audio_tokens, input_image_tokens: parts of ``input_tokens``.
        cache_read_input_tokens: tokens read from a cache, beside ``input_tokens``.
        cache_write_input_tokens: tokens written to a cache for any time, beside ``input_tokens``.
        cache_write_1h_input_tokens: the part of ``cache_write_input_tokens`` written for one hour.
        output_tokens: all output tokens, hidden ones included; ``None`` follows the text.
        hidden_output_tokens: the part of ``output_tokens`` that was reasoning.
        web_searches: searches that the provider ran on its side.
        usage: whether the answer reports usage at all.
        service_tier: the tier as served, in the provider's spelling; ``None`` is its standard one.
        finish: "stop", or "length" for an answer that ran into the output limit.
        response_id: the provider's id of the answer; ``None`` is a new realistic one.
        created_at: Unix seconds; ``None`` is now.
        polls: how many times a background response is fetched before it is done.
        status: the HTTP status; 400 and above answers an error in the provider's own shape.
        error_type: the provider's error code. With a 2xx status, a stream ends in that error after its text.
        error_message: the error's text.
        retry_after_s: sent as ``retry-after`` (and ``retry-after-ms``) with an error; ``None`` sends 1 with a 429.
        headers: sent besides, or instead of, the provider's usual ones.
        body: sent as it is instead of anything computed, for answers that no provider should give.
        chunks: into how many pieces a stream cuts the text; ``None`` is as the provider does it.
        chunk_bytes: cuts what goes over the wire every so many bytes, whatever the event boundaries.
        first_delay_s: how long the server thinks before it answers.
        delay_s: how long it pauses before each further chunk.
        cut_after: ends the body after so many chunks (0: right after the headers).
        cut: how: "drop" closes the connection in the middle of the body, "end" ends the body properly.
        hang_up: closes the connection without any answer.
        gzip: compresses the body; the same as ``encoding="gzip"``.
        encoding: compresses the body: "gzip", "br" or "zstd".

    Raises:
        ValueError: a count is negative, or a part is larger than its whole.
    """

    text: str | None = None
    model: str | None = None
    input_tokens: int | None = None
    input_audio_tokens: int = 0
    input_image_tokens: int = 0
    cache_read_input_tokens: int = 0
    cache_write_input_tokens: int = 0
    cache_write_1h_input_tokens: int = 0
    output_tokens: int | None = None
    hidden_output_tokens: int = 0
    web_searches: int = 0
    usage: bool = True
    service_tier: str | None = None
    finish: Literal["stop", "length"] = "stop"
    response_id: str | None = None
    created_at: int | None = None
    polls: int = 1
    status: int = 200
    error_type: str | None = None
    error_message: str | None = None
    retry_after_s: float | None = None
    headers: Mapping[str, str] = field(default_factory=lambda: _NO_HEADERS)
    body: bytes | None = None
    chunks: int | None = None
    chunk_bytes: int | None = None
    first_delay_s: float = 0.0
    delay_s: float = 0.0
    cut_after: int | None = None
    cut: Literal["drop", "end"] = "drop"
    hang_up: bool = False
    gzip: bool = False
    encoding: Encoding | None = None

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if isinstance(value, (int, float)) and value < 0:
                raise ValueError(f"Answer({name}={value!r}): at least 0 is allowed.")
        if self.chunks == 0 or self.chunk_bytes == 0:
            raise ValueError("Answer(chunks=…, chunk_bytes=…): at least 1 is allowed.")
        self._check_part("cache_write_1h_input_tokens", "cache_write_input_tokens")
        self._check_part("hidden_output_tokens", "output_tokens")
        self._check_part("input_audio_tokens", "input_tokens", beside=self.input_image_tokens)

    @property
    def content_encoding(self) -> Encoding | None:
        return "gzip" if self.gzip else self.encoding

    def _check_part(self, part: str, whole: str, beside: int = 0) -> None:
        limit = getattr(self, whole)
        if limit is not None and getattr(self, part) + beside > limit:
            raise ValueError(f"Answer({part}={getattr(self, part)}): it is a part of {whole}={limit}.")


@dataclass(frozen=True, slots=True)
class Turn:
    """A request with its answer, everything decided: what a wire format writes down.

    Attributes:
        request: what was asked.
        answer: what was programmed, for the counts that have a default of their own.
        text, model, input_tokens, output_tokens: the answer's own, or the computed ones.
    """

    request: Received
    answer: Answer
    text: str
    model: str
    input_tokens: int
    output_tokens: int

    @property
    def visible_output_tokens(self) -> int:
        return self.output_tokens - self.answer.hidden_output_tokens

    @property
    def all_input_tokens(self) -> int:
        """Fresh and cached together, as OpenAI and Gemini report the prompt."""
        cached = self.answer.cache_read_input_tokens + self.answer.cache_write_input_tokens
        return self.input_tokens + cached

    def pieces(self, at_most: int | None = None) -> tuple[str, ...]:
        """The text as a stream cuts it: a word at a time, or in ``at_most`` parts; ``answer.chunks`` wins."""
        count = self.answer.chunks or at_most
        words = re.findall(r"\s*\S+\s*?(?=\s|$)|\s+$", self.text)
        if count is None or (self.answer.chunks is None and len(words) <= count):
            return tuple(words)
        size = -(-len(self.text) // count) if self.text else 1
        return tuple(self.text[start : start + size] for start in range(0, len(self.text), size))


def turn(request: Received, answer: Answer) -> Turn:
    """Decide what ``answer`` left open, from the request alone: the same request gets the same text and counts."""
    text = answer.text if answer.text is not None else plausible_text(request.prompt)
    parts = answer.input_audio_tokens + answer.input_image_tokens
    own = answer.input_tokens if answer.input_tokens is not None else estimated_tokens(request.prompt) + 6 + parts
    out = answer.output_tokens
    return Turn(
        request=request,
        answer=answer,
        text=text,
        model=answer.model or snapshot_of(request.model),
        input_tokens=own,
        output_tokens=out if out is not None else estimated_tokens(text) + answer.hidden_output_tokens,
    )


_REASONERS = re.compile(r"^(o\d|gpt-[5-9]|gemini-(2\.5|[3-9]))")
_OPENAI_CACHE_MINIMUM = 1024
_OPENAI_CACHE_STEP = 128


def plausible_answer(request: Received) -> Answer:
    """The answer of a server that was told nothing: reasoning for models that reason, cached tokens for long prompts.

    OpenAI caches prompts of 1,024 tokens and more in steps of 128 (its guide on prompt caching); Anthropic
    caches where the request says ``cache_control``.
    """
    seed = zlib.crc32(request.body)
    prompt = estimated_tokens(request.prompt) + 6
    cached = 0
    if b'"cache_control"' in request.body:
        cached = prompt * 4 // 5
    elif prompt >= _OPENAI_CACHE_MINIMUM and "/messages" not in request.path:
        cached = (prompt * 3 // 4) // _OPENAI_CACHE_STEP * _OPENAI_CACHE_STEP
    thinks = bool(_REASONERS.match(request.model)) or _thinking_asked(request.json)
    return Answer(
        input_tokens=prompt - cached,
        cache_read_input_tokens=cached,
        hidden_output_tokens=64 * (1 + seed % 6) if thinks else 0,
    )


def _thinking_asked(body: Mapping[str, object]) -> bool:
    thinking = body.get("thinking")
    return isinstance(thinking, dict) and thinking.get("type") in ("enabled", "adaptive")


_SENTENCES = (
    "Thanks for the details, that helps.",
    "The short answer is yes, with one condition.",
    "First check what changed since it last worked.",
    "The second paragraph carries the main point.",
    "Two of the three causes can be ruled out from the log.",
    "A smaller step now makes the larger one safer later.",
    "Keep the old behaviour behind a setting until the numbers agree.",
    "The remaining part is a matter of taste.",
    "Nothing here needs a decision today.",
    "If it happens again, note the time and the request id.",
)


def plausible_text(prompt: str) -> str:
    """Two to six sentences, the same ones for the same prompt."""
    seed = zlib.crc32(prompt.encode())
    count = 2 + seed % 5
    return " ".join(_SENTENCES[(seed // 7 + 3 * step) % len(_SENTENCES)] for step in range(count))


def estimated_tokens(text: str) -> int:
    """About four characters a token; at least one for any text."""
    return -(-len(text) // 4)
