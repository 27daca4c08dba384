"""Match clauses of genai-prices: read only to find out which whole names a model has."""

from __future__ import annotations

import re
from collections.abc import Iterator

from flask_llm_cost.pricing.sources.shapes import mapping, mappings


def literals(clause: object) -> Iterator[tuple[str, str]]:
    """The texts in a match clause, with how they match."""
    for how, value in mapping(clause).items():
        if how in ("or", "and"):
            for part in mappings(value):
                yield from literals(part)
        else:
            yield how, str(value)


def matches(clause: object, name: str) -> bool:
    """Whether a clause of genai-prices matches a name."""
    how, value = next(iter(mapping(clause).items()))
    if how == "or":
        return any(matches(part, name) for part in mappings(value))
    if how == "and":
        return all(matches(part, name) for part in mappings(value))
    text = str(value).lower()
    tests = {
        "equals": name == text,
        "starts_with": name.startswith(text),
        "ends_with": name.endswith(text),
        "contains": text in name,
    }
    return bool(re.search(str(value), name)) if how == "regex" else tests[how]
