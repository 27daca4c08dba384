"""Calls that the provider refuses are rows too, also of streams."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from flask_llm_cost import LLMCost
from flask_llm_cost.ledger.models import Call

ReadCalls = Callable[[], list[Call]]
OPENAI = "https://api.openai.com/v1/chat/completions"
GEMINI = "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash"


@pytest.mark.parametrize(
    ("url", "wanted", "stream"),
    [
        (OPENAI, {"stream": True}, True),
        (OPENAI, {"stream": False}, False),
        (OPENAI, {"stream": "true"}, False),
        (OPENAI, {"stream": 1}, False),
        (OPENAI, {}, False),
        (f"{GEMINI}:streamGenerateContent", {}, True),
        (f"{GEMINI}:generateContent", {}, False),
    ],
)
def test_a_refused_call_is_an_error_of_the_kind_that_was_asked_for(
    url: str, wanted: dict[str, object], stream: bool, llm_cost: LLMCost, calls: ReadCalls
) -> None:
    """A stream that was refused leaves its row: the gem said it recorded one and did not (P-CAP-29 WEAK).

    Covers P-CAP-14.
    """
    refusal = httpx.MockTransport(lambda _: httpx.Response(500, json={"error": {"message": "no"}}))
    with httpx.Client(transport=llm_cost.httpx_transport(refusal)) as client:
        assert client.post(url, json={"model": "gpt-4o", "messages": [], **wanted}).status_code == 500
    (row,) = calls()
    assert (row.status, row.stream) == ("error", stream)
