"""Calls that are only counted, by host: money that leaks past the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from flask_llm_cost.capture.body import BoundedBody
from flask_llm_cost.capture.exchange import Exchange
from flask_llm_cost.providers.leaks import Suspicion, shows_usage

if TYPE_CHECKING:
    from flask_llm_cost.state import State


def unrecorded(state: State, host: str, suspected: Suspicion | None) -> Unrecorded | None:
    """A POST without a route, followed where it is suspected and nobody said to ignore it."""
    if suspected is None or not state.enabled or host.lower() in state.settings.ignored_hosts:
        return None
    return Unrecorded(state, host, suspected)


class Unrecorded(Exchange):
    """An exchange of which nothing is kept but its host, if it was what it seemed.

    Its answer is looked at only where it is in memory already; a stream is left alone.
    """

    __slots__ = ("_suspected",)

    def __init__(self, state: State, host: str, suspected: Suspicion) -> None:
        self._state = state
        self._suspected = suspected
        self._status = 0
        self._headers: Mapping[str, str] = {}
        self._finished = self._reported = False
        self.host = host
        self.body = None
        self.question = None

    def add_tags(self, tags: Mapping[str, str]) -> None:
        """Nothing is kept of it."""

    def streams(self) -> BoundedBody | None:
        self._count(shows="text/event-stream" in self._headers.get("content-type", ""))
        return None

    def finish(self, content: bytes) -> None:
        self._count(shows=self._suspected is not Suspicion.LIKELY or shows_usage(content))

    def give_up(self, error: Exception) -> None:
        self._report(error, "Following an unrecorded call to %s failed; it is not counted.")

    def fail(self, error: BaseException) -> None:
        """What got no answer cost nothing."""

    def _count(self, *, shows: bool) -> None:
        if self._finished or not 200 <= self._status < 300:
            return
        self._finished = True
        try:
            if shows or self._suspected is not Suspicion.LIKELY:
                known = self._suspected is Suspicion.UNCOVERED
                self._state.ledger.count_leak(self.host.lower(), known_host=known)
        except Exception as error:
            self._report(error, "An unrecorded call to %s was not counted.")
