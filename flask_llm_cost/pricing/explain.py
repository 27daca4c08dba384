"""Why a call is priced as it is: stage, layer, key, effective rates, and what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from flask_llm_cost.pricing.card import CardRate
from flask_llm_cost.pricing.charge import NO_PRICE, NO_USAGE, UNKNOWN_TIER
from flask_llm_cost.pricing.entry import Rule
from flask_llm_cost.pricing.match import Match, match
from flask_llm_cost.pricing.pricer import Catalogue, in_utc
from flask_llm_cost.pricing.receipt import Receipt
from flask_llm_cost.pricing.table import decimal_text
from flask_llm_cost.pricing.tariff import Tariff
from flask_llm_cost.usage import METERS, Usage


@dataclass(frozen=True, slots=True)
class EffectiveRate:
    """A rate as it holds for the call that is explained.

    Attributes:
        meter: what is billed.
        usd: USD per ``per`` units.
        since: first day of the rule, "" where it always held.
        condition: what the rule asks for ("mode batch, prompt over 200000 tokens"), "" for none.
        source: where the rate comes from.
        inherited: the meter whose rate it is, if not its own.
    """

    meter: str
    usd: Decimal
    per: int
    since: str
    condition: str
    source: str
    inherited: str | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """How a call would be priced.

    Attributes:
        provider, model, mode, at: what was asked.
        usage: the example that was priced.
        receipt: its receipt; stage, layer and key are there.
        rates: every rate that holds under the call's conditions.
        missing: the meters of the example without a rate.
        message: all of it in a sentence.
        passed_over: what the other layers would have priced it by; it has no part in the price.
    """

    provider: str
    model: str
    mode: str | None
    at: datetime
    usage: Usage
    receipt: Receipt
    rates: tuple[EffectiveRate, ...]
    missing: tuple[str, ...]
    message: str
    passed_over: tuple[Match, ...] = ()

    @property
    def matched(self) -> bool:
        """Whether any table knows the model."""
        return self.receipt.key is not None

    @property
    def complete(self) -> bool:
        """Whether the example has its whole price."""
        return self.receipt.status in ("complete", "free")

    def as_dict(self) -> Mapping[str, object]:
        """The explanation as JSON-ready values: decimals as strings."""
        receipt = dict(self.receipt.as_dict())
        return {
            "provider": self.provider,
            "model": self.model,
            "mode": self.mode,
            "at": self.at.isoformat(),
            "matched": self.matched,
            "complete": self.complete,
            "message": self.message,
            "missing": list(self.missing),
            "rates": [_rate_dict(rate) for rate in self.rates],
            "passed_over": [
                {"layer": other.layer, "stage": other.stage, "key": other.entry.key} for other in self.passed_over
            ],
            "receipt": receipt,
        }


def explain(
    catalogue: Catalogue,
    provider: str,
    model: str,
    usage: Usage | None = None,
    *,
    mode: str | None = None,
    geo: str | None = None,
    speed: str | None = None,
    at: datetime | None = None,
    request_model: str | None = None,
) -> Explanation:
    """How ``catalogue`` prices a call; without a usage, one token in and one token out."""
    moment = in_utc(at)
    tariff = catalogue.tariff(provider, model, mode=mode, geo=geo, speed=speed, at=moment, request_model=request_model)
    example = _probe(tariff, moment) if usage is None else usage
    receipt = catalogue.price(
        provider, model, example, mode=mode, geo=geo, speed=speed, at=moment, request_model=request_model
    )
    rates = () if tariff is None else tuple(_rates(tariff.card(example, moment).rates))
    missing = tuple(line.meter for line in receipt.lines if line.cost is None)
    message = _message(provider, model, mode, receipt, missing)
    others = () if tariff is None else tuple(_others(catalogue, tariff.match, provider, model, moment, request_model))
    return Explanation(provider, model, mode, moment, example, receipt, rates, missing, message, others)


def _others(
    catalogue: Catalogue, chosen: Match, provider: str, model: str, at: datetime, request_model: str | None
) -> Iterable[Match]:
    for layer in catalogue.layers:
        if layer.name != chosen.layer:
            found = match((layer,), catalogue.aliases, provider, model, at.date(), request_model)
            if found is not None:
                yield found


def _probe(tariff: Tariff | None, at: datetime) -> Usage:
    """One token in, one token out; what a provider does not sell at all (an embedding's output) is left out.

    A user's table may have forgotten a rate, so there both are asked for.
    """
    usual = {"input": 1, "output": 1}
    if tariff is None or tariff.match.entry.user:
        return usual
    rates = tariff.card(usual, at).rates
    sold = {name: 1 for name in usual if name in rates}
    return sold or dict.fromkeys(list(rates)[:1], 1) or usual


def _rates(rates: Mapping[str, CardRate]) -> Iterable[EffectiveRate]:
    order = {name: position for position, name in enumerate(METERS)}
    for name, rate in sorted(rates.items(), key=lambda item: (order.get(item[0], len(order)), item[0])):
        starts = rate.rule.effective_from
        since = starts.isoformat() if starts else ""
        yield EffectiveRate(name, rate.usd, rate.per, since, condition(rate.rule), rate.source, rate.inherited)


def condition(rule: Rule) -> str:
    """A rule's conditions in words."""
    when = rule.when
    parts = [
        f"{word} {' or '.join(sorted(names))}"
        for word, names in (("mode", when.modes), ("geo", when.geos), ("speed", when.speeds))
        if names
    ]
    if when.context_over is not None:
        parts.append(f"prompt over {when.context_over} tokens")
    if when.windows:
        parts.append(" or ".join(f"{_clock(window.start)}-{_clock(window.end)} UTC" for window in when.windows))
    return ", ".join(parts)


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


def _message(provider: str, model: str, mode: str | None, receipt: Receipt, missing: tuple[str, ...]) -> str:
    if receipt.key is None:
        return f"No price entry matched {provider}/{model}."
    text = f"Matched {receipt.key} from {receipt.layer} via {receipt.stage}"
    if missing:
        return f"{text}; missing {', '.join(missing)}."
    if receipt.reason == UNKNOWN_TIER:
        return f"{text}; no rate is known for {f'mode {mode!r}' if mode else 'its tier'}, standard rates were used."
    return f"{text}." if receipt.reason in (None, NO_PRICE, NO_USAGE) else f"{text}; estimated ({receipt.reason})."


def _rate_dict(rate: EffectiveRate) -> dict[str, object]:
    fields: dict[str, object | None] = {
        "meter": rate.meter,
        "usd": decimal_text(rate.usd),
        "per": rate.per,
        "since": rate.since or None,
        "condition": rate.condition or None,
        "source": rate.source,
        "inherited": rate.inherited,
    }
    return {name: value for name, value in fields.items() if value is not None}
