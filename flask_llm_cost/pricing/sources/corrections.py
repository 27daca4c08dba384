"""``corrections.yaml`` applied to converted price data: what the sources lack or have wrong, by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from fnmatch import fnmatchcase
from importlib.resources import files

import yaml

from flask_llm_cost.pricing.bundle import Bundle
from flask_llm_cost.pricing.sources.genai_prices import Since
from flask_llm_cost.pricing.sources.overlay import Disagreement
from flask_llm_cost.pricing.sources.shapes import Plain, RawEntry, RawRule, mapping, mappings, names
from flask_llm_cost.pricing.table import RULE_FIELDS

FREE: RawEntry = {"rates": [{"input": "0", "output": "0"}]}
CORRECTION = "correction"


@dataclass(frozen=True, slots=True)
class Settled:
    """A decision about disagreements of a kind.

    Attributes:
        keys: patterns of models, any one of them ("azure/deepseek-*").
        meters: patterns of meters; all where there are none.
        when: patterns of conditions, every one of which must be there ("mode=batch").
        keep: the source whose price counts.
        starts: from when the overlay's price counts, where that is known.
        why: the reason.
    """

    keys: tuple[str, ...]
    meters: tuple[str, ...]
    when: tuple[str, ...]
    keep: str
    starts: str | None
    why: str

    def covers(self, found: Disagreement) -> bool:
        return (
            any(fnmatchcase(found.key, pattern) for pattern in self.keys)
            and (not self.meters or any(fnmatchcase(found.meter, pattern) for pattern in self.meters))
            and all(any(fnmatchcase(text, pattern) for text in found.when) for pattern in self.when)
        )


@dataclass(slots=True)
class Corrections:
    """The file, read.

    Attributes:
        updated: the day on which the sources were last compared with the providers' pages.
        since: earlier first days of modes.
        settled: decisions about disagreements; the first that covers one counts.
        problems: what of the file does not fit the sources any more.
    """

    raw: Plain
    updated: str
    since: list[Since]
    settled: list[Settled]
    problems: list[str] = field(default_factory=list)

    @classmethod
    def bundled(cls) -> Corrections:
        """The corrections that ship with the package."""
        text = files("flask_llm_cost.pricing").joinpath("data", "corrections.yaml").read_text("utf-8")
        return cls.of(mapping(yaml.load(text, Loader=yaml.BaseLoader)))  # noqa: S506 - a BaseLoader makes texts only

    @classmethod
    def of(cls, raw: Plain) -> Corrections:
        since = [
            Since(str(item["provider"]), str(item["mode"]), date.fromisoformat(str(item["day"])))
            for item in mappings(raw["since"])
        ]
        return cls(raw, str(raw["updated"]), since, [_settled(item) for item in mappings(raw["settled"])])

    @property
    def providers(self) -> dict[str, list[Mapping[str, object]]]:
        """Rules of all models of a provider."""
        held = mapping(self.raw["providers"])
        return {provider: [_corrected(rule) for rule in mappings(rules)] for provider, rules in held.items()}

    def settle(self, found: Disagreement) -> Settled | None:
        return next((decision for decision in self.settled if decision.covers(found)), None)

    def apply(self, entries: dict[str, RawEntry], left_out: dict[str, str]) -> None:
        """Correct the base's entries, in place. What does not fit any more becomes a problem."""
        self._drop_and_free(entries, left_out)
        for key, entry in mapping(self.raw["entries"]).items():
            if key in entries:
                self._stale("entries", key)
            entries[key] = _corrected(mapping(entry))
        for item in mappings(self.raw["rules"]):
            for key in names(item["keys"]):
                self._add_rule(key, entries, mapping(item["rule"]))
        for item in mappings(self.raw["aliases"]):
            self._add_names(str(item["key"]), entries, names(item["names"]))
        _free_variants(entries, left_out)

    def without_dropped(self, overlay: Mapping[str, RawEntry], left_out: dict[str, str]) -> dict[str, RawEntry]:
        """The overlay's entries but for those under ``drop_from_litellm``, which are patterns."""
        held = dict(overlay)
        for pattern in _keys(self.raw.get("drop_from_litellm", ())):
            matched = [key for key in held if fnmatchcase(key, pattern)]
            if not matched and overlay:
                self._stale("drop_from_litellm", pattern)
            for key in matched:
                del held[key]
                left_out[key] = "dropped by corrections.yaml"
        return held

    def _drop_and_free(self, entries: dict[str, RawEntry], left_out: dict[str, str]) -> None:
        for key in _keys(self.raw["drop"]):
            if entries.pop(key, None) is None:
                self._stale("drop", key)
            left_out[key] = "dropped by corrections.yaml"
        for key in _keys(self.raw["free"]):
            if left_out.pop(key, None) is None:
                self._stale("free", key)
            entries[key] = {"source": CORRECTION, **FREE}

    def _add_rule(self, key: str, entries: Mapping[str, RawEntry], rule: Plain) -> None:
        if key not in entries:
            self._stale("rules", key)
            return
        entry = entries[key]
        for other in mappings(entry["rates"]):
            for meter in set(rule) & set(other) - RULE_FIELDS:
                if rule.get("when") == other.get("when") and "effective_until" not in rule:
                    self._stale("rules", f"{key}: {meter}")
        # Of two rules that hold alike the one written first prevails: what a model cost until a day is the correction.
        entry["rates"] = [_corrected(rule), *mappings(entry["rates"])]

    def _add_names(self, key: str, entries: Mapping[str, RawEntry], aliases: Sequence[str]) -> None:
        if key not in entries:
            self._stale("aliases", key)
            return
        provider = key.partition("/")[0]
        for other, entry in entries.items():
            if other.startswith(f"{provider}/") and set(aliases) & set(names(entry.get("aliases", ()))):
                entry["aliases"] = [name for name in names(entry["aliases"]) if name not in aliases]
        entry = entries[key]
        entry["aliases"] = sorted({*names(entry.get("aliases", ())), *aliases})

    def _stale(self, section: str, what: str) -> None:
        self.problems.append(f"corrections.yaml: {section}: {what} is not as it was when this was written.")


def _settled(item: Plain) -> Settled:
    return Settled(
        tuple(names(item["keys"])),
        tuple(names(item.get("meters", ()))),
        tuple(names(item.get("when", ()))),
        str(item["keep"]),
        str(item["from"]) if "from" in item else None,
        str(item["why"]),
    )


def prevail(base: Bundle, found: Disagreement, decision: Settled) -> None:
    """Put the overlay's price in the base's place, in place: from a day on, or for good."""
    entry = base["entries"][found.entry]
    usd, _, per = found.overlay.partition("/")
    when = {name: _number(value) for name, _, value in (text.partition("=") for text in found.when)}
    rules: list[RawRule] = [dict(rule) for rule in mappings(entry["rates"])]
    for rule in rules:
        held_under = dict(mapping(rule.get("when") or {}))
        if found.meter not in rule or "effective_until" in rule:
            continue
        if decision.starts is None and held_under == when:
            del rule[found.meter]
        elif decision.starts is not None and "windows" in held_under:
            # The new price holds at all hours; a price for some of them would prevail over it.
            rule["effective_until"] = decision.starts
    new: RawRule = {"when": when} if when else {}
    if decision.starts is not None:
        new["effective_from"] = decision.starts
    new |= {"source": decision.keep, found.meter: {"usd": usd, "per": int(per)}}
    held = {**entry, "rates": [*(rule for rule in rules if _has_rates(rule)), new]}
    base["entries"] = {**base["entries"], found.entry: held}


def _has_rates(rule: Plain) -> bool:
    return bool(set(rule) - {"when", "effective_from", "effective_until", "source"})


def _number(text: str) -> object:
    return int(text) if text.isdigit() else text


def _corrected(rule: Plain) -> dict[str, object]:
    """A rule of ``corrections.yaml``: its link stays there, its origin is on the receipt."""
    return {**{name: value for name, value in rule.items() if name != "url"}, "source": CORRECTION}


def _keys(items: object) -> Iterable[str]:
    return [key for item in mappings(items) for key in names(item["keys"])]


def _free_variants(entries: dict[str, RawEntry], left_out: dict[str, str]) -> None:
    """OpenRouter's ``:free`` variants cost nothing; genai-prices has them without rates."""
    for key in [key for key in left_out if key.startswith("openrouter/") and key.endswith(":free")]:
        entries[key] = dict(FREE)
        del left_out[key]
