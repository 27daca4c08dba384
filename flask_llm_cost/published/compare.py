"""What published prices would change: every rate, of every tier."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from fractions import Fraction

from flask_llm_cost.pricing.entry import Rate, Rule
from flask_llm_cost.pricing.explain import condition
from flask_llm_cost.pricing.sources.shapes import Plain
from flask_llm_cost.pricing.table import decimal_text, parse_entry

MANUAL = "manual"
# A price that moves further than this at once is more likely a mistake of the source.
MOST_FOLD = 3
MULTIPLIER = "multiplier"
LAST = 999


@dataclass(frozen=True, slots=True, order=True)
class Change:
    """One rate that is another one now.

    Attributes:
        key, meter: whose, and of what ("multiplier" for one on all token rates).
        condition: under which it holds, "" for the standard price.
        before, after: "2.5" or "10/1000"; ``None`` where there is no rate.
    """

    key: str
    meter: str
    condition: str
    before: str | None
    after: str | None

    @property
    def is_suspicious(self) -> bool:
        """To zero, or to more than three times or less than a third."""
        if self.before is None or self.after is None:
            return False
        before, after = _number(self.before), _number(self.after)
        if before == 0 or after == 0:
            return before != after
        return after > MOST_FOLD * before or before > MOST_FOLD * after


@dataclass(slots=True)
class Comparison:
    """Prices in use beside published ones.

    Attributes:
        changes: sorted by model.
        added: models that only the source has.
        dropped: models of the prices file that the source has no more; they are kept.
        manual: models of the prices file that a person wrote; they are never touched.
    """

    changes: list[Change] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    manual: list[str] = field(default_factory=list)

    @property
    def drift(self) -> bool:
        return bool(self.changes or self.added)

    @property
    def suspicious(self) -> list[Change]:
        return [change for change in self.changes if change.is_suspicious]


def compare(
    file: Mapping[str, Plain], held: Mapping[str, Plain], published: Mapping[str, Plain], today: date
) -> Comparison:
    """Compare, model by model.

    Args:
        file: the prices file's entries; one without a source is a person's.
        held: the entries in use: the file's, and the bundled ones where it has none.
        published: the source's entries.
        today: only rules in force today are compared.

    Raises:
        PriceTableError: an entry of the source is malformed.
    """
    outcome = Comparison()
    for key in sorted(published):
        if key in file and is_manual(file[key]):
            outcome.manual.append(key)
            continue
        rates = _rates(key, published[key], today)
        if key not in held:
            outcome.added.append(key)
            continue
        before = _rates(key, held[key], today)
        for meter, when in sorted({*before, *rates}):
            change = Change(key, meter, when, before.get((meter, when)), rates.get((meter, when)))
            if change.before != change.after:
                outcome.changes.append(change)
    gone = sorted(set(file) - set(published))
    outcome.manual += [key for key in gone if is_manual(file[key])]
    outcome.dropped = [key for key in gone if not is_manual(file[key])]
    return outcome


def is_manual(entry: Plain) -> bool:
    """Whether a person wrote an entry."""
    return str(entry.get("source") or MANUAL) == MANUAL


def _rates(key: str, raw: Plain, today: date) -> dict[tuple[str, str], str]:
    """(meter, condition) → rate, of the rules in force."""
    entry = parse_entry(key, raw, key, user=False, ignored=[])
    rates: dict[tuple[str, str], str] = {}
    for rule in entry.rules_on(today):
        for meter, text in _of_rule(rule):
            rates.setdefault((meter, condition(_rounded(rule))), text)
    return rates


def _rounded(rule: Rule) -> Rule:
    """ "From 200,000 tokens on" as "over 200,000": sources say either of the same tier."""
    over = rule.when.context_over
    return replace(rule, when=replace(rule.when, context_over=over + 1)) if over and over % 1000 == LAST else rule


def _of_rule(rule: Rule) -> Iterator[tuple[str, str]]:
    for meter, rate in rule.rates.items():
        yield meter, _shown(rate)
    if rule.multiplier is not None:
        yield MULTIPLIER, decimal_text(rule.multiplier)


def _shown(rate: Rate) -> str:
    """USD per million, or per as many as are written."""
    usd = decimal_text(rate.usd)
    return usd if rate.per in (1, 1_000_000) else f"{usd}/{rate.per}"


def _number(text: str) -> Fraction:
    usd, _, per = text.partition("/")
    return Fraction(usd) / int(per or 1)
