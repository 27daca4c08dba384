"""Between our code and the app's: what fails in the one is logged and never seen by the other."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from flask_llm_cost.capture.exchange import Exchange
from flask_llm_cost.errors import LLMCostError
from flask_llm_cost.failures import report

log = logging.getLogger(__name__)

P = ParamSpec("P")


class guarded:
    """While inside, what fails in following an answer is logged, and never the app's to see.

    The call is recorded with what is known by then.
    """

    __slots__ = ("_exchange",)

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> bool:
        if not isinstance(error, Exception) or isinstance(error, LLMCostError):
            return False
        self._exchange.give_up(error)
        return True


def never_raising(begin: Callable[P, Exchange | None]) -> Callable[P, Exchange | None]:
    """A beginning whose failure means that the request goes out unwatched."""

    @wraps(begin)
    def begun(*args: P.args, **kwargs: P.kwargs) -> Exchange | None:
        try:
            return begin(*args, **kwargs)
        except LLMCostError:
            raise
        except Exception as error:
            report(log, error, "Watching a request failed; it goes out unwatched.")
            return None

    return begun


def body_in_memory(read: Callable[[], bytes]) -> bytes:
    """A request's body, or nothing where looking at it fails."""
    try:
        return read()
    except Exception as error:
        report(log, error, "The body of a request could not be looked at; what it asks for is not known.")
        return b""
