"""One HTTP exchange with a provider, from the moment it is sent to its last byte.

Nothing here changes what the app sees, and nothing raises into it but what the app opted into
(``LLM_COST_UNKNOWN_PRICING = "raise"``, ``LLM_COST_STORAGE_ERROR = "raise"``), after the record is made.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from flask_llm_cost import tagging
from flask_llm_cost.capture import leftovers
from flask_llm_cost.capture.body import BoundedBody
from flask_llm_cost.capture.failure import is_cancellation, without_answer
from flask_llm_cost.capture.target import Target
from flask_llm_cost.errors import LLMCostError
from flask_llm_cost.failures import report
from flask_llm_cost.providers import CUT_OFF, PENDING, Route, read, stream_usage
from flask_llm_cost.usage import Reading

if TYPE_CHECKING:
    from flask_llm_cost.state import State

log = logging.getLogger(__name__)

T = TypeVar("T")

UNREADABLE = "unreadable"


class Exchange:
    """A request under way to a provider. Finishing it, in whatever way and however often, records it once.

    Attributes:
        route, host, target: what is asked of whom.
        body: the copy of a streamed answer, once there is one.
        question: what the request asks that the app did not, and the answer must not show.
    """

    __slots__ = (
        "_finished",
        "_first_byte",
        "_headers",
        "_last_byte",
        "_reported",
        "_sent",
        "_state",
        "_status",
        "_tags",
        "_tracked_at",
        "body",
        "host",
        "question",
        "route",
        "target",
    )

    def __init__(
        self,
        state: State,
        route: Route,
        *,
        host: str,
        target: Target,
        tags: dict[str, str],
    ) -> None:
        self._reported = False
        self._state = state
        self.route = route
        self.host = host
        self.target = target
        self._tags = tags
        self._tracked_at = self._attempt(lambda: datetime.now(UTC))
        self._sent = self._attempt(lambda: time.perf_counter())
        self._first_byte: float | None = None
        self._last_byte: float | None = None
        self._status = 0
        self._headers: Mapping[str, str] = {}
        self._finished = False
        self.body: BoundedBody | None = None
        self.question: stream_usage.Question | None = None

    def again(self) -> Exchange:
        """The next attempt at the same request, from now on."""
        return Exchange(self._state, self.route, host=self.host, target=self.target, tags=self._tags)

    def leave(self) -> None:
        """Nothing was sent after all: nothing to record."""
        self._finished = True

    def add_tags(self, tags: Mapping[str, str]) -> None:
        """Tags of an inner layer that sees the same call: more specific than what is there."""
        self._tags = tagging.merge(self._tags, tags)

    def answered(self, status: int, headers: Mapping[str, str]) -> None:
        self._status = status
        self._headers = headers

    def streams(self) -> BoundedBody | None:
        """The answer's body will come in pieces: where to put the copy of each. ``None``: nobody wants one."""
        self.body = BoundedBody(
            self._headers.get("content-type", ""), self._headers.get("content-encoding", ""), self.route.wire.telling
        )
        if self.question is not None and self._shows_question():
            self.question.unasked = stream_usage.Unasked()
        return self.body

    def handed_on(self, content: bytes) -> bytes:
        """What the app is to see of a whole, decoded answer."""
        return stream_usage.unasked_content(content) if self._shows_question() else content

    def cannot_be_asked(self) -> None:
        """The answer does not let the question be taken out of it: put none to this host again."""
        self.question = None
        self._state.unaskable.add(self.host.lower())

    def _shows_question(self) -> bool:
        if self.question is None:
            return False
        return 200 <= self._status < 300 and "json" not in self._headers.get("content-type", "")

    def copy(self, chunk: bytes) -> None:
        """Keep a copy of a piece that is about to be handed to the app."""
        try:
            self._last_byte = self._attempt(time.perf_counter)
            if self._first_byte is None and _says_something(chunk):
                self._first_byte = self._last_byte
            if self.body is not None:
                self.body.append(chunk)
        except Exception as error:
            self.body = None
            self._report(error, "The copy of a streamed answer from %s was given up.")

    def follow(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Hand a streamed answer's pieces on, copying each; their end, or an error among them, finishes the exchange.

        An app that stops in between closes the response, and that finishes it.
        """
        try:
            for chunk in chunks:
                self.copy(chunk)
                yield chunk
        except GeneratorExit:
            raise
        except BaseException as error:
            self.finish_stream(error=error)
            raise
        self.finish_stream()

    @property
    def unasked(self) -> stream_usage.Unasked | None:
        """What the pieces of the answer have to pass before the app sees them."""
        return None if self.question is None else self.question.unasked

    def finish(self, content: bytes) -> None:
        """The whole, decoded answer is there."""
        self._finish(lambda: self._read(content, complete=True))

    def finish_stream(self, *, complete: bool = True, error: BaseException | None = None) -> None:
        """The stream ended: read to its end, closed by the app, or broken by an error."""
        self._finish(lambda: self._read_stream(complete=complete and error is None, error=error))

    def drop(self, error: BaseException | None = None, *, complete: bool = False) -> None:
        """The stream was destroyed. Never raises; nobody would hear it."""
        if not self._finished:
            leftovers.left(lambda: self._finish_dropped(error, complete))

    def _finish_dropped(self, error: BaseException | None, complete: bool) -> None:
        try:
            self.finish_stream(complete=complete, error=error)
        except LLMCostError as failure:
            self._report(failure, "A dropped call to %s was not recorded.")

    def fail(self, error: BaseException) -> None:
        """The request got no answer. Never raises: the app is to see its own error."""
        try:
            self._finish(lambda: without_answer(self.route, self.target, error))
        except LLMCostError as failure:
            self._report(failure, "A failed call to %s was not recorded.")

    def give_up(self, error: Exception) -> None:
        """The answer cannot be followed any further: the call is recorded with what is known by now."""
        self._report(error, "Following an answer from %s failed; it is recorded without its usage.")
        self._status = self._status or 200  # there is an answer, or there were nothing to follow
        self._finish(lambda: self._unread(complete=True))

    def _finish(self, reading: Callable[[], Reading]) -> None:
        if self._finished:
            return
        self._finished = True
        # An app may keep a stream open long after its last byte.
        now = self._attempt(lambda: time.perf_counter()) if self._last_byte is None else self._last_byte
        try:
            if not 300 <= self._status < 400:
                self._record(self._known(reading), now)
        except LLMCostError:
            raise
        except Exception as error:
            self._report(error, "A call to %s was not recorded.")
        finally:
            self.body = None
            leftovers.collect()

    def _known(self, reading: Callable[[], Reading]) -> Reading:
        try:
            return reading()
        except Exception as error:
            self._report(error, "An answer from %s could not be read; it is recorded without its usage.")
        refused = not 200 <= self._status < 300
        return Reading(
            self.route.provider,
            "unknown",
            operation=self.route.operation,
            status="error" if refused else "ok",
            error_type=str(self._status or UNREADABLE) if refused else None,
            notes=(UNREADABLE,),
        )

    def _attempt(self, step: Callable[[], T]) -> T | None:
        """What the step says; ``None`` where it fails."""
        try:
            return step()
        except Exception as error:
            self._report(error, "Part of a call to %s is not known.")
            return None

    def _report(self, error: Exception, message: str) -> None:
        """Log a failure of ours; one a call is enough."""
        if not self._reported:
            self._reported = True
            report(log, error, message, self.host)

    def _record(self, reading: Reading, now: float | None) -> None:
        if self.route.fetches:
            self._record_fetched(reading)
            return
        if reading.stream and reading.usage_source == "unknown" and reading.status == "ok":
            self._warn_of_unasked(reading)
        is_free = reading.status == "error" and not reading.usage and reading.bounds is None
        if is_free and not self._state.settings.record_errors:
            return
        # A whole answer has no first token, even where the app reads it piece by piece.
        first_byte = self._first_byte if reading.stream else None
        self._state.recorder.record(
            reading,
            tracked_at=self._tracked_at,
            # The answer to a background request is no answer yet.
            latency_ms=None if PENDING in reading.notes else _milliseconds(self._sent, now),
            first_token_ms=_milliseconds(self._sent, first_byte),
            tags=self._tags,
            host=self.host,
            captured_by=self.target.captured_by,
        )

    def _record_fetched(self, reading: Reading) -> None:
        """Keep what an answer made earlier has come to; nothing where it is not done, or could not be had."""
        stored = reading.stored
        if stored is None or CUT_OFF in reading.notes or (reading.status == "ok" and not reading.usage):
            return
        self._state.recorder.record(
            reading,
            tracked_at=self._tracked_at,
            latency_ms=stored.took_ms,
            tags=self._tags,
            host=self.host,
            captured_by=self.target.captured_by,
        )

    def _warn_of_unasked(self, reading: Reading) -> None:
        if self.question is not None or CUT_OFF in reading.notes or UNREADABLE in reading.notes:
            return
        if stream_usage.is_unasked(self.route, self.target.body):
            setting = "True" if self.host.lower() in stream_usage.OPENAI_HOSTS else repr([self.host])
            self._state.recorder.warn_once(
                "stream_usage",
                self.host,
                "A stream from %s ended without its usage, because nobody asked for it: its cost is unknown. Pass "
                'stream_options={"include_usage": True}, or set LLM_COST_INJECT_STREAM_USAGE = %s.',
                self.host,
                setting,
            )

    def _read_stream(self, *, complete: bool, error: BaseException | None) -> Reading:
        reading = self._read_copy(complete=complete)
        if reading.status != "ok" or CUT_OFF not in reading.notes:
            return reading
        if error is None or is_cancellation(error):
            return replace(reading, status="cancelled", stream=True)
        return replace(reading, status="error", error_type=type(error).__name__[:64], stream=True)

    def _read_copy(self, *, complete: bool) -> Reading:
        if self.body is None:
            return self._unread(complete=complete)
        try:
            content = self.body.content()
        except ValueError:
            reading = self._read(b"", complete=complete)
            return replace(reading, notes=(*reading.notes, "undecodable_body"))
        except Exception as error:
            self._report(error, "An answer from %s could not be read; it is recorded without its usage.")
            return self._unread(complete=complete)
        return self._read(content, complete=complete)

    def _unread(self, *, complete: bool) -> Reading:
        """What the request alone tells."""
        reading = self._read(b"", complete=complete)
        return replace(reading, notes=(UNREADABLE, *(note for note in reading.notes if note == CUT_OFF)))

    def _read(self, content: bytes, *, complete: bool) -> Reading:
        if self.question is not None and stream_usage.is_refusal(self._status, content):
            self._refused_question()
        return read(
            self.route,
            url=self.target.url,
            request_body=self.target.body,
            status=self._status,
            headers=self._headers,
            body=content,
            complete=complete,
            dropped_bytes=0 if self.body is None else self.body.dropped,
        )

    def _refused_question(self) -> None:
        self.cannot_be_asked()
        self._state.recorder.warn_once(
            "stream_usage_refused",
            self.host,
            "%s refused to be asked for a stream's usage; it is not asked again. "
            "Take it out of LLM_COST_INJECT_STREAM_USAGE.",
            self.host,
        )


def _says_something(chunk: bytes) -> bool:
    """Whether a piece is more than server-sent comments, with which gateways keep a connection alive."""
    if chunk[:1] not in (b":", b"\n", b"\r"):
        return bool(chunk)
    return any(line and line[:1] != b":" for line in chunk.splitlines())


def _milliseconds(start: float | None, end: float | None) -> int | None:
    return None if start is None or end is None else max(0, round((end - start) * 1000))
