"""From LiteLLM's price map to the bundled form."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from flask_llm_cost.pricing.sources.litellm import RESIDENCES, from_litellm

WANTED = {"theirs": "openai", "gemini": "gemini", "bedrock_converse": "bedrock", "fireworks_ai": "fireworks"}


def entries(models: dict[str, dict[str, object]]) -> dict[str, object]:
    raw = json.loads(json.dumps(models), parse_float=Decimal)
    return {key: entry["rates"] for key, entry in from_litellm(raw, WANTED).entries.items()}


def rules(**model: object) -> object:
    return entries({"m": {"litellm_provider": "theirs", **model}})["openai/m"]


def test_a_price_per_token_becomes_one_per_million_without_the_noise_of_binary_fractions() -> None:
    assert rules(input_cost_per_token=1.4999999999999999e-07, output_cost_per_token=6e-07) == [
        {"input": "0.15", "output": "0.6"}
    ]


def test_the_name_of_a_price_tells_meter_size_of_prompt_and_tier() -> None:
    assert rules(
        input_cost_per_token=2e-06,
        input_cost_per_token_above_200k_tokens=4e-06,
        input_cost_per_token_batches=1e-06,
        input_cost_per_token_above_200k_tokens_batches=2e-06,
        cache_creation_input_token_cost_above_1hr=4e-06,
        cache_read_input_token_cost_priority=4e-07,
        output_cost_per_reasoning_token=9e-06,
    ) == [
        {"input": "2", "cache_write.1h": "4", "output.reasoning": "9"},
        {"when": {"context_over": 200000}, "input": "4"},
        {"when": {"mode": "batch"}, "input": "1"},
        {"when": {"mode": "batch", "context_over": 200000}, "input": "2"},
        {"when": {"mode": "priority"}, "cache_read": "0.4"},
    ]


def test_sound_and_film_are_billed_by_the_hour_and_searches_by_the_thousand() -> None:
    """The digits that a price per second was cut off after are those of a price per hour again."""
    assert rules(mode="audio_transcription", input_cost_per_second=0.0001, output_cost_per_second=0.0001) == [
        {"audio.second": {"usd": "0.36", "per": 3600}}
    ]
    assert rules(mode="audio_transcription", input_cost_per_second=5.83333e-05) == [
        {"audio.second": {"usd": "0.21", "per": 3600}}
    ]
    assert rules(mode="video_generation", output_cost_per_second=0.1) == [{"video.second": {"usd": "360", "per": 3600}}]
    sizes = {f"search_context_size_{size}": 0.01 for size in ("low", "medium", "high")}
    assert rules(input_cost_per_token=1e-06, search_context_cost_per_query=sizes) == [
        {"input": "1", "tool.web_search": {"usd": "10", "per": 1000}}
    ]


def test_claude_on_vertex_searches_with_its_own_tool_and_gemini_grounds() -> None:
    sizes = {f"search_context_size_{size}": Decimal("0.01") for size in ("low", "medium", "high")}
    wanted = {"vertex_ai-anthropic_models": "vertex", "vertex_ai": "vertex"}
    raw = {
        provider: {
            "litellm_provider": provider,
            "input_cost_per_token": Decimal("1e-06"),
            "search_context_cost_per_query": sizes,
        }
        for provider in wanted
    }
    found = from_litellm(raw, wanted).entries
    assert [set(entry["rates"][0]) for entry in found.values()] == [
        {"input", "tool.web_search"},
        {"input", "tool.grounding"},
    ]


def test_a_search_whose_price_depends_on_its_size_has_none_here() -> None:
    sizes = {"search_context_size_low": 0.006, "search_context_size_high": 0.014}
    assert rules(input_cost_per_token=1e-06, search_context_cost_per_query=sizes) == [{"input": "1"}]


def test_perplexitys_fee_for_a_request_has_a_rate_for_each_size() -> None:
    sizes = {"search_context_size_low": Decimal("0.006"), "search_context_size_high": Decimal("0.014")}
    raw = {
        "perplexity/sonar-pro": {
            "litellm_provider": "perplexity",
            "input_cost_per_token": Decimal("3e-06"),
            "search_context_cost_per_query": sizes,
        }
    }
    assert from_litellm(raw, {"perplexity": "perplexity"}).entries == {
        "perplexity/sonar-pro": {
            "rates": [
                {"input": "3", "request.low": {"usd": "6", "per": 1000}, "request.high": {"usd": "14", "per": 1000}}
            ]
        }
    }


def test_a_zero_is_not_taken_for_a_price() -> None:
    """Covers P-PRC-42: nothing costs 0 because nobody filled its price in."""
    raw = {"m": {"litellm_provider": "theirs", "input_cost_per_token": 0, "output_cost_per_token": Decimal("0.0")}}
    converted = from_litellm(raw, WANTED)
    assert (converted.entries, converted.left_out) == ({}, {"openai/m": "no rates"})


def test_images_of_each_size_and_quality_are_meters_of_one_model() -> None:
    assert entries(
        {
            "1024-x-1024/dall-e": {"litellm_provider": "theirs", "input_cost_per_pixel": 3.81469e-08},
            "hd/1024-x-1792/dall-e": {"litellm_provider": "theirs", "input_cost_per_pixel": 6.539e-08},
            "low/512-x-512/dall-e": {"litellm_provider": "theirs", "input_cost_per_image": 0.011},
        }
    ) == {
        "openai/dall-e": [
            {"image.1024x1024.standard": "0.04", "image.1024x1792.hd": "0.12", "image.512x512.low": "0.011"}
        ]
    }


def test_regions_are_rules_of_their_model_and_a_region_at_the_list_price_is_named() -> None:
    """Without its name a region that has no price of its own would be one that nobody knows."""
    assert entries(
        {
            "amazon.nova": {"litellm_provider": "bedrock_converse", "input_cost_per_token": 1e-06},
            "us.amazon.nova": {"litellm_provider": "bedrock_converse", "input_cost_per_token": 1e-06},
            "eu.amazon.nova": {"litellm_provider": "bedrock_converse", "input_cost_per_token": 1.3e-06},
        }
    ) == {
        "bedrock/amazon.nova": [
            {"input": "1"},
            {"when": {"geo": "us"}, "multiplier": "1"},
            {"when": {"geo": "eu"}, "input": "1.3"},
        ]
    }


def test_regions_that_all_cost_the_same_are_no_rules() -> None:
    nova = {"litellm_provider": "bedrock_converse", "input_cost_per_token": 1e-06}
    assert entries({"amazon.nova": nova, "us.amazon.nova": nova}) == {"bedrock/amazon.nova": [{"input": "1"}]}


def test_uplifts_multiply_and_hours_of_the_day_have_prices() -> None:
    assert rules(
        input_cost_per_token=3e-07,
        regional_processing_uplift_multiplier_eu=1.1,
        off_peak_pricing={
            "input_cost_per_token": 1.5e-07,
            "windows": [{"hours_utc": ["10:00-00:00", "04:00-06:00"], "weekdays": [1, 2]}],
        },
    ) == [
        {"input": "0.3"},
        {"when": {"geo": list(RESIDENCES)}, "multiplier": "1.1"},
        {
            "when": {
                "windows": [
                    {"from": "10:00", "to": "24:00", "days": ["mon", "tue"]},
                    {"from": "04:00", "to": "06:00", "days": ["mon", "tue"]},
                ]
            },
            "input": "0.15",
        },
    ]


@pytest.mark.parametrize(
    "name",
    [
        "bedrock/us-east-1/1-month-commitment/anthropic.claude-v2:1",
        "bedrock/*/6-month-commitment/cohere.command-text-v14",
        "bedrock/ap-south-1/meta.llama3-70b-instruct-v1:0",
        "bedrock/us-gov-west-1/anthropic.claude-fable-5-1",
        "bedrock/claude_platform/claude-haiku-4-5",
    ],
)
def test_what_no_call_can_be_told_to_have_used_is_left_out(name: str) -> None:
    converted = from_litellm({name: {"litellm_provider": "bedrock_converse", "input_cost_per_token": 1}}, WANTED)
    assert converted.entries == {}
    assert list(converted.left_out.values()) == ["a price of a region or a commitment"]


def test_other_providers_are_left_out_and_hosts_names_are_cut_off() -> None:
    price = {"input_cost_per_token": 1e-06}
    assert entries(
        {
            "x/m": {"litellm_provider": "nobody", **price},
            "gemini/gemini-9": {"litellm_provider": "gemini", **price},
            "fireworks_ai/accounts/fireworks/models/glm": {"litellm_provider": "fireworks_ai", **price},
            "fireworks_ai/glm-2": {"litellm_provider": "fireworks_ai", **price},
        }
    ) == {"gemini/gemini-9": [{"input": "1"}], "fireworks/glm": [{"input": "1"}], "fireworks/glm-2": [{"input": "1"}]}
