"""A source that has only some of the rates, over the prices in use: what it does not mention stays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date

from flask_llm_cost.pricing.conditions import as_date, as_when
from flask_llm_cost.pricing.entry import When
from flask_llm_cost.pricing.sources.shapes import Plain, RawEntry, RawRule, mappings
from flask_llm_cost.pricing.table import ENTRY_FIELDS, RULE_FIELDS, parse_entry


def union(held: Mapping[str, Plain], published: Mapping[str, Plain], today: date) -> dict[str, RawEntry]:
    """Each published entry with what the held one has besides.

    Args:
        held: the entries in use, by key.
        today: held rules in force today give way, rate by rate; those of other days are history and stay.
    """
    return {key: _over(held[key], entry, today) if key in held else dict(entry) for key, entry in published.items()}


def _over(held: Plain, published: Plain, today: date) -> RawEntry:
    source = published.get("source")
    rules: list[RawRule] = [{"source": source, **rule} for rule in mappings(published["rates"])]
    kept = (_without(rule, rules, today) for rule in _rules(held))
    own = [{"source": held.get("source"), **rule} for rule in kept if set(rule) - RULE_FIELDS or "multiplier" in rule]
    return {**{name: value for name, value in held.items() if name in ENTRY_FIELDS}, "rates": [*rules, *own]}


def _rules(entry: Plain) -> Iterator[Plain]:
    """The rules of an entry; those of the flat form, where a mode is all that a rate can depend on, written out."""
    if "rates" in entry:
        yield from mappings(entry["rates"])
        return
    for rule in parse_entry("", entry, "", user=False, ignored=[]).rules:
        when = {"when": {"mode": sorted(rule.when.modes)}} if rule.when.modes else {}
        starts = {"effective_from": rule.effective_from.isoformat()} if rule.effective_from else {}
        yield {**when, **starts, **{name: {"usd": str(r.usd), "per": r.per} for name, r in rule.rates.items()}}


def _without(rule: Plain, newer: list[RawRule], today: date) -> RawRule:
    """A held rule without the rates that a newer one has for the same conditions."""
    left = dict(rule)
    if not _in_force(rule, today):
        return left
    for other in newer:
        if _same(as_when(rule.get("when"), "when"), as_when(other.get("when"), "when")):
            for name in set(other) - RULE_FIELDS | ({"multiplier"} & set(other)):
                left.pop(name, None)
    return left


def _in_force(rule: Plain, today: date) -> bool:
    starts = as_date(rule.get("effective_from"), "effective_from")
    ends = as_date(rule.get("effective_until"), "effective_until")
    return (starts is None or starts <= today) and (ends is None or today < ends)


def _same(one: When, other: When) -> bool:
    """Alike; where one says "from 200,000 tokens" and the other "over 200,000" they mean the same tier."""
    apart = abs((one.context_over or 0) - (other.context_over or 0))
    names = [(when.modes, when.geos, when.speeds, when.windows, when.context_over is None) for when in (one, other)]
    return names[0] == names[1] and apart <= 1
