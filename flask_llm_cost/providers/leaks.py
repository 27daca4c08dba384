"""Calls that cost money and that no rule covers: which unmatched POSTs are suspected, and what confirms it."""

from __future__ import annotations

import re
from enum import Enum, auto

from flask_llm_cost.providers import endings as at
from flask_llm_cost.providers.hosts import service_of

# What providers do for nothing: lists, uploads, counts, set-up. Batches are billed when they are done, and read
# from their results.
_FREE_ENDINGS = frozenset(
    {"models", "count_tokens", "count-tokens", "input_tokens", "tokenize", "detokenize", "cancel"}
)
_FREE_ENDINGS |= {"token", "keys", "auth", "feedback", "show", "pull", "push", "copy", "create"}
_FREE_PLACES = frozenset({"files", "uploads", "batches", "assistants", "conversations", "organization"})
_FREE_VERBS = re.compile(r":(?:countTokens|computeTokens|batchGenerateContent|fetchPredictOperation|cancel)$")
# Where a host serves much else, only these paths are about models.
_ONLY_WITHIN = {"vertex": "/publishers/", "azure": "/openai/", "bedrock": "/model/"}
_UNMISTAKABLE = frozenset({at.CHAT, at.GENERATE, at.RAW_PREDICT})
# Escaped quotes do not match: a text that speaks of usage is none.
_USAGE = re.compile(
    rb'"(?:prompt_tokens|completion_tokens|input_tokens|output_tokens|prompt_eval_count|billed_units)"\s*:\s*[\d{]'
)
_MOST_SEARCHED = 1 << 20


class Suspicion(Enum):
    """What an unmatched call may be.

    ``UNCOVERED``: a provider's host, on a path that no rule covers. ``CERTAIN``: an unknown host, on a path that
    nothing but a model answers on. ``LIKELY``: an unknown host, on a path that others use too.
    """

    UNCOVERED = auto()
    CERTAIN = auto()
    LIKELY = auto()


def suspicion(host: str, path: str) -> Suspicion | None:
    """What a POST without a route may be; ``None``: nothing that matters. Never raises.

    Args:
        path: without the query string.
    """
    service = service_of(host.lower())
    if service is None:
        return suspicion_elsewhere(path)
    elsewhere = _ONLY_WITHIN.get(service.provider, "") not in path
    return None if elsewhere or _is_free(path) else Suspicion.UNCOVERED


def suspicion_elsewhere(path: str) -> Suspicion | None:
    """``suspicion`` for a host in no table: what every unmatched POST of the app pays for."""
    last = path.rpartition("/")[2]
    if last not in at.LAST_WORDS and ":" not in last:
        return None
    ending = at.ending_of(path)
    if ending is None:
        return None
    return Suspicion.CERTAIN if ending in _UNMISTAKABLE else Suspicion.LIKELY


def shows_usage(content: bytes) -> bool:
    """Whether an answer reports tokens as models do."""
    return _USAGE.search(content[-_MOST_SEARCHED:]) is not None


def _is_free(path: str) -> bool:
    *within, last = path.rstrip("/").split("/")
    return last in _FREE_ENDINGS or not _FREE_PLACES.isdisjoint((*within, last)) or bool(_FREE_VERBS.search(last))
