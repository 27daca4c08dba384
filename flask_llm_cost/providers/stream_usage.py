"""Asking a chat completions stream for its usage, and taking out of the answer what only the asking put in.

With ``stream_options.include_usage`` an extra event with empty ``choices`` carries the usage, and every other
one gets a ``usage`` of null (OpenAI's API reference, "Create chat completion", ``stream_options``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping

from flask_llm_cost.errors import ConfigurationError
from flask_llm_cost.providers.hosts import service_of
from flask_llm_cost.providers.openai_chat import OpenAIChat
from flask_llm_cost.providers.route import Route
from flask_llm_cost.providers.sse import events_of

OPENAI_HOSTS = frozenset({"api.openai.com", "us.api.openai.com", "eu.api.openai.com"})
# They report a stream's usage unasked, and have answered the option with 422 ("Extra inputs are not permitted",
# openai/openai-agents-python#442) or 400 ("property 'stream_options' is unsupported", vercel/ai#1578).
_REFUSING = frozenset({"mistral", "groq"})
# Azure's "on your data" answers the option with 400 (Azure/azure-sdk-for-js#30751).
_REFUSING_FIELDS = ("data_sources", "dataSources")
# Headers that vouch for the body's bytes.
_SIGNATURES = frozenset(
    {"digest", "content-digest", "content-md5", "signature", "signature-input", "x-amz-content-sha256"}
)
_OPTION = b'"stream_options":{"include_usage":true}'
_EVENT_END = re.compile(rb"(?:\r\n|\n|\r(?!\n|\Z)){2}")
# A null at the top level: nothing but plain members stands between it and the end of the object.
_NULL_USAGE = re.compile(
    rb',\s*"usage"\s*:\s*null(?=(?:\s*,\s*"[^"\\]*"\s*:\s*(?:"[^"\\]*"|null|true|false|[-+.0-9eE]+))*\s*\}\s*$)'
)
_MOST_HELD = 64 * 1024


def check_hosts(setting: bool | Collection[str]) -> None:
    """Check the hosts of ``LLM_COST_INJECT_STREAM_USAGE``.

    Raises:
        ConfigurationError: a host in it is known to refuse to be asked.
    """
    for host in () if isinstance(setting, bool) else setting:
        service = service_of(host.partition(":")[0])
        if service is not None and service.provider in _REFUSING:
            raise ConfigurationError(
                f"LLM_COST_INJECT_STREAM_USAGE: {host!r} refuses to be asked, and reports usage all the same. "
                f"Hosts that take stream_options are allowed."
            )


def may_be_asked(route: Route, host: str, port: int | None, setting: bool | Collection[str]) -> bool:
    """Whether ``LLM_COST_INJECT_STREAM_USAGE`` covers a call.

    Args:
        setting: ``True`` for OpenAI's own hosts; a collection for these and more, "host" or "host:port" in lower case.
    """
    if not setting or not isinstance(route.wire, OpenAIChat) or route.provider in _REFUSING:
        return False
    host = host.lower() if ":" not in host else f"[{host.strip('[]')}]"
    if host in OPENAI_HOSTS:
        return True
    return not isinstance(setting, bool) and (host in setting or (port is not None and f"{host}:{port}" in setting))


def is_unasked(route: Route, body: bytes) -> bool:
    """Whether this is a stream that reports usage only when asked, and nobody asked."""
    if not isinstance(route.wire, OpenAIChat) or route.provider in _REFUSING:
        return False
    request = route.wire.request(body)
    return request.get("stream") is True and not _says(request.get("stream_options"))


def is_signed(headers: Mapping[str, str]) -> bool:
    """Whether a request's headers vouch for its body, which then must stay as it is."""
    names = {name.lower() for name in headers}
    authorization = next((headers[name] for name in headers if name.lower() == "authorization"), "")
    return not names.isdisjoint(_SIGNATURES) or authorization.startswith(("AWS4-", "Signature ", "HMAC"))


def asking(body: bytes) -> bytes | None:
    """The request's body with the question in it. ``None``: it has one, is no stream, or had better not be asked.

    All else stays, to the byte; with other ``stream_options`` in it, to the value.
    """
    try:
        text = body.decode()
        request = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(request, dict) or request.get("stream") is not True:
        return None
    if any(request.get(field) is not None for field in _REFUSING_FIELDS):
        return None
    if "stream_options" not in request:
        head = body.rstrip()[:-1]
        return head + b"," + _OPTION + body[len(head) :]
    options = request["stream_options"]
    if options is not None and (not isinstance(options, dict) or "include_usage" in options):
        return None
    request["stream_options"] = {**(options or {}), "include_usage": True}
    return json.dumps(request, ensure_ascii=False, separators=(",", ":")).encode()


def is_refusal(status: int, content: bytes) -> bool:
    """Whether an answer complains about the question."""
    return status in (400, 422) and (b"stream_options" in content or b"include_usage" in content)


def _says(options: object) -> bool:
    return isinstance(options, dict) and bool(options.get("include_usage"))


class Question:
    """A question put to a stream, and what has to be done about its answer.

    Attributes:
        body: the request's body with the question in it.
        unasked: what takes the traces out of the answer, once there is one that has any.
    """

    __slots__ = ("body", "unasked")

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.unasked: Unasked | None = None


class Unasked:
    """Turns the answer to a stream that was asked for its usage into that of one that was not.

    Everything else passes to the byte, and chunk for chunk; an event cut in two passes with its last piece,
    since before its end nobody can tell whether it is the one.
    """

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = b""

    def feed(self, chunk: bytes) -> bytes:
        """What to hand on now that ``chunk`` came; perhaps nothing yet."""
        data = self._held + chunk
        kept: list[bytes] = []
        start = 0
        for end in _EVENT_END.finditer(data):
            kept.append(_without(data[start : end.end()]))
            start = end.end()
        self._held = data[start:]
        if len(self._held) > _MOST_HELD:
            # The one with the usage is small: this is not it.
            kept.append(self._held)
            self._held = b""
        return b"".join(kept)

    def end(self) -> bytes:
        """What is left when nothing more comes."""
        held, self._held = self._held, b""
        return _without(held)


def unasked_content(content: bytes) -> bytes:
    """A whole answer as it is when nobody asks."""
    unasked = Unasked()
    return unasked.feed(content) + unasked.end()


def _without(event: bytes) -> bytes:
    """An event as it is when nobody asks: nothing of the one with the usage."""
    at = event.rfind(b'"usage"')
    if at < 0:
        return event
    stripped = event.rstrip(b"\r\n")
    if _NULL_USAGE.search(stripped) is not None:
        return _NULL_USAGE.sub(b"", stripped) + event[len(stripped) :]
    return event[: len(event) - len(event.lstrip(b"\r\n"))] if _is_extra(event) else event


def _is_extra(event: bytes) -> bool:
    decoded = [each.decoded() for each in events_of(event)]
    chunk = decoded[0] if len(decoded) == 1 else None
    return chunk is not None and chunk.get("choices") == [] and isinstance(chunk.get("usage"), dict)
