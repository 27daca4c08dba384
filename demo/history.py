"""A month of plausible history, through the real recording path.

Each call is written by the provider server's own formatters, read by the real parser and recorded by the
app's recorder, only with a time in the past. The same seed gives the same month, up to the day it ends on.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

from demo.features import TENANTS
from demo.workload import DAYS, HOSTS, KINDS, SPIKE, TENANT_WEIGHTS, Kind, calls_in, spike_calls_in
from flask_llm_cost.providers import read_exchange
from flask_llm_cost.recorder import Recorder
from flask_llm_cost.testing import Answer, Received, Reply, reply
from flask_llm_cost.usage import Reading

SEED = 20260401
_FAILED = 0.018
_CUT_OFF = 0.006
_UNTAGGED = 0.03
_STAGING = 0.08
_ERRORS: Mapping[str, tuple[int, ...]] = {
    "openai": (429, 429, 500),
    "anthropic": (529, 529, 429),
    "gemini": (503, 429),
}
_TEXT = "It depends on the machine. Start with the seal."


def record_history(recorder: Recorder, now: datetime) -> int:
    """Record everything up to ``now`` (aware) and return the number of calls."""
    numbers = random.Random(SEED)  # noqa: S311 - reproducible, not secret
    total = 0
    for at, kind in _calls(numbers, now):
        _record(recorder, numbers, kind, at)
        total += 1
    return total


def _calls(numbers: random.Random, now: datetime) -> Iterator[tuple[datetime, Kind]]:
    """When which kind of call was made, oldest first."""
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    for days_ago in range(DAYS - 1, -1, -1):
        kinds = [kind for kind in KINDS if not kind.recent_days or days_ago < kind.recent_days]
        weights = [kind.weight for kind in kinds]
        for clock in range(24):
            hour = today - timedelta(days=days_ago) + timedelta(hours=clock)
            expected = max(0.0, numbers.gauss(1.0, 0.2)) * calls_in(hour, days_ago=days_ago)
            chosen = numbers.choices(kinds, weights, k=int(expected + numbers.random()))
            chosen += [SPIKE] * spike_calls_in(hour, days_ago=days_ago)
            moments = sorted(hour + timedelta(seconds=numbers.uniform(0, 3600)) for _ in chosen)
            yield from ((at, kind) for at, kind in zip(moments, chosen, strict=True) if at < now)


def _record(recorder: Recorder, numbers: random.Random, kind: Kind, at: datetime) -> None:
    answer = _answer(numbers, kind)
    reading = _reading(numbers, kind, answer)
    written = answer.output_tokens or 0
    failed = reading.status == "error"
    latency = numbers.lognormvariate(0, 0.35) * (150 if failed else 380 + kind.ms_per_token * written)
    recorder.record(
        reading,
        tracked_at=at,
        latency_ms=round(latency),
        first_token_ms=round(latency * numbers.uniform(0.12, 0.3)) if kind.stream and not failed else None,
        tags=_tags(numbers, kind),
        host=HOSTS[kind.provider].removeprefix("https://"),
        captured_by="demo",
    )


def _answer(numbers: random.Random, kind: Kind) -> Answer:
    identity = f"{kind.provider}-demo-{numbers.getrandbits(80):020x}"
    if numbers.random() < _FAILED:
        return Answer(status=numbers.choice(_ERRORS[kind.provider]), headers={"x-request-id": identity})
    output = round(kind.output_tokens * numbers.lognormvariate(0, 0.4))
    writes = numbers.random() < kind.write_share
    return Answer(
        text=_TEXT,
        input_tokens=1 + round(kind.input_tokens * numbers.lognormvariate(0, 0.45)),
        cache_read_input_tokens=0 if writes else kind.cached_tokens,
        cache_write_input_tokens=kind.cached_tokens if writes else 0,
        output_tokens=output,
        hidden_output_tokens=round(output * kind.hidden_share),
        response_id=identity,
        chunks=2,
    )


def _reading(numbers: random.Random, kind: Kind, answer: Answer) -> Reading:
    request = Received.post(kind.path, _request_body(kind))
    written = reply(request, answer)
    reading = read_exchange(
        url=HOSTS[kind.provider] + kind.path,
        request_body=request.body,
        status=written.status,
        headers=written.headers,
        body=_delivered(numbers, written),
    )
    if reading is None:
        raise LookupError(f"{kind.path} is not known as a path of {kind.provider}.")
    return reading


def _delivered(numbers: random.Random, written: Reply) -> bytes:
    """The body, or what a client saw of it that gave up in the middle of a stream."""
    if written.streamed and numbers.random() < _CUT_OFF:
        return b"".join(written.frames[:3])
    return written.body


def _request_body(kind: Kind) -> dict[str, object]:
    if kind.provider == "gemini":
        return {"contents": [{"role": "user", "parts": [{"text": "…"}]}]}
    body: dict[str, object] = {"model": kind.model}
    if kind.path.endswith("/embeddings"):
        body |= {"input": "…", "encoding_format": "base64", "dimensions": 64}
    elif kind.path.endswith("/responses"):
        body["input"] = "…"
    else:
        body["messages"] = [{"role": "user", "content": "…"}]
    if kind.stream:
        body |= {"stream": True} | ({"stream_options": {"include_usage": True}} if kind.provider == "openai" else {})
    return body


def _tags(numbers: random.Random, kind: Kind) -> dict[str, str]:
    if numbers.random() < _UNTAGGED:
        return {}
    if kind is SPIKE:
        return {"feature": kind.feature, "tenant": "globex", "env": "production"}
    (tenant,) = numbers.choices(TENANTS, TENANT_WEIGHTS[kind.feature])
    env = "staging" if numbers.random() < _STAGING else "production"
    return {"feature": kind.feature, "tenant": tenant, "env": env}
