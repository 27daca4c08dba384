"""The prices in use beside the published ones: what ``prices check`` and ``prices refresh`` begin with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path

from flask_llm_cost.pricing.bundle import bundled_entries
from flask_llm_cost.published.compare import Comparison, compare
from flask_llm_cost.published.pricefile import PriceFile, read
from flask_llm_cost.published.source import Published, published
from flask_llm_cost.published.union import union

SOURCE_HELP = "all, genai-prices, litellm, openrouter, an https address, or a file."


@dataclass(frozen=True, slots=True)
class Compared:
    """Published prices and what they would change.

    Attributes:
        path: the prices file, whether it is there or not.
    """

    source: str
    path: Path | None
    file: PriceFile
    published: Published
    outcome: Comparison


def compared(source: str, path: str | None, *, conditional: bool) -> Compared:
    """Read the source and compare.

    Args:
        path: of the prices file; ``None`` compares the bundled prices.
        conditional: ask the source only for what changed since the file was last refreshed from it.

    Raises:
        PriceSourceError: the source cannot be read.
        PriceTableError: the prices file cannot be read, or the source has a malformed entry.
    """
    place = None if path is None else Path(path)
    file = PriceFile() if place is None else read(place)
    found = published(source, file.versions if conditional else {}, today())
    if found.entries is None:
        return Compared(source, place, file, found, Comparison())
    held = {**bundled_entries(), **file.models}
    if found.partial:
        found = replace(found, entries=union(held, found.entries, today()))
    return Compared(source, place, file, found, compare(file.models, held, found.entries or {}, today()))


def today() -> date:
    return datetime.now(UTC).date()
