"""The catalogue that ships with the package: ``data/prices.json``, made by ``scripts/build_prices.py``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.resources import files
from typing import TypedDict, cast

from flask_llm_cost.pricing.catalog import DatedAlias, Layer
from flask_llm_cost.pricing.entry import Entry, by_precedence
from flask_llm_cost.pricing.table import parse_entry, parse_rules

SCHEMA = 1


class BundledAlias(TypedDict, total=False):
    effective_from: str
    key: str


class Bundle(TypedDict):
    """The bundled file.

    Attributes:
        schema: version of this form.
        updated: the day on which its sources were last compared with the providers' pages.
        sources: name → version.
        providers: provider → rules that every entry of that provider has.
        latest: "provider/name-latest" → what it means, from when.
        entries: key → entry, in the full form of user tables.
    """

    schema: int
    updated: str
    sources: Mapping[str, str]
    providers: Mapping[str, list[Mapping[str, object]]]
    latest: Mapping[str, list[BundledAlias]]
    entries: Mapping[str, Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class Bundled:
    """The bundled layer and what it says about itself."""

    layer: Layer
    updated: date
    sources: Mapping[str, str]


@cache
def bundled() -> Bundled:
    """The bundled catalogue, read once per process; its entries are parsed when they are first asked for."""
    return as_bundled(_read())


def bundled_entries() -> dict[str, dict[str, object]]:
    """The bundled entries as they are written, each with its source and its provider's rules."""
    return expanded(_read())


def expanded(bundle: Bundle) -> dict[str, dict[str, object]]:
    """A bundle's entries that need nothing but themselves, as a prices file has them."""
    default = next(iter(bundle["sources"]), "manual")
    entries: dict[str, dict[str, object]] = {}
    for key, entry in bundle["entries"].items():
        common = bundle["providers"].get(key.partition("/")[0], [])
        entries[key] = {"source": default, **entry, "rates": [*cast(list[object], entry["rates"]), *common]}
    return entries


def _read() -> Bundle:
    text = files("flask_llm_cost.pricing").joinpath("data", "prices.json").read_bytes()
    return cast(Bundle, json.loads(text))


def as_bundled(raw: Bundle) -> Bundled:
    """A layer of the bundled form.

    Raises:
        PriceTableError: it is malformed; entries raise when they are first asked for.
    """
    entries = raw["entries"]
    sources = raw["sources"]
    default_source = next(iter(sources), "manual")

    def read(key: str) -> Entry:
        return parse_entry(key, entries[key], f"bundled: {key}", user=False, source=default_source, ignored=[])

    layer = Layer(
        "bundled",
        entries,
        read,
        aliases={key: cast(list[str], entry["aliases"]) for key, entry in entries.items() if "aliases" in entry},
        latest={name: tuple(map(_alias, meanings)) for name, meanings in raw["latest"].items()},
        provider_rules={
            provider: by_precedence(list(parse_rules(rules, f"bundled: {provider}", [], provider)))
            for provider, rules in raw["providers"].items()
        },
    )
    return Bundled(layer, date.fromisoformat(raw["updated"]), sources)


def _alias(raw: BundledAlias) -> DatedAlias:
    starts = raw.get("effective_from")
    return DatedAlias(date.fromisoformat(starts) if starts else None, raw["key"])
