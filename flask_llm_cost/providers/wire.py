"""What a wire format is: a body in, an answer out. A stream folds into a body first, so one reader serves both."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import ClassVar

from flask_llm_cost.providers.events import Event
from flask_llm_cost.providers.fields import JSON, NO_FIELDS, first_present, text
from flask_llm_cost.providers.sse import events_of
from flask_llm_cost.usage import NO_USAGE, ModelUsage, Stored, Usage

_DEPLOYMENT = re.compile(r"/deployments/([^/]+)/")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the request asked for.

    Attributes:
        model: as in the request, or in its URL.
        stream: whether a stream was asked for.
        tier, geo, speed: as asked for; they count where the answer does not say what was served.
        usage: what the request itself says will be billed (characters to be spoken, one image of a size).
        request: its fields, kept for the app's own providers only.
    """

    model: str | None = None
    stream: bool = False
    tier: str | None = None
    geo: str | None = None
    speed: str | None = None
    usage: Usage = field(default_factory=lambda: NO_USAGE)
    request: JSON = field(default_factory=lambda: NO_FIELDS)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a body says.

    Attributes:
        model: ``None`` where it does not say, "" where it says nothing.
        usage: meter → quantity, disjoint; empty where the body has no usage.
        raw_usage: the provider's own numbers.
        tier, geo, speed: as reported, in the provider's words; ``None`` where not reported.
        extra: what other models did.
        provider_cost: USD, as reported.
        notes: what was odd.
        stored: set where the provider keeps the answer and gives it again by its id.
        cancelled: whether the answer was called off before it was done.
    """

    model: str | None = None
    response_id: str | None = None
    usage: Usage = field(default_factory=lambda: NO_USAGE)
    raw_usage: JSON | None = None
    tier: str | None = None
    geo: str | None = None
    speed: str | None = None
    extra: tuple[ModelUsage, ...] = ()
    provider_cost: Decimal | None = None
    notes: tuple[str, ...] = ()
    stored: Stored | None = None
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class Folded:
    """A stream as one body.

    Attributes:
        body: as the format's ``read`` takes it; under "error" what an error event said.
        final: whether the stream said that it is over.
    """

    body: dict[str, object]
    final: bool


class WireFormat(ABC):
    """One provider's way of answering.

    Attributes:
        name: the provider the format belongs to.
        usage_key: where its bodies keep the usage.
        embeds: its bodies are long lists of numbers, to be skimmed where they are big.
        must_end: its streams are whole only when they say so; of others the end of the connection will do.
        ends_with_usage: the last usage of its streams stands in their last event: with the one comes the other.
        opaque: its answers may be sound or plain text: what is no JSON and no stream is read as an empty body.
        counts_tokens: what it bills is tokens of the request and of the answer's text.
        counts_cached_prompts: a prompt that the server still had in memory is counted all the same.
        settled_input: the input that a stream reports first is the one it reports last.
        delivers_all: nothing is generated that is not delivered.
        telling: marks of events that count wherever in a stream they stand.
        told_at_ends: of a stream that is whole, all else is told by its first and last events.
        image_tokens: the most that one image of a request can be.
    """

    name: ClassVar[str]
    usage_key: ClassVar[str] = "usage"
    embeds: ClassVar[bool] = False
    must_end: ClassVar[bool] = False
    ends_with_usage: ClassVar[bool] = False
    opaque: ClassVar[bool] = False
    counts_tokens: ClassVar[bool] = True
    counts_cached_prompts: ClassVar[bool] = True
    settled_input: ClassVar[bool] = True
    delivers_all: ClassVar[bool] = False
    telling: ClassVar[tuple[bytes, ...]] = ()
    told_at_ends: ClassVar[bool] = False
    # OpenAI: GPT-4o mini 2,833 + 5,667 for each of up to 8 tiles ("Images and vision").
    image_tokens: ClassVar[int] = 50_000

    @abstractmethod
    def read(self, body: JSON, asked: Asked) -> Answer:
        """Read one body, or a folded stream."""

    def request(self, body: bytes) -> JSON:
        """The request's fields; none where they cannot be read."""
        return json_object(body)

    def with_headers(self, body: JSON, headers: Mapping[str, str]) -> JSON:
        """The body, with what the headers of the answer say about usage."""
        return body

    def refusal(self, body: object, headers: Mapping[str, str]) -> object:
        """The body of an error answer, with what its headers say about the error."""
        return body

    def events(self, content: bytes) -> list[Event]:
        """The events of a body that is no single JSON object."""
        return events_of(content)

    def fold(self, events: Iterable[Event]) -> Folded:
        """Fold a stream into a body. Events may be missing and broken. Formats without streams keep nothing."""
        return Folded({}, final=False)

    def beside_tokens(self, request: JSON) -> Usage | None:
        """What a call is billed at most beside the tokens that its format counts; ``None``: nobody can tell."""
        return NO_USAGE

    def said(self, document: JSON) -> Iterable[str]:
        """What the model generated word for word in one event, or in a body that came whole. Summaries of
        reasoning, citations and results of tools are none of it, nor is text that another event has.
        """
        return ()

    def said_in(self, documents: Iterable[JSON]) -> Iterable[str]:
        """What the model generated in all of them."""
        for document in documents:
            yield from self.said(document)

    def asked(self, path: str, request: JSON) -> Asked:
        """What the request asked for. On Azure the deployment in the path stands in for a missing model."""
        deployment = _DEPLOYMENT.search(path)
        return Asked(
            model=text(request, "model") or (deployment[1] if deployment else None),
            stream=request.get("stream") is True,
            tier=text(request, "service_tier"),
        )


def json_object(body: bytes) -> JSON:
    """A request's JSON. Parsing is the honest way: 6 MB with an image in base64 take about 8 ms, and every
    scan that is not fooled by the text of a message is slower.
    """
    try:
        request = json.loads(body) if body else None
    except (ValueError, RecursionError):
        return {}
    return request if isinstance(request, dict) else {}


def answered_model(body: JSON, name: str = "model") -> str | None:
    """The model a body names: "" where it names it blank, ``None`` where it does not."""
    value = first_present(body, name)
    return value.strip() if isinstance(value, str) else None
