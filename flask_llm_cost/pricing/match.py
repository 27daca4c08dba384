"""Which entry prices a call: stages from exact to loose, and within a stage the layers from high to low.

So an exact name in a low layer beats a loose one in a high layer. There is no prefix match but the
dated snapshot's, and no look at another host's list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from flask_llm_cost.pricing.catalog import Layer
from flask_llm_cost.pricing.entry import Entry
from flask_llm_cost.pricing.names import (
    NO_PROVIDER,
    alias_name,
    model_name,
    normalized,
    provider_name,
    without_snapshot,
)

# https://openrouter.ai/docs/guides/routing/model-variants: these choose among hosts whose prices differ.
ESTIMATED_SUFFIXES = (":nitro", ":floor", ":thinking")
ONLINE_SUFFIX = ":online"


@dataclass(frozen=True, slots=True)
class Match:
    """The entry that prices a call, and how it was found.

    Attributes:
        entry: the price entry.
        layer: "overrides", "file" or "bundled".
        stage: "alias", "exact", "normalized", "openrouter_suffix", "snapshot", "latest", "fine_tune" or
            "providerless".
        geo: the region that the model's name carried.
        estimated: the suffix that makes the price an estimate.
        online: whether the name asks for OpenRouter's web search.
    """

    entry: Entry
    layer: str
    stage: str
    geo: str | None = None
    estimated: str | None = None
    online: bool = False


@dataclass(frozen=True, slots=True)
class Name:
    """One spelling of the model that is looked for."""

    model: str
    geo: str | None = None
    estimated: str | None = None
    online: bool = False


Finder = Callable[[Layer, Name], Entry | None]


def match(
    layers: Sequence[Layer],
    aliases: Mapping[str, str],
    provider: str,
    model: str,
    day: date,
    request_model: str | None = None,
) -> Match | None:
    """The entry for a model, or ``None`` where no table knows it.

    Args:
        layers: highest first.
        aliases: the app's own names, case folded → catalogue key.
        provider: who answered; "" or "unknown" where nobody can tell.
        model: as answered.
        day: UTC day of the call, for names whose meaning changes.
        request_model: as asked for; only the app's own mapping is asked about it.
    """
    provider = provider_name(provider)
    target = _mapped(aliases, provider, (model, request_model))
    if target is not None:
        found = _match_key(layers, target, day)
        return None if found is None else Match(found.entry, found.layer, "alias", found.geo)
    if provider in NO_PROVIDER:
        return _providerless(layers, model_name(model), day)
    return _match_model(layers, provider, model_name(model), day)


def _mapped(aliases: Mapping[str, str], provider: str, names: Sequence[str | None]) -> str | None:
    if not aliases:
        return None
    for name in names:
        if name:
            folded = alias_name(name)
            target = aliases.get(f"{provider}/{folded}") or aliases.get(folded)
            if target is not None:
                return target
    return None


def _match_key(layers: Sequence[Layer], target: str, day: date) -> Match | None:
    """A mapping's target is a key, "openai/gpt-4o", or a model alone where one first party sells it."""
    provider, slash, model = target.partition("/")
    if slash:
        found = _match_model(layers, provider_name(provider), model_name(model), day)
        if found is not None:
            return found
    for layer in layers:
        entry = layer.find("", model_name(target))
        if entry is not None:
            return Match(entry, layer.name, "exact")
    return _providerless(layers, model_name(target), day)


def _match_model(layers: Sequence[Layer], provider: str, model: str, day: date) -> Match | None:
    for stage, names, find in _stages(provider, model, day):
        for layer in layers:
            for name in names:
                entry = find(layer, name)
                if entry is not None:
                    return Match(entry, layer.name, stage, name.geo, name.estimated, name.online)
    return None


def _stages(provider: str, model: str, day: date) -> Iterator[tuple[str, list[Name], Finder]]:
    def exact(layer: Layer, name: Name) -> Entry | None:
        return layer.find(provider, name.model)

    def latest(layer: Layer, name: Name) -> Entry | None:
        return layer.find_latest(provider, name.model, day)

    names = [Name(model)]
    yield "exact", names, exact
    plain, geo = normalized(provider, model)
    if plain != model:
        names.append(Name(plain, geo))
        yield "normalized", names[-1:], exact
    if "/" in plain:
        yield "normalized", [Name(plain.rpartition("/")[2], geo)], _bare
    if provider == "openrouter":
        based = [base for base in map(_without_suffix, list(names)) if base is not None]
        names.extend(based)
        yield "openrouter_suffix", based, exact
    yield "snapshot", _snapshots(names), exact
    yield "latest", [name for name in names if name.model.endswith("-latest")], latest
    yield "fine_tune", _fine_tunes(names), exact


def _bare(layer: Layer, name: Name) -> Entry | None:
    """A user's key without a provider also stands for the model behind a gateway's path."""
    return layer.find("", name.model) if layer.user else None


def _without_suffix(name: Name) -> Name | None:
    for suffix in ESTIMATED_SUFFIXES:
        if name.model.endswith(suffix):
            return Name(name.model.removesuffix(suffix), name.geo, suffix)
    if name.model.endswith(ONLINE_SUFFIX):
        return Name(name.model.removesuffix(ONLINE_SUFFIX), name.geo, online=True)
    return None


def _snapshots(names: Sequence[Name]) -> list[Name]:
    return [
        Name(base, name.geo, name.estimated, name.online)
        for name in names
        if (base := without_snapshot(name.model)) is not None
    ]


def _fine_tunes(names: Sequence[Name]) -> list[Name]:
    """``ft:base:org:name:id`` → ``ft:base``, dated or not: never the base model itself, which costs less."""
    found: list[Name] = []
    for name in names:
        parts = name.model.split(":")
        if parts[0] == "ft" and len(parts) > 1 and parts[1]:
            base = f"ft:{parts[1]}"
            undated = without_snapshot(base)
            found += [Name(base, name.geo), *([Name(undated, name.geo)] if undated else [])]
    return found


def _providerless(layers: Sequence[Layer], model: str, day: date) -> Match | None:
    """A model whose provider nobody told: priced where exactly one entry can be meant.

    A name such as "openai/gpt-4o" does tell its provider.
    """
    provider, slash, rest = model.partition("/")
    if slash:
        found = _match_model(layers, provider_name(provider), rest, day)
        if found is not None:
            return Match(found.entry, found.layer, "providerless", found.geo, found.estimated, found.online)
    names = [model, *([base] if (base := without_snapshot(model)) else [])]
    for name in names:
        for layer in layers:
            entry = layer.find("", name) or layer.find_unique(name)
            if entry is not None:
                return Match(entry, layer.name, "providerless")
    return None
