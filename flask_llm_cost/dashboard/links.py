"""Links between pages: every one carries the filters along, and all state is in the URL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from flask import request, url_for

from flask_llm_cost.queries.filters import Filters, Parameters, parse_filters
from flask_llm_cost.state import current_state

LONGEST_ECHO = 200

Change = str | int | Sequence[str] | None


def page_parameters() -> Parameters:
    """The URL's parameters, each with all its values."""
    return request.args.to_dict(flat=False)


def read_filters() -> Filters:
    """The filters of the current request.

    Raises:
        InvalidFilterError: one of them makes no sense.
    """
    return parse_filters(page_parameters(), timezone=current_state().settings.timezone, now=datetime.now(UTC))


@dataclass(frozen=True, slots=True)
class Links:
    """Makes URLs from what the current page shows.

    Attributes:
        filters: the parameters that every page understands.
        own: those of this page alone (its grouping, its order); they are left behind on other pages.
    """

    filters: Mapping[str, Sequence[str]] = field(default_factory=dict)
    own: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def to(self, endpoint: str, **changes: Change) -> str:
        """Another page of the dashboard with the same filters but for the changes; ``None`` removes one."""
        return url_for(f".{endpoint}", **_changed(self.filters, changes))

    def here(self, **changes: Change) -> str:
        """This page, changed."""
        return url_for(request.endpoint or ".overview", **_changed({**self.filters, **self.own}, changes))

    def on_day(self, iso_day: str, **changes: Change) -> str:
        """The calls of one day, dearest first."""
        return self.to("calls", **{"range": None, "from": iso_day, "to": iso_day, "sort": "cost", **changes})

    def clear(self) -> str:
        """This page without any filter."""
        return url_for(request.endpoint or ".overview")

    def with_tag(self, key: str, value: str) -> list[str]:
        """The tag filters and one more."""
        return list(dict.fromkeys((*self.filters.get("tag", ()), f"{key}={value}")))

    def less(self, name: str, value: str) -> list[str]:
        """The values of a parameter but one."""
        return [each for each in self.filters.get(name, ()) if each != value]

    def without_tag(self, key: str) -> list[str]:
        """The keys that calls must not carry and one more."""
        return list(dict.fromkeys((*self.filters.get("without", ()), key)))


def _changed(args: Mapping[str, Sequence[str]], changes: Mapping[str, Change]) -> dict[str, Any]:
    merged: dict[str, Change] = {**args, **changes}
    return {name: value for name, value in merged.items() if value is not None and value != []}


@dataclass(frozen=True, slots=True)
class FormValues:
    """What a filter form shows: the parameters as they are, or as they were typed when they make no sense."""

    args: Mapping[str, Sequence[str]]

    @classmethod
    def as_typed(cls) -> FormValues:
        """The current request's parameters, cut short so that a refused one is not echoed at length."""
        typed = page_parameters()
        return cls({name: [value[:LONGEST_ECHO] for value in values[:5]] for name, values in typed.items()})

    def value(self, name: str) -> str:
        """The first value of a parameter, or nothing."""
        return next(iter(self.args.get(name, ())), "")

    def day(self, name: str) -> str:
        """The value of a date field: nothing where it is no date, for a browser could not show it."""
        try:
            return date.fromisoformat(self.value(name)).isoformat()
        except ValueError:
            return ""

    def values(self, name: str) -> Sequence[str]:
        return self.args.get(name, ())
