"""Reading → receipt → event → ledger → signal. The one place where a call becomes a record."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import UUID, uuid4

from blinker import NamedSignal
from flask import Flask

from flask_llm_cost.errors import StorageError, UnknownPricingError
from flask_llm_cost.failures import described, named, report
from flask_llm_cost.ledger.event import Event
from flask_llm_cost.ledger.identity import lasting_id, uuid7
from flask_llm_cost.ledger.receipts import stored_receipt
from flask_llm_cost.ledger.recent import Recent
from flask_llm_cost.pricing import PriceBook
from flask_llm_cost.pricing.costing import Cost, cost_of
from flask_llm_cost.pricing.receipt import Receipt
from flask_llm_cost.settings import Settings
from flask_llm_cost.signals import call_recorded, storage_failed
from flask_llm_cost.tagging import clean
from flask_llm_cost.usage import Reading, Usage

log = logging.getLogger(__name__)

_NOTHING_PRICED = Receipt(total=None, status="unknown", reason="pricing_failed")


class Keeper(Protocol):
    """What the recorder needs of the ledger."""

    def record(self, event: Event) -> None:
        """Take the event for good.

        Raises:
            StorageError: it could not be kept.
        """


class Recorder:
    """Records calls for one app."""

    def __init__(self, app: Flask, settings: Settings, prices: PriceBook, ledger: Keeper) -> None:
        self._app = app
        self._settings = settings
        self._prices = prices
        self._ledger = ledger
        self._warned: set[tuple[str, str]] = set()
        self._warned_lock = threading.Lock()
        self._recent = Recent()

    def record(
        self,
        reading: Reading,
        *,
        tracked_at: datetime | None,
        latency_ms: int | None = None,
        first_token_ms: int | None = None,
        tags: Mapping[str, str] | None = None,
        host: str | None = None,
        captured_by: str = "manual",
        event_id: UUID | None = None,
    ) -> Event:
        """Price a reading and hand it to the ledger.

        Args:
            reading: what the answer says about itself.
            tracked_at: when the request started (aware); ``None`` where that is not known: now.
            latency_ms: from request to the last byte; ``first_token_ms`` to the first.
            tags: merged tags, least specific first; cleaned here.
            host: who was asked.
            captured_by: which way in saw the call.
            event_id: as for ``event_of``.

        Raises:
            StorageError: the event could not be kept and ``LLM_COST_STORAGE_ERROR = "raise"``.
            UnknownPricingError: no price and ``LLM_COST_UNKNOWN_PRICING = "raise"``; the event is recorded.
        """
        event = self.event_of(
            reading,
            tracked_at=tracked_at,
            latency_ms=latency_ms,
            first_token_ms=first_token_ms,
            tags=tags,
            host=host,
            captured_by=captured_by,
            event_id=event_id,
        )
        # Answers that are fetched again: their polls say the same over and over.
        if reading.stored is None or self._recent.adds(event):
            self._store(event)
            self.recorded(event)
        return event

    def event_of(
        self,
        reading: Reading,
        *,
        tracked_at: datetime | None,
        latency_ms: int | None = None,
        first_token_ms: int | None = None,
        tags: Mapping[str, str] | None = None,
        host: str | None = None,
        captured_by: str = "manual",
        event_id: UUID | None = None,
    ) -> Event:
        """Price a reading: the event to keep of it. Arguments as for ``record``.

        Args:
            event_id: the id of a call that may be recorded again; ``None`` makes a new one, but for answers that
                can be fetched again: those have their own, and their own time.
        """
        if reading.stored is not None:
            tracked_at = reading.stored.created_at
            event_id = lasting_id(reading.provider, str(reading.provider_response_id), tracked_at)
        at = tracked_at or datetime.now(UTC)
        return self._event(
            reading,
            self._cost(reading, at),
            event_id=event_id or _event_id(),
            tracked_at=at,
            latency_ms=latency_ms,
            first_token_ms=first_token_ms,
            tags=self._clean(tags or {}),
            host=host,
            captured_by=captured_by,
        )

    def recorded(self, event: Event) -> None:
        """Tell the subscribers of an event that is kept, and of a missing price.

        Raises:
            UnknownPricingError: as ``record``.
        """
        self._notify(call_recorded, event=event)
        if event.receipt.get("reason") in _NO_PRICE:
            self._unknown_price(event)

    def _cost(self, reading: Reading, at: datetime) -> Cost:
        try:
            return cost_of(reading, lambda usage: self._price(reading, at, usage))
        except Exception as error:
            self._unpriced(error, reading)
            return Cost(self._price(reading, at, reading.usage))

    def _price(self, reading: Reading, at: datetime, usage: Usage) -> Receipt:
        try:
            return self._prices.price(
                reading.provider,
                reading.model,
                usage,
                mode=reading.pricing_mode,
                geo=reading.geo,
                speed=reading.speed,
                at=at,
                request_model=reading.request_model,
                extra=reading.extra,
            )
        except Exception as error:
            self._unpriced(error, reading)
            return _NOTHING_PRICED

    def _unpriced(self, error: Exception, reading: Reading) -> None:
        report(
            log, error, "Pricing %s/%s failed; the call is recorded without a cost.", reading.provider, reading.model
        )

    def _event(self, reading: Reading, cost: Cost, **known: Any) -> Event:
        try:
            return _event(reading, cost, **known)
        except Exception as error:
            if cost.receipt is None:
                raise
            self._unpriced(error, reading)
            return replace(_event(reading, Cost(None), **known), cost_status="unknown")

    def _clean(self, tags: Mapping[str, str]) -> dict[str, str]:
        try:
            return clean(tags, self._settings)
        except Exception as error:
            report(log, error, "The tags of a call could not be redacted; it is recorded without them.")
            return {}

    def _store(self, event: Event) -> None:
        try:
            self._ledger.record(event)
        except Exception as error:
            self._recent.forget(event)
            failure = error if isinstance(error, StorageError) else StorageError(described(error))
            self._notify(storage_failed, event=event, error=failure)
            if self._settings.storage_error == "raise":
                raise failure from error
            if self._settings.storage_error == "warn":
                self.warn_once("storage", type(error).__name__, "A call was not stored: %s", failure)

    def _unknown_price(self, event: Event) -> None:
        if self._settings.unknown_pricing == "raise":
            raise UnknownPricingError(event.provider, event.model)
        if self._settings.unknown_pricing == "warn":
            self.warn_once(event.provider, event.model, "%s", UnknownPricingError(event.provider, event.model))

    def _notify(self, signal: NamedSignal, **arguments: object) -> None:
        if not signal.receivers:
            return
        for receiver in signal.receivers_for(self._app):
            try:
                receiver(self._app, **arguments)
            except Exception as error:
                report(log, error, "A subscriber of %s failed: %s.", signal.name, named(receiver))

    def warn_once(self, kind: str, name: str, message: str, *arguments: object) -> None:
        """Log a warning, once per kind and name in the life of this process, of so many names at most."""
        with self._warned_lock:
            if (kind, name) in self._warned or len(self._warned) >= MOST_WARNINGS:
                return
            self._warned.add((kind, name))
        log.warning(message, *arguments)


# Past so many different ones a log says nothing more, and what has been said would fill the memory.
MOST_WARNINGS = 1024
_NO_PRICE = frozenset({"no_price", "missing_rate"})


def _event(
    reading: Reading,
    cost: Cost,
    *,
    event_id: UUID,
    tracked_at: datetime,
    latency_ms: int | None,
    first_token_ms: int | None,
    tags: Mapping[str, str],
    host: str | None,
    captured_by: str,
) -> Event:
    tokens = reading.token_counts()
    receipt = cost.receipt
    return Event(
        event_id=event_id,
        tracked_at=tracked_at.astimezone(UTC),
        provider=reading.provider,
        model=reading.model,
        request_model=reading.request_model,
        operation=reading.operation,
        status=reading.status,
        error_type=reading.error_type,
        usage_source=reading.usage_source,
        captured_by=captured_by,
        stream=reading.stream,
        pricing_mode=reading.pricing_mode,
        host=host,
        input_tokens=tokens.input_tokens,
        cache_read_input_tokens=tokens.cache_read_input_tokens,
        cache_write_input_tokens=tokens.cache_write_input_tokens,
        cache_write_1h_input_tokens=tokens.cache_write_1h_input_tokens,
        output_tokens=tokens.output_tokens,
        hidden_output_tokens=tokens.hidden_output_tokens,
        total_tokens=tokens.total_tokens,
        **cost.amounts(),
        provider_cost=reading.provider_cost,
        cost_status=cost.status,
        latency_ms=latency_ms,
        first_token_ms=first_token_ms if reading.stream else None,
        provider_response_id=reading.provider_response_id,
        price_key=receipt.key if receipt is not None else None,
        price_source=receipt.source if receipt is not None else None,
        receipt=stored_receipt(reading, cost),
        tags=tags,
    )


def _event_id() -> UUID:
    try:
        return uuid7()
    except Exception as error:
        report(log, error, "The time of an event's id could not be told; the id is a random one.")
        return uuid4()
