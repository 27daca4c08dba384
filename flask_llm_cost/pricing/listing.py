"""All priced models, each with its standard rates of today."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from flask_llm_cost.pricing.card import CardRate
from flask_llm_cost.pricing.entry import default_per
from flask_llm_cost.pricing.match import Match
from flask_llm_cost.pricing.names import provider_name
from flask_llm_cost.pricing.pricer import Catalogue, in_utc
from flask_llm_cost.pricing.table import decimal_text
from flask_llm_cost.pricing.tariff import tariff


@dataclass(frozen=True, slots=True)
class ListedPrice:
    """One model of a list.

    Attributes:
        key: the entry's key.
        layer: the highest layer that has it; the same key in lower layers is not in use and not listed.
        source: where its prices come from.
        rates: meter → rate at standard conditions.
    """

    key: str
    layer: str
    source: str
    rates: Mapping[str, CardRate]

    @property
    def token_rates(self) -> Mapping[str, str]:
        """USD per 1,000,000, as text, of the meters priced by that many."""
        return {
            name: decimal_text(rate.usd) for name, rate in self.rates.items() if rate.per == default_per(name) == 10**6
        }

    def as_dict(self) -> Mapping[str, object]:
        """The row as JSON-ready values: decimals as strings, inherited rates left out."""
        return {
            "key": self.key,
            "layer": self.layer,
            "source": self.source,
            "rates": {
                name: {"usd": decimal_text(rate.usd), "per": rate.per}
                for name, rate in self.rates.items()
                if rate.inherited is None
            },
        }


def listed(
    catalogue: Catalogue, *, provider: str | None = None, search: str | None = None, at: datetime | None = None
) -> list[ListedPrice]:
    """The models of a catalogue, by key.

    Args:
        provider: only this provider's; its other names are understood.
        search: only keys with this text in them, in any case.
        at: the day whose rates are shown; today by default.
    """
    moment = in_utc(at)
    wanted = None if provider is None else provider_name(provider)
    text = (search or "").casefold()
    found = []
    for key, match in _in_use(catalogue):
        owner, slash, _ = key.partition("/")
        if text not in key.casefold() or (wanted is not None and not (slash and provider_name(owner) == wanted)):
            continue
        rates = tariff(match, None, None, None, moment.date()).card({}, moment).rates
        found.append(ListedPrice(key, match.layer, match.entry.source, rates))
    return sorted(found, key=lambda price: price.key.casefold())


def _in_use(catalogue: Catalogue) -> Iterator[tuple[str, Match]]:
    seen: set[str] = set()
    for layer in catalogue.layers:
        for key in layer:
            folded = key.casefold()
            if folded not in seen:
                seen.add(folded)
                yield key, Match(layer.entry(key), layer.name, "exact")
