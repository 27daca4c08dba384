"""Reading price tables: the full form (``rates: [...]``) of ours and the flat one of the original gem.

Both become :class:`~flask_llm_cost.pricing.entry.Entry`. Every complaint is one line that names the
table, the model and the field.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from flask_llm_cost.errors import PriceTableError
from flask_llm_cost.pricing.conditions import as_date, as_when
from flask_llm_cost.pricing.entry import Entry, Rate, Rule, When, by_precedence, default_per
from flask_llm_cost.pricing.numbers import as_rate_number, named, shown
from flask_llm_cost.usage import METERS

FLAT_METERS = {
    "cache_write_1h_input": "cache_write.1h",
    "cache_read_input": "cache_read",
    "cache_write_input": "cache_write",
    "input": "input",
    "output": "output",
}
# Names of the gem's older tables. Taken for "<mode>_<meter>" they would be prices that never apply.
LEGACY_KEYS = frozenset({"cached_input", "cache_creation_input", "cache_input", "hidden_output", "reasoning_output"})
MODE = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)
RULE_FIELDS = frozenset({"when", "multiplier", "effective_from", "effective_until", "source"})
ENTRY_FIELDS = frozenset({"rates", "source", "checked_at", "aliases", "currency"})
# What ``prices refresh`` writes into a file is no person's table: a cache rate that is not there is not the input's.
PUBLISHED = frozenset({"genai-prices", "litellm", "openrouter", "correction"})
TABLE_FIELDS = frozenset({"models", "metadata", "schema_version", "currency"})


@dataclass(slots=True)
class Table:
    """A parsed price table.

    Attributes:
        entries: key → entry.
        aliases: key → the other names of that entry.
        metadata: what the table says about itself, as text where it came from a file.
        ignored: unknown keys that were left out, as "model: key".
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    aliases: dict[str, tuple[str, ...]] = field(default_factory=dict)
    metadata: Mapping[str, object] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)


def parse_table(raw: object, where: str) -> Table:
    """A user's price table, with or without the ``models:`` wrapper.

    Raises:
        PriceTableError: anything in it is malformed; ``where`` names the table in the message.
    """
    if raw is None or raw == "":
        return Table()
    if not isinstance(raw, Mapping):
        raise PriceTableError(f"{where}: a mapping of models is needed, not {shown(raw)}.")
    models, metadata = _unwrap(raw, where)
    table = Table(metadata=metadata)
    if "models" in raw:
        table.ignored += [named(key) for key in raw if key not in TABLE_FIELDS and not _bookkeeping(key)]
    for key, value in models.items():
        if not isinstance(key, str) or not key.strip():
            raise PriceTableError(f"{where}: {shown(key)} is not a model name; a non-empty text is needed.")
        place = f"{where}: {named(key)}"
        if not isinstance(value, Mapping):
            raise PriceTableError(f"{place}: a mapping of rates is needed, not {shown(value)}.")
        by_hand = value.get("source") not in PUBLISHED
        table.entries[key] = parse_entry(key, value, place, user=by_hand, ignored=table.ignored)
        table.aliases[key] = parse_aliases(value, place)
    return table


def _unwrap(raw: Mapping[str, object], where: str) -> tuple[dict[str, object], Mapping[str, object]]:
    if "models" not in raw:
        models = {key: value for key, value in raw.items() if key not in ("metadata", "schema_version")}
    else:
        wrapped = raw["models"]
        if wrapped is not None and wrapped != "" and not isinstance(wrapped, Mapping):
            raise PriceTableError(f"{where}: models: a mapping is needed, not {shown(wrapped)}.")
        models = dict(wrapped) if isinstance(wrapped, Mapping) else {}
    metadata = raw.get("metadata") or {}
    if not isinstance(metadata, Mapping):
        raise PriceTableError(f"{where}: metadata: a mapping is needed, not {shown(metadata)}.")
    _check_currency(metadata, f"{where}: metadata")
    if "models" in raw or not isinstance(raw.get("currency"), Mapping):
        _check_currency(raw, where)
        models.pop("currency", None)
    return models, metadata


def _check_currency(raw: Mapping[str, object], place: str) -> None:
    currency = raw.get("currency", "USD")
    if not isinstance(currency, str) or currency.strip().upper() != "USD":
        raise PriceTableError(
            f"{place}: currency: {shown(currency)} is not supported: the ledger and the bundled prices are in USD. "
            "Convert every rate of the table to USD."
        )


def parse_aliases(raw: Mapping[str, object], place: str) -> tuple[str, ...]:
    """The other names of an entry."""
    names = raw.get("aliases") or ()
    if isinstance(names, str) or not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise PriceTableError(f"{place}: aliases: a list of model names is needed, not {shown(names)}.")
    return tuple(names)


def parse_entry(
    key: str, raw: Mapping[str, object], place: str, *, user: bool, source: str = "manual", ignored: list[str]
) -> Entry:
    """One model's prices, in either form.

    Raises:
        PriceTableError: a rate, a condition or a date is malformed.
    """
    source = str(raw.get("source") or source)
    checked_at = as_date(raw.get("checked_at"), f"{place}: checked_at")
    _check_currency(raw, place)
    if "rates" in raw:
        ignored.extend(
            f"{named(key)}: {named(name)}" for name in raw if name not in ENTRY_FIELDS and not _bookkeeping(name)
        )
        rules = list(parse_rules(raw["rates"], f"{place}: rates", ignored, key))
    else:
        rules = _flat_rules(key, raw, place, ignored)
    return Entry(key, by_precedence(rules), source, user, checked_at)


def parse_rules(raw: object, place: str, ignored: list[str], key: str) -> Iterator[Rule]:
    """The rules of the full form."""
    if isinstance(raw, Mapping):
        raw = [raw]
    if isinstance(raw, str) or not isinstance(raw, Sequence):
        raise PriceTableError(f"{place}: a list of rules is needed, not {shown(raw)}.")
    for number, rule in enumerate(raw, 1):
        if not isinstance(rule, Mapping):
            raise PriceTableError(f"{place}: rule {number}: a mapping is needed, not {shown(rule)}.")
        yield _rule(rule, f"{place}: rule {number}", ignored, key)


def _rule(raw: Mapping[str, object], place: str, ignored: list[str], key: str) -> Rule:
    rates: dict[str, Rate] = {}
    for name, value in raw.items():
        if name in RULE_FIELDS:
            continue
        if not _is_meter(name):
            ignored.append(f"{named(key)}: {named(name)}")
            continue
        rates[name] = parse_rate(name, value, f"{place}: {named(name)}")
    multiplier = raw.get("multiplier")
    starts, ends = (as_date(raw.get(name), f"{place}: {named(name)}") for name in ("effective_from", "effective_until"))
    if starts and ends and ends <= starts:
        raise PriceTableError(f"{place}: effective_until: {ends} is not after effective_from {starts}.")
    return Rule(
        as_when(raw.get("when"), f"{place}: when"),
        rates,
        None if multiplier is None else as_rate_number(multiplier, f"{place}: multiplier"),
        starts,
        ends,
        str(raw["source"]) if raw.get("source") else None,
    )


def parse_rate(name: str, raw: object, place: str) -> Rate:
    """``"3"``, ``3`` or ``{usd: "10", per: 1000}``."""
    if not isinstance(raw, Mapping):
        return Rate(as_rate_number(raw, place), default_per(name))
    if "usd" not in raw or set(raw) - {"usd", "per"}:
        raise PriceTableError(f"{place}: usd and per are needed, not {shown(dict(raw))}.")
    per = as_rate_number(raw.get("per", default_per(name)), f"{place}: per")
    if per != per.to_integral_value() or per < 1:
        raise PriceTableError(f"{place}: per: {shown(raw['per'])} is not a whole number of at least 1.")
    return Rate(as_rate_number(raw["usd"], f"{place}: usd"), int(per))


def _flat_rules(key: str, raw: Mapping[str, object], place: str, ignored: list[str]) -> list[Rule]:
    by_mode: dict[str, dict[str, Rate]] = {"": {}}
    starts: date | None = None
    for name, value in raw.items():
        if name == "effective_from":
            starts = as_date(value, f"{place}: {named(name)}")
            continue
        if _bookkeeping(name) or name in ENTRY_FIELDS:
            continue
        split = _flat_key(name)
        if split is None:
            ignored.append(f"{named(key)}: {named(name)}")
            continue
        mode, meter = split
        by_mode.setdefault(mode, {})[meter] = parse_rate(meter, value, f"{place}: {named(name)}")
    return [
        Rule(When(modes=frozenset({mode}) if mode else frozenset()), rates, effective_from=starts)
        for mode, rates in by_mode.items()
    ]


def _flat_key(name: object) -> tuple[str, str] | None:
    """``batch_cache_read_input`` → (batch, cache_read); ``None`` where the name is no price."""
    if not isinstance(name, str) or name in LEGACY_KEYS:
        return None
    if name in FLAT_METERS:
        return "", FLAT_METERS[name]
    if _is_meter(name):
        return "", name
    for ending, meter in FLAT_METERS.items():
        mode = name.removesuffix("_" + ending)
        if mode != name:
            return (mode, meter) if MODE.fullmatch(mode) and name not in LEGACY_KEYS else None
    return None


def _is_meter(name: object) -> bool:
    """A meter needs no code, but a typing error must not become one: a new name has to have a family."""
    return isinstance(name, str) and (name in METERS or ("." in name and not name.startswith(".")))


def _bookkeeping(name: object) -> bool:
    """The gem's registry keeps ``_source``, ``_fetched_at``, ``_notes`` and the like beside the rates."""
    return isinstance(name, str) and name.startswith("_")


def decimal_text(value: Decimal) -> str:
    """A rate as tables spell it: no exponent, no needless zeros."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
