"""Amazon Bedrock: Converse and ConverseStream, one shape for every model.

Cached tokens are reported beside ``inputTokens``, not within it; ``cacheDetails`` says how long what was
written lives (API reference, ``TokenUsage`` and ``CacheDetail``). The model stands in the URL alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import ClassVar
from urllib.parse import unquote

from flask_llm_cost.providers.events import Event
from flask_llm_cost.providers.eventstream import Message, messages_of
from flask_llm_cost.providers.fields import JSON, count, mapping, numbers, objects, strings, text
from flask_llm_cost.providers.split import INCONSISTENT, Split
from flask_llm_cost.providers.sse import events_of
from flask_llm_cost.providers.wire import Answer, Asked, Folded, WireFormat

# The region of an inference profile, https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-support.html
PROFILE = re.compile(r"(us-gov|us|eu|apac|jp|au|ca|sa|in|me|global)\.(?=[a-z0-9]+\.)")
REQUEST_ID, ERROR_TYPE = "x-amzn-requestid", "x-amzn-errortype"
_COUNTED = ("inputTokens", "outputTokens")
_CACHE_READ = ("cacheReadInputTokens", "cacheReadInputTokenCount")
_CACHE_WRITE = ("cacheWriteInputTokens", "cacheWriteInputTokenCount")
# Of an ARN's kinds of resource, those whose id is a model's name; the ids of all others are the account's own.
_NAMED_AS_MODELS = ("foundation-model", "inference-profile")


class Bedrock(WireFormat):
    """What both ways of calling a model share: the URL, the framing of streams, the id of the request."""

    name: ClassVar[str] = "bedrock"
    must_end: ClassVar[bool] = True
    image_tokens: ClassVar[int] = 5_000

    def events(self, content: bytes) -> list[Event]:
        messages = messages_of(content)
        return [_event(message) for message in messages] if messages else events_of(content)

    def with_headers(self, body: JSON, headers: Mapping[str, str]) -> JSON:
        request_id = {name.lower(): value for name, value in headers.items()}.get(REQUEST_ID)
        return {**body, REQUEST_ID: request_id} if request_id else body

    def refusal(self, body: object, headers: Mapping[str, str]) -> object:
        # "ValidationException:http://…", perhaps with a namespace before a "#" (Smithy, AWS restJson1 protocol).
        kind = {name.lower(): value for name, value in headers.items()}.get(ERROR_TYPE, "")
        code = kind.partition(":")[0].rpartition("#")[2].strip()
        return {"code": code} if code else body

    def asked(self, path: str, request: JSON) -> Asked:
        head, _, verb = path.rpartition("/")
        model = model_in(unquote(head.removeprefix("/model/")))
        return Asked(
            model=model,
            stream=verb.endswith("stream"),
            tier=text(mapping(request, "serviceTier"), "type"),
            geo=region_of(model),
            speed=text(mapping(request, "performanceConfig"), "latency"),
        )


class BedrockConverse(Bedrock):
    """``/model/<id>/converse`` and ``/model/<id>/converse-stream``."""

    def read(self, body: JSON, asked: Asked) -> Answer:
        answer = Answer(
            response_id=text(body, REQUEST_ID),
            tier=text(mapping(body, "serviceTier"), "type"),
            speed=text(mapping(body, "performanceConfig"), "latency"),
        )
        usage = mapping(body, "usage")
        if all(count(usage, name) is None for name in _COUNTED):
            return answer
        split = split_usage(usage)
        return replace(answer, usage=split.usage, raw_usage=numbers(usage), notes=split.notes)

    def said(self, document: JSON) -> Iterable[str]:
        return said_by_converse(document)

    def fold(self, events: Iterable[Event]) -> Folded:
        body: dict[str, object] = {}
        final = False
        for event in events:
            if failure := failed(event):
                body["error"] = failure
            elif event.name == "metadata":
                body.update(event.decoded() or {})
                final = True
            elif event.name is None:
                # As botocore hands them to the app: one key, the kind of event.
                metadata = mapping(event.decoded() or {}, "metadata")
                body.update(metadata)
                final = final or bool(metadata)
        return Folded(body, final)


def said_by_converse(document: JSON) -> Iterable[str]:
    """What the model generated in one event (on the wire, or under its kind as botocore has it) or whole body."""
    event = mapping(document, "contentBlockDelta") or mapping(document, "contentBlockStart") or document
    delta, start = mapping(event, "delta"), mapping(mapping(event, "start"), "toolUse")
    yield from strings([delta.get("text"), mapping(delta, "toolUse").get("input"), start.get("name")])
    for part in objects(mapping(mapping(document, "output"), "message"), "content"):
        call = mapping(part, "toolUse")
        yield from strings([part.get("text"), call.get("name"), call.get("input")])


def split_usage(usage: JSON) -> Split:
    """Disjoint quantities of a ``TokenUsage``."""
    split = Split()
    split.divide("input", count(usage, "inputTokens"), [])
    split.add("cache_read", count(usage, *_CACHE_READ))
    lifetimes = {"5m": 0, "1h": 0}
    for detail in objects(usage, "cacheDetails"):
        lifetime = text(detail, "ttl") or "5m"
        lifetimes[lifetime] = lifetimes.get(lifetime, 0) + split.clamped(count(detail, "inputTokens"))
    long_lived = split.add("cache_write.1h", lifetimes["1h"])
    written = count(usage, *_CACHE_WRITE)
    rest = sum(lifetimes.values()) - long_lived if written is None else split.clamped(written) - long_lived
    split.add("cache_write", max(rest, 0))
    if rest < 0:
        split.note(INCONSISTENT)
    split.divide("output", count(usage, "outputTokens"), [])
    return split


def model_in(identifier: str) -> str | None:
    """The model an id from a URL names: an ARN of a model or of Amazon's own inference profile is taken apart.

    Of any other ARN the resource remains ("application-inference-profile/a1b2"), without region and account.
    """
    if not identifier.startswith("arn:"):
        return identifier or None
    resource = identifier.split(":", 5)[-1]
    kind, _, name = resource.partition("/")
    return name or None if kind in _NAMED_AS_MODELS else resource or None


def region_of(model: str | None) -> str | None:
    """The region of the inference profile that a model's name carries: prices may differ, and answers leave it out."""
    found = PROFILE.match(model or "")
    return found[1] if found else None


def failed(event: Event) -> JSON | None:
    """What an event that reports a failure says: its name is the exception's."""
    name = event.name or next(iter(event.decoded() or {}), "")
    return {"code": name} if name.endswith(("Exception", "Error")) else None


def _event(message: Message) -> Event:
    headers = message.headers
    if headers.get(":message-type") == "error":
        return Event(headers.get(":error-code", "InternalError").removesuffix("Error") + "Error", message.payload)
    return Event(headers.get(":exception-type") or headers.get(":event-type"), message.payload)
