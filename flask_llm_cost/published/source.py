"""Where published prices come from, and reading each of their forms."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from importlib.metadata import version as installed_version
from types import MappingProxyType

from packaging.version import InvalidVersion, Version

from flask_llm_cost.errors import PriceSourceError, PriceTableError
from flask_llm_cost.pricing.bundle import Bundle, as_bundled, expanded
from flask_llm_cost.pricing.sources.assemble import GENAI_PRICES, IN_LITELLM, LITELLM, assemble
from flask_llm_cost.pricing.sources.corrections import Corrections
from flask_llm_cost.pricing.sources.litellm import from_litellm
from flask_llm_cost.pricing.sources.openrouter import from_openrouter
from flask_llm_cost.pricing.sources.shapes import Plain, RawEntry, mapping, mappings
from flask_llm_cost.pricing.tablefile import raw_table
from flask_llm_cost.published.fetch import MOST_BYTES, Fetched, fetch

SCHEMA = 1
OPENROUTER = "openrouter"
URLS: Mapping[str, str] = MappingProxyType(
    {
        GENAI_PRICES: "https://raw.githubusercontent.com/pydantic/genai-prices/refs/heads/main/prices/new_data/v2/data.json",
        LITELLM: "https://raw.githubusercontent.com/BerriAI/litellm/main/model_prices_and_context_window.json",
        OPENROUTER: "https://openrouter.ai/api/v1/models",
    }
)
ALL = (GENAI_PRICES, LITELLM, OPENROUTER)

Entries = dict[str, RawEntry]
Versions = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Published:
    """What a source publishes.

    Attributes:
        entries: key → entry, each with all of its rules and its source; ``None`` where nothing changed.
        versions: address → version.
        partial: whether it has only some of the rates, so that the others in use stay.
        notes: what is odd about it.
    """

    entries: Entries | None
    versions: Versions
    partial: bool = False
    notes: tuple[str, ...] = ()


def published(source: str, held: Versions, today: date) -> Published:
    """Read a source.

    Args:
        source: "all", "genai-prices", "litellm", "openrouter", an https address, or a file.
        held: address → version of what is in the prices file now.

    Raises:
        PriceSourceError: it cannot be read, or is not what it is known to be.
    """
    try:
        if source == "all":
            return _together(held, today)
        if source in URLS:
            return _fetched(source, URLS[source], held, today)
        if "://" in source:
            return _fetched(source, source, held, today)
        entries, partial = _any(source, _from_file(source), today)
        return Published(entries, {}, partial)
    except PriceTableError as error:
        raise PriceSourceError(f"{source}: {error}") from error


def _fetched(source: str, url: str, held: Versions, today: date) -> Published:
    found = fetch(url, held.get(url))
    versions = {url: found.version}
    if found.content is None:
        return Published(None, versions)
    raw = _json(url, found.content)
    entries, partial = (_named(source, raw, today), True) if source in URLS else _any(source, raw, today)
    return Published(entries, versions, partial)


def _from_file(path: str) -> object:
    return raw_table(path, f"Unable to read {path!r}", MOST_BYTES)


def _together(held: Versions, today: date) -> Published:
    found = {name: fetch(URLS[name], held.get(URLS[name])) for name in ALL}
    versions = {URLS[name]: answer.version for name, answer in found.items()}
    if all(answer.content is None for answer in found.values()):
        return Published(None, versions)
    raw = {name: _json(URLS[name], _whole(name, answer)) for name, answer in found.items()}
    corrections = Corrections.bundled()
    assembled = assemble(
        _providers(raw[GENAI_PRICES]),
        _models(raw[LITELLM]),
        corrections,
        versions={GENAI_PRICES: today.isoformat(), LITELLM: today.isoformat()},
        day=today,
    )
    new = [found for found, decision in assembled.settled if decision is None]
    notes = () if not new else (f"genai-prices and litellm disagree on {len(new)} more rates: genai-prices is used.",)
    # OpenRouter's own word on its own models.
    own = _sourced(from_openrouter(_listed(raw[OPENROUTER])).entries, OPENROUTER)
    return Published({**_expanded(assembled.bundle), **own}, versions, notes=notes)


def _whole(name: str, answer: Fetched) -> bytes:
    """The content, got again without a condition where only the other sources changed."""
    content = answer.content if answer.content is not None else fetch(URLS[name]).content
    if content is None:
        raise PriceSourceError(f"Unable to fetch {URLS[name]}: it answered nothing.")
    return content


def _named(source: str, raw: object, today: date) -> Entries:
    if source == GENAI_PRICES:
        return _genai_prices(raw, today)
    if source == LITELLM:
        return _sourced(from_litellm(_models(raw), IN_LITELLM).entries, LITELLM)
    return _sourced(from_openrouter(_listed(raw)).entries, OPENROUTER)


def _any(source: str, raw: object, today: date) -> tuple[Entries, bool]:
    """A file of any of the known forms, and whether it has only some of the rates."""
    if isinstance(raw, list):
        return _genai_prices(raw, today), True
    if not isinstance(raw, Mapping):
        raise PriceSourceError(f"{source} is no price table: it is neither a list nor a mapping.")
    if isinstance(raw.get("data"), list):
        return _named(OPENROUTER, raw, today), True
    if "models" not in raw and any(isinstance(item, Mapping) and "litellm_provider" in item for item in raw.values()):
        return _named(LITELLM, raw, today), True
    return _ours(source, raw), False


def _genai_prices(raw: object, today: date) -> Entries:
    versions = {GENAI_PRICES: today.isoformat()}
    return _expanded(assemble(_providers(raw), {}, Corrections.bundled(), versions=versions, day=today).bundle)


def _ours(source: str, raw: Plain) -> Entries:
    """A registry in the form of our prices files. It says for which version of that form it is written."""
    metadata = mapping(raw.get("metadata") or {})
    schema = raw.get("schema_version", metadata.get("schema_version"))
    if str(schema) != str(SCHEMA):
        raise PriceSourceError(f"{source}: schema_version = {schema!r}: this version of flask-llm-cost reads {SCHEMA}.")
    _refuse_newer(source, metadata.get("minimum_version"))
    models = mapping(raw.get("models") or {})
    return {key: dict(mapping(entry)) for key, entry in models.items()}


def _refuse_newer(source: str, minimum: object) -> None:
    if minimum is None:
        return
    try:
        needed = Version(str(minimum))
    except InvalidVersion:
        raise PriceSourceError(f"{source}: minimum_version = {minimum!r} is not a version.") from None
    ours = Version(installed_version("flask-llm-cost"))
    if needed > ours:
        raise PriceSourceError(f"{source} needs flask-llm-cost {needed} or newer; this is {ours}.")


def _expanded(bundle: Bundle) -> Entries:
    """The bundle's entries, each of them read once: a malformed one is the source's fault, and said now."""
    layer = as_bundled(bundle).layer
    for key in layer:
        layer.entry(key)
    return expanded(bundle)


def _sourced(entries: Entries, source: str) -> Entries:
    return {key: {"source": source, **entry} for key, entry in entries.items()}


def _json(url: str, content: bytes) -> object:
    try:
        return json.loads(content, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        raise PriceSourceError(f"{url} is not JSON: {error}.") from None


def _providers(raw: object) -> Sequence[Plain]:
    if not isinstance(raw, list) or not raw:
        raise PriceSourceError("genai-prices: a list of providers is needed.")
    return mappings(raw)


def _models(raw: object) -> dict[str, object]:
    if not isinstance(raw, Mapping) or len(raw) < 2:
        raise PriceSourceError("litellm: a mapping of models is needed.")
    return {key: model for key, model in raw.items() if key != "sample_spec"}


def _listed(raw: object) -> Sequence[Plain]:
    data = raw.get("data") if isinstance(raw, Mapping) else None
    if not isinstance(data, list) or not data:
        raise PriceSourceError("openrouter: a list of models under data is needed.")
    return mappings(data)
