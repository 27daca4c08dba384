"""The law of estimates, on recorded traffic: wherever an answer is cut, and when its usage is taken out, what the
whole exchange really used lies within the bounds, and what it really cost within theirs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_llm_cost.pricing import price
from flask_llm_cost.pricing.span import cheapest, span_of
from flask_llm_cost.providers import find_route, read
from flask_llm_cost.usage import Quantity, Reading
from integration.test_corpus import CORPUS, EXPLICIT, WITHOUT, body_of, exchanges

# Where the recording or the server contradicts itself: no bound can hold a number that is not of this exchange.
CONTRADICTORY = {
    **dict.fromkeys(
        tuple(f"bedrock-bedrock-json-{number:04}" for number in (44, 45, *range(53, 59))),
        "18,131 tokens written to the cache for a request of 330 bytes: the prompt was shortened in the recording.",
    ),
    "local-openai.chat-sse-0155": "A stand-in of a server: it says 50 tokens for a text of more than 100 words.",
    **dict.fromkeys(
        ("gemini-gemini-json-0193", "gemini-gemini-sse-0194"),
        "The usage has no count of the prompt at all, with a picture in it: the reading is short, not the bound.",
    ),
}
_USAGE = re.compile(rb'"(usage|usageMetadata|prompt_eval_count|eval_count|billed_units|meta)"')
INPUT, OUTPUT = ("input", "cache_read", "cache_write"), ("output",)

pytestmark = pytest.mark.skipif(not CORPUS.exists(), reason=WITHOUT)


def reading_of(exchange: dict[str, Any], body: bytes, *, complete: bool, headers: bool = True) -> Reading:
    parts = urlsplit(exchange["url"])
    provider = "" if exchange["provider_hint"] in EXPLICIT else None
    route = find_route("POST", parts.hostname or "", parts.port, parts.path, provider=provider)
    assert route is not None
    return read(
        route,
        url=exchange["url"],
        request_body=exchange["request_body"].encode(),
        status=exchange["status"],
        headers=exchange["headers"] if headers else {},
        body=body,
        complete=complete,
    )


def told() -> list[tuple[dict[str, Any], bytes, Reading]]:
    """The exchanges that say what they used, tokens at least."""
    found = []
    for exchange in exchanges():
        if exchange["status"] == 200 and exchange["id"] not in CONTRADICTORY:
            body = body_of(exchange)
            whole = reading_of(exchange, body, complete=True)
            if whole.usage_source in ("response", "stream_final"):
                found.append((exchange, body, whole))
    return found


TOLD = told()


def tokens(usage: Mapping[str, Quantity], families: tuple[str, ...]) -> Quantity:
    return sum(count for meter, count in usage.items() if meter.partition(".")[0] in families)


def assert_within(reading: Reading, whole: Reading) -> None:
    """Tokens first, then dollars."""
    if reading.bounds is None:
        assert reading.usage_source in ("response", "stream_final") or whole.operation in ("rerank", "image_generation")
        return
    low, high = reading.bounds.low, reading.bounds.high
    for families in (INPUT, OUTPUT):
        assert tokens(low, families) <= tokens(whole.usage, families)
        assert high is None or tokens(whole.usage, families) <= tokens(high, families)
    true = price(whole.provider, whole.model, whole.usage).total
    lows = [price(whole.provider, whole.model, usage) for usage in cheapest(low)]
    span = span_of(lows, [] if high is None else [price(whole.provider, whole.model, high)])
    if true is not None and span is not None:
        assert span.cost_low <= true
        assert span.cost_high is None or true <= span.cost_high


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_cut_anywhere_the_true_usage_lies_within_the_bounds(data: st.DataObject) -> None:
    exchange, body, whole = data.draw(st.sampled_from(TOLD), label="exchange")
    at = data.draw(st.integers(0, len(body)), label="cut at")
    assert_within(reading_of(exchange, body[:at], complete=False), whole)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_cut_anywhere_without_any_usage_it_still_does(data: st.DataObject) -> None:
    exchange, body, whole = data.draw(st.sampled_from(TOLD), label="exchange")
    bare = _USAGE.sub(rb'"no_\1"', body)
    at = data.draw(st.integers(0, len(bare)), label="cut at")
    assert_within(reading_of(exchange, bare[:at], complete=False, headers=False), whole)


@pytest.mark.parametrize(("exchange", "body", "whole"), TOLD, ids=[exchange["id"] for exchange, _, _ in TOLD])
def test_whole_but_for_its_usage_and_cut_at_every_event(exchange: dict[str, Any], body: bytes, whole: Reading) -> None:
    """Every exchange, whole without its usage, and cut after each of its first and last events."""
    assert_within(reading_of(exchange, _USAGE.sub(rb'"no_\1"', body), complete=True, headers=False), whole)
    ends = [match.end() for match in re.finditer(rb"\n\n|\r\n\r\n|\n", body)]
    for at in {0, *ends[:6], *ends[-6:]}:
        assert_within(reading_of(exchange, body[:at], complete=False), whole)
