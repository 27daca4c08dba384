"""The catalogue from its sources: genai-prices as the base, LiteLLM laid over it, corrections by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType

from flask_llm_cost.pricing.bundle import SCHEMA, Bundle
from flask_llm_cost.pricing.sources.corrections import Corrections, Settled, prevail
from flask_llm_cost.pricing.sources.genai_prices import from_genai_prices
from flask_llm_cost.pricing.sources.hosts import merge_regions, standard_only
from flask_llm_cost.pricing.sources.litellm import from_litellm
from flask_llm_cost.pricing.sources.overlay import Disagreement, Overlay, lay_over
from flask_llm_cost.pricing.sources.shapes import Plain, RawEntry

GENAI_PRICES, LITELLM = "genai-prices", "litellm"

# Their provider → ours.
IN_GENAI_PRICES: Mapping[str, str] = MappingProxyType(
    {
        "openai": "openai",
        "azure": "azure",
        "anthropic": "anthropic",
        "google": "vertex",
        "aws": "bedrock",
        "mistral": "mistral",
        "groq": "groq",
        "deepseek": "deepseek",
        "x-ai": "xai",
        "cohere": "cohere",
        "openrouter": "openrouter",
        "together": "together",
        "fireworks": "fireworks",
        "perplexity": "perplexity",
        "cerebras": "cerebras",
        "moonshotai": "moonshotai",
        "minimax": "minimax",
        "zai": "zai",
        "meta": "meta",
        "voyageai": "voyageai",
    }
)
IN_LITELLM: Mapping[str, str] = MappingProxyType(
    {
        "openai": "openai",
        "text-completion-openai": "openai",
        "azure": "azure",
        "azure_ai": "azure",
        "anthropic": "anthropic",
        "gemini": "gemini",
        "vertex_ai": "vertex",
        "vertex_ai-language-models": "vertex",
        "vertex_ai-anthropic_models": "vertex",
        "vertex_ai-embedding-models": "vertex",
        "vertex_ai-mistral_models": "vertex",
        "vertex_ai-llama_models": "vertex",
        "vertex_ai-deepseek_models": "vertex",
        "bedrock": "bedrock",
        "bedrock_converse": "bedrock",
        "mistral": "mistral",
        "codestral": "mistral",
        "groq": "groq",
        "deepseek": "deepseek",
        "xai": "xai",
        "cohere": "cohere",
        "cohere_chat": "cohere",
        "together_ai": "together",
        "fireworks_ai": "fireworks",
        "perplexity": "perplexity",
        "cerebras": "cerebras",
        "voyage": "voyageai",
    }
)
# genai-prices lets these hosts fall back to the maker's standard prices.
RESOLD_BY_AZURE = ("openai", "anthropic", "deepseek", "xai", "moonshotai")


@dataclass(frozen=True, slots=True)
class Assembled:
    """A catalogue and the story of its making.

    Attributes:
        bundle: in the bundled form.
        left_out: key → why it is not in it.
        overlay: what the second source added, and where it disagrees.
        settled: each disagreement with the decision that covers it; ``None`` for a new one.
        problems: corrections that do not fit the sources any more.
    """

    bundle: Bundle
    left_out: Mapping[str, str]
    overlay: Overlay
    settled: Sequence[tuple[Disagreement, Settled | None]]
    problems: Sequence[str]


def assemble(
    genai_prices: Sequence[Plain],
    litellm: Mapping[str, object],
    corrections: Corrections,
    *,
    versions: Mapping[str, str],
    day: date,
) -> Assembled:
    """Make the catalogue.

    Args:
        genai_prices: its list of providers, as JSON values.
        litellm: its map of models, as JSON values; empty to go without.
        versions: source → version, for receipts and footers.
        day: on which dated prices of the two are compared.

    Raises:
        PriceTableError: a source is not in the shape it is known to have.
    """
    entries, left_out = _base(genai_prices, corrections)
    bundle: Bundle = {
        "schema": SCHEMA,
        "updated": corrections.updated,
        "sources": dict(versions),
        "providers": corrections.providers,
        "latest": {},
        "entries": entries,
    }
    other = from_litellm(litellm, IN_LITELLM)
    overlay = lay_over(bundle, corrections.without_dropped(other.entries, left_out), LITELLM, day)
    settled = [(found, corrections.settle(found)) for found in overlay.disagreements]
    for found, decision in settled:
        if decision is not None and decision.keep == LITELLM:
            prevail(bundle, found, decision)
    bundle["entries"] = dict(sorted(bundle["entries"].items()))
    return Assembled(bundle, {**left_out, **other.left_out}, overlay, settled, _problems(corrections, settled, litellm))


def _base(genai_prices: Sequence[Plain], corrections: Corrections) -> tuple[dict[str, RawEntry], dict[str, str]]:
    converted = from_genai_prices(genai_prices, IN_GENAI_PRICES, corrections.since)
    gemini = from_genai_prices(genai_prices, {"google": "gemini"}, corrections.since)
    entries, left_out = converted.entries, {**converted.left_out, **gemini.left_out}
    entries.update({key: entry for key, entry in gemini.entries.items() if not key.startswith("gemini/claude")})
    merge_regions(entries)
    _resell(entries)
    corrections.apply(entries, left_out)
    return entries, left_out


def _resell(entries: dict[str, RawEntry]) -> None:
    for key in list(entries):
        maker, _, model = key.partition("/")
        if maker in RESOLD_BY_AZURE and not model.startswith("ft:"):
            entries.setdefault(f"azure/{model}", standard_only(entries[key]))


def _problems(
    corrections: Corrections, settled: Sequence[tuple[Disagreement, Settled | None]], litellm: Mapping[str, object]
) -> list[str]:
    used = {id(decision) for _, decision in settled}
    idle = [decision for decision in corrections.settled if id(decision) not in used] if litellm else []
    return [
        *corrections.problems,
        *(f"corrections.yaml: settled: {', '.join(decision.keys)}: there is nothing to settle." for decision in idle),
    ]
