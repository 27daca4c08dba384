"""The shapes of published price data, checked where they are used: the files come from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flask_llm_cost.errors import PriceTableError
from flask_llm_cost.pricing.numbers import shown

Plain = Mapping[str, object]
RawRule = dict[str, object]
RawEntry = dict[str, object]


def mapping(value: object) -> Plain:
    """A JSON object.

    Raises:
        PriceTableError: it is none.
    """
    if not isinstance(value, Mapping):
        raise PriceTableError(f"The price source has {shown(value)} where a mapping belongs.")
    return value


def mappings(value: object) -> Sequence[Plain]:
    """A list of JSON objects; none where there is nothing.

    Raises:
        PriceTableError: it is something else.
    """
    if value is None:
        return ()
    if not isinstance(value, Sequence) or not all(isinstance(item, Mapping) for item in value):
        raise PriceTableError(f"The price source has {shown(value)} where a list of mappings belongs.")
    return value


def names(value: object) -> Sequence[str]:
    """A list of texts.

    Raises:
        PriceTableError: it is something else.
    """
    if isinstance(value, str) or not isinstance(value, Sequence) or not all(isinstance(item, str) for item in value):
        raise PriceTableError(f"The price source has {shown(value)} where a list of names belongs.")
    return value
