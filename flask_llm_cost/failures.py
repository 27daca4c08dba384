"""How a failure of our own is logged: what raised and where, never what it said.

The text of an exception, and the variables that error trackers collect along its traceback, may hold a prompt,
a header or a key. So neither goes into the log: the kind of error and the trail of code lines tell enough.
"""

from __future__ import annotations

import logging
from pathlib import PurePath
from traceback import walk_tb

from flask_llm_cost.errors import LLMCostError

_TRAIL = 8


def report(log: logging.Logger, error: BaseException, message: str, *arguments: object) -> None:
    """Log a failure as one error: ``message`` with its arguments, then what raised and where."""
    log.error(f"{message} [%s]", *arguments, described(error))  # noqa: G004 - the message is a constant of ours


def described(error: BaseException) -> str:
    """ "KeyError at body.py:58 append, exchange.py:109 copy", innermost line first; our own errors with their text."""
    trail = [
        f"{PurePath(frame.f_code.co_filename).name}:{line} {frame.f_code.co_name}"
        for frame, line in walk_tb(error.__traceback__)
    ]
    kind = f"{type(error).__name__}: {error}" if isinstance(error, LLMCostError) else type(error).__name__
    return f"{kind} at {', '.join(reversed(trail[-_TRAIL:]))}" if trail else kind


def named(function: object) -> str:
    """A callable's name. Its ``repr`` may show what is bound to it."""
    inner = getattr(function, "func", function)
    return f"{getattr(inner, '__module__', None)}.{getattr(inner, '__qualname__', type(inner).__qualname__)}"
