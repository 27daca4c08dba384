"""The arithmetic of receipts, against exact fractions."""

from __future__ import annotations

import decimal
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_llm_cost.pricing import Catalogue, price
from flask_llm_cost.pricing.catalog import Layer
from flask_llm_cost.pricing.table import parse_table
from flask_llm_cost.usage import ModelUsage
from receipt_lines import line as written_line

METERS = (
    "input",
    "cache_read",
    "cache_write",
    "cache_write.1h",
    "output",
    "output.audio",
    "input.audio",
    "tool.web_search",
)
PER = {"tool.web_search": 1}

rates = st.decimals(min_value=0, max_value=100_000, places=12, allow_nan=False)
quantities = st.one_of(
    st.integers(min_value=0, max_value=10**9),
    st.decimals(min_value=0, max_value=10**6, places=3, allow_nan=False, allow_infinity=False),
)


def catalogue(entry: dict[str, object]) -> Catalogue:
    return Catalogue([Layer.of("overrides", parse_table({"acme/model": entry}, "test"))])


def half_up(value: Fraction) -> Fraction:
    """The oracle's rounding: to nano-USD, halves up."""
    nano = value * 10**9
    return Fraction((2 * nano.numerator + nano.denominator) // (2 * nano.denominator), 10**9)


@given(
    st.dictionaries(st.sampled_from(METERS), rates, min_size=1),
    st.dictionaries(st.sampled_from(METERS), quantities, min_size=1),
)
def test_each_line_is_the_exact_product_rounded_once_and_the_total_is_their_sum(
    table: dict[str, Decimal], usage: dict[str, int | Decimal]
) -> None:
    """Covers P-PRC-01, P-PRC-20, P-PRC-21 and P-PRC-47: up to 10^9 tokens and rates of twelve decimals."""
    rules = [{name: format(rate, "f") for name, rate in table.items()}]
    receipt = price("acme", "model", usage, catalogue=catalogue({"rates": rules}))
    expected = Fraction(0)
    for line in receipt.lines:
        assert line.quantity == usage[line.meter]
        if line.rate is None:
            assert line.cost == (None if line.quantity else 0)
            continue
        rate = Fraction(table[line.inherited or line.meter])
        cost = half_up(Fraction(line.quantity) * rate / PER.get(line.meter, 10**6))
        assert line.cost is not None
        assert Fraction(line.cost) == cost
        expected += cost
    assert [line.meter for line in receipt.lines] == list(usage)
    if receipt.total is not None:
        assert Fraction(receipt.total) == expected == sum(Fraction(line.cost or 0) for line in receipt.lines)


multipliers = st.decimals(min_value="0.05", max_value=3, places=4, allow_nan=False)
TIER = 200_000


class Oracle:
    """The rules of design page 03 in fractions: the tier of the whole request, multipliers, one rounding per meter."""

    def __init__(self, rules: list[dict[str, object]], *, mode: str | None, geo: str | None) -> None:
        self.rules, self.mode, self.geo = rules, mode, geo

    def rate(self, meter: str, prompt: Fraction) -> Fraction | None:
        """USD a unit: the most particular rule that has the meter, times the multipliers that reach it."""
        held = [rule for rule in self.rules if self._holds(rule, prompt)]
        mode_written = any("input" in rule for rule in held if self._when(rule).get("mode"))
        found = next(
            (Fraction(str(rule[name])) for name in self._names(meter) for rule in reversed(held) if name in rule), None
        )
        if found is None or meter in PER:
            return found
        for rule in held:
            if "multiplier" in rule and not (mode_written and "mode" in self._when(rule)):
                found *= Fraction(str(rule["multiplier"]))
        return found / 10**6

    def _holds(self, rule: dict[str, object], prompt: Fraction) -> bool:
        when = self._when(rule)
        return (
            when.get("mode", self.mode) == self.mode
            and when.get("geo", self.geo) == self.geo
            and ("context_over" not in when or prompt > TIER)
        )

    @staticmethod
    def _when(rule: dict[str, object]) -> dict[str, object]:
        when = rule.get("when", {})
        assert isinstance(when, dict)
        return when

    @staticmethod
    def _names(meter: str) -> tuple[str, ...]:
        """A table of the app's own lets a cache's meter and hidden output fall to the plain one."""
        return (meter, "input") if meter in ("cache_read", "cache_write") else (meter,)


@given(
    flat=st.fixed_dictionaries(dict.fromkeys(METERS, rates)),
    long=st.dictionaries(st.sampled_from(("input", "output", "cache_read")), rates),
    batch=st.one_of(multipliers, st.fixed_dictionaries({"input": rates}, optional={"output": rates})),
    region=multipliers,
    usage=st.dictionaries(st.sampled_from(METERS), quantities, min_size=1),
    other=st.dictionaries(st.sampled_from(METERS), quantities),
    mode=st.sampled_from((None, "batch")),
    geo=st.sampled_from((None, "us")),
)
def test_tiers_multipliers_and_other_models_add_up_like_fractions(
    flat: dict[str, Decimal],
    long: dict[str, Decimal],
    batch: Decimal | dict[str, Decimal],
    region: Decimal,
    usage: dict[str, int | Decimal],
    other: dict[str, int | Decimal],
    mode: str | None,
    geo: str | None,
) -> None:
    """Covers P-PRC-47: the prompt's size picks the rates of the whole request, discounts stack, lines are rounded once.

    A second model within the answer has its own lines, its own prompt and the same tier.
    """
    tier = {"multiplier": format(batch, "f")} if isinstance(batch, Decimal) else written(batch)
    rules: list[dict[str, object]] = [
        written(flat),
        {"when": {"context_over": TIER}, **written(long)},
        {"when": {"geo": "us"}, "multiplier": format(region, "f")},
        {"when": {"mode": "batch"}, **tier},
    ]
    rules = [rule for rule in rules if set(rule) - {"when"}]
    receipt = catalogue({"rates": rules}).price(
        "acme", "model", usage, mode=mode, geo=geo, extra=(ModelUsage("model", other),)
    )
    oracle = Oracle(rules, mode=mode, geo=geo)
    expected = [*oracle_lines(oracle, usage, None), *oracle_lines(oracle, other, "model")]
    assert [(line.meter, line.model, Fraction(line.cost or 0)) for line in receipt.lines] == expected
    assert Fraction(receipt.total or 0) == sum(cost for _, _, cost in expected)


def written(table: dict[str, Decimal]) -> dict[str, object]:
    return {name: format(rate, "f") for name, rate in table.items()}


def oracle_lines(
    oracle: Oracle, usage: dict[str, int | Decimal], model: str | None
) -> list[tuple[str, str | None, Fraction]]:
    prompt = sum(
        (Fraction(count) for name, count in usage.items() if name.startswith(("input", "cache_"))), Fraction(0)
    )
    lines = []
    for meter, quantity in usage.items():
        rate = oracle.rate(meter, prompt)
        assert rate is not None
        lines.append((meter, model, half_up(Fraction(quantity) * rate)))
    return lines


@given(rates, rates, st.integers(0, 10**9), st.integers(0, 10**9))
def test_caching_saved_the_fresh_price_less_the_cached_one(
    fresh: Decimal, cached: Decimal, read: int, written: int
) -> None:
    """A cache write dearer than fresh input counts against the saving, so that it may be negative."""
    rules = [{"input": str(fresh), "cache_read": str(cached), "cache_write": str(fresh * 2)}]
    receipt = price(
        "acme", "model", {"cache_read": read, "cache_write": written}, catalogue=catalogue({"rates": rules})
    )
    saved = half_up(read * Fraction(fresh) / 10**6) - half_up(read * Fraction(cached) / 10**6)
    saved += half_up(written * Fraction(fresh) / 10**6) - half_up(written * Fraction(fresh * 2) / 10**6)
    assert receipt.cache_saved is not None
    assert Fraction(receipt.cache_saved) == saved


def test_a_rate_that_divides_into_no_decimal_is_still_exact() -> None:
    """0.10 USD for 3 pages, 2 pages: 0.0666… rounds to 0.066666667."""
    entry = {"rates": [{"page": {"usd": "0.10", "per": 3}}]}
    receipt = price("acme", "model", {"page": 2}, catalogue=catalogue(entry))
    assert receipt.lines == (written_line("page", 2, Decimal("0.10"), 3, Decimal("0.066666667"), "manual"),)
    assert receipt.total == Decimal("0.066666667")


def test_the_half_is_rounded_up() -> None:
    """0.0005 USD a million for one token is half a nano-USD."""
    receipt = price(
        "acme", "model", {"input": 1, "output": 1}, catalogue=catalogue({"input": "0.0005", "output": "0.0004"})
    )
    assert [line.cost for line in receipt.lines] == [Decimal("0.000000001"), Decimal(0)]


def test_the_decimal_context_of_the_app_does_not_matter() -> None:
    """An app that computes with three digits, or traps rounding, gets the same receipt."""
    usage = {"input": 987_654, "output": 123_456_789, "cache_read": Decimal("1234.5")}
    rules = [{"input": "1.234567", "output": "7.654321", "cache_read": "0.5"}, {"multiplier": "1.1"},
             {"when": {"context_over": 988_888}, "input": "2.345678"}]  # fmt: skip
    expected = price("acme", "model", usage, catalogue=catalogue({"rates": rules}))
    assert expected.lines[0].rate == Decimal("2.5802458")
    with decimal.localcontext(decimal.Context(prec=3, traps=[decimal.Inexact, decimal.Rounded])):
        receipt = price("acme", "model", usage, catalogue=catalogue({"rates": rules}))
        assert receipt == expected
        costs = receipt.costs()
    assert costs == expected.costs()


def test_a_cached_prompt_is_priced_like_the_original_gem_does() -> None:
    """Covers P-PRC-12 and P-PRC-13."""
    usage = {"input": 100_000, "cache_read": 200_000, "cache_write": 300_000, "output": 10_000}
    table = {"input": 3, "cache_read_input": 0.3, "cache_write_input": 3.75, "output": 15}
    receipt = price("acme", "model", usage, catalogue=catalogue(table))
    assert [line.cost for line in receipt.lines] == [Decimal(text) for text in ("0.3", "0.06", "1.125", "0.15")]
    assert receipt.total == Decimal("1.635")
    half = price(
        "acme",
        "model",
        {"input": 600_000, "cache_read": 400_000},
        catalogue=catalogue({"input": 0.25, "cache_read_input": 0.025}),
    )
    assert [line.cost for line in half.lines] == [Decimal("0.15"), Decimal("0.01")]
    assert half.total == Decimal("0.16")


@pytest.mark.parametrize(
    ("quantity", "error"),
    [
        *((value, ValueError) for value in (-1, Decimal("-0.5"), Decimal("NaN"), Decimal("Infinity"))),
        *((Decimal(text), ValueError) for text in ("1E-999999", "1E+999999")),
        *((value, TypeError) for value in (1.5, True, "7", None)),
    ],
)
@pytest.mark.parametrize("model", ["model", "unheard-of"])
def test_a_quantity_that_counts_nothing_is_refused(quantity: object, error: type[Exception], model: str) -> None:
    """Negative, endless, floating or textual quantities are errors of a provider file, known model or not."""
    usage: dict[str, int | Decimal] = {"input": quantity}  # type: ignore[dict-item]
    with pytest.raises(error, match="quantity of 'input'"):
        price("acme", model, usage, catalogue=catalogue({"input": 1, "output": 2}))
