"""What calls cost, reckoned by hand from the providers' price lists: ``tests/data/pinned_prices.yaml``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from flask_llm_cost.pricing import price

yaml = pytest.importorskip("yaml")

DATA = Path(__file__).parents[1] / "data" / "pinned_prices.yaml"
TOKENS = ("input", "cache_read", "cache_write", "output")
PROVIDERS = {"openai", "azure", "anthropic", "gemini", "vertex", "bedrock", "mistral", "groq", "deepseek", "xai",
             "cohere", "openrouter", "together", "fireworks", "perplexity", "cerebras"}  # fmt: skip
# Everything a price may depend on, or be per.
KINDS = {"cache_read", "cache_read.audio", "cache_write", "cache_write.1h", "input.audio", "input.image", "input.video",
         "output.reasoning", "output.audio", "output.image", "output.citation", "tool.web_search", "tool.file_search",
         "tool.grounding", "audio.second", "video.second", "character", "page", "request"}  # fmt: skip


@dataclass(frozen=True)
class Pinned:
    """One case of the file: texts, but for quantities."""

    model: str
    case: str
    at: datetime
    conditions: Mapping[str, str]
    rates: Mapping[str, str]
    usage: Mapping[str, int]
    total: str
    status: str
    source: str

    @classmethod
    def of(cls, raw: Mapping[str, object], sources: Mapping[str, str]) -> Pinned:
        held = {**raw}
        source, usage = str(held["source"]), held["usage"]
        assert isinstance(usage, Mapping)
        assert isinstance(held["rates"], Mapping)
        return cls(
            model=str(held["model"]),
            case=str(held["case"]),
            at=datetime.fromisoformat(str(held["at"])).replace(tzinfo=UTC),
            conditions={name: str(held[name]) for name in ("mode", "geo", "speed") if name in held},
            rates=held["rates"],
            usage={meter: int(quantity) for meter, quantity in usage.items()},
            total=str(held["total"]),
            status=str(held.get("status", "complete")),
            source=sources.get(source, source),
        )


def pinned() -> list[Pinned]:
    raw = yaml.load(DATA.read_text("utf-8"), Loader=yaml.BaseLoader)
    return [Pinned.of(case, raw["sources"]) for case in raw["cases"]]


CASES = pinned()


def cost(rate: str, meter: str, quantity: int) -> Fraction:
    """Quantity × rate, rounded half up to nano-USD; the oracle, which knows nothing of the package."""
    usd, _, per = rate.partition("/")
    units = int(per) if per else 10**6 if meter.partition(".")[0] in TOKENS else 1
    nano = Fraction(usd) * quantity * 10**9 / units
    return Fraction((2 * nano.numerator + nano.denominator) // (2 * nano.denominator), 10**9)


@pytest.mark.parametrize("pin", CASES, ids=lambda pin: f"{pin.model}: {pin.case}".replace(" ", "_"))
def test_a_call_costs_what_the_price_list_says(pin: Pinned) -> None:
    """Covers P-PRC-46 and P-PRC-48: the receipt's total, and each of its lines, is the one reckoned by hand."""
    provider, _, model = pin.model.partition("/")
    receipt = price(provider, model, pin.usage, at=pin.at, **pin.conditions)
    lines = {line.meter: line.cost for line in receipt.lines}
    assert lines == {meter: as_decimal(cost(pin.rates[meter], meter, pin.usage[meter])) for meter in pin.usage}
    assert (receipt.status, receipt.total) == (pin.status, Decimal(pin.total))


@pytest.mark.parametrize("pin", CASES, ids=lambda pin: f"{pin.model}: {pin.case}".replace(" ", "_"))
def test_the_pinned_total_is_the_sum_of_its_stated_rates(pin: Pinned) -> None:
    """The file holds together by itself: each meter has a rate, and the total is their rounded products' sum."""
    assert set(pin.rates) == set(pin.usage)
    assert Fraction(pin.total) == sum(cost(pin.rates[meter], meter, pin.usage[meter]) for meter in pin.usage)


def test_the_pinned_cases_reach_everything_that_a_price_may_depend_on() -> None:
    """Sixty models and more, all providers of the catalogue's first circle, all tiers and kinds, each with a source."""
    assert len({pin.model for pin in CASES}) >= 60
    assert {pin.model.partition("/")[0] for pin in CASES} == PROVIDERS
    assert {meter for pin in CASES for meter in pin.usage} >= KINDS
    assert {tuple(pin.conditions.items()) for pin in CASES} >= {
        (), *((("mode", mode),) for mode in ("batch", "flex", "priority")), (("geo", "us"),), (("speed", "fast"),)
    }  # fmt: skip
    assert [pin for pin in CASES if not pin.source.startswith(("https://", "genai-prices ", "LiteLLM "))] == []


def as_decimal(value: Fraction) -> Decimal:
    return Decimal(value.numerator) / Decimal(value.denominator)
