"""How many tokens a request can be, from its size alone: no tokenizer, and no text kept.

At most: a token of a byte-level tokenizer stands for at least one byte of text, so a text has no more tokens
than bytes; every name and value of the request counts, which covers what chat templates add. At least: a
token does not reach over a space into the next word, but for the few tokenizers that have phrases among
their tokens, so there are at least half as many as words.

Media are no text. An image is tokens by its dimensions, which providers bound (``image_tokens``, per wire
format). Sound is tokens by its length: Gemini, the dearest, counts 32 a second ("Understand and count
tokens", ai.google.dev), and no codec in use says anything in under 2 kbit/s. A document or a film may hold
any number of pages or frames, and what the request only refers to (an earlier answer, a stored file, a
tool that the provider runs and feeds back) is not in it: for these there is no honest upper bound.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from flask_llm_cost.providers.fields import JSON, mapping, objects, text

# System prompts that templates put in front where the app sends none, and those that come with tools
# (Anthropic documents up to 735 tokens for its own, "Pricing: tool use").
_TEMPLATE, _TOOL_PROMPT = 256, 1024
_BYTES_PER_AUDIO_TOKEN = 8
_SCALAR = 8

_SAID = frozenset({"content", "text", "input", "prompt", "system", "instructions", "message", "preamble", "inputText"})
_KINDS = {
    **dict.fromkeys(("image", "images", "image_url", "input_image"), "image"),
    **dict.fromkeys(("audio", "input_audio"), "audio"),
    **dict.fromkeys(
        ("file", "document", "input_file", "video", "video_url", "container_upload", "application"), "file"
    ),
}
_REFERENCES = frozenset({"url", "uri", "image_url", "file_uri", "fileUri", "file_url", "file_id", "video_url"})
_ELSEWHERE = (
    "previous_response_id",
    "conversation",
    "conversation_id",
    "cachedContent",
    "cached_content",
    "container",
    "mcp_servers",
    "connectors",
    "plugins",
    "web_search_options",
)
_SHORTENS = ("truncation", "truncate", "prompt_truncation", "transforms", "context_management")
_OWN_TOOLS = frozenset({"function", "custom"})
# Anthropic's that the app runs itself; "web_search_…", "web_fetch_…" and "code_execution_…" it runs.
_APP_RUN = ("bash_", "text_editor_", "computer_", "memory_", "local_shell", "apply_patch")
_GEMINI_DECLARED = frozenset({"functionDeclarations", "function_declarations"})
_BASE64 = re.compile(r"[A-Za-z0-9+/_=\r\n-]{64,}")
_DATA_URL = re.compile(r"data:([a-z]+)/[^;,]*(?:;[^;,]*)*,")


@dataclass(slots=True)
class RequestSize:
    """What the request says of its own size.

    Attributes:
        text_bytes: of all names and values that are text, in UTF-8, and a few for each that is not.
        words: in what the app says to the model.
        media_tokens: at most, for its images and sounds.
        is_open: a part of the prompt is not in the request, or of unknown length.
        has_audio: it contains sound, which has a rate of its own.
    """

    text_bytes: int = 0
    words: int = 0
    media_tokens: int = 0
    is_open: bool = False
    has_audio: bool = False

    def most(self) -> int | None:
        """The most input tokens it can be; ``None`` where it does not tell."""
        return None if self.is_open else self.text_bytes + self.media_tokens + _TEMPLATE

    def least(self) -> int:
        """The least input tokens it can be."""
        return self.words // 2


def request_size(request: JSON, image_tokens: int) -> RequestSize:
    """Measure a request. An empty one is one that could not be read: anything may be in it.

    Args:
        image_tokens: the most that one image can be.
    """
    size = RequestSize(is_open=not request or _refers_elsewhere(request))
    pending: list[tuple[str, object, str | None]] = [("", request, None)]
    while pending:
        name, value, kind = pending.pop()
        if isinstance(value, Mapping):
            kind = _kind_of(name, value, kind)
            pending += ((str(key), entry, kind) for key, entry in value.items())
            size.text_bytes += sum(len(str(key)) for key in value)
        elif isinstance(value, list):
            pending += ((name, entry, kind) for entry in value)
        elif isinstance(value, str) or (value is None and name == "bytes"):
            _add(size, name, value, kind or _KINDS.get(name), image_tokens)
        else:
            size.text_bytes += _SCALAR
    if any(request.get(name) for name in ("tools", "functions", "toolConfig", "response_format")):
        size.text_bytes += _TOOL_PROMPT
    if any(request.get(name) for name in _SHORTENS):
        size.words = 0
    return size


def _add(size: RequestSize, name: str, value: str | None, kind: str | None, image_tokens: int) -> None:
    """Count a text, or what stands for a medium: base64, an address, or bytes that a client left out (``None``)."""
    start = None if value is None else _DATA_URL.match(value, 0, 256)
    if start is not None:
        kind = None if start[1] == "text" else _KINDS.get(start[1], "file")
    is_remote = start is None and kind is not None and name in _REFERENCES
    packed = value is None or start is not None or (kind is not None and _BASE64.fullmatch(value) is not None)
    if not (is_remote or packed) or kind is None:
        said = value or ""
        size.text_bytes += len(said.encode("utf-8", "replace"))
        size.words += len(said.split()) if name in _SAID else 0
    elif kind == "image":
        size.media_tokens += image_tokens
    elif kind == "audio" and packed and value is not None:
        size.has_audio = True
        size.media_tokens += 3 * len(value) // 4 // _BYTES_PER_AUDIO_TOKEN + _SCALAR
    else:
        size.is_open = True


def _kind_of(name: str, holder: JSON, inherited: str | None) -> str | None:
    """Whether what an object holds is an image, a sound or a file: by its media type, else its type, else its name."""
    for field in ("media_type", "mimeType", "mime_type"):
        media = text(holder, field)
        if media is not None:
            family = media.partition("/")[0]
            return None if family == "text" else _KINDS.get(family, "file")
    kind = holder.get("type")
    return _KINDS.get(kind if isinstance(kind, str) else "") or _KINDS.get(name) or inherited


def _refers_elsewhere(request: JSON) -> bool:
    """Whether the prompt is more than the request: it goes on from something, or the provider runs tools."""
    if any(request.get(name) for name in _ELSEWHERE) or isinstance(request.get("prompt"), Mapping):
        return True
    return any(_is_hosted(tool) for tool in objects(request, "tools"))


def _is_hosted(tool: JSON) -> bool:
    kind = text(tool, "type")
    if kind is not None:
        return kind not in _OWN_TOOLS and not kind.startswith(_APP_RUN)
    known = mapping(tool, "function") or text(tool, "name")
    return not known and _GEMINI_DECLARED.isdisjoint(tool)
