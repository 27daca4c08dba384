"""Filters: which calls a page, a report or an export is about; read from and written to a URL's parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Literal, TypeVar, get_args
from zoneinfo import ZoneInfo

from flask_llm_cost.errors import InvalidFilterError
from flask_llm_cost.queries.group import checked_tag_key
from flask_llm_cost.queries.period import CUSTOM, DEFAULT_PRESET, Period, custom_period, preset_period
from flask_llm_cost.usage import UsageSource

Parameters = Mapping[str, Sequence[str]]
Choice = TypeVar("Choice", bound=str)
Status = Literal["ok", "error", "cancelled", "unpriced", "estimated", "no_usage"]
Fact = Literal["cost", "latency", "response_id"]

STATUSES: tuple[Status, ...] = get_args(Status)
USAGE_SOURCES: tuple[UsageSource, ...] = get_args(UsageSource)

# What the ledger's columns can hold; nothing longer can match.
MAX_PROVIDER, MAX_MODEL, MAX_TAG_VALUE, MAX_SEARCH = 64, 255, 1024, 200
MAX_TAGS = 20
MAX_COST = Decimal(1_000_000_000)

_YES_NO = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which calls are meant. ``None`` and empty mean "any".

    Attributes:
        period: when they were made.
        provider, model: exact names.
        tags: (key, value) pairs that a call must carry, all of them.
        without_tags: keys that a call must not carry.
        status: "ok", "error", "cancelled"; "unpriced" is a call whose cost has no known upper bound,
            "estimated" one of which only bounds or a related price are known, "no_usage" one whose answer
            never said what it used.
        stream: streamed or not.
        usage_source: where the usage came from.
        min_cost: USD, inclusive; calls of unknown cost never match.
        search: text within the model or the response id, in any case.
        facts: what a call must (``True``) or must not say of itself. No URL has these.
    """

    period: Period
    provider: str | None = None
    model: str | None = None
    tags: tuple[tuple[str, str], ...] = ()
    without_tags: tuple[str, ...] = ()
    status: Status | None = None
    stream: bool | None = None
    usage_source: UsageSource | None = None
    min_cost: Decimal | None = None
    search: str | None = None
    facts: tuple[tuple[Fact, bool], ...] = ()

    @property
    def needs_calls(self) -> bool:
        """Whether no rollup can answer: rollups know the time, the provider, the model and the tier only."""
        return bool(self.tags or self.without_tags or self.search or self.facts) or any(
            value is not None for value in (self.status, self.stream, self.usage_source, self.min_cost)
        )

    @property
    def is_narrowed(self) -> bool:
        """Whether anything but the period is filtered."""
        return self.needs_calls or self.provider is not None or self.model is not None

    def without(self, name: Literal["provider", "model"]) -> Filters:
        """The same filters but for one, for that one's own drop-down."""
        return replace(self, provider=None) if name == "provider" else replace(self, model=None)

    def as_args(self) -> dict[str, list[str]]:
        """The parameters that ``parse_filters`` reads these filters from; defaults are left out."""
        args: dict[str, list[str]] = {
            "provider": _listed(self.provider),
            "model": _listed(self.model),
            "tag": [f"{key}={value}" for key, value in self.tags],
            "without": list(self.without_tags),
            "status": _listed(self.status),
            "stream": _listed({True: "yes", False: "no", None: None}[self.stream]),
            "usage": _listed(self.usage_source),
            "min_cost": _listed(None if self.min_cost is None else format(self.min_cost, "f")),
            "q": _listed(self.search),
        }
        if self.period.preset == CUSTOM:
            args["from"], args["to"] = [self.period.first_day.isoformat()], [self.period.last_day.isoformat()]
        elif self.period.preset != DEFAULT_PRESET:
            args["range"] = [self.period.preset]
        return {name: values for name, values in args.items() if values}


def _listed(value: str | None) -> list[str]:
    return [] if value is None else [value]


def parse_filters(args: Parameters, *, timezone: ZoneInfo, now: datetime) -> Filters:
    """Read filters from a URL's parameters (each name with all its values). Blank values are ignored.

    Raises:
        InvalidFilterError: one of them makes no sense; the message is fit for the person who typed it.
    """
    return Filters(
        period=_period(args, timezone, now),
        provider=_text(args, "provider", MAX_PROVIDER),
        model=_text(args, "model", MAX_MODEL),
        tags=_tags(args),
        without_tags=tuple(dict.fromkeys(checked_tag_key(key) for key in _several(args, "without"))),
        status=_choice(args, "status", STATUSES),
        stream=_stream(args),
        usage_source=_choice(args, "usage", USAGE_SOURCES),
        min_cost=_min_cost(args),
        search=_text(args, "q", MAX_SEARCH),
    )


def single(args: Parameters, name: str) -> str | None:
    """The one value of a parameter; ``None`` when it is absent or blank.

    Raises:
        InvalidFilterError: it is given twice with different values, or holds a NUL character.
    """
    values = {value.strip() for value in args.get(name, ()) if value.strip()}
    if len(values) > 1:
        raise InvalidFilterError(f"The filter {name!r} is given more than once.")
    value = next(iter(values), None)
    if value is not None and "\0" in value:
        raise InvalidFilterError(f"The filter {name!r} holds a NUL character.")
    return value


def _several(args: Parameters, name: str) -> list[str]:
    values = [value for value in args.get(name, ()) if value.strip()]
    if len(values) > MAX_TAGS:
        raise InvalidFilterError(f"The filter {name!r} is given {len(values)} times: at most {MAX_TAGS} are allowed.")
    if any("\0" in value for value in values):
        raise InvalidFilterError(f"The filter {name!r} holds a NUL character.")
    return values


def _period(args: Parameters, timezone: ZoneInfo, now: datetime) -> Period:
    preset = single(args, "range")
    dates = [_date(args, name) for name in ("from", "to")]
    if preset == CUSTOM or (preset is None and any(dates)):
        return custom_period(*dates, timezone=timezone, now=now)
    return preset_period(preset or DEFAULT_PRESET, timezone=timezone, now=now)


def _date(args: Parameters, name: str) -> date | None:
    text = single(args, name)
    if text is None:
        return None
    try:
        return date.fromisoformat(text[:40])
    except ValueError:
        raise InvalidFilterError(f"{text[:40]!r} is not a date: write it like 2026-11-30.") from None


def _text(args: Parameters, name: str, longest: int) -> str | None:
    text = single(args, name)
    if text is not None and len(text) > longest:
        raise InvalidFilterError(f"The filter {name!r} is too long: at most {longest} characters are allowed.")
    return text


def _tags(args: Parameters) -> tuple[tuple[str, str], ...]:
    pairs = []
    for text in _several(args, "tag"):
        key, equals, value = text.partition("=")
        if not equals:
            raise InvalidFilterError(f"{text[:40]!r} is not a tag filter: write it like feature=chat.")
        if len(value) > MAX_TAG_VALUE:
            raise InvalidFilterError(
                f"The value of the tag {key[:40]!r} is too long: at most {MAX_TAG_VALUE} characters are allowed."
            )
        pairs.append((checked_tag_key(key), value))
    return tuple(dict.fromkeys(pairs))


def _choice(args: Parameters, name: str, allowed: tuple[Choice, ...]) -> Choice | None:
    text = single(args, name)
    if text is None:
        return None
    for choice in allowed:
        if text == choice:
            return choice
    raise InvalidFilterError(f"{text[:40]!r} is no {name}: choose {', '.join(allowed)}.")


def _stream(args: Parameters) -> bool | None:
    text = single(args, "stream")
    if text is None:
        return None
    if text.lower() not in _YES_NO:
        raise InvalidFilterError(f"{text[:40]!r} does not say whether calls are streamed: choose yes or no.")
    return _YES_NO[text.lower()]


def _min_cost(args: Parameters) -> Decimal | None:
    text = single(args, "min_cost")
    if text is None:
        return None
    try:
        amount = Decimal(text.removeprefix("$")) if len(text) <= 30 else None
    except InvalidOperation:
        amount = None
    if amount is None or not amount.is_finite() or not 0 <= amount <= MAX_COST:
        raise InvalidFilterError(f"{text[:40]!r} is no minimum cost: write USD like 0.05.")
    return amount
