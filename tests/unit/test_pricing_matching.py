"""From the names that providers, gateways and apps use to a price entry, stage by stage."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from flask_llm_cost.pricing import Catalogue, price
from flask_llm_cost.pricing.bundle import as_bundled, bundled
from flask_llm_cost.pricing.catalog import Layer
from flask_llm_cost.pricing.table import parse_table

BUNDLE = as_bundled(
    {
        "schema": 1,
        "updated": "2026-11-01",
        "sources": {"genai-prices": "0"},
        "providers": {},
        "latest": {
            "mistral/large-latest": [
                {"key": "mistral/large-1"},
                {"effective_from": "2026-06-01", "key": "mistral/large-2"},
            ]
        },
        "entries": {
            key: {"rates": [{"input": str(number + 1)}], **({"aliases": aliases} if aliases else {})}
            for number, (key, aliases) in enumerate(
                {
                    "openai/gpt-4o": ["gpt-4o-alias"],
                    "openai/gpt-4o-2024-05-13": [],
                    "openai/ft:gpt-4o": [],
                    "azure/gpt-4o": [],
                    "gemini/gemini-2.5-pro": ["gemini-pro-latest"],
                    "vertex/claude-sonnet-4": [],
                    "bedrock/anthropic.claude-sonnet-4-v1:0": ["anthropic.claude-sonnet-4"],
                    "openrouter/openai/gpt-4o": [],
                    "openrouter/openai/gpt-4o:free": [],
                    "groq/llama-3.3-70b": [],
                    "openrouter/llama-3.3-70b": [],
                    "together/Meta-Llama/Llama-3-8B": [],
                    "mistral/large-1": [],
                    "mistral/large-2": [],
                    "deepseek/shared": [],
                    "zai/shared": [],
                    "fireworks/only-resold": [],
                }.items()
            )
        },
    }
).layer
CATALOGUE = Catalogue([BUNDLE])
NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)
NOTHING = (None, None)


def layers(*tables: Mapping[str, object], aliases: Mapping[str, str] | None = None) -> Catalogue:
    """A catalogue with overrides, and with a file where two tables are given."""
    names = ("overrides", "file")
    user = [Layer.of(name, parse_table(table, name)) for name, table in zip(names, tables, strict=False)]
    return Catalogue([*user, BUNDLE], aliases or {})


def found(provider: str, model: str, catalogue: Catalogue = CATALOGUE) -> tuple[str | None, str | None]:
    receipt = price(provider, model, {"input": 1}, at=NOVEMBER, catalogue=catalogue)
    return receipt.stage, receipt.key


@pytest.mark.parametrize(
    ("provider", "model", "expected"),
    [
        ("openai", "gpt-4o", ("exact", "openai/gpt-4o")),
        ("OpenAI", " GPT-4o ", ("exact", "openai/gpt-4o")),
        ("openai", "gpt-4o-alias", ("exact", "openai/gpt-4o")),
        ("together", "meta-llama/llama-3-8b", ("exact", "together/Meta-Llama/Llama-3-8B")),
        ("google", "gemini-2.5-pro", ("exact", "gemini/gemini-2.5-pro")),
        ("azure_openai", "gpt-4o", ("exact", "azure/gpt-4o")),
        ("aws_bedrock", "anthropic.claude-sonnet-4", ("exact", "bedrock/anthropic.claude-sonnet-4-v1:0")),
        ("openai", "openai/gpt-4o", ("normalized", "openai/gpt-4o")),
        ("gemini", "google/gemini-2.5-pro", ("normalized", "gemini/gemini-2.5-pro")),
        ("gemini", "models/gemini-2.5-pro", ("normalized", "gemini/gemini-2.5-pro")),
        ("gemini", "publishers/google/models/gemini-2.5-pro", ("normalized", "gemini/gemini-2.5-pro")),
        ("vertex", "projects/p/locations/us/publishers/anthropic/models/claude-sonnet-4",
         ("normalized", "vertex/claude-sonnet-4")),
        ("vertex", "claude-sonnet-4@default", ("normalized", "vertex/claude-sonnet-4")),
        ("vertex", "claude-sonnet-4@20250514", ("snapshot", "vertex/claude-sonnet-4")),
        ("bedrock", "us.anthropic.claude-sonnet-4-v1:0", ("normalized", "bedrock/anthropic.claude-sonnet-4-v1:0")),
        ("bedrock", "arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-sonnet-4-20250514-v1:0",
         ("snapshot", "bedrock/anthropic.claude-sonnet-4-v1:0")),
        ("openrouter", "openai/gpt-4o:free", ("exact", "openrouter/openai/gpt-4o:free")),
        ("openrouter", "openai/gpt-4o:nitro", ("openrouter_suffix", "openrouter/openai/gpt-4o")),
        ("openrouter", "openai/gpt-4o-2024-08-06:floor", ("snapshot", "openrouter/openai/gpt-4o")),
        ("openrouter", "llama-3.3-70b:free", NOTHING),
        ("openrouter", "openai/gpt-4o:turbo", NOTHING),
        ("openai", "gpt-4o:nitro", NOTHING),
        ("openai", "gpt-4o-2024-08-06", ("snapshot", "openai/gpt-4o")),
        ("openai", "gpt-4o-20240806", ("snapshot", "openai/gpt-4o")),
        ("openai", "gpt-4o-2024-05-13", ("exact", "openai/gpt-4o-2024-05-13")),
        ("openai", "gpt-4o-2024-13-06", NOTHING),
        ("openai", "gpt-4o-2024-0806", NOTHING),
        ("openai", "gpt-4o-0613", NOTHING),
        ("openai", "gpt-4o-001", NOTHING),
        ("openai", "gpt-4o-mini", NOTHING),
        ("openai", "gpt-4", NOTHING),
        ("openai", "gpt-4o-preview", NOTHING),
        ("openai", "gpt-4o-latest", NOTHING),
        ("openai", "gpt-4o-2024-08-06-2024-08-06", NOTHING),
        ("gemini", "gemini-pro-latest", ("latest", "gemini/gemini-2.5-pro")),
        ("openai", "ft:gpt-4o-2024-08-06:acme::abc", ("fine_tune", "openai/ft:gpt-4o")),
        ("openai", "ft:gpt-4o:acme:name:abc", ("fine_tune", "openai/ft:gpt-4o")),
        ("openai", "ft:gpt-4o-mini:acme::abc", NOTHING),
        ("groq", "gpt-4o", NOTHING),
        ("groq", "openai/gpt-4o", NOTHING),
        ("azure", "openai/gpt-4o", NOTHING),
        ("vllm", "gpt-4o", NOTHING),
        ("", "gpt-4o", ("providerless", "openai/gpt-4o")),
        ("unknown", "gpt-4o-2024-08-06", ("providerless", "openai/gpt-4o")),
        ("", "azure/gpt-4o", ("providerless", "azure/gpt-4o")),
        ("", "shared", NOTHING),
        ("", "llama-3.3-70b", NOTHING),
        ("", "only-resold", NOTHING),
        ("openai", "", NOTHING),
        ("", "", NOTHING),
    ],
)  # fmt: skip
def test_stages(provider: str, model: str, expected: tuple[str | None, str | None]) -> None:
    """Covers P-PRC-09, P-PRC-10 and P-PRC-46, answers P-PRC-11 and P-PRC-49.

    There is no prefix match but the date's, and never another host's price.
    """
    assert found(provider, model) == expected


def test_a_latest_name_means_what_it_meant_on_the_day() -> None:
    days = {datetime(2026, 5, 31, tzinfo=UTC): "mistral/large-1", datetime(2026, 6, 1, tzinfo=UTC): "mistral/large-2"}
    for at, key in days.items():
        receipt = price("mistral", "large-latest", {"input": 1}, at=at, catalogue=CATALOGUE)
        assert (receipt.stage, receipt.key) == ("latest", key)


@pytest.mark.parametrize(
    ("suffix", "status"), [(":nitro", "estimated"), (":floor", "estimated"), (":thinking", "estimated")]
)
def test_routing_suffixes_make_an_estimate(suffix: str, status: str) -> None:
    receipt = price("openrouter", f"openai/gpt-4o{suffix}", {"input": 1}, catalogue=CATALOGUE)
    assert (receipt.status, receipt.reason) == ("estimated", "openrouter_suffix")


def test_online_adds_a_web_search_to_the_bill() -> None:
    """Its price is not in the table, so the cost is only partly known."""
    receipt = price("openrouter", "openai/gpt-4o:online", {"input": 1}, catalogue=CATALOGUE)
    assert ([line.meter for line in receipt.lines], receipt.status) == (["input", "tool.web_search"], "partial")
    told = price("openrouter", "openai/gpt-4o:online", {"tool.web_search": 4}, catalogue=CATALOGUE)
    assert [(line.meter, line.quantity) for line in told.lines] == [("tool.web_search", 4)]


def test_bedrock_regions_become_the_geo_condition() -> None:
    table = {"bedrock/anthropic.claude-x": {"rates": [{"input": "11"}, {"when": {"geo": "global"}, "input": "10"}]}}
    catalogue = layers(table)
    models = (
        "anthropic.claude-x-v1:0",
        "us.anthropic.claude-x-v1:0",
        "global.anthropic.claude-x-v1:0",
        "jp.anthropic.claude-x",
    )
    found = [price("bedrock", model, {"input": 1}, catalogue=catalogue) for model in models]
    assert [(str(receipt.lines[0].rate), receipt.status) for receipt in found] == [
        ("11", "complete"), ("11", "complete"), ("10", "complete"), ("11", "complete"),
    ]  # fmt: skip


def test_an_exact_name_in_a_low_layer_beats_a_loose_one_in_a_high_layer() -> None:
    """Answers P-PRC-04, which had it the other way round."""
    catalogue = layers({"openai/gpt-4o-2024-05": {"input": 1}, "openai/gpt-4o": {"input": 99}})
    receipt = price("openai", "gpt-4o-2024-05-13", {"input": 1}, catalogue=catalogue)
    assert (receipt.layer, receipt.stage, receipt.key) == ("bundled", "exact", "openai/gpt-4o-2024-05-13")
    dated = price("openai", "gpt-4o-2024-08-06", {"input": 1}, catalogue=catalogue)
    assert (dated.layer, dated.stage, dated.key) == ("overrides", "snapshot", "openai/gpt-4o")


def test_within_a_stage_overrides_beat_the_file_and_the_file_the_bundle() -> None:
    """Covers P-PRC-03 and P-PRC-24."""
    both = layers({"openai/gpt-4o": {"input": 1}}, {"gpt-4o": {"input": 2}, "azure/gpt-4o": {"input": 3}})
    answers = {
        provider: price(provider, "gpt-4o", {"input": 1}, catalogue=both) for provider in ("openai", "azure", "groq")
    }
    assert {provider: (receipt.layer, receipt.key) for provider, receipt in answers.items()} == {
        "openai": ("overrides", "openai/gpt-4o"),
        "azure": ("file", "azure/gpt-4o"),
        "groq": ("file", "gpt-4o"),
    }


def test_an_incomplete_entry_is_not_completed_from_a_lower_layer() -> None:
    """Covers P-PRC-16."""
    receipt = price("openai", "gpt-4o", {"input": 1, "output": 1}, catalogue=layers({"openai/gpt-4o": {"output": 1}}))
    assert (receipt.status, receipt.lines[0].rate) == ("partial", None)


@pytest.mark.parametrize(
    ("keys", "provider", "model", "expected"),
    [
        (["deepseek/deepseek-chat", "deepseek-chat"], "deepseek", "deepseek-chat", ("exact", "deepseek/deepseek-chat")),
        (["demo-mini"], "demo", "demo/demo-mini", ("normalized", "demo-mini")),
        (["demo-mini"], "gateway", "demo/demo-mini", ("normalized", "demo-mini")),
        (["demo/demo-mini"], "", "demo-mini", ("providerless", "demo/demo-mini")),
        (["demo/demo-mini", "other/demo-mini"], "", "demo-mini", NOTHING),
        (["demo/demo-mini"], "other", "demo-mini", NOTHING),
        (["demo-mini"], "other", "demo-mini-2026-01-31", ("snapshot", "demo-mini")),
        (["demo-1.0"], "demo", "demo-2.0", NOTHING),
        (["base-model"], "demo", "base-model-pro", NOTHING),
        (["x_ai/grok-9"], "xai", "grok-9", ("exact", "x_ai/grok-9")),
        (["openai/gpt-oss"], "groq", "openai/gpt-oss", NOTHING),
        (["acme-ai/llama"], "together", "acme-ai/llama", ("exact", "acme-ai/llama")),
    ],
)  # fmt: skip
def test_keys_of_a_users_table_may_do_without_a_provider(
    keys: list[str], provider: str, model: str, expected: tuple[str | None, str | None]
) -> None:
    """Covers P-PRC-06, P-PRC-07, P-PRC-08 and P-PRC-10; P-PRC-05 is answered by the stages."""
    assert found(provider, model, layers({key: {"input": 1} for key in keys})) == expected


@pytest.mark.parametrize(
    ("aliases", "provider", "model", "request_model", "expected"),
    [
        ({"prod-chat": "openai/gpt-4o"}, "azure", "gpt-4o-2024-08-06", "prod-chat", ("alias", "openai/gpt-4o")),
        ({"prod-chat": "azure/gpt-4o"}, "azure", "gpt-4o-2024-08-06", "prod-chat", ("alias", "azure/gpt-4o")),
        ({}, "azure", "gpt-4o-2024-08-06", "prod-chat", ("snapshot", "azure/gpt-4o")),
        ({}, "azure", "prod-chat", "prod-chat", NOTHING),
        ({"azure/prod-chat": "gpt-4o"}, "azure", "prod-chat", None, ("alias", "openai/gpt-4o")),
        ({"azure/prod-chat": "gpt-4o"}, "openai", "prod-chat", None, NOTHING),
        ({"Prod-Chat": "openai/gpt-4o-2024-08-06"}, "vllm", "PROD-CHAT", None, ("alias", "openai/gpt-4o")),
        ({"gpt-4o": "azure/gpt-4o"}, "openai", "gpt-4o", None, ("alias", "azure/gpt-4o")),
        ({"prod-chat": "nobody/knows"}, "azure", "gpt-4o", "prod-chat", NOTHING),
        ({"prod-chat": "own-model"}, "azure", "gpt-4o", "prod-chat", ("alias", "own-model")),
    ],
)  # fmt: skip
def test_the_apps_own_mapping_comes_first(
    aliases: dict[str, str],
    provider: str,
    model: str,
    request_model: str | None,
    expected: tuple[str | None, str | None],
) -> None:
    """An Azure deployment without a mapping is priced as the model that the answer names."""
    catalogue = layers({"own-model": {"input": 1}}, aliases=aliases)
    receipt = catalogue.price(provider, model, {"input": 1}, request_model=request_model)
    assert (receipt.stage, receipt.key) == expected


ARN = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2C3"


@pytest.mark.parametrize("key", [ARN, f"bedrock/{ARN}", "application-inference-profile/a1b2c3"])
@pytest.mark.parametrize("asked", [ARN, "application-inference-profile/a1b2C3"])
def test_an_application_profile_is_mapped_by_its_arn(key: str, asked: str) -> None:
    """A reading keeps no account, so the mapping is asked for the rest; without one, nobody can tell the model."""
    catalogue = layers(aliases={key: "bedrock/anthropic.claude-sonnet-4-v1:0"})
    expected = ("alias", "bedrock/anthropic.claude-sonnet-4-v1:0")
    assert found("bedrock", asked, catalogue) == expected
    assert found("bedrock", asked) == NOTHING


def test_an_azure_data_zone_is_a_mapping() -> None:
    """Azure's host says nothing of the data zone, whose prices are the catalogue's ``azure/eu/…``."""
    catalogue = Catalogue([bundled().layer], {"prod-eu": "azure/eu/gpt-5.4"})
    for request_model, total in (("prod-eu", "0.275"), ("prod", "0.25")):
        receipt = catalogue.price("azure", "gpt-5.4-2026-03-05", {"input": 10**5}, request_model=request_model)
        assert (receipt.status, str(receipt.total)) == ("complete", f"{total:0<11}")
