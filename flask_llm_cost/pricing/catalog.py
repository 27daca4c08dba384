"""The layers of price tables, and one lookup per name in each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType

from flask_llm_cost.pricing.entry import Entry, Rule, by_precedence
from flask_llm_cost.pricing.names import FIRST_PARTY, PROVIDERS, model_name, provider_name
from flask_llm_cost.pricing.table import Table

NOTHING: Mapping[str, tuple[Rule, ...]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class DatedAlias:
    """A name that means another model from a day on (``mistral-large-latest``)."""

    effective_from: date | None
    key: str


class Layer:
    """One price table, indexed by name. Immutable after it is built, but for entries read at first use.

    Args:
        name: "overrides", "file" or "bundled".
        keys: the keys of its entries, as written.
        read: makes the entry of a key.
        aliases: key → other names of the entry.
        latest: names that mean different models over time.
        provider_rules: provider → rules for each of its entries that has none of its own.
        user: whether a user wrote it: its keys may do without a provider.
    """

    def __init__(
        self,
        name: str,
        keys: Iterable[str],
        read: Callable[[str], Entry],
        *,
        aliases: Mapping[str, Iterable[str]] = MappingProxyType({}),
        latest: Mapping[str, tuple[DatedAlias, ...]] = MappingProxyType({}),
        provider_rules: Mapping[str, tuple[Rule, ...]] = NOTHING,
        user: bool = False,
    ) -> None:
        self.name = name
        self.user = user
        self._read = read
        self._provider_rules = provider_rules
        self._keys: dict[str, str] = {}
        self._latest = dict(latest)
        self._entries: dict[str, Entry] = {}
        self._by_model: dict[str, set[str]] | None = None
        self._lock = threading.Lock()
        keys = list(keys)
        for key in keys:
            self._keys[_folded(key)] = key
        for key, others in aliases.items():
            for other in others:
                self._alias(key, other)

    @classmethod
    def of(cls, name: str, table: Table) -> Layer:
        """The layer of a user's table."""
        return cls(name, table.entries, table.entries.__getitem__, aliases=table.aliases, user=True)

    def _alias(self, key: str, other: str) -> None:
        """An alias without a provider has its entry's; one ending in ``-latest`` waits for its own stage."""
        provider, slash, _ = key.partition("/")
        name = _folded(f"{provider}/{other}" if slash and not _qualified(other, provider) else other)
        if name.endswith("-latest"):
            self._latest.setdefault(name, (DatedAlias(None, key),))
        else:
            self._keys.setdefault(name, key)

    def __iter__(self) -> Iterator[str]:
        """The keys of all entries, in table order."""
        return iter(dict.fromkeys(self._keys.values()))

    def find(self, provider: str, model: str) -> Entry | None:
        """The entry under exactly this name (case folded): provider-qualified, or bare in a user's table."""
        key = self._keys.get(f"{provider}/{model}")
        if key is None and self.user and not _names_a_host(model):
            key = self._keys.get(model)
        return None if key is None else self.entry(key)

    def find_latest(self, provider: str, model: str, day: date) -> Entry | None:
        """What a ``-latest`` name means on a day."""
        aliases = self._latest.get(f"{provider}/{model}") or (self._latest.get(model, ()) if self.user else ())
        held = [alias for alias in aliases if alias.effective_from is None or alias.effective_from <= day]
        if not held:
            return None
        return self.entry(max(held, key=lambda alias: alias.effective_from or date.min).key)

    def find_unique(self, model: str) -> Entry | None:
        """The one entry of that model, whoever sells it: among first parties, or in all of a user's table."""
        found = self._models().get(model, set())
        return self.entry(next(iter(found))) if len(found) == 1 else None

    def entry(self, key: str) -> Entry:
        """The entry of a key as written in the table."""
        entry = self._entries.get(key)
        if entry is None:
            entry = self._with_provider_rules(self._read(key))
            self._entries[key] = entry
        return entry

    def _with_provider_rules(self, entry: Entry) -> Entry:
        common = self._provider_rules.get(entry.key.partition("/")[0])
        if not common:
            return entry
        rules = by_precedence([*entry.rules, *common])
        return Entry(entry.key, rules, entry.source, entry.user, entry.checked_at)

    def _models(self) -> Mapping[str, set[str]]:
        with self._lock:
            if self._by_model is None:
                models: dict[str, set[str]] = {}
                for name, key in self._keys.items():
                    provider, slash, model = name.partition("/")
                    if slash and (self.user or provider in FIRST_PARTY):
                        models.setdefault(model, set()).add(key)
                self._by_model = models
            return self._by_model


def _folded(key: str) -> str:
    """A key with the provider's name as ours."""
    provider, slash, model = key.partition("/")
    return f"{provider_name(provider)}/{model_name(model)}" if slash else model_name(key)


def _qualified(name: str, provider: str) -> bool:
    return provider_name(name.partition("/")[0]) == provider_name(provider)


def _names_a_host(model: str) -> bool:
    """Whether "openai/gpt-oss-120b" (as Groq calls it) could be mistaken for a key of another host's."""
    provider, slash, _ = model.partition("/")
    return bool(slash) and provider in PROVIDERS
