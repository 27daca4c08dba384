"""From LiteLLM's price map to the bundled form.

Understands ``model_prices_and_context_window.json`` of https://github.com/BerriAI/litellm, as plain JSON values:
one object per model, a price per single token, call, second or image under a name made of the price, the size of
prompt from which it holds, and the tier (``input_cost_per_token_above_200k_tokens_batches``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from flask_llm_cost.pricing.entry import default_per
from flask_llm_cost.pricing.numbers import EXACT
from flask_llm_cost.pricing.sources.genai_prices import Converted
from flask_llm_cost.pricing.sources.shapes import Plain, RawEntry, RawRule, mapping, mappings
from flask_llm_cost.pricing.table import decimal_text
from flask_llm_cost.providers.bedrock import PROFILE

# Price name of LiteLLM → meter. Output seconds, pixels and characters are left out: for those models the
# map repeats the input's price or has another unit for the same bill.
METERS_BY_PRICE: Mapping[str, str] = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cache_read",
    "cache_creation_input_token_cost": "cache_write",
    "cache_creation_input_token_cost_above_1hr": "cache_write.1h",
    "input_cost_per_audio_token": "input.audio",
    "output_cost_per_audio_token": "output.audio",
    "cache_read_input_audio_token_cost": "cache_read.audio",
    "input_cost_per_image_token": "input.image",
    "output_cost_per_image_token": "output.image",
    "cache_read_input_image_token_cost": "cache_read.image",
    "input_cost_per_video_token": "input.video",
    "output_cost_per_video_token": "output.video",
    "output_cost_per_reasoning_token": "output.reasoning",
    "citation_cost_per_token": "output.citation",
    "input_cost_per_character": "character",
    "input_cost_per_query": "request",
    "input_cost_per_request": "request",
    "ocr_cost_per_page": "page",
    "annotation_cost_per_page": "page.annotated",
}
# How a search is called where it is billed by the provider of the model.
SEARCH = {"gemini": "tool.grounding", "vertex": "tool.grounding"}
# It searches with a tool of its own there, too.
CLAUDE_ON_VERTEX = "vertex_ai-anthropic_models"
_PRICE = re.compile(
    r"(?P<price>[a-z_0-9]+?)(?:_above_(?P<over>\d+)k_tokens)?(?:_(?P<mode>batches|flex|priority|ultrafast))?"
)
_MOST_DECIMALS = 9
# A price per second is cut off after some digits; the price per hour has few.
_AN_HOUR = 3600
_MOST_DECIMALS_AN_HOUR = 4
_NUMBER = re.compile(r"\d{1,12}(\.\d{1,30})?([eE]-?\d{1,2})?", re.ASCII)
_MODES = {"batches": "batch"}
_IMAGE = re.compile(r"(?:(?P<quality>hd|standard|low|medium|high)/)?(?P<size>\d+-x-\d+)/(?P<model>[^/]+)")
# "Data residency endpoints are charged a 10% uplift for models released on or after March 5, 2026": the map says of
# two regions for which models that is so (https://developers.openai.com/api/docs/guides/data-residency).
RESIDENCES = ("us", "eu", "ae", "au", "ca", "gb", "in", "jp", "kr", "sg")
_UPLIFTS: Mapping[str, str | Sequence[str]] = {
    "regional_processing_uplift_multiplier_eu": RESIDENCES,
    "regional_endpoint_uplift_multiplier": "regional",
}
# Prices of throughput bought in advance, of an AWS region (its name is not in the model's id), and of Claude
# sold by Anthropic on AWS.
_NO_MODEL = re.compile(r"bedrock/(?:[^/]+/\d+-month-commitment|[a-z]{2}(?:-gov)?-[a-z]+-\d|claude_platform)/")
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def from_litellm(prices: Mapping[str, object], wanted: Mapping[str, str]) -> Converted:
    """Entries of the bundled form.

    Args:
        prices: LiteLLM's map, fractions as Decimals or texts.
        wanted: their provider → ours; others are left out.
    """
    converted = Converted()
    regions: list[_Region] = []
    for name, raw in prices.items():
        model = mapping(raw)
        ours = wanted.get(str(model.get("litellm_provider")))
        if ours is None:
            continue
        key = f"{ours}/{_own_name(name, ours)}"
        if _NO_MODEL.match(name):
            converted.left_out[key] = "a price of a region or a commitment"
        elif image := _IMAGE.fullmatch(key.partition("/")[2]):
            _add_image(converted, ours, image, model)
        elif not (rules := list(_rules(model, ours))):
            converted.left_out[key] = "no rates"
        elif region := ours == "bedrock" and PROFILE.match(key.removeprefix("bedrock/")):
            regions.append(_Region(region[1], key.removeprefix("bedrock/")[region.end() :], rules))
        else:
            converted.entries[key] = {"rates": rules}
    _add_regions(converted, regions)
    return converted


def _own_name(name: str, provider: str) -> str:
    """Without the names of LiteLLM's provider, which ours are not part of."""
    if provider == "fireworks":
        name = name.removeprefix("fireworks_ai/")
        return name.removeprefix("accounts/fireworks/models/")
    for prefix in ("azure_ai/", "azure/", "vertex_ai/", "together_ai/", "voyage/", "bedrock/", f"{provider}/"):
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return name


def _rules(model: Plain, provider: str) -> Iterator[RawRule]:
    """A rule per tier and size of prompt, the standard one first."""
    found: dict[tuple[str | None, int | None], RawRule] = {}
    for name, value in model.items():
        price = _PRICE.fullmatch(name)
        meter = METERS_BY_PRICE.get(price["price"]) if price is not None else None
        if price is None or meter is None or not _is_price(value):
            continue
        tier = _MODES.get(price["mode"], price["mode"])
        over = int(price["over"]) * 1000 if price["over"] else None
        found.setdefault((tier, over), {})[meter] = _rate(meter, value)
    _add_seconds(model, found)
    _add_search(model, provider, found)
    for (mode, over), rates in sorted(found.items(), key=lambda item: (item[0][0] or "", item[0][1] or 0)):
        when = {name: value for name, value in (("mode", mode), ("context_over", over)) if value is not None}
        yield {"when": when, **rates} if when else rates
    yield from _uplifts(model)
    yield from _off_peak(model)


def _is_price(value: object) -> bool:
    """A zero of LiteLLM's says that nobody filled it in as often as that it is free."""
    if isinstance(value, str):
        value = Decimal(value) if _NUMBER.fullmatch(value) else None
    return isinstance(value, int | Decimal) and not isinstance(value, bool) and value > 0


def _rate(meter: str, value: object) -> object:
    """The price of one as providers quote it: of a million tokens, of an hour, of one of anything else.

    The map has binary fractions, 1.4999999999999999e-07 for 0.15 a million; no provider quotes nine decimals.
    """
    per = _AN_HOUR if meter.endswith(".second") else default_per(meter)
    places = _MOST_DECIMALS_AN_HOUR if per == _AN_HOUR else _MOST_DECIMALS
    usd = decimal_text(round(EXACT.multiply(Decimal(str(value)), Decimal(per)), places))
    return {"usd": usd, "per": per} if per == _AN_HOUR else usd


def _add_seconds(model: Plain, found: dict[tuple[str | None, int | None], RawRule]) -> None:
    """What is transcribed is billed by the second of sound, what is filmed by the second of film."""
    kind = model.get("mode")
    if kind == "audio_transcription" and _is_price(model.get("input_cost_per_second")):
        meter, value = "audio.second", model["input_cost_per_second"]
    elif kind == "video_generation" and _is_price(model.get("output_cost_per_second")):
        meter, value = "video.second", model["output_cost_per_second"]
    else:
        return
    found.setdefault((None, None), {})[meter] = _rate(meter, value)


def _add_search(model: Plain, provider: str, found: dict[tuple[str | None, int | None], RawRule]) -> None:
    """A price per search, where it is the same for all sizes of context; Perplexity's fee for a request of each."""
    by_size = mapping(model.get("search_context_cost_per_query") or {})
    if (None, None) not in found:
        return
    if len(set(by_size.values())) == 1:
        own = model.get("litellm_provider") == CLAUDE_ON_VERTEX
        meter = "tool.web_search" if own else SEARCH.get(provider, "tool.web_search")
        found[None, None][meter] = _a_thousand(next(iter(by_size.values())))
    elif provider == "perplexity":
        for size, usd in by_size.items():
            found[None, None][f"request.{size.removeprefix('search_context_size_')}"] = _a_thousand(usd)


def _a_thousand(usd: object) -> Plain:
    return {"usd": decimal_text(EXACT.multiply(Decimal(str(usd)), Decimal(1000))), "per": 1000}


def _uplifts(model: Plain) -> Iterator[RawRule]:
    for name, where in _UPLIFTS.items():
        if _is_price(model.get(name)):
            geo = where if isinstance(where, str) else list(where)
            yield {"when": {"geo": geo}, "multiplier": decimal_text(Decimal(str(model[name])))}


def _off_peak(model: Plain) -> Iterator[RawRule]:
    """Lower prices at stretches of the UTC day."""
    cheap = model.get("off_peak_pricing")
    if not isinstance(cheap, Mapping):
        return
    windows = [window for stretch in mappings(cheap.get("windows")) for window in _windows(stretch)]
    rates = {
        METERS_BY_PRICE[name]: _rate(METERS_BY_PRICE[name], value)
        for name, value in cheap.items()
        if name in METERS_BY_PRICE and _is_price(value)
    }
    if windows and rates:
        yield {"when": {"windows": windows}, **rates}


def _windows(stretch: Plain) -> Iterator[RawRule]:
    hours = stretch.get("hours_utc")
    days = stretch.get("weekdays")
    named = {"days": [_WEEKDAYS[int(str(day)) - 1] for day in days]} if isinstance(days, list) else {}
    for text in [hours] if isinstance(hours, str) else hours if isinstance(hours, list) else []:
        start, _, end = str(text).partition("-")
        yield {"from": start, "to": "24:00" if end == "00:00" else end, **named}


def _add_image(converted: Converted, provider: str, image: re.Match[str], model: Plain) -> None:
    """``hd/1024-x-1792/dall-e-3`` → the rate of ``image.1024x1792.hd`` of dall-e-3."""
    size, quality = image["size"].replace("-x-", "x"), image["quality"] or "standard"
    price = model.get("output_cost_per_image") or model.get("input_cost_per_image") or _of_pixels(model, size)
    if price is None or not _is_price(price):
        return
    key, meter = f"{provider}/{image['model']}", f"image.{size}.{quality}"
    entry = converted.entries.setdefault(key, {"rates": [{}]})
    first, *others = mappings(entry["rates"])
    entry["rates"] = [{meter: decimal_text(Decimal(str(price))), **first}, *others]


def _of_pixels(model: Plain, size: str) -> Decimal | None:
    """The price of an image from one per pixel, which the map has cut off after some digits."""
    pixel = model.get("input_cost_per_pixel")
    if not _is_price(pixel):
        return None
    width, _, height = size.partition("x")
    return round(Decimal(str(pixel)) * int(width) * int(height), 3)


@dataclass(frozen=True, slots=True)
class _Region:
    geo: str
    model: str
    rules: list[RawRule] = field(default_factory=list)


def _add_regions(converted: Converted, regions: list[_Region]) -> None:
    """Bedrock's ``us.x`` as rules of ``x`` for that region.

    Where one region's prices are its own, each of the others is named too: the list price holds there.
    """
    by_model: dict[str, list[_Region]] = {}
    for region in regions:
        by_model.setdefault(f"bedrock/{region.model}", []).append(region)
    for key, found in by_model.items():
        entry: RawEntry = converted.entries.setdefault(key, {"rates": found[0].rules})
        listed = mappings(entry["rates"])
        if any(region.rules != listed for region in found):
            entry["rates"] = [*listed, *(rule for region in found for rule in _regional(region, listed))]


def _regional(region: _Region, listed: Sequence[Plain]) -> Iterator[RawRule]:
    if region.rules == listed:
        yield {"when": {"geo": region.geo}, "multiplier": "1"}
        return
    for rule in region.rules:
        yield {**rule, "when": {**mapping(rule.get("when") or {}), "geo": region.geo}}
