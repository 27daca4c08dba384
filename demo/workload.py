"""What the demo's past looked like: which feature called which model how, and when people were at work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

DAYS = 64
SPIKE_DAYS_AGO = 9
TRIAL_DAYS = 11

HOSTS: Mapping[str, str] = MappingProxyType(
    {
        "openai": "https://api.openai.com",
        "anthropic": "https://api.anthropic.com",
        "gemini": "https://generativelanguage.googleapis.com",
    }
)

# Calls per hour of the day: mornings and afternoons, a dip at noon, a few at night.
_HOURS = (1, 1, 1, 1, 1, 2, 4, 9, 15, 18, 19, 17, 13, 16, 18, 17, 14, 10, 7, 5, 4, 3, 2, 2)
_WEEKEND = 0.28
_GROWTH_PER_DAY = 0.012


@dataclass(frozen=True, slots=True)
class Kind:
    """One sort of call, with what it usually uses.

    Attributes:
        feature: the tag.
        provider, path, model: who is asked for what; a model "" is named in the path.
        weight: how often, against the other kinds.
        input_tokens, output_tokens: in the middle; calls differ around it.
        hidden_share: the part of the output that is reasoning.
        cached_tokens: how much of the prompt is usually read from the cache, beside ``input_tokens``.
        write_share: how often the cache is written instead of read.
        stream: whether it is streamed.
        ms_per_token: how fast the model writes.
        recent_days: 0, or since how many days this kind exists.
    """

    feature: str
    provider: str
    path: str
    model: str
    weight: float
    input_tokens: int
    output_tokens: int
    hidden_share: float = 0.0
    cached_tokens: int = 0
    write_share: float = 0.0
    stream: bool = False
    ms_per_token: float = 12.0
    recent_days: int = 0


_CHAT = "/v1/chat/completions"
_GEMINI_STREAM = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"

KINDS = (
    Kind("support-chat", "anthropic", "/v1/messages", "claude-haiku-4-5", 30, 900, 320, 0, 5200, 0.12, stream=True),
    Kind("support-chat", "openai", _CHAT, "gpt-4.1-mini", 9, 1100, 290, cached_tokens=4096, stream=True),
    Kind("summaries", "openai", _CHAT, "gpt-4.1-mini", 17, 8200, 420, ms_per_token=9),
    Kind("summaries", "openai", _CHAT, "house-summarizer-2", 5, 7600, 390, recent_days=TRIAL_DAYS),
    Kind("code-review", "openai", "/v1/responses", "gpt-5.4-mini", 8, 21_000, 3800, 0.62, 9216, ms_per_token=7),
    Kind("code-review", "anthropic", "/v1/messages", "claude-sonnet-5", 4, 19_000, 3600, 0.45, 9000, 0.2),
    Kind("search", "gemini", _GEMINI_STREAM, "", 16, 2600, 700, 0.4, stream=True, ms_per_token=5),
    Kind("search", "openai", "/v1/embeddings", "text-embedding-3-small", 11, 2400, 0, ms_per_token=0),
)
SPIKE = Kind("code-review", "anthropic", "/v1/messages", "claude-sonnet-5", 0, 26_000, 4500, 0.5)

TENANT_WEIGHTS: Mapping[str, tuple[float, float, float]] = MappingProxyType(
    {
        "support-chat": (0.5, 0.3, 0.2),
        "summaries": (0.25, 0.55, 0.2),
        "code-review": (0.15, 0.65, 0.2),
        "search": (0.6, 0.25, 0.15),
    }
)


def calls_in(hour: datetime, *, days_ago: int) -> float:
    """How many calls the hour that begins then has on average."""
    weekday = _WEEKEND if hour.weekday() >= 5 else 1.0
    return _HOURS[hour.hour] * weekday * (1 - _GROWTH_PER_DAY * days_ago) * 1.35


def spike_calls_in(hour: datetime, *, days_ago: int) -> int:
    """The day on which somebody had a whole code base reviewed."""
    return 9 if days_ago == SPIKE_DAYS_AGO and 9 <= hour.hour < 17 else 0
