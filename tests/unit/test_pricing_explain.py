"""Explanations: stage, layer, key, effective rates, what is missing, and a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from flask_llm_cost.pricing import PriceBook
from flask_llm_cost.pricing.explain import EffectiveRate
from flask_llm_cost.pricing.listing import listed

NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)
TABLE: Mapping[str, object] = {
    "acme/model": {
        "rates": [
            {"input": "3", "output": "15", "tool.web_search": {"usd": 10, "per": 1000}},
            {"when": {"mode": "batch"}, "effective_from": "2026-10-14", "input": "1.50"},
            {"when": {"context_over": 200_000, "windows": [{"from": "01:00", "to": "04:00"}]}, "input": "6"},
        ]
    },
    "acme/half": {"input": 1},
}


@pytest.fixture(scope="module")
def book() -> PriceBook:
    return PriceBook.open(overrides=TABLE, prices_file=None, model_aliases={})


def test_an_explanation_names_every_rate_and_its_rule(book: PriceBook) -> None:
    """Covers P-EXP-01 and P-EXP-04: the default example is one token in and one out."""
    found = book.explain("acme", "model", mode="batch", at=NOVEMBER)
    assert found.message == "Matched acme/model from overrides via exact."
    assert found.usage == {"input": 1, "output": 1}
    assert (found.matched, found.complete, found.missing) == (True, True, ())
    assert found.receipt.total == Decimal("0.0000165")
    batch = ("2026-10-14", "mode batch", "manual")
    assert found.rates == (
        EffectiveRate("input", Decimal("1.50"), 10**6, *batch),
        EffectiveRate("input.image", Decimal("1.50"), 10**6, *batch, "input"),
        EffectiveRate("input.video", Decimal("1.50"), 10**6, *batch, "input"),
        EffectiveRate("cache_read", Decimal("1.50"), 10**6, *batch, "input"),
        EffectiveRate("cache_write", Decimal("1.50"), 10**6, *batch, "input"),
        EffectiveRate("output", Decimal(15), 10**6, "", "", "manual"),
        EffectiveRate("output.reasoning", Decimal(15), 10**6, "", "", "manual", "output"),
        EffectiveRate("tool.web_search", Decimal(10), 1000, "", "", "manual"),
    )


def test_conditions_are_in_words(book: PriceBook) -> None:
    night = datetime(2026, 11, 1, 2, tzinfo=UTC)
    found = book.explain("acme", "model", {"input": 200_001}, at=night)
    assert found.rates[0].condition == "prompt over 200000 tokens, 01:00-04:00 UTC"


def test_what_is_missing_is_listed(book: PriceBook) -> None:
    """Covers P-EXP-02: a user's entry that has no output rate is matched, not complete."""
    found = book.explain("acme", "half")
    assert (found.matched, found.complete, found.missing) == (True, False, ("output",))
    assert found.message == "Matched acme/half from overrides via exact; missing output."


def test_tokens_of_count_zero_are_never_missing(book: PriceBook) -> None:
    """Covers P-EXP-04."""
    found = book.explain("acme", "half", {"input": 1, "output": 0})
    assert (found.complete, found.receipt.lines[1].cost) == (True, Decimal(0))


def test_an_unknown_model_is_said_to_be(book: PriceBook) -> None:
    """Covers P-EXP-03."""
    found = book.explain("acme", "nobody")
    assert (found.matched, found.complete, found.rates) == (False, False, ())
    assert found.message == "No price entry matched acme/nobody."


def test_an_unknown_tier_is_said_to_be(book: PriceBook) -> None:
    found = book.explain("acme", "model", mode="warp")
    assert not found.complete
    assert found.message.endswith("; no rate is known for mode 'warp', standard rates were used.")


def test_an_estimate_is_said_to_be(book: PriceBook) -> None:
    found = book.explain("openrouter", "openai/gpt-4o:nitro")
    assert found.message == (
        "Matched openrouter/openai/gpt-4o from bundled via openrouter_suffix; estimated (openrouter_suffix)."
    )


@pytest.mark.parametrize(
    ("model", "usage"),
    [
        ("text-embedding-3-small", {"input": 1}),
        ("whisper-1", {"audio.second": 1}),
        ("gpt-4o", {"input": 1, "output": 1}),
    ],
)
def test_what_a_provider_does_not_sell_is_not_asked_of_the_bundle(
    book: PriceBook, model: str, usage: dict[str, int]
) -> None:
    """An embedding has no output: its explanation is complete without."""
    found = book.explain("openai", model)
    assert (found.usage, found.complete) == (usage, True)


def test_as_json_the_decimals_are_texts(book: PriceBook) -> None:
    found = book.explain("acme", "model", {"input": 1000}, mode="batch", at=NOVEMBER).as_dict()
    assert found["rates"][0] == {  # type: ignore[index]
        "meter": "input", "usd": "1.5", "per": 10**6, "since": "2026-10-14", "condition": "mode batch",
        "source": "manual",
    }  # fmt: skip
    assert found["receipt"]["total"] == "0.001500000"  # type: ignore[index]
    assert {name: found[name] for name in ("provider", "model", "mode", "at", "matched", "complete", "missing")} == {
        "provider": "acme", "model": "model", "mode": "batch", "at": "2026-11-01T00:00:00+00:00",
        "matched": True, "complete": True, "missing": [],
    }  # fmt: skip


def test_a_list_has_each_key_once_from_the_highest_layer() -> None:
    book = PriceBook.open(
        overrides={"openai/gpt-4o": {"input": "7", "output": 8}, "own-model": {"input": 1}},
        prices_file=None,
        model_aliases={},
    )
    rows = listed(book.catalogue, search="gpt-4o", provider="OpenAI", at=NOVEMBER)
    assert [row.layer for row in rows if row.key == "openai/gpt-4o"] == ["overrides"]
    assert {row.key.partition("/")[0] for row in rows} == {"openai"}
    assert [row.key for row in rows] == sorted(row.key for row in rows)
    (mine,) = listed(book.catalogue, search="OWN-model", at=NOVEMBER)
    assert mine.as_dict() == {
        "key": "own-model", "layer": "overrides", "source": "manual", "rates": {"input": {"usd": "1", "per": 10**6}},
    }  # fmt: skip
    google = listed(book.catalogue, provider="google", at=NOVEMBER)
    assert google
    assert {row.key.partition("/")[0] for row in google} == {"gemini"}
