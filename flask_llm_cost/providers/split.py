"""Splitting a provider's inclusive counts into disjoint quantities: once, here, for every wire format."""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType

from flask_llm_cost.usage import Quantity, Usage

INCONSISTENT = "inconsistent"
REMAINDER_IS_OUTPUT = "remainder_is_output"

Parts = Iterable[tuple[str, int | None]]


class Split:
    """Collects the disjoint quantities of one answer. None is ever negative; what did not add up is noted."""

    __slots__ = ("_notes", "_usage")

    def __init__(self) -> None:
        self._usage: dict[str, Quantity] = {}
        self._notes: list[str] = []

    @property
    def usage(self) -> Usage:
        return MappingProxyType(self._usage)

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(self._notes)

    def note(self, what: str) -> None:
        if what not in self._notes:
            self._notes.append(what)

    def add(self, meter: str, count: int | None) -> int:
        """Count something that is disjoint already; a meter of 0 is left out. Returns what was counted."""
        if not count:
            return 0
        wanted = self.clamped(count)
        if wanted:
            self._usage[meter] = self._usage.get(meter, 0) + wanted
        return wanted

    def divide(self, meter: str, total: int | None, parts: Parts, overlapping: Parts = ()) -> None:
        """Split ``total`` into ``parts`` and the rest, which is counted under ``meter``, be it 0.

        Args:
            total: the inclusive count. ``None``: not said; then the parts are all there is.
            parts: what lies within it, mutually disjoint.
            overlapping: what lies within it but perhaps within ``parts`` too (audio tokens that were
                cached): where there is no room for all of it, it gives way.
        """
        rest = self.clamped(total)
        for name, part in parts:
            rest -= self.add(name, part)
        if rest < 0 and total is not None:
            self.note(INCONSISTENT)
        for name, part in overlapping:
            rest -= self.add(name, min(self.clamped(part), max(rest, 0)) if total is not None else part)
        if total is not None:
            self._usage[meter] = self._usage.get(meter, 0) + max(rest, 0)

    def clamped(self, count: int | None) -> int:
        """The count, 0 where it is absent or negative. A negative one is noted."""
        if count is not None and count < 0:
            self.note(INCONSISTENT)
            return 0
        return count or 0
