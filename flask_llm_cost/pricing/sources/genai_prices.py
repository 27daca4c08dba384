"""From published price data to the bundled form.

Understands the data of genai-prices (https://github.com/pydantic/genai-prices), as plain JSON values: its
semantics are that the last dated price in force wins whole, that a tier prices the whole request, and
that a variant overrides price keys one by one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from flask_llm_cost.pricing.names import provider_name
from flask_llm_cost.pricing.sources.clauses import literals, matches
from flask_llm_cost.pricing.sources.shapes import Plain, RawEntry, RawRule, mapping, mappings
from flask_llm_cost.pricing.table import decimal_text

# Price key of genai-prices → meter, and how many units it is for where that is not the meter's own.
METERS_BY_PRICE_KEY: Mapping[str, tuple[str, int | None]] = {
    "input_mtok": ("input", None),
    "output_mtok": ("output", None),
    "cache_read_mtok": ("cache_read", None),
    "cache_write_mtok": ("cache_write", None),
    "cache_write_1h_mtok": ("cache_write.1h", None),
    "input_audio_mtok": ("input.audio", None),
    "input_image_mtok": ("input.image", None),
    "input_video_mtok": ("input.video", None),
    "output_audio_mtok": ("output.audio", None),
    "output_image_mtok": ("output.image", None),
    "output_video_mtok": ("output.video", None),
    "output_reasoning_mtok": ("output.reasoning", None),
    "output_citation_mtok": ("output.citation", None),
    "cache_audio_read_mtok": ("cache_read.audio", None),
    "cache_image_read_mtok": ("cache_read.image", None),
    "web_searches_kcount": ("tool.web_search", 1000),
    "storage_searches_kcount": ("tool.file_search", 1000),
    "requests_kcount": ("request", 1000),
    "input_mchars": ("character", 1_000_000),
    "audio_hours": ("audio.second", 3600),
    "input_audio_hours": ("audio.second", 3600),
    "input_document_kpages": ("page", 1000),
    "input_annotated_document_kpages": ("page.annotated", 1000),
}
MODE_KEYS = ("processing", "service_tier")
STANDARD = "default"

# A clause of genai-prices may end in the middle of a name; only whole names are names of ours.
CUT_NAME = re.compile(r"(-20\d\d|[-.@]|\.ft|gemini-2\.0-flash-0)$|^ft:")
# Google's price lists have one price for all kinds of input unless they name audio's.
ONE_PRICE_FOR_ALL_KINDS = frozenset({"gemini", "vertex"})


@dataclass(frozen=True, slots=True)
class Since:
    """From when a provider is known to have sold a mode, where the source only says when it looked."""

    provider: str
    mode: str
    day: date


@dataclass(slots=True)
class Converted:
    """Entries made of a source, and what was left out and why."""

    entries: dict[str, RawEntry] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def from_genai_prices(providers: Sequence[Plain], wanted: Mapping[str, str], since: Sequence[Since]) -> Converted:
    """Entries of the bundled form.

    Args:
        providers: genai-prices' list of providers as JSON values, rates as numbers or texts.
        wanted: their provider id → ours; others are left out.
        since: earlier first days of modes.
    """
    converted = Converted()
    for provider in providers:
        ours = wanted.get(str(provider["id"]))
        if ours is None:
            continue
        for model in _models(provider):
            key = f"{ours}/{_own_id(model)}"
            rules = _rules(model, ours, since)
            if not rules:
                converted.left_out[key] = "no rates"
                continue
            entry: RawEntry = {"rates": rules}
            names = _aliases(model, _models(provider), ours)
            if names:
                entry["aliases"] = names
            converted.entries.setdefault(key, entry)
    return converted


def _models(provider: Plain) -> Sequence[Plain]:
    return mappings(provider.get("models"))


def _own_id(model: Plain) -> str:
    """``claude-3-opus-latest`` with the clause ``claude-3-opus…`` is claude-3-opus, of which -latest is a name."""
    name = str(model["id"])
    base = name.removesuffix("-latest")
    if base != name and ("starts_with", base) in set(literals(model["match"])):
        return base
    return name.rstrip("-")


def _rules(model: Plain, provider: str, since: Sequence[Since]) -> list[RawRule]:
    rules: list[RawRule] = []
    for dated in _dated(model["prices"]):
        rules += _priced(dated.prices, provider, dated.when, dated.starts, dated.ends)
    last_change = max((str(rule["effective_from"]) for rule in rules if "effective_from" in rule), default=None)
    for variant in mappings(model.get("price_variants")):
        when = _variant_when(mapping(variant["when"]))
        if when is not None:
            starts = _start(variant.get("constraint"))
            starts = _backdated(starts, provider, when, last_change, since)
            rules += _priced(mapping(variant["prices"]), provider, when, starts, None)
    return rules


@dataclass(frozen=True, slots=True)
class _Dated:
    prices: Plain
    when: RawRule
    starts: str | None
    ends: str | None


def _dated(prices: object) -> Iterator[_Dated]:
    """Each price with the stretch it holds for. A time of day holds from the dated price before it on."""
    if isinstance(prices, Mapping):
        yield _Dated(prices, {}, None, None)
        return
    steps = mappings(prices)
    starts: str | None = None
    for position, step in enumerate(steps):
        constraint = step.get("constraint")
        window = _window(constraint)
        starts = starts if window else _start(constraint)
        later = (_start(other.get("constraint")) for other in steps[position + 1 :])
        yield _Dated(mapping(step["prices"]), window, starts, next((day for day in later if day), None))


def _start(constraint: object) -> str | None:
    return str(constraint["start_date"]) if isinstance(constraint, Mapping) and "start_date" in constraint else None


def _window(constraint: object) -> RawRule:
    if not isinstance(constraint, Mapping) or "start_time" not in constraint:
        return {}
    hours = {"from": str(constraint["start_time"])[:5], "to": str(constraint["end_time"])[:5]}
    return {"windows": [hours]}


def _variant_when(when: Plain) -> RawRule | None:
    """Our conditions for a variant's; ``None`` for the standard tier and for what we have no condition for."""
    if len(when) != 1:
        return None
    name, value = next(iter(when.items()))
    if name in MODE_KEYS:
        return None if value == STANDARD else {"mode": str(value)}
    return {"speed": str(value)} if name == "speed" else None


def _backdated(
    starts: str | None, provider: str, when: RawRule, last_change: str | None, since: Sequence[Since]
) -> str | None:
    """The mode's real first day, but not before the standard price it belongs to."""
    for known in since:
        if starts is not None and (known.provider, known.mode) == (provider, when.get("mode")):
            earliest = max(known.day.isoformat(), last_change or "")
            return min(starts, earliest)
    return starts


def _priced(prices: Plain, provider: str, when: RawRule, starts: str | None, ends: str | None) -> list[RawRule]:
    """A rule for the base rates and one for each size of prompt at which some of them change."""
    base: RawRule = {}
    tiers: dict[int, RawRule] = {}
    for price_key, price in prices.items():
        meter, per = _meter(price_key, provider)
        if meter is None or price is None:
            continue
        if isinstance(price, Mapping):
            base[meter] = _rate(price["base"], per)
            for tier in mappings(price["tiers"]):
                tiers.setdefault(int(str(tier["start"])), {})[meter] = _rate(tier["price"], per)
        else:
            base[meter] = _rate(price, per)
    dates = {name: day for name, day in (("effective_from", starts), ("effective_until", ends)) if day}
    rules = [] if not base else [{**_when(when), **dates, **_all_kinds(base, provider)}]
    for start, rates in sorted(tiers.items()):
        rules.append({**_when({**when, **_threshold(start)}), **dates, **_all_kinds(rates, provider)})
    return rules


def _when(when: RawRule) -> RawRule:
    return {"when": when} if when else {}


def _threshold(start: int) -> RawRule:
    """A tier above 199,999 tokens is one from 200,000 on, as its provider says it."""
    return {"context_from": start + 1} if start % 1000 == 999 else {"context_over": start}


def _meter(price_key: str, provider: str) -> tuple[str | None, int | None]:
    meter, per = METERS_BY_PRICE_KEY.get(price_key, (None, None))
    if meter == "tool.web_search" and provider in ONE_PRICE_FOR_ALL_KINDS:
        return "tool.grounding", per
    return meter, per


def _rate(price: object, per: int | None) -> object:
    usd = decimal_text(Decimal(str(price)))
    return usd if per is None else {"usd": usd, "per": per}


def _all_kinds(rates: RawRule, provider: str) -> RawRule:
    if provider in ONE_PRICE_FOR_ALL_KINDS:
        for own, kind in (("input", "input.audio"), ("cache_read", "cache_read.audio")):
            if own in rates:
                rates.setdefault(kind, rates[own])
    return rates


def _aliases(model: Plain, models: Sequence[Plain], provider: str) -> list[str]:
    """Whole names in a model's clause that its own provider would read as this model."""
    own = _own_id(model)
    found: dict[str, None] = {}
    if own != model["id"] and str(model["id"]).endswith("-latest"):
        found[str(model["id"])] = None
    for how, text in literals(model["match"]):
        name = _bare_name(text.lower() if how == "equals" else text.lower().rstrip("@"), provider)
        if how == "regex" or name == own.lower() or (how != "equals" and CUT_NAME.search(name)):
            continue
        reader = next((other for other in models if matches(other["match"], name)), None)
        if reader is not None and reader["id"] == model["id"]:
            found[name] = None
    return sorted(found)


def _bare_name(name: str, provider: str) -> str:
    """Without the provider's own prefix, which matching strips anyway."""
    for prefix in (f"{provider}/", f"{provider}:"):
        name = name.removeprefix(prefix)
    first, slash, rest = name.partition("/")
    return rest if slash and provider != "openrouter" and provider_name(first) == provider else name
