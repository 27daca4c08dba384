"""``track`` and ``track_stream``: what no watch can see, told by the app itself."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime

from flask_llm_cost import tagging
from flask_llm_cost.capture.told import Told, model_of, told
from flask_llm_cost.errors import LLMCostError
from flask_llm_cost.failures import report
from flask_llm_cost.ledger.event import Event
from flask_llm_cost.providers import Registry, read_stream_events
from flask_llm_cost.state import State
from flask_llm_cost.usage import CallStatus, Reading

_BUFFER_LIMIT = 1024 * 1024

log = logging.getLogger(__name__)


class StreamFinishedError(LLMCostError, RuntimeError):
    """A finished ``track_stream`` was told something more."""


def track(
    state: State,
    reading: Reading,
    *,
    tags: tagging.TagsArgument,
    latency_ms: float | None,
    tracked_at: datetime | None,
) -> Event:
    """Record a call the app describes itself."""
    return state.recorder.record(
        reading,
        tracked_at=tracked_at or datetime.now(UTC),
        latency_ms=None if latency_ms is None else max(0, int(latency_ms)),
        tags=_tags_now(state, tags),
    )


class TrackedStream:
    """Collects what a stream says, for ``track_stream``. Safe to feed from several threads; finishes once."""

    def __init__(self, provider: str, model: str, pricing_mode: str | None, own: Registry | None = None) -> None:
        self._provider = provider
        self._model = model
        self._mode = pricing_mode
        self._own = own
        self._events: list[Mapping[str, object]] = []
        self._size = 0
        self._told: Told | None = None
        self._response_id: str | None = None
        self._first: float | None = None
        self._finished = False
        self._is_unreadable_told = False
        self._lock = threading.Lock()

    def event(self, chunk: object) -> TrackedStream:
        """One event of the stream: a mapping, or an SDK's object with ``model_dump()``. ``None`` is ignored."""
        with self._lock:
            self._check_open()
            if chunk is not None:
                if self._first is None:
                    self._first = time.perf_counter()
                self._keep(chunk)
        return self

    def chunk(self, chunk: object) -> TrackedStream:
        """The same as ``event``."""
        return self.event(chunk)

    def usage(self, *, provider_response_id: str | None = None, **counts: int) -> TrackedStream:
        """Say the totals outright: they win over what the events say. Takes the token names of ``track``."""
        with self._lock:
            self._check_open()
            self._told = told(**counts)
            self._response_id = provider_response_id or self._response_id
        return self

    def model(self, model: str) -> TrackedStream:
        """Say the model; one named in the events wins."""
        with self._lock:
            self._check_open()
            self._model = model_of(model)
        return self

    def response_id(self, provider_response_id: str) -> TrackedStream:
        """Say the provider's response id; one found in the events wins."""
        with self._lock:
            self._check_open()
            self._response_id = provider_response_id
        return self

    def close(self) -> tuple[Reading, float | None] | None:
        """The reading and when the first event came, at the first call; ``None`` at every later one."""
        with self._lock:
            if self._finished:
                return None
            self._finished = True
            return self._reading(), self._first

    def _check_open(self) -> None:
        if self._finished:
            raise StreamFinishedError("This tracked stream is finished; nothing can be added to it.")

    def _keep(self, chunk: object) -> None:
        if self._size > _BUFFER_LIMIT:
            return
        try:
            dump = getattr(chunk, "model_dump", None)
            plain = dump(mode="json") if callable(dump) else deepcopy(chunk)
            size = len(json.dumps(plain, default=str, skipkeys=True))
        except Exception as error:
            if not self._is_unreadable_told:
                report(log, error, "An event of a stream of %s cannot be read and is passed over.", self._provider)
            self._is_unreadable_told = True
            return
        if isinstance(plain, Mapping):
            self._size += size
            self._events.append(plain)

    def _reading(self) -> Reading:
        found = self._from_events()
        reading = replace(
            found,
            provider=self._provider,
            model=self._model if found.model == "unknown" else found.model,
            request_model=None if self._model == "unknown" else self._model,
            pricing_mode=self._mode or found.pricing_mode,
            provider_response_id=found.provider_response_id or self._response_id,
            stream=True,
        )
        if self._told is None:
            return reading
        return replace(
            reading, usage=self._told.usage, usage_source="manual", raw_usage=self._told.raw, extra=(), bounds=None
        )

    def _from_events(self) -> Reading:
        if self._size > _BUFFER_LIMIT:
            return Reading(self._provider, "unknown", stream=True, notes=("too_large",))
        return read_stream_events(self._provider, self._events, self._own)


@contextmanager
def track_stream(
    state: State | None,
    *,
    provider: str,
    model: str,
    tags: tagging.TagsArgument,
    pricing_mode: str | None,
) -> Iterator[TrackedStream]:
    """Feed a stream's events to the collector; when the block ends one call is recorded.

    If the block raises, the call is recorded with status "error" and the exception goes on. ``state``
    ``None`` (tracking switched off) runs the block and records nothing.
    """
    stream = TrackedStream(provider, model, pricing_mode, None if state is None else state.providers)
    if state is None:
        yield stream
        return
    tracked_at, started, merged = datetime.now(UTC), time.perf_counter(), _tags_now(state, tags)
    failure: BaseException | None = None
    try:
        yield stream
    except BaseException as error:
        failure = error
        raise
    finally:
        closed = stream.close()
        if closed is not None:
            _record_stream(state, closed, tracked_at, started, merged, failure)


def _record_stream(
    state: State,
    closed: tuple[Reading, float | None],
    tracked_at: datetime,
    started: float,
    tags: dict[str, str],
    failure: BaseException | None,
) -> None:
    reading, first = closed
    if failure is not None:
        status: CallStatus = "error" if isinstance(failure, Exception) else "cancelled"
        # Where nothing came that could be charged, the failure is all there is to tell.
        came = bool(reading.usage) or (reading.bounds is not None and bool(reading.bounds.low))
        reading = replace(
            reading,
            status=status,
            error_type=type(failure).__name__[:64],
            bounds=reading.bounds if came else None,
        )
    state.recorder.record(
        reading,
        tracked_at=tracked_at,
        latency_ms=round((time.perf_counter() - started) * 1000),
        first_token_ms=None if first is None else round((first - started) * 1000),
        tags=tags,
    )


def _tags_now(state: State, tags: tagging.TagsArgument) -> dict[str, str]:
    return tagging.merge(tagging.default_tags(state.settings), tagging.scoped_tags(), tagging.call_tags(tags))
