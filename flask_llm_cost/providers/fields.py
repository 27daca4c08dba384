"""Reading fields of JSON that somebody else wrote: a wrong type is an absent value, never an error."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal

JSON = Mapping[str, object]

NO_FIELDS: JSON = {}

_LEADING_INTEGER = re.compile(r"\s*([+-]?\d{1,16})", re.ASCII)
# Beyond this a number is no count of anything; the ledger's columns are 64 bits wide.
_IMPLAUSIBLE = 10**15
_RAW_DEPTH, _RAW_LENGTH = 6, 64


def mapping(parent: JSON, name: str) -> JSON:
    """The object under ``name``; an empty one where there is none."""
    value = parent.get(name)
    return value if type(value) is dict or isinstance(value, Mapping) else NO_FIELDS


def text(parent: JSON, name: str) -> str | None:
    """The text under ``name``, ``None`` where it is absent, blank or no text."""
    value = parent.get(name)
    return value.strip() or None if isinstance(value, str) else None


def objects(parent: JSON, name: str) -> list[JSON]:
    """The objects in the list under ``name``."""
    value = parent.get(name)
    return [entry for entry in value if isinstance(entry, Mapping)] if isinstance(value, list) else []


def texts(parent: JSON, name: str) -> list[str]:
    """The texts in the list under ``name``."""
    value = parent.get(name)
    return [entry for entry in value if isinstance(entry, str)] if isinstance(value, list) else []


# What labels a part, not what it says.
_LABELS = frozenset({"type", "id", "index", "role", "signature", "data", "annotations", "encrypted_content"})


def strings(value: object, depth: int = 8) -> Iterator[str]:
    """Every text within a value but its labels: the names of fields, ids and types are none."""
    if isinstance(value, str):
        yield value
    elif depth and isinstance(value, list):
        for entry in value:
            yield from strings(entry, depth - 1)
    elif depth and isinstance(value, Mapping):
        for name, entry in value.items():
            if name not in _LABELS:
                yield from strings(entry, depth - 1)


def first_present(parent: JSON, *names: str) -> object:
    """The value of the first of these names that is there. 0, "" and {} are there; null is not."""
    for name in names:
        value = parent.get(name)
        if value is not None:
            return value
    return None


def count(parent: JSON, *names: str) -> int | None:
    """The count under the first of these names that is there; may be negative."""
    for name in names:
        value = parent.get(name)
        if value is not None:
            return quantity(value)
    return None


def quantity(value: object) -> int | None:
    """A whole number from an integer, a float (truncated) or a text (its leading integer)."""
    if type(value) is int:
        return value if -_IMPLAUSIBLE < value < _IMPLAUSIBLE else None
    number: int | None = None
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        number = value
    elif isinstance(value, float):
        number = int(value) if math.isfinite(value) else None
    elif isinstance(value, str):
        leading = _LEADING_INTEGER.match(value)
        number = int(leading[1]) if leading else None
    return number if number is not None and abs(number) < _IMPLAUSIBLE else None


def dollars(value: object) -> Decimal | None:
    """An amount as the JSON spelled it: the shortest text of a float is what was sent. ``None``: it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        return None
    return Decimal(repr(value))


def numbers(parent: JSON) -> JSON | None:
    """The object with nothing but its numbers, for audit: no text of anybody's is kept. ``None``: it has none."""
    kept = _numbers(parent, _RAW_DEPTH)
    return kept if isinstance(kept, dict) and kept else None


def _numbers(value: object, depth: int) -> object:
    """The numbers in ``value``, ``None`` where there are none."""
    if value is None or isinstance(value, (bool, str)) or depth == 0:
        return None
    if isinstance(value, int):
        return value if -_IMPLAUSIBLE < value < _IMPLAUSIBLE else None
    if type(value) is dict or isinstance(value, Mapping):
        deeper = depth - 1
        return {
            str(name): found for name, entry in value.items() if (found := _numbers(entry, deeper)) is not None
        } or None
    if isinstance(value, list):
        return [entry for each in value[:_RAW_LENGTH] if (entry := _numbers(each, depth - 1)) is not None] or None
    return value if isinstance(value, float) and math.isfinite(value) else None
