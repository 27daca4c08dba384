"""How an exchange may end, and what the ledger is to hold then."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from flask_llm_cost.testing import Answer
from sdk_calls.site import NOTHING, TOKENS, SDKCall, Taking, Tokens

ANSWER = Answer(
    text='{"name": "The capital is Paris.", "city": "Paris"}',
    input_tokens=TOKENS[0],
    cache_read_input_tokens=TOKENS[1],
    output_tokens=TOKENS[2],
    hidden_output_tokens=TOKENS[3],
    response_id="answer-1",
    created_at=1_760_000_000,
)
_TRUNCATED: frozenset[str | None] = frozenset({"truncated"})
_NO_CODE: frozenset[str | None] = frozenset({"_OTHER"})
_PAUSE_S = 1.0
_TIMEOUT_S = 0.2

NO_ERROR: frozenset[str | None] = frozenset({None})
ANY_ERROR: frozenset[str | None] = frozenset()

Cost = Literal["complete", "estimated", "unknown"] | None


@dataclass(frozen=True)
class Row:
    """What the ledger holds of one attempt.

    Attributes:
        tokens: fresh input, cache reads, output, hidden output; ``None``: not to be known.
        cost: the cost status. "complete": the total is the true cost; "estimated": the bounds hold it; ``None``:
            not charged.
        errors: the error types allowed; an empty set allows any.
    """

    status: str
    usage_source: str | None
    tokens: Tokens | None
    cost: Cost
    errors: frozenset[str | None] = NO_ERROR


Rows = Callable[[SDKCall], tuple[Row, ...]]


@dataclass(frozen=True)
class Ending:
    """One way for a call to end.

    Attributes:
        answers: what the server says, an answer an attempt.
        rows: what the ledger holds then.
        applies: the calls that can end so.
        wrapped: the client is given to ``wrap`` instead of ``instrument``.
    """

    name: str
    answers: tuple[Answer, ...]
    rows: Rows
    applies: Callable[[SDKCall], bool] = lambda call: True
    taking: Taking = "all"
    timeout_s: float | None = None
    wrapped: bool = False


def whole(call: SDKCall) -> tuple[Row, ...]:
    """Everything arrived: the usage as the provider reports it."""
    source = "stream_final" if call.stream else "response"
    return (Row("ok", source, call.tokens, "complete"),) if call.recorded else ()


def _attempt(status: str, *, at_all: bool = True, errors: frozenset[str | None] = NO_ERROR) -> Rows:
    """Cut off before the final usage: an early report is known as far as it goes, and nothing more.

    Args:
        at_all: whether any of the answer was seen.
    """

    def rows(call: SDKCall) -> tuple[Row, ...]:
        source = "partial" if at_all and call.early_usage and call.stream else "unknown"
        # What is not billed by tokens cannot be estimated by them.
        otherwise: Cost = None if status == "error" else "unknown"
        cost: Cost = "estimated" if any(call.tokens) else otherwise
        return (Row(status, source, None, cost, errors),) if call.recorded else ()

    return rows


def _finish_seen(call: SDKCall) -> tuple[Row, ...]:
    """OpenAI's usage comes after the finish reason, and Converse's after its stop; elsewhere it comes with it."""
    if call.name == "bedrock converse, streamed":
        return _attempt("cancelled")(call)
    return _attempt("ok")(call) if _says_done(call) else whole(call)


def _says_done(call: SDKCall) -> bool:
    return call.provider in ("openai", "azure") and "responses" not in call.name


def _error_event(call: SDKCall) -> tuple[Row, ...]:
    """Mistral and Cohere say that it failed where they say how it ended: beside the usage."""
    if call.provider in ("mistral", "cohere"):
        return (Row("error", "stream_final", call.tokens, "complete", _NO_CODE),)
    code = "modelStreamErrorException" if call.provider == "bedrock" else "server_error"
    return _attempt("error", errors=frozenset({code}))(call)


def _not_json(call: SDKCall) -> tuple[Row, ...]:
    """A web page: nothing is known. Some SDKs stop reading it where it should be a stream."""
    stops = call.stream and call.provider in ("bedrock", "cohere")
    return _attempt("cancelled" if stops else "ok", at_all=False)(call)


def _refused(*codes: str) -> Rows:
    """An error instead of an answer costs nothing."""

    def rows(call: SDKCall) -> tuple[Row, ...]:
        return (Row("error", "unknown", NOTHING, None, frozenset(codes)),) if call.recorded else ()

    return rows


def _retried(call: SDKCall) -> tuple[Row, ...]:
    return (*_refused()(call), *_refused()(call), *whole(call))


def _streams(call: SDKCall) -> bool:
    return call.stream


def _takes(call: SDKCall) -> bool:
    return call.takes


def _reads_in_steps(call: SDKCall) -> bool:
    # aiohttp hands on what has come by then: whether the usage is among it is a matter of luck.
    return call.takes and "AioHttp" not in call.name


def _is_open(call: SDKCall) -> bool:
    return call.takes and not call.lazy


def _on_the_wire(call: SDKCall) -> bool:
    return call.patient


def _takes_async(call: SDKCall) -> bool:
    return call.takes and call.asynchronous


def _compressed(call: SDKCall) -> bool:
    return not call.whole_only


def _compressed_with_br(call: SDKCall) -> bool:
    return _compressed_in_part(call) and importlib.util.find_spec("brotli") is not None


def _compressed_in_part(call: SDKCall) -> bool:
    return call.patient and _compressed(call)


def _compressed_with_zstd(call: SDKCall) -> bool:
    if sys.version_info < (3, 14) and importlib.util.find_spec("backports") is None:
        return False
    return _compressed_in_part(call)


def _asks_again(call: SDKCall) -> bool:
    # botocore waits for a second or two: once is enough.
    return call.patient and call.name != "bedrock converse, streamed"


_SLOW = replace(ANSWER, delay_s=_PAUSE_S)
_LATE = replace(ANSWER, first_delay_s=_PAUSE_S)
_PAGE = replace(ANSWER, body=b"<html>Busy</html>", headers={"content-type": "text/html"})
_AGAIN = (Answer(status=429, retry_after_s=0.001), Answer(status=500, retry_after_s=0.001), ANSWER)
_IN_SEVENS = replace(ANSWER, encoding="gzip", chunk_bytes=7)

ENDINGS = (
    Ending("read to the end", (ANSWER,), whole),
    Ending("wrapped", (ANSWER,), whole, lambda call: call.wraps, wrapped=True),
    Ending("gzip", (replace(ANSWER, encoding="gzip"),), whole, _compressed),
    Ending("gzip in 7s", (_IN_SEVENS,), whole, _compressed_in_part),
    Ending("br", (replace(ANSWER, encoding="br"),), whole, _compressed_with_br),
    Ending("zstd", (replace(ANSWER, encoding="zstd"),), whole, _compressed_with_zstd),
    Ending("finish seen", (ANSWER,), _finish_seen, _reads_in_steps, taking="break"),
    Ending("closed early", (_SLOW,), _attempt("cancelled"), _takes, taking="close"),
    Ending("dropped unread", (_SLOW,), _attempt("cancelled", at_all=False), _is_open, taking="drop"),
    Ending("forgotten", (_SLOW,), _attempt("cancelled"), _takes, taking="forget"),
    Ending("cancelled", (_SLOW,), _attempt("cancelled"), _takes_async, taking="cancel"),
    Ending(
        "cancelled unanswered",
        (_LATE,),
        _attempt("cancelled", at_all=False, errors=ANY_ERROR),
        lambda call: call.asynchronous,
        taking="cancel early",
    ),
    Ending("connection dropped", (replace(ANSWER, cut_after=3),), _attempt("error", errors=ANY_ERROR), _streams),
    Ending(
        "ended too soon", (replace(ANSWER, cut_after=3, cut="end"),), _attempt("error", errors=_TRUNCATED), _streams
    ),
    Ending("hung up", (replace(ANSWER, hang_up=True),), _attempt("error", at_all=False, errors=ANY_ERROR)),
    Ending(
        "timed out", (_LATE,), _attempt("error", at_all=False, errors=ANY_ERROR), _on_the_wire, timeout_s=_TIMEOUT_S
    ),
    Ending(
        "timed out mid-stream",
        (_SLOW,),
        _attempt("error", errors=ANY_ERROR),
        lambda call: call.patient and call.stream,
        timeout_s=_TIMEOUT_S,
    ),
    Ending("429, 500, 200", _AGAIN, _retried, _asks_again),
    Ending("400", (Answer(status=400),), _refused()),
    Ending("401", (Answer(status=401),), _refused(), _on_the_wire),
    Ending("404", (Answer(status=404),), _refused(), _on_the_wire),
    Ending("not JSON", (_PAGE,), _not_json),
    Ending(
        "error event",
        (replace(ANSWER, error_type="server_error"),),
        _error_event,
        _streams,
    ),
)
