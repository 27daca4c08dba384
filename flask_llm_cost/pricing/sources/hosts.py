"""Entries of hosts that resell models: Bedrock's regions, and makers' models without the makers' tiers."""

from __future__ import annotations

from collections.abc import Mapping

from flask_llm_cost.pricing.names import BEDROCK_VERSION
from flask_llm_cost.pricing.sources.shapes import RawEntry, RawRule, mapping, mappings


def merge_regions(entries: dict[str, RawEntry], provider: str = "bedrock") -> None:
    """Bedrock's ``global.x`` and ``regional.x`` as one entry ``x`` with a rule for the global endpoint, in place."""
    for key in [key for key in entries if key.startswith(f"{provider}/")]:
        region, dot, model = key.removeprefix(f"{provider}/").partition(".")
        if dot and region == "regional":
            entries[f"{provider}/{model}"] = entries.pop(key)
    for key in [key for key in entries if key.startswith(f"{provider}/global.")]:
        model = key.removeprefix(f"{provider}/global.")
        worldwide = entries.pop(key)
        regional = _same_model(entries, provider, model)
        if regional is None:
            entries[f"{provider}/{model}"] = worldwide
            continue
        everywhere: list[RawRule] = [
            {**rule, "when": {**mapping(rule.get("when") or {}), "geo": "global"}}
            for rule in mappings(worldwide["rates"])
        ]
        regional["rates"] = [*mappings(regional["rates"]), *everywhere]
    _name_bedrock(entries, provider)


def _same_model(entries: Mapping[str, RawEntry], provider: str, model: str) -> RawEntry | None:
    plain = BEDROCK_VERSION.sub("", model)
    for key in (f"{provider}/{model}", f"{provider}/{plain}", f"{provider}/{plain}-v1:0"):
        if key in entries:
            return entries[key]
    return None


def _name_bedrock(entries: Mapping[str, RawEntry], provider: str) -> None:
    """Names without version, and for Anthropic without vendor: so its answers name the model."""
    taken: dict[str, list[str]] = {}
    for key in entries:
        if key.startswith(f"{provider}/"):
            plain = BEDROCK_VERSION.sub("", key.removeprefix(f"{provider}/"))
            taken.setdefault(plain, []).append(key)
            if plain.startswith("anthropic."):
                taken.setdefault(plain.removeprefix("anthropic."), []).append(key)
    for key in entries:
        if key.startswith(f"{provider}/"):
            own = key.removeprefix(f"{provider}/")
            names = sorted(name for name, keys in taken.items() if keys == [key] and name != own)
            entries[key].pop("aliases", None)
            if names:
                entries[key]["aliases"] = names


def standard_only(entry: RawEntry) -> RawEntry:
    """An entry without its tiers, for a host that resells the model but not the tiers."""
    rules = [
        rule for rule in mappings(entry["rates"]) if not set(mapping(rule.get("when") or {})) & {"mode", "geo", "speed"}
    ]
    return {**entry, "rates": rules}
