"""The bundled catalogue: complete, plausible, reproducible."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from decimal import Decimal
from importlib.resources import files
from pathlib import Path

import pytest

from flask_llm_cost.pricing import Receipt, price
from flask_llm_cost.pricing.bundle import bundled
from flask_llm_cost.pricing.listing import ListedPrice, listed
from flask_llm_cost.pricing.pricer import Catalogue

ROOT = Path(__file__).parents[2]
NOVEMBER = datetime(2026, 11, 10, tzinfo=UTC)
CATALOGUE = Catalogue([bundled().layer])
LISTED = {entry.key: entry for entry in listed(CATALOGUE, at=NOVEMBER)}
OPENAI = {"input": 1000, "cache_read": 2000, "output": 300, "output.reasoning": 100}
ANTHROPIC = {"input": 1000, "cache_read": 2000, "cache_write": 400, "cache_write.1h": 200, "output": 300,
             "tool.web_search": 2, "tool.web_fetch": 1}  # fmt: skip


def usd(listed_price: ListedPrice, meter: str) -> Decimal:
    return listed_price.rates[meter].usd


def cost(provider: str, model: str, usage: dict[str, int], mode: str | None = None) -> Receipt:
    return price(provider, model, usage, mode=mode, at=NOVEMBER)


@pytest.mark.parametrize(
    ("provider", "model", "usage", "total"),
    [
        ("openai", "gpt-5.4-2026-03-05", OPENAI, "0.009"),
        ("openai", "gpt-5.4-mini", OPENAI, "0.0027"),
        ("openai", "gpt-4o-2024-08-06", OPENAI, "0.009"),
        ("openai", "gpt-4o-mini-2024-07-18", OPENAI, "0.00054"),
        ("openai", "gpt-5-mini-2025-08-07", OPENAI, "0.0011"),
        ("openai", "o4-mini-2025-04-16", OPENAI, "0.00341"),
        ("openai", "text-embedding-3-small", {"input": 1000}, "0.00002"),
        ("anthropic", "claude-sonnet-4-5-20250929", ANTHROPIC, "0.0308"),
        ("anthropic", "claude-haiku-4-5-20251001", ANTHROPIC, "0.0236"),
        ("anthropic", "claude-opus-4-5-20251101", ANTHROPIC, "0.038"),
        ("gemini", "gemini-2.5-pro", OPENAI, "0.0055"),
        ("gemini", "gemini-2.5-flash", OPENAI, "0.00136"),
        ("gemini", "gemini-2.5-flash-lite", OPENAI, "0.00028"),
    ],
)
def test_models_of_the_demo_are_priced_completely(provider: str, model: str, usage: dict[str, int], total: str) -> None:
    """Reckoned by hand from the providers' price lists, cached and reasoning tokens included. Covers P-PRC-46."""
    receipt = cost(provider, model, usage)
    assert (receipt.status, receipt.total) == ("complete", Decimal(total))


@pytest.mark.parametrize(
    ("provider", "model", "usage", "total"),
    [
        # Above 200,000 tokens of prompt the whole request costs the higher rates.
        ("anthropic", "claude-sonnet-4-5", {"input": 150_000, "cache_read": 50_001, "output": 1000}, "0.9525006"),
        ("gemini", "gemini-2.5-pro", {"input": 200_001, "output": 1000}, "0.5150025"),
        # 2.5-flash has a price of its own for audio, 2.5-pro one price for every kind of input.
        ("gemini", "gemini-2.5-flash", {"input": 1000, "input.audio": 1000}, "0.0013"),
        ("gemini", "gemini-2.5-pro", {"input": 1000, "input.audio": 1000}, "0.0025"),
        ("gemini", "gemini-2.5-flash", {"tool.grounding": 1}, "0.035"),
        ("openai", "gpt-4o", {"tool.web_search": 1, "tool.file_search": 2}, "0.015"),
        ("openai", "ft:gpt-4o-2024-08-06:acme::abc", {"input": 10**6, "cache_read": 10**6}, "5.625"),
        ("openai", "omni-moderation-latest", {"input": 10**6}, "0"),
        ("openai", "whisper-1", {"audio.second": 60}, "0.006"),
        ("openai", "tts-1", {"character": 1000}, "0.015"),
        ("azure", "gpt-4o-2024-08-06", {"input": 10**6}, "2.5"),
        ("vertex", "gemini-2.5-pro", {"input": 10**5}, "0.125"),
        ("vertex", "claude-sonnet-4-5@20250929", {"input": 10**5}, "0.3"),
        ("bedrock", "anthropic.claude-sonnet-4-5-20250929-v1:0", {"input": 10**5}, "0.33"),
        ("bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", {"input": 10**5}, "0.33"),
        ("bedrock", "global.anthropic.claude-sonnet-4-5-20250929-v1:0", {"input": 10**5}, "0.3"),
        ("openrouter", "meta-llama/llama-3.3-70b-instruct:free", {"input": 10**6}, "0"),
        # Retired models stay.
        ("anthropic", "claude-3-opus-20240229", {"input": 10**6}, "15"),
        ("openai", "text-davinci-003", {"input": 10**6}, "20"),
    ],
)
def test_hand_checked_costs(provider: str, model: str, usage: dict[str, int], total: str) -> None:
    """Answers P-PRC-48: tiers, audio, tools and regions have prices."""
    receipt = cost(provider, model, usage)
    assert receipt.total == Decimal(total)
    assert receipt.status == ("free" if total == "0" else "complete")


@pytest.mark.parametrize(
    ("provider", "model", "mode", "expected"),
    [
        ("openai", "gpt-4o", "batch", "6.25"),
        ("openai", "gpt-5-mini", "flex", "1.125"),
        ("openai", "gpt-4o", "priority", "21.25"),
        ("openai", "text-embedding-3-small", "batch", "0.01"),
        ("azure", "gpt-4o", "batch", "6.25"),
        ("anthropic", "claude-sonnet-4-5", "batch", "9"),
        ("anthropic", "claude-3-haiku-20240307", "batch", "0.75"),
        ("gemini", "gemini-2.5-flash", "batch", "1.4"),
    ],
)
def test_tiers_of_service(provider: str, model: str, mode: str, expected: str) -> None:
    """A million tokens in (in slices of 100,000, below every long-context tier) and as many out."""
    usage = {"input": 100_000} if "embedding" in model else {"input": 100_000, "output": 100_000}
    receipt = cost(provider, model, usage, mode)
    assert receipt.status == "complete"
    assert receipt.total is not None
    assert receipt.total * 10 == Decimal(expected)


def test_data_residency_costs_a_tenth_more_where_it_is_sold() -> None:
    """Claude Opus 4.6 and newer; nothing else changes with the region."""
    usage = {"input": 100_000, "tool.web_search": 1}
    totals = {
        (model, geo): price("anthropic", model, usage, geo=geo, at=NOVEMBER).total
        for model in ("claude-opus-4-6", "claude-opus-4-5")
        for geo in ("us", "global", "not_available", None)
    }
    plain = Decimal("0.51")
    assert totals == {pair: Decimal("0.56") if pair == ("claude-opus-4-6", "us") else plain for pair in totals}


def test_every_provider_of_the_design_is_there() -> None:
    """Covers P-PRC-42 in part: all keys name their provider."""
    found = {key.partition("/")[0] for key in LISTED}
    wanted = {"openai", "azure", "anthropic", "gemini", "vertex", "bedrock", "mistral", "groq", "deepseek", "xai",
              "cohere", "openrouter", "together", "fireworks", "perplexity", "cerebras"}  # fmt: skip
    assert wanted <= found
    assert all(re.fullmatch(r"[a-z]+/\S+", key) for key in LISTED)


def test_every_entry_has_a_rate_and_a_rate_of_zero_is_said_to_be_free() -> None:
    """Covers P-PRC-42: nothing costs 0 because its price was not known."""
    assert [key for key, entry in LISTED.items() if not entry.rates] == []
    zero = {key for key, entry in LISTED.items() if not any(rate.usd for rate in entry.rates.values())}
    first_hand = {key for key in zero if not key.startswith("openrouter/")}
    assert {key for key in first_hand if LISTED[key].source != "correction"} == set()


def test_invariants_of_anthropics_list() -> None:
    """Covers P-PRC-43: batch is half; an hour's cache write is twice the input; a search is a cent."""
    checked = 0
    for key, entry in LISTED.items():
        if not key.startswith("anthropic/"):
            continue
        model = key.partition("/")[2]
        assert usd(entry, "tool.web_search") == 10
        assert usd(entry, "tool.web_fetch") == 0
        if "cache_write.1h" in entry.rates:
            assert usd(entry, "cache_write.1h") == 2 * usd(entry, "input"), key
            checked += 1
        for meter in set(entry.rates) & {"input", "output", "cache_read", "cache_write"}:
            standard, half = (cost("anthropic", model, {meter: 100_000}, mode) for mode in (None, "batch"))
            assert standard.total is not None
            assert half.total == standard.total / 2, (key, meter)
    assert checked > 10


def test_chat_models_of_the_makers_cost_more_out_than_in() -> None:
    """Covers P-PRC-44."""
    dearer_in = {
        key
        for key, entry in LISTED.items()
        if key.startswith(("openai/gpt-", "anthropic/", "gemini/gemini-2"))
        and {"input", "output"} <= set(entry.rates)
        and usd(entry, "output") < usd(entry, "input")
    }
    assert dearer_in <= {"openai/gpt-5-image-mini"}


def test_the_file_is_small_and_its_entries_are_sorted() -> None:
    """Answers P-PRC-45: more than 57 models, embeddings among them."""
    content = files("flask_llm_cost.pricing").joinpath("data", "prices.json").read_bytes()
    entries = list(json.loads(content)["entries"])
    assert len(content) < 500_000
    assert entries == sorted(entries)
    assert len(entries) > 1500


def test_corrections_name_their_source() -> None:
    """Every line of ``corrections.yaml`` that changes a price has a link."""
    yaml = pytest.importorskip("yaml")
    raw = yaml.safe_load((ROOT / "flask_llm_cost" / "pricing" / "data" / "corrections.yaml").read_text("utf-8"))
    rules = [rule for provider in raw["providers"].values() for rule in provider]
    items = [
        *raw["since"],
        *rules,
        *raw["rules"],
        *raw["entries"].values(),
        *raw["aliases"],
        *raw["free"],
        *raw["drop"],
        *raw["drop_from_litellm"],
    ]
    assert [item for item in items if not str(item.get("url", "")).startswith("https://")] == []


def test_every_model_that_the_big_three_answered_in_recorded_traffic_has_a_price() -> None:
    """Names as the providers themselves spell them, from the recorded exchanges beside the repository."""
    corpus = ROOT.parent / "shared" / "corpus" / "exchanges.jsonl"
    if not corpus.exists():
        pytest.skip("the recorded exchanges are not beside this repository")
    answered = set()
    for line in corpus.read_text("utf-8").splitlines():
        exchange = json.loads(line)
        if (
            exchange["provider_hint"] in ("openai", "anthropic", "gemini", "azure")
            and exchange["body_encoding"] == "utf-8"
        ):
            names = re.findall(r'"(?:model|modelVersion)"\s*:\s*"([^"]+)"', exchange["body"] or "")
            answered |= {(exchange["provider_hint"], name) for name in names}
    # Somebody's gateway answered under OpenAI's route; the model is not OpenAI's to price.
    answered.discard(("openai", "moonshotai/kimi-k2"))
    assert len(answered) > 10
    assert [pair for pair in sorted(answered) if cost(*pair, {"input": 1}).status != "complete"] == []
