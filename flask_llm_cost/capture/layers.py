"""Which layer follows a call: the outermost that sees it, and no other."""

from __future__ import annotations

from contextvars import ContextVar

from flask_llm_cost.capture.exchange import Exchange

# The exchange that an outer layer is sending right now: an inner layer that sees the same call leaves it alone.
_sending: ContextVar[Exchange | None] = ContextVar("llm_cost_sending", default=None)


class sending:
    """While inside, inner layers know that this exchange is being followed."""

    __slots__ = ("_exchange", "_token")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def __enter__(self) -> None:
        self._token = _sending.set(self._exchange)

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        try:
            _sending.reset(self._token)
        except ValueError:
            # A coroutine that was left and is closed from elsewhere ends in a context that is not its own.
            _sending.set(None)
        if error is not None:
            self._exchange.fail(error)


def being_sent() -> Exchange | None:
    """The exchange that an outer layer is sending right now, if any."""
    return _sending.get()
