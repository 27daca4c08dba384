"""One price source laid over another: what it adds, and where the two disagree.

The base keeps what it has: it is dated. The overlay adds models, meters and tiers that the base lacks. Where both
have a price for the same thing and it differs, nothing is decided here: that is a disagreement, to be settled by hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from fractions import Fraction

from flask_llm_cost.pricing.bundle import Bundle, as_bundled
from flask_llm_cost.pricing.card import Card
from flask_llm_cost.pricing.entry import Rate, is_token_meter
from flask_llm_cost.pricing.numbers import shown
from flask_llm_cost.pricing.pricer import Catalogue
from flask_llm_cost.pricing.sources.shapes import Plain, RawEntry, RawRule, mapping, mappings
from flask_llm_cost.pricing.table import RULE_FIELDS, decimal_text, parse_rate
from flask_llm_cost.pricing.tariff import Tariff

# Stages at which a name of the overlay is a name of a base entry, and not a relative of it.
SAME_MODEL = frozenset({"exact", "normalized", "snapshot", "latest"})


@dataclass(frozen=True, slots=True, order=True)
class Disagreement:
    """Two sources with different prices for the same thing.

    Attributes:
        key: as the overlay spells the model.
        entry: the entry of the base that it is.
        when: conditions, as texts ("mode=batch", "context_over=200000").
        meter: what is priced.
        base, overlay: the rates, as "usd/per".
    """

    key: str
    entry: str
    when: tuple[str, ...]
    meter: str
    base: str
    overlay: str

    def __str__(self) -> str:
        conditions = f" ({', '.join(self.when)})" if self.when else ""
        return f"{self.key}{conditions}: {self.meter}: {self.base} here, {self.overlay} there"


@dataclass(slots=True)
class Overlay:
    """What laying one source over another came to.

    Attributes:
        agreed: how many rates both have, alike.
        added: keys of whole new entries.
        completed: key of a base entry → how many rates were added to it.
        disagreements: sorted.
    """

    agreed: int = 0
    added: list[str] = field(default_factory=list)
    completed: dict[str, int] = field(default_factory=dict)
    disagreements: list[Disagreement] = field(default_factory=list)


def lay_over(base: Bundle, entries: Mapping[str, RawEntry], source: str, day: date) -> Overlay:
    """Add to ``base``, in place, what only ``entries`` have.

    Args:
        source: the name of the overlay's source, for the receipts.
        day: on which the base's dated prices are compared.
    """
    outcome = Overlay()
    catalogue = Catalogue([as_bundled(base).layer])
    noon = datetime.combine(day, time(12), UTC)
    added: dict[str, RawEntry] = {}
    additions: dict[str, list[RawRule]] = {}
    for key, entry in entries.items():
        provider, _, model = key.partition("/")
        found = catalogue.match(provider, model, at=noon)
        if found is None or found.stage not in SAME_MODEL:
            added[key] = {**entry, "source": source}
            continue
        comparison = _Comparison(outcome, catalogue, key, found.entry.key, noon)
        for rule in comparison.placed(mappings(entry["rates"])):
            new = comparison.missing(rule)
            # What a snapshot alone has may be true of that snapshot alone.
            if new and found.stage != "snapshot":
                additions.setdefault(found.entry.key, []).append({**new, "source": source})
    outcome.added = list(added)
    base["entries"] = {**base["entries"], **added, **_completed(base, additions, outcome)}
    outcome.disagreements = sorted(set(outcome.disagreements))
    return outcome


@dataclass(frozen=True, slots=True)
class _Comparison:
    """One model of the overlay beside the same model of the base."""

    outcome: Overlay
    catalogue: Catalogue
    key: str
    entry: str
    noon: datetime

    def placed(self, rules: Sequence[Plain]) -> Sequence[Plain]:
        """The overlay's rules, those without a region under ``global`` where theirs is the worldwide price.

        On Bedrock a region's own endpoint costs a tenth more than the global one; the base has the former under the
        plain name, LiteLLM for some models the latter.
        """
        theirs = next((rule.get("input") for rule in rules if not rule.get("when")), None)
        here, worldwide = (self._input(geo) for geo in (None, "global"))
        if theirs is None or here is None or worldwide is None or here == worldwide:
            return rules
        if not _equal(worldwide, parse_rate("input", theirs, self.key)):
            return rules
        return [part for rule in rules for part in _worldwide(rule)]

    def _input(self, geo: str | None) -> Rate | None:
        """The base's rate of fresh input in a region, at the standard tier."""
        card = self._card({} if geo is None else {"geo": geo})
        held = None if card is None else card.rates.get("input")
        return None if held is None else Rate(held.usd, held.per)

    def missing(self, rule: Plain) -> RawRule:
        """The part of a rule that the base has no price for; what both have is counted."""
        when = mapping(rule.get("when") or {})
        if "windows" in when:
            return {}
        elsewhere = "geo" in when and not self._knows_region(when)
        if "multiplier" in rule:
            return dict(rule) if elsewhere else {}
        card = self._card(when)
        new: RawRule = {}
        for meter, raw in rule.items():
            if meter not in RULE_FIELDS and self._is_missing(card, when, meter, raw, elsewhere=elsewhere):
                new[meter] = raw
        if not new or not when:
            return new
        return {"when": dict(when), **self._rest_of_tier(when, card), **new}

    def _is_missing(self, card: Card | None, when: Plain, meter: str, raw: object, *, elsewhere: bool) -> bool:
        theirs = parse_rate(meter, raw, f"{self.key}: {meter}")
        held = None if card is None else card.rates.get(meter)
        if held is None:
            return True
        ours = Rate(held.usd, held.per)
        if _equal(ours, theirs):
            self.outcome.agreed += held.inherited is None
            return False
        if held.inherited is not None or elsewhere:
            return True
        conditions = tuple(f"{name}={value}" for name, value in sorted(when.items()))
        self.outcome.disagreements.append(
            Disagreement(self.key, self.entry, conditions, meter, _shown(ours), _shown(theirs))
        )
        return False

    def _card(self, when: Plain) -> Card | None:
        """The base's rates under these conditions; ``None`` where it knows nothing of them."""
        tariff = self._tariff(mode=when.get("mode"), geo=when.get("geo"))
        if tariff is None or tariff.unknown_tier:
            return None
        over = when.get("context_over")
        if isinstance(over, int) and not any(abs(over - known) <= 1 for known in tariff.thresholds):
            return None
        return tariff.card({"input": over + 1 if isinstance(over, int) else 1}, self.noon)

    def _rest_of_tier(self, when: Plain, card: Card | None) -> RawRule:
        """The rates of a tier that was a mere multiple of the standard one: a rule of its own ends the multiplying."""
        tariff = self._tariff(mode=when.get("mode"))
        if card is None or tariff is None or any(rule.when.modes and rule.rates for rule in tariff.rules):
            return {}
        if not any(rule.multiplier is not None and rule.when.modes for rule in tariff.rules):
            return {}
        return {
            meter: decimal_text(rate.usd)
            for meter, rate in card.rates.items()
            if rate.inherited is None and is_token_meter(meter)
        }

    def _knows_region(self, when: Plain) -> bool:
        """Whether the base has prices of its own for regions."""
        tariff = self._tariff(geo=when.get("geo"))
        return tariff is not None and any(rule.when.geos for rule in tariff.rules)

    def _tariff(self, **conditions: object) -> Tariff | None:
        provider, _, model = self.key.partition("/")
        # Of regions with one price any one will do.
        first = {name: value[0] if isinstance(value, list) else value for name, value in conditions.items()}
        named = {name: str(value) for name, value in first.items() if value is not None}
        return self.catalogue.tariff(provider, model, at=self.noon, mode=named.get("mode"), geo=named.get("geo"))


def _worldwide(rule: Plain) -> Iterator[RawRule]:
    """A rule's prices of tokens for the global endpoint; its other prices, of searches, for every endpoint."""
    when = mapping(rule.get("when") or {})
    tokens = {name: value for name, value in rule.items() if name == "multiplier" or is_token_meter(name)}
    others = {name: value for name, value in rule.items() if name not in {*tokens, "when"}}
    if tokens:
        yield {"when": {"geo": "global", **when}, **tokens}
    if others:
        yield {"when": dict(when), **others} if when else others


def _equal(ours: Rate, theirs: Rate) -> bool:
    """Alike but for the digits that a price per second or per pixel was cut off after."""
    one, other = Fraction(ours.usd) / ours.per, Fraction(theirs.usd) / theirs.per
    return abs(one - other) * 1000 <= one


def _shown(rate: Rate) -> str:
    return f"{decimal_text(rate.usd)}/{rate.per}"


def _completed(base: Bundle, additions: Mapping[str, list[RawRule]], outcome: Overlay) -> dict[str, RawEntry]:
    """The base's entries that get rates of the overlay's, with these."""
    completed: dict[str, RawEntry] = {}
    for key, rules in additions.items():
        entry = base["entries"][key]
        merged = list(_merged(rules))
        completed[key] = {**entry, "rates": [*mappings(entry["rates"]), *merged]}
        outcome.completed[key] = sum(len(set(rule) - RULE_FIELDS) for rule in merged)
    return completed


def _merged(rules: list[RawRule]) -> Iterator[RawRule]:
    """One rule per set of conditions: a model may be in the overlay under several names."""
    found: dict[str, RawRule] = {}
    for rule in rules:
        known = found.setdefault(shown(sorted(mapping(rule.get("when") or {}).items())), {})
        for name, value in rule.items():
            known.setdefault(name, value)
    yield from found.values()
