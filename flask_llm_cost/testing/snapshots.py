"""Which dated snapshot answers for a model's undated name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# Dates as in the model lists of the openai and anthropic SDKs and as seen in recorded answers.
# Gemini answers with the name it was asked for.
_SNAPSHOTS: Mapping[str, str] = MappingProxyType(
    {
        "gpt-3.5-turbo": "gpt-3.5-turbo-0125",
        "gpt-4": "gpt-4-0613",
        "gpt-4-turbo": "gpt-4-turbo-2024-04-09",
        "gpt-4.1": "gpt-4.1-2025-04-14",
        "gpt-4.1-mini": "gpt-4.1-mini-2025-04-14",
        "gpt-4.1-nano": "gpt-4.1-nano-2025-04-14",
        "gpt-4o": "gpt-4o-2024-08-06",
        "gpt-4o-mini": "gpt-4o-mini-2024-07-18",
        "gpt-5": "gpt-5-2025-08-07",
        "gpt-5-mini": "gpt-5-mini-2025-08-07",
        "gpt-5-nano": "gpt-5-nano-2025-08-07",
        "gpt-5.1": "gpt-5.1-2025-11-13",
        "gpt-5.2": "gpt-5.2-2025-12-11",
        "gpt-5.4-mini": "gpt-5.4-mini-2026-03-17",
        "gpt-5.4-nano": "gpt-5.4-nano-2026-03-17",
        "gpt-5.5": "gpt-5.5-2026-04-23",
        "o1": "o1-2024-12-17",
        "o3": "o3-2025-04-16",
        "o3-mini": "o3-mini-2025-01-31",
        "o4-mini": "o4-mini-2025-04-16",
        "claude-3-5-haiku-latest": "claude-3-5-haiku-20241022",
        "claude-3-7-sonnet-latest": "claude-3-7-sonnet-20250219",
        "claude-haiku-4-5": "claude-haiku-4-5-20251001",
        "claude-opus-4-0": "claude-opus-4-20250514",
        "claude-opus-4-1": "claude-opus-4-1-20250805",
        "claude-opus-4-5": "claude-opus-4-5-20251101",
        "claude-sonnet-4-0": "claude-sonnet-4-20250514",
        "claude-sonnet-4-5": "claude-sonnet-4-5-20250929",
    }
)


def snapshot_of(model: str) -> str:
    """The model's name as the provider answers it; a name without a known snapshot answers as itself."""
    return _SNAPSHOTS.get(model, model)
