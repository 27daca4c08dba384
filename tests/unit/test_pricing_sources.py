"""From genai-prices' data to the bundled form."""

from __future__ import annotations

from datetime import date

import pytest

from flask_llm_cost.errors import PriceTableError
from flask_llm_cost.pricing.sources.clauses import literals, matches
from flask_llm_cost.pricing.sources.genai_prices import Since, from_genai_prices
from flask_llm_cost.pricing.sources.hosts import merge_regions, standard_only


def converted(model: dict[str, object], provider: str = "openai", since: tuple[Since, ...] = ()) -> object:
    raw = [{"id": "theirs", "models": [{"match": {"equals": "m"}, "id": "m", **model}]}]
    return from_genai_prices(raw, {"theirs": provider}, since).entries[f"{provider}/m"]["rates"]


def test_dated_prices_replace_each_other_whole() -> None:
    """The second price has no cache rate, so the first one's must not live on."""
    prices = [
        {"prices": {"input_mtok": "5", "cache_read_mtok": "2.50"}},
        {"constraint": {"start_date": "2026-03-01"}, "prices": {"input_mtok": "4"}},
        {"constraint": {"start_date": "2026-06-01"}, "prices": {"input_mtok": "3"}},
    ]
    assert converted({"prices": prices}) == [
        {"effective_until": "2026-03-01", "input": "5", "cache_read": "2.5"},
        {"effective_from": "2026-03-01", "effective_until": "2026-06-01", "input": "4"},
        {"effective_from": "2026-06-01", "input": "3"},
    ]


def test_a_time_of_day_holds_from_the_dated_price_before_it() -> None:
    prices = [
        {"prices": {"input_mtok": "1"}},
        {"constraint": {"start_date": "2026-03-01"}, "prices": {"input_mtok": "2"}},
        {"constraint": {"start_time": "16:30:00+00:00", "end_time": "00:30:00+00:00"}, "prices": {"input_mtok": "3"}},
    ]
    assert converted({"prices": prices})[1:] == [  # type: ignore[index]
        {"effective_from": "2026-03-01", "input": "2"},
        {"when": {"windows": [{"from": "16:30", "to": "00:30"}]}, "effective_from": "2026-03-01", "input": "3"},
    ]


def test_tiers_become_rules_of_the_meters_that_change() -> None:
    tiers = [{"start": 128000, "price": "2"}, {"start": 199999, "price": "4"}]
    prices = {"input_mtok": {"base": "1", "tiers": tiers}, "output_mtok": "9", "web_searches_kcount": "10"}
    assert converted({"prices": prices}) == [
        {"input": "1", "output": "9", "tool.web_search": {"usd": "10", "per": 1000}},
        {"when": {"context_over": 128000}, "input": "2"},
        {"when": {"context_from": 200000}, "input": "4"},
    ]


def test_variants_become_modes_and_speeds_and_unknown_ones_are_left_out() -> None:
    variants = [
        {"when": {"service_tier": "default"}, "prices": {}},
        {"when": {"service_tier": "flex"}, "prices": {"input_mtok": "1"}, "constraint": {"start_date": "2026-10-12"}},
        {
            "when": {"processing": "batch"},
            "prices": {"input_mtok": {"base": "2", "tiers": [{"start": 5, "price": "3"}]}},
        },
        {"when": {"speed": "fast"}, "prices": {"input_mtok": "8"}},
        {"when": {"route": "mistral/eu"}, "prices": {"input_mtok": "9"}},
    ]
    assert converted({"prices": {"input_mtok": "4"}, "price_variants": variants}) == [
        {"input": "4"},
        {"when": {"mode": "flex"}, "effective_from": "2026-10-12", "input": "1"},
        {"when": {"mode": "batch"}, "input": "2"},
        {"when": {"mode": "batch", "context_over": 5}, "input": "3"},
        {"when": {"speed": "fast"}, "input": "8"},
    ]


@pytest.mark.parametrize(
    ("last_change", "starts"), [(None, "2024-04-15"), ("2026-02-01", "2026-02-01"), ("2026-12-01", "2026-10-14")]
)
def test_a_mode_starts_when_it_was_sold_but_not_before_the_price_it_belongs_to(
    last_change: str | None, starts: str
) -> None:
    prices: list[dict[str, object]] = [{"prices": {"input_mtok": "4"}}]
    if last_change:
        prices.append({"constraint": {"start_date": last_change}, "prices": {"input_mtok": "5"}})
    batch = {"when": {"processing": "batch"}, "prices": {"input_mtok": "2"}, "constraint": {"start_date": "2026-10-14"}}
    since = (Since("openai", "batch", date(2024, 4, 15)),)
    rules = converted({"prices": prices, "price_variants": [batch]}, since=since)
    assert rules[-1] == {"when": {"mode": "batch"}, "effective_from": starts, "input": "2"}  # type: ignore[index]


def test_google_has_one_price_for_all_kinds_of_input_unless_it_names_audio() -> None:
    same = {"input": "1", "input.audio": "1", "cache_read": "2", "cache_read.audio": "2"}
    assert converted({"prices": {"input_mtok": "1", "cache_read_mtok": "2"}}, "gemini") == [same]
    assert converted({"prices": {"input_mtok": "1", "input_audio_mtok": "3"}}, "gemini") == [
        {"input": "1", "input.audio": "3"}
    ]


def test_a_model_without_rates_is_left_out_and_not_free() -> None:
    raw = [{"id": "theirs", "models": [{"match": {"equals": "m"}, "id": "m", "prices": {}}]}]
    result = from_genai_prices(raw, {"theirs": "openai"}, ())
    assert (result.entries, result.left_out) == ({}, {"openai/m": "no rates"})


def test_names_are_whole_and_are_read_as_the_model_they_are_given_to() -> None:
    """No half of a name, no fine-tune's, none that another model would answer to, none with the provider's prefix."""
    models = [
        {"id": "gpt-4o-mini", "match": {"starts_with": "gpt-4o-mini"}, "prices": {"input_mtok": "1"}},
        {
            "id": "gpt-4o-latest",
            "match": {"or": [{"starts_with": "gpt-4o"}, {"equals": "gpt-4o-mini-x"}, {"equals": "openai/gpt-4.o"},
                             {"starts_with": "gpt-4o-2024"}, {"starts_with": "ft:gpt-4o"}, {"regex": "^gpt$"},
                             {"contains": "gpt4o@"}]},
            "prices": {"input_mtok": "2"},
        },
    ]  # fmt: skip
    entries = from_genai_prices([{"id": "theirs", "models": models}], {"theirs": "openai"}, ()).entries
    assert {key: entry.get("aliases") for key, entry in entries.items()} == {
        "openai/gpt-4o-mini": None,
        "openai/gpt-4o": ["gpt-4o-latest"],
    }


@pytest.mark.parametrize(
    ("clause", "name", "expected"),
    [
        ({"equals": "A"}, "a", True),
        ({"starts_with": "a"}, "ab", True),
        ({"ends_with": "b"}, "ab", True),
        ({"contains": "x"}, "ab", False),
        ({"regex": r"^a\d$"}, "a1", True),
        ({"or": [{"equals": "x"}, {"equals": "ab"}]}, "ab", True),
        ({"and": [{"starts_with": "a"}, {"ends_with": "x"}]}, "ab", False),
    ],
)
def test_clauses(clause: object, name: str, expected: bool) -> None:
    assert matches(clause, name) is expected


def test_literals_are_the_texts_of_a_clause() -> None:
    assert list(literals({"or": [{"equals": "a"}, {"and": [{"contains": "b"}]}]})) == [
        ("equals", "a"),
        ("contains", "b"),
    ]


def test_bedrocks_regions_become_one_entry() -> None:
    entries: dict[str, dict[str, object]] = {
        "bedrock/regional.anthropic.claude-x-v1:0": {"rates": [{"input": "11"}], "aliases": ["us.claude-x"]},
        "bedrock/global.anthropic.claude-x-v1:0": {
            "rates": [{"input": "10"}, {"when": {"context_over": 5}, "input": "20"}]
        },
        "bedrock/global.amazon.nova": {"rates": [{"input": "1"}]},
        "openai/global.x": {"rates": []},
    }
    merge_regions(entries)
    assert entries == {
        "bedrock/anthropic.claude-x-v1:0": {
            "rates": [
                {"input": "11"},
                {"input": "10", "when": {"geo": "global"}},
                {"when": {"context_over": 5, "geo": "global"}, "input": "20"},
            ],
            "aliases": ["anthropic.claude-x", "claude-x"],
        },
        "bedrock/amazon.nova": {"rates": [{"input": "1"}]},
        "openai/global.x": {"rates": []},
    }


def test_a_reseller_has_the_standard_rates_only() -> None:
    rates = [{"input": "1"}, {"when": {"context_over": 5}, "input": "2"}, {"when": {"mode": "batch"}, "input": "3"}]
    assert standard_only({"rates": rates, "aliases": ["x"]}) == {"rates": rates[:2], "aliases": ["x"]}


@pytest.mark.parametrize("models", [None, "x", [1]])
def test_a_source_of_another_shape_is_refused(models: object) -> None:
    raw = [{"id": "theirs", "models": models}]
    if models is None:
        assert from_genai_prices(raw, {"theirs": "openai"}, ()).entries == {}
    else:
        with pytest.raises(PriceTableError, match="where a list of mappings belongs"):
            from_genai_prices(raw, {"theirs": "openai"}, ())
