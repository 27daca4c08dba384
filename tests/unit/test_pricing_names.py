"""The names that providers really answer with, against the bundled catalogue; and the laws of matching."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from functools import cache
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_llm_cost.pricing.bundle import bundled
from flask_llm_cost.pricing.catalog import Layer
from flask_llm_cost.pricing.match import Match, match
from flask_llm_cost.pricing.names import FIRST_PARTY, OTHER_HOSTS, normalized, provider_name
from flask_llm_cost.pricing.table import parse_table

DAY = date(2026, 11, 10)
LAYERS = [bundled().layer]
HOSTS = sorted(FIRST_PARTY | OTHER_HOSTS)


def matched(provider: str, model: str) -> Match | None:
    return match(LAYERS, {}, provider, model, DAY)


@pytest.mark.parametrize(
    ("provider", "model", "stage", "key"),
    [
        ("openai", "gpt-4o-2024-08-06", "exact", "openai/gpt-4o"),
        ("openai", "gpt-4o-2024-05-13", "exact", "openai/gpt-4o-2024-05-13"),
        ("openai", "gpt-5-chat-latest", "latest", "openai/gpt-5"),
        ("openai", "text-embedding-ada-002-v2", "exact", "openai/text-embedding-ada-002"),
        ("openai", "ft:gpt-4o-mini-2024-07-18:acme::Abc", "fine_tune", "openai/ft:gpt-4o-mini"),
        ("openai", "ft:gpt-4.1-2025-04-14:acme:support:Abc", "fine_tune", "openai/ft:gpt-4.1"),
        ("azure", "gpt-35-turbo", "exact", "azure/gpt-3.5-turbo"),
        ("azure", "gpt-4.1-mini-2025-04-14", "exact", "azure/gpt-4.1-mini"),
        ("anthropic", "claude-sonnet-4-5-20250929", "snapshot", "anthropic/claude-sonnet-4-5"),
        ("anthropic", "claude-3-7-sonnet-latest", "latest", "anthropic/claude-3-7-sonnet"),
        ("gemini", "models/gemini-2.5-flash-lite", "normalized", "gemini/gemini-2.5-flash-lite"),
        ("gemini", "gemini-2.0-flash-001", "exact", "gemini/gemini-2.0-flash"),
        ("vertex", "publishers/google/models/gemini-2.5-flash", "normalized", "vertex/gemini-2.5-flash"),
        ("vertex", "google/gemini-2.5-flash", "normalized", "vertex/gemini-2.5-flash"),
        ("vertex", "claude-sonnet-4-5@20250929", "snapshot", "vertex/claude-sonnet-4-5"),
        ("vertex", "deepseek-ai/deepseek-r1-0528-maas", "exact", "vertex/deepseek-ai/deepseek-r1-0528-maas"),
        ("bedrock", "claude-haiku-4-5-20251001", "exact", "bedrock/anthropic.claude-haiku-4-5-20251001-v1:0"),
        ("bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "normalized",
         "bedrock/anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ("bedrock", "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-3-haiku-20240307-v1:0:200k",
         "normalized", "bedrock/anthropic.claude-3-haiku-20240307-v1:0"),
        ("mistral", "mistral-large-latest", "latest", "mistral/mistral-large-2512"),
        ("mistral", "open-mistral-nemo", "exact", "mistral/mistral-nemo"),
        ("groq", "meta-llama/llama-4-scout-17b-16e-instruct", "exact",
         "groq/meta-llama/llama-4-scout-17b-16e-instruct"),
        ("deepseek", "deepseek-chat", "exact", "deepseek/deepseek-chat"),
        ("xai", "grok-4", "exact", "xai/grok-4-0709"),
        ("cohere", "command-r-plus-08-2024", "exact", "cohere/command-r-plus"),
        ("openrouter", "anthropic/claude-4.5-sonnet-20250929", "exact", "openrouter/anthropic/claude-sonnet-4.5"),
        ("openrouter", "meta-llama/llama-3.3-70b-instruct:free", "exact",
         "openrouter/meta-llama/llama-3.3-70b-instruct:free"),
        ("openrouter", "openai/gpt-4o:nitro", "openrouter_suffix", "openrouter/openai/gpt-4o"),
        ("together", "meta-llama/Llama-3.3-70B-Instruct-Turbo", "exact",
         "together/meta-llama/Llama-3.3-70B-Instruct-Turbo"),
        ("fireworks", "accounts/fireworks/models/llama-v3p3-70b-instruct", "normalized",
         "fireworks/llama-v3p3-70b-instruct"),
        ("perplexity", "sonar-pro", "exact", "perplexity/sonar-pro"),
        ("cerebras", "gpt-oss-120b", "exact", "cerebras/gpt-oss-120b"),
        ("voyage", "voyage-3.5", "exact", "voyageai/voyage-3.5"),
    ],
)  # fmt: skip
def test_a_name_as_the_provider_answers_it(provider: str, model: str, stage: str, key: str) -> None:
    found = matched(provider, model)
    assert found is not None
    assert (found.stage, found.entry.key) == (stage, key)


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        # A customer's own deployment, whatever it was made from.
        ("fireworks", "accounts/acme/models/llama-v3p3-70b-instruct"),
        ("bedrock", "arn:aws:bedrock:us-east-1:1:custom-model-deployment/a1b2"),
        ("bedrock", "imported-model/a1b2"),
        ("azure", "prod-chat"),
        # What runs at home is not what a host sells under that name.
        ("ollama", "llama3.1:8b"),
        ("vllm", "meta-llama/Llama-3.3-70B-Instruct-Turbo"),
        # A fine-tune whose base has no price for fine-tunes.
        ("openai", "ft:gpt-5.4-2026-03-05:acme::Abc"),
    ],
)
def test_what_nobody_sells_by_that_name_has_no_price(provider: str, model: str) -> None:
    assert matched(provider, model) is None


@cache
def written() -> Mapping[str, frozenset[str]]:
    """Provider → the names in the bundled file, as it is written: keys and aliases, in lower case."""
    raw = json.loads(files("flask_llm_cost.pricing").joinpath("data", "prices.json").read_bytes())
    names: dict[str, set[str]] = {}
    for key, entry in raw["entries"].items():
        provider, _, model = key.partition("/")
        for name in (model, *entry.get("aliases", [])):
            names.setdefault(provider, set()).add(name.casefold().removeprefix(f"{provider}/"))
    return {provider: frozenset(found) for provider, found in names.items()}


sold = st.sampled_from(sorted((provider, name) for provider, names in written().items() for name in names))


@given(sold, st.sampled_from(HOSTS))
def test_no_host_ever_gets_another_hosts_price(of: tuple[str, str], asked: str) -> None:
    """Whoever is asked under whichever name, with the other host before it or without."""
    provider, model = of
    for name in (model, f"{provider}/{model}", f"models/{model}", f"{model}-2026-01-31"):
        found = matched(asked, name)
        assert found is None or provider_name(found.entry.key.partition("/")[0]) == asked


@given(sold, st.from_regex(r"[-.:@/]?[a-z0-9]{1,6}", fullmatch=True), st.booleans())
def test_a_longer_or_shorter_name_is_another_model(of: tuple[str, str], more: str, shorter: bool) -> None:
    """There is no prefix match: what is found by a name is written under it, or under it without a known ornament."""
    provider, model = of
    name = model[: -len(more)] if shorter else model + more
    found = matched(provider, name)
    ornaments = ("fine_tune", "openrouter_suffix", "snapshot")
    known = {name, normalized(provider, name)[0]} & written()[provider]
    assert found is None or known or found.stage in ornaments


names = st.sampled_from(["m", "m-2026-01-31", "m-20260131", "m-latest", "models/m", "other/m", "n-2026-01-31"])


@given(st.lists(st.frozensets(names, max_size=5), min_size=1, max_size=3), names)
def test_exact_in_any_layer_beats_fuzzy_in_every_layer(tables: list[frozenset[str]], asked: str) -> None:
    """And among exact ones the highest layer's is taken."""
    layers = [
        Layer.of(f"layer {number}", parse_table({f"acme/{name}": {"input": 1} for name in sorted(table)}, "T"))
        for number, table in enumerate(tables)
    ]
    found = match(layers, {}, "acme", asked, DAY)
    exact = [number for number, table in enumerate(tables) if asked in table]
    if exact:
        assert found is not None
        assert (found.layer, found.stage, found.entry.key) == (f"layer {exact[0]}", "exact", f"acme/{asked}")
    else:
        assert found is None or found.stage != "exact"
