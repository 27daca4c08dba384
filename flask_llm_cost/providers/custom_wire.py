"""A provider of the app's own as a wire format: what it says is checked, and what it raises stays here."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from decimal import Decimal
from typing import ClassVar, TypeVar

from flask_llm_cost.providers.custom import Provider
from flask_llm_cost.providers.events import Event
from flask_llm_cost.providers.fields import JSON, numbers
from flask_llm_cost.providers.multipart import form_fields
from flask_llm_cost.providers.wire import Answer, Asked, Folded, WireFormat, json_object
from flask_llm_cost.usage import Quantity, Usage

PROVIDER_FAILED = "provider_failed"

log = logging.getLogger(__name__)

_Said = TypeVar("_Said")
_EVENTS = "llm_cost.events"
# Notes are codes: a sentence may be text of the app's users.
_NOTE = re.compile(r"[a-z0-9_]{1,40}", re.ASCII)


class CustomWire(WireFormat):
    """Reads a provider's answers by its own methods."""

    # What it bills, and where its answers have their text, only the app knows: no bounds are made up for it.
    counts_tokens: ClassVar[bool] = False

    name: ClassVar[str] = "custom"
    usage_key: ClassVar[str] = _EVENTS

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        self._complained = False

    def request(self, body: bytes) -> JSON:
        return form_fields(body) if body.startswith(b"--") else json_object(body)

    def asked(self, path: str, request: JSON) -> Asked:
        model = self._said("requested_model", lambda: self._model(path, request), None)
        return replace(WireFormat.asked(self, path, request), model=model, request=request)

    def fold(self, events: Iterable[Event]) -> Folded:
        decoded, final = [], False
        for event in events:
            value = event.decoded()
            if value is not None:
                decoded.append(value)
            final = event.done or final or (value is not None and self._ends(value))
        body: dict[str, object] = {_EVENTS: decoded}
        error = next((value["error"] for value in decoded if value.get("error")), None)
        return Folded(body if error is None else {**body, "error": error}, final)

    def read(self, body: JSON, asked: Asked) -> Answer:
        events = body.get(_EVENTS)
        if isinstance(events, list):
            return self._answer("read_stream", lambda: self.provider.read_stream(events, asked.request))
        return self._answer("read", lambda: self.provider.read(body, asked.request))

    def _answer(self, method: str, read: Callable[[], object]) -> Answer:
        return self._said(method, lambda: _checked(read()), Answer(notes=(PROVIDER_FAILED,)))

    def _model(self, path: str, request: JSON) -> str | None:
        model: object = self.provider.requested_model(path, request)
        return model.strip() or None if isinstance(model, str) else None

    def _ends(self, event: JSON) -> bool:
        return self._said("ends_stream", lambda: bool(self.provider.ends_stream(event)), False)

    def _said(self, method: str, ask: Callable[[], _Said], otherwise: _Said) -> _Said:
        try:
            return ask()
        except Exception as error:
            self._complain(method, error)
            return otherwise

    def _complain(self, method: str, error: Exception) -> None:
        """Once, with the kind of error and its place: its message may hold text of the answer."""
        if self._complained:
            return
        self._complained = True
        last = error.__traceback__
        while last is not None and last.tb_next is not None:
            last = last.tb_next
        log.warning(
            "%s.%s of the provider %r failed: %s in line %s of %s. Such calls are recorded with what is known.",
            type(self.provider).__qualname__,
            method,
            self.provider.name,
            type(error).__name__,
            last.tb_lineno if last else "?",
            last.tb_frame.f_globals.get("__name__", "?") if last else "?",
        )


class OpaqueCustomWire(CustomWire):
    """The same for answers that may be sound or plain text."""

    opaque: ClassVar[bool] = True


def wire_of(provider: Provider) -> CustomWire:
    return OpaqueCustomWire(provider) if provider.opaque else CustomWire(provider)


def _checked(answer: object) -> Answer:
    if answer is None:
        return Answer()
    if not isinstance(answer, Answer):
        raise TypeError(f"an Answer or None is expected, not a {type(answer).__name__}")
    for value in (answer.model, answer.response_id, answer.tier, answer.geo, answer.speed):
        if value is not None and not isinstance(value, str):
            raise TypeError("model, response_id, tier, geo and speed are texts or None")
    return replace(
        answer,
        usage=_quantities(answer.usage),
        extra=tuple(replace(other, usage=_quantities(other.usage)) for other in answer.extra),
        provider_cost=None if answer.provider_cost is None else Decimal(_quantity(answer.provider_cost)),
        raw_usage=None if answer.raw_usage is None else numbers(answer.raw_usage),
        notes=tuple(note for note in answer.notes if _NOTE.fullmatch(note)),
    )


def _quantities(usage: Usage) -> Usage:
    return {str(meter): _quantity(value) for meter, value in usage.items()}


def _quantity(value: object) -> Quantity:
    """A count, never negative. A float counts as the decimal it is written as."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise TypeError("quantities are numbers")
    number = Decimal(repr(value)) if isinstance(value, float) else value
    if not Decimal(number).is_finite() or number < 0:
        raise ValueError("quantities are finite and never negative")
    return number
