"""Names of providers and models, and how one host spells what another spells differently."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from flask_llm_cost.providers.bedrock import PROFILE, model_in

# The other names under which SDKs, gateways and price lists know a provider → ours.
PROVIDER_ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "google": "gemini",
        "google_ai_studio": "gemini",
        "google-gla": "gemini",
        "google_genai": "gemini",
        "vertexai": "vertex",
        "vertex_ai": "vertex",
        "google_vertex": "vertex",
        "google-vertex": "vertex",
        "azure_openai": "azure",
        "azure-openai": "azure",
        "azure_ai": "azure",
        "x_ai": "xai",
        "x-ai": "xai",
        "aws": "bedrock",
        "aws_bedrock": "bedrock",
        "aws.bedrock": "bedrock",
        "amazon_bedrock": "bedrock",
        "amazon-bedrock": "bedrock",
        "mistralai": "mistral",
        "mistral_ai": "mistral",
        "together_ai": "together",
        "togetherai": "together",
        "fireworks_ai": "fireworks",
        "fireworks-ai": "fireworks",
        "voyage": "voyageai",
        "z-ai": "zai",
        "z_ai": "zai",
        "moonshot": "moonshotai",
    }
)

# Hosts that sell the models they made. Only among these may a model without a provider be looked for.
FIRST_PARTY = frozenset(
    {
        "anthropic",
        "cohere",
        "deepseek",
        "gemini",
        "meta",
        "minimax",
        "mistral",
        "moonshotai",
        "openai",
        "perplexity",
        "voyageai",
        "xai",
        "zai",
    }
)
OTHER_HOSTS = frozenset({"azure", "bedrock", "cerebras", "fireworks", "groq", "openrouter", "together", "vertex"})
PROVIDERS = FIRST_PARTY | OTHER_HOSTS | frozenset(PROVIDER_ALIASES)
NO_PROVIDER = frozenset({"", "unknown"})

BEDROCK_VERSION = re.compile(r"-v\d+:\d+(:\d+k)?$")
SNAPSHOT = re.compile(r"-(20\d\d)(-?)(0[1-9]|1[0-2])\2(0[1-9]|[12]\d|3[01])$")
VERTEX_VERSION = re.compile(r"@(\d{8}|default|latest)$")
# https://docs.fireworks.ai/getting-started/concepts: the models of Fireworks' own account; Vertex's endpoint for
# OpenAI clients names the publisher. What other accounts and publishers have are not their own models.
OWN_PREFIXES: Mapping[str, str] = MappingProxyType({"fireworks": "accounts/fireworks/models/", "vertex": "google/"})
RESOURCE = re.compile(r"^(?:.*/)?publishers/[^/]+/models/")


def provider_name(name: str) -> str:
    """Our name of a provider, case folded."""
    folded = name.strip().casefold()
    return PROVIDER_ALIASES.get(folded, folded)


def model_name(name: str) -> str:
    """A model's name as tables are asked for it, case folded."""
    return name.strip().casefold()


def alias_name(name: str) -> str:
    """A key of the app's own mapping, case folded; of an ARN what a reading keeps of it, without region and account."""
    provider, arn, resource = model_name(name).partition("arn:")
    return provider + (model_in(arn + resource) or "")


def without_snapshot(model: str) -> str | None:
    """The model without its date, exactly ``-YYYY-MM-DD`` or ``-YYYYMMDD``; ``None`` where it has none."""
    found = SNAPSHOT.search(model)
    return model[: found.start()] if found and found.start() else None


def normalized(provider: str, model: str) -> tuple[str, str | None]:
    """The model in the spelling of the provider's own list, and the region that its name carried."""
    name, geo = model, None
    if name.startswith(("arn:aws", "arn:")):
        name = name.rpartition("/")[2]
    name = RESOURCE.sub("", name).removeprefix("models/").removeprefix(f"{provider}/")
    for alias, ours in PROVIDER_ALIASES.items():
        if ours == provider:
            name = name.removeprefix(f"{alias}/")
    if provider in OWN_PREFIXES:
        name = name.removeprefix(OWN_PREFIXES[provider])
    if provider == "bedrock":
        region = PROFILE.match(name)
        if region:
            name, geo = name[region.end() :], region[1]
        name = BEDROCK_VERSION.sub("", name)
    elif provider == "vertex":
        name = VERTEX_VERSION.sub(lambda found: f"-{found[1]}" if found[1].isdigit() else "", name)
    return name, geo
