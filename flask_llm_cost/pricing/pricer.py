"""A stack of layers with its caches: what turns (provider, model, usage) into a receipt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType

from flask_llm_cost.pricing.bundle import bundled
from flask_llm_cost.pricing.catalog import Layer
from flask_llm_cost.pricing.charge import Bill, receipt, unpriced_receipt
from flask_llm_cost.pricing.match import Match, match
from flask_llm_cost.pricing.names import alias_name
from flask_llm_cost.pricing.receipt import Receipt
from flask_llm_cost.pricing.table import parse_table
from flask_llm_cost.pricing.tariff import Tariff, tariff
from flask_llm_cost.usage import ModelUsage, Usage

# Model names come from answers and so from outside; the cache is emptied before they can fill the memory.
MOST_TARIFFS = 4096

TariffKey = tuple[str, str, str | None, str | None, str | None, str | None, int]


class Catalogue:
    """Layers of price tables, highest first, and the rate cards compiled from them.

    The layers never change; a reload makes another catalogue. All methods may be used from any thread.
    """

    def __init__(self, layers: Sequence[Layer], aliases: Mapping[str, str] = MappingProxyType({})) -> None:
        self.layers = tuple(layers)
        self.aliases = {alias_name(name): target for name, target in aliases.items()}
        self._tariffs: dict[TariffKey, Tariff | None] = {}

    @classmethod
    def of(cls, overrides: Mapping[str, object], *, aliases: Mapping[str, str] = MappingProxyType({})) -> Catalogue:
        """The bundled catalogue under a table of overrides.

        Raises:
            PriceTableError: the table is malformed.
        """
        table = parse_table(overrides, "overrides")
        return cls([Layer.of("overrides", table), bundled().layer], aliases)

    def price(
        self,
        provider: str,
        model: str,
        usage: Usage,
        *,
        mode: str | None = None,
        geo: str | None = None,
        speed: str | None = None,
        at: datetime | None = None,
        request_model: str | None = None,
        extra: tuple[ModelUsage, ...] = (),
    ) -> Receipt:
        """What a call costs; see :func:`flask_llm_cost.pricing.price`."""
        if at is None or at.tzinfo is not UTC:
            at = in_utc(at)
        key = (provider, model, request_model, mode, geo, speed, at.toordinal())
        try:
            found = self._tariffs[key]
        except KeyError:
            found = self._resolve(key, at)
        bill = Bill()
        if found is None:
            for name, quantity in usage.items():
                bill.add_unpriced(name, quantity)
            self._add_extra(bill, extra, key, at)
            return unpriced_receipt(bill)
        if usage:
            bill.add(found.card(usage, at), usage)
            if found.match.online and not usage.get("tool.web_search"):
                bill.add(found.card(usage, at), {"tool.web_search": 1})
        if extra:
            self._add_extra(bill, extra, key, at)
        return receipt(bill, found)

    def match(
        self, provider: str, model: str, *, at: datetime | None = None, request_model: str | None = None
    ) -> Match | None:
        """The entry that prices a model, uncached."""
        return match(self.layers, self.aliases, provider, model, in_utc(at).date(), request_model)

    def tariff(
        self,
        provider: str,
        model: str,
        *,
        mode: str | None = None,
        geo: str | None = None,
        speed: str | None = None,
        at: datetime | None = None,
        request_model: str | None = None,
    ) -> Tariff | None:
        """All rates of a model on a day; ``None`` where no table knows it."""
        moment = in_utc(at)
        key = (provider, model, request_model, mode, geo, speed, moment.toordinal())
        return self._tariffs[key] if key in self._tariffs else self._resolve(key, moment)

    def _resolve(self, key: TariffKey, at: datetime) -> Tariff | None:
        provider, model, request_model, mode, geo, speed, _ = key
        day = at.date()
        found = match(self.layers, self.aliases, provider, model, day, request_model)
        resolved = None if found is None else tariff(found, mode, geo, speed, day)
        if len(self._tariffs) >= MOST_TARIFFS:
            self._tariffs.clear()
        self._tariffs[key] = resolved
        return resolved

    def _add_extra(self, bill: Bill, extra: tuple[ModelUsage, ...], key: TariffKey, at: datetime) -> None:
        """Lines of another model of the same provider, at the same tier."""
        provider, _, _, mode, geo, speed, _ = key
        for other in extra:
            found = self.tariff(provider, other.model, mode=mode, geo=geo, speed=speed, at=at)
            if found is None:
                for name, quantity in other.usage.items():
                    bill.add_unpriced(name, quantity, other.model)
            else:
                bill.add(found.card(other.usage, at), other.usage, other.model)
                bill.unknown_tier |= found.unknown_tier


def in_utc(at: datetime | None) -> datetime:
    """A moment in UTC: now where none is given; a naive one is taken to be in UTC."""
    if at is None:
        return datetime.now(UTC)
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
