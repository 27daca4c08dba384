"""Calls as a busy app makes them, made up from a seed: 40 models, days and weeks with a rhythm, tags of every width.

The rows are those that ``flask_llm_cost.ledger.rows.entry_of`` makes of such events, without the way there: an event
at a time would take longer than to load it.
"""

from __future__ import annotations

import json
import random
from bisect import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import accumulate

from flask_llm_cost.ledger.rows import MONEY, Entry, Row, utc_text

TAG_VALUES = {"environment": 10, "feature": 100, "team": 1_000, "tenant": 10_000, "user": 100_000}
"""Tag key → how many values it has."""

PROVIDERS = ("openai", "anthropic", "google", "mistral", "groq", "deepseek", "cohere", "xai")
MODELS_EACH = 5
UNPRICED = 2
"""How many of the models have no known price: the least used."""

_HOURS = (2, 1, 1, 1, 1, 2, 4, 7, 11, 14, 15, 15, 13, 14, 15, 15, 14, 12, 9, 7, 6, 5, 4, 3)
_WEEKDAYS = (10, 11, 11, 11, 9, 4, 3)
_ERRORS = ("rate_limit", "timeout", "server_error")


@dataclass(frozen=True, slots=True)
class Model:
    """A model and its prices, nano-USD per token; ``None``: nobody knows them."""

    provider: str
    name: str
    rate: int | None
    mean_latency_ms: int

    @property
    def output_rate(self) -> int:
        return 4 * (self.rate or 0)


def models() -> tuple[Model, ...]:
    """All of them, the most used first."""
    count = len(PROVIDERS) * MODELS_EACH
    return tuple(
        Model(
            PROVIDERS[number % len(PROVIDERS)],
            f"{PROVIDERS[number % len(PROVIDERS)]}-{number // len(PROVIDERS) + 1}",
            None if number >= count - UNPRICED else (100, 250, 1_000, 3_000, 10_000)[number % 5],
            400 + 90 * number,
        )
        for number in range(count)
    )


class Traffic:
    """Calls in the order of their times. The same arguments make the same calls.

    Args:
        calls: how many.
        days: over how many days.
        until: the last of them (UTC).
        seed: what the dice begin with.
    """

    def __init__(self, *, calls: int, days: int, until: date, seed: int) -> None:
        self._dice = random.Random(seed)
        self._first = until - timedelta(days=days - 1)
        self._recorded_at = utc_text(datetime.combine(until + timedelta(days=1), time.min, UTC))
        self._models = models()
        self._shares = list(accumulate(1 / (rank + 2) for rank in range(len(self._models))))
        self._per_day = _spread(calls, [self._weight(day, days) for day in range(days)])

    def __iter__(self) -> Iterator[Entry]:
        for number, count in enumerate(self._per_day):
            day = datetime.combine(self._first + timedelta(days=number), time.min, UTC)
            hours = self._dice.choices(range(24), _HOURS, k=count)
            microseconds = sorted(hour * 3_600_000_000 + self._dice.randrange(3_600_000_000) for hour in hours)
            for moment in microseconds:
                yield self._call(day + timedelta(microseconds=moment))

    def _weight(self, number: int, days: int) -> float:
        weekday = (self._first + timedelta(days=number)).weekday()
        # An app that grows: three times the calls at the end.
        return _WEEKDAYS[weekday] * (1 + 2 * number / days)

    def _call(self, at: datetime) -> Entry:
        chance, bits = self._dice.random, self._dice.getrandbits
        model = self._models[bisect(self._shares, chance() * self._shares[-1])]
        failed, stream = chance() < 0.02, chance() < 0.4
        told = not failed and (not stream or chance() < 0.98)
        row = self._names(model, at, stream=stream, failed=failed, told=told)
        tokens = self._tokens() if told else (0, 0, 0, 0)
        row |= _amounts(model, tokens, told=told)
        latency = int(model.mean_latency_ms * self._dice.lognormvariate(0, 0.6)) + 20
        row["latency_ms"] = None if chance() < 0.01 else latency
        row["first_token_ms"] = latency // 5 if stream and not failed else None
        row["provider_response_id"] = None if failed else f"resp_{bits(80):020x}"
        tags = {} if chance() < 0.03 else self._tags()
        row["receipt"] = _receipt(model, tokens, row)
        row["tags"] = json.dumps(tags, separators=(",", ":"))
        return Entry(row, tags)

    def _names(self, model: Model, at: datetime, *, stream: bool, failed: bool, told: bool) -> Row:
        milliseconds = int(at.timestamp() * 1000)
        bits = self._dice.getrandbits(74)
        event_id = milliseconds << 80 | 0x7 << 76 | (bits >> 62) << 64 | 0x2 << 62 | bits & (1 << 62) - 1
        source = "unknown" if not told else "stream_final" if stream else "response"
        return {
            "event_id": f"{event_id:032x}",
            "tracked_at": utc_text(at),
            "recorded_at": self._recorded_at,
            "stream": stream,
            "provider": model.provider,
            "model": model.name,
            "request_model": model.name,
            "operation": "chat",
            "status": "error" if failed else "ok",
            "error_type": self._dice.choice(_ERRORS) if failed else None,
            "usage_source": source,
            "captured_by": "httpx",
            "pricing_mode": "batch" if bits % 25 == 0 else None,
            "host": f"api.{model.provider}.com",
            "cost_status": None if failed else "complete" if told and model.rate is not None else "unknown",
            "provider_response_id": None,
            "price_key": None if model.rate is None else f"{model.provider}/{model.name}",
            "price_source": None if model.rate is None else "genai-prices",
        }

    def _tokens(self) -> tuple[int, int, int, int]:
        """Input, read from the cache, output, and how much of that is hidden."""
        prompt = int(self._dice.lognormvariate(6.5, 1))
        cached = int(prompt * 0.8) if self._dice.random() < 0.3 else 0
        output = int(self._dice.lognormvariate(5.5, 0.9)) + 1
        return prompt - cached, cached, output, output // 3 if self._dice.random() < 0.2 else 0

    def _tags(self) -> dict[str, str]:
        # Few values have most of the calls, and every value has some.
        chance = self._dice.random
        return {key: f"{key}-{int(chance() ** 3 * count)}" for key, count in TAG_VALUES.items() if chance() < 0.9}


def _amounts(model: Model, tokens: tuple[int, int, int, int], *, told: bool) -> Row:
    fresh, cached, output, hidden = tokens
    row: Row = {
        "input_tokens": fresh,
        "cache_read_input_tokens": cached,
        "cache_write_input_tokens": 0,
        "cache_write_1h_input_tokens": 0,
        "output_tokens": output,
        "hidden_output_tokens": hidden,
        "total_tokens": fresh + cached + output,
    }
    row |= {f"{name}_nano": None for name in MONEY}
    if told and model.rate is not None:
        costs = fresh * model.rate, cached * model.rate // 10, 0, output * model.output_rate, 0
        parts = ("input_cost_nano", "cache_read_cost_nano", "cache_write_cost_nano", "output_cost_nano")
        row |= dict(zip((*parts, "other_cost_nano"), costs, strict=True))
        row |= {"total_cost_nano": sum(costs), "cache_saved_nano": cached * model.rate - costs[1]}
    return row


def _receipt(model: Model, tokens: tuple[int, int, int, int], row: Row) -> str:
    if row["total_cost_nano"] is None:
        return "{}" if row["cost_status"] is None else '{"status":"unknown","lines":[],"reason":"no price"}'
    rates = {"input": model.rate or 0, "cache_read": (model.rate or 0) / 10, "output": model.output_rate}
    lines = ",".join(
        f'{{"meter":"{meter}","quantity":{quantity},"rate":"{rate / 1000:g}","per":1000000,"source":"genai-prices"}}'
        for (meter, rate), quantity in zip(rates.items(), tokens, strict=False)
        if quantity
    )
    return f'{{"status":"complete","lines":[{lines}],"raw_usage":{{"total_tokens":{row["total_tokens"]}}}}}'


def _spread(calls: int, weights: list[float]) -> list[int]:
    """``calls`` in whole numbers, as the weights have it."""
    ends = [round(calls * each / sum(weights)) for each in accumulate(weights)]
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]
