"""Tags: whose and what for a call is. Taken at the request's start, cleaned when it is recorded.

Scopes, later wins: default tags < ``tag_request()`` < ``tags()`` scopes, outer to inner < adapter
tags < explicit ones. A scope is a context variable: asyncio tasks inherit it, threads need
``copy_context().run``. Inside a Flask request the last scope also lives with the request, so that a
response streamed after the view returned keeps its tags.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from types import MappingProxyType
from typing import cast

from flask import Response, has_request_context, request

from flask_llm_cost.failures import named, report
from flask_llm_cost.settings import Settings

log = logging.getLogger(__name__)

TagValues = Mapping[str, str]
TagsArgument = Mapping[str, object] | Callable[..., Mapping[str, object] | None] | None

NO_TAGS: TagValues = MappingProxyType({})
REDACTED = "[REDACTED]"

_scope: ContextVar[TagValues] = ContextVar("llm_cost_tags", default=NO_TAGS)

# Where a request's environ keeps its own tags, and those of the last scope opened in it.
_REQUEST_TAGS = "flask_llm_cost.tags"
_LAST_SCOPE = "flask_llm_cost.last_scope"

_KEY_LENGTH = 128
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_NOT_WORD = re.compile(r"[^a-z0-9]+")
_SECRET_VALUE = re.compile(
    r"""\b(?:sk|rk|pk)-[A-Za-z0-9_\-]{16,}        # OpenAI, Anthropic, OpenRouter, Stripe-like keys
      | \b(?:AKIA|ASIA)[A-Z0-9]{16}\b             # AWS access key ids
      | \bAIza[A-Za-z0-9_\-]{35}                  # Google API keys
      | \bgsk_[A-Za-z0-9]{20,} | \bxai-[A-Za-z0-9]{20,}
      | \bgh[pousr]_[A-Za-z0-9]{30,}
      | \beyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]*   # JWTs
      | \bBearer\s+\S{8,}""",
    re.VERBOSE,
)


def as_text(value: object) -> str:
    """A tag's value as the ledger keeps it: text; ``None`` is empty, booleans lower case, containers JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (Mapping, list, tuple)):
        return json.dumps(value, default=str, ensure_ascii=False, sort_keys=True)
    return str(value)


def as_values(tags: Mapping[str, object] | None) -> dict[str, str]:
    """A private copy of the tags, keys and values as text."""
    if not tags:
        return {}
    try:
        return {str(key): as_text(value) for key, value in tags.items()}
    except Exception:
        return _what_has_a_text(tags)


def _what_has_a_text(tags: Mapping[str, object]) -> dict[str, str]:
    """The tags without those whose own ``__str__`` raises, or that contain themselves: a tag breaks no call."""
    values: dict[str, str] = {}
    for key, value in tags.items():
        try:
            values[str(key)] = as_text(value)
        except Exception as error:
            report(log, error, "A tag's %s has no text; the tag is left out.", type(value).__name__)
    return values


@contextmanager
def tags(mapping: Mapping[str, object] | None = None, /, **values: object) -> Iterator[None]:
    """Tag every call started inside the block. Scopes nest; inner values win; keywords win over the mapping."""
    merged = MappingProxyType({**_scope.get(), **as_values(mapping), **as_values(values)})
    token = _scope.set(merged)
    if has_request_context():
        request.environ[_LAST_SCOPE] = merged
    try:
        yield
    finally:
        _scope.reset(token)


def tag_request(mapping: Mapping[str, object] | None = None, /, **values: object) -> None:
    """Tag every call of the current Flask request from here on (in a ``before_request``, say).

    Raises:
        RuntimeError: there is no request.
    """
    environ = request.environ
    environ[_REQUEST_TAGS] = {**environ.get(_REQUEST_TAGS, {}), **as_values(mapping), **as_values(values)}


def scoped_tags() -> TagValues:
    """The tags of the request and of the open scopes, the scopes' winning."""
    scoped = _scope.get()
    if not has_request_context():
        return scoped
    of_request = request.environ.get(_REQUEST_TAGS)
    return {**of_request, **scoped} if of_request else scoped


def keep_scope_while_streaming(response: Response) -> Response:
    """Run a streamed response's iterator inside the last ``tags()`` scope of its view.

    The view has returned and its ``with`` block is left by the time the body is iterated; without
    this, calls made by the generator would lose the tags the author wrote around it.
    """
    remembered = {**request.environ.get(_REQUEST_TAGS, {}), **request.environ.get(_LAST_SCOPE, {})}
    if remembered and response.is_streamed and not response.direct_passthrough:
        response.response = cast("Iterator[bytes]", _ScopedIterator(response.response, MappingProxyType(remembered)))
    return response


class _ScopedIterator:
    """Sets the scope around each step, and only there: a generator runs in its consumer's context.

    The scope after a step is where the next one starts, so ``tags()`` blocks inside the generator hold
    across its yields.
    """

    def __init__(self, inner: Iterable[str | bytes], scope: TagValues) -> None:
        self._inner = inner
        self._steps = iter(inner)
        self._scope = scope

    def __iter__(self) -> Iterator[str | bytes]:
        return self

    def __next__(self) -> str | bytes:
        token = _scope.set(self._scope)
        try:
            return next(self._steps)
        finally:
            self._scope = _scope.get()
            _scope.reset(token)

    def close(self) -> None:
        close = getattr(self._inner, "close", None)
        if close is not None:
            close()


def default_tags(settings: Settings) -> dict[str, str]:
    """``LLM_COST_DEFAULT_TAGS`` now. A raising callable is logged and means no default tags."""
    return call_tags(settings.default_tags)


def call_tags(argument: TagsArgument, *context: object) -> dict[str, str]:
    """Tags given as a mapping or as a callable.

    A callable that takes an argument gets ``context`` (the HTTP request). One that raises, or returns
    no mapping, is logged; the call is recorded without those tags.
    """
    if not callable(argument):
        return as_values(argument)
    try:
        return as_values(argument(*context) if context and _takes_argument(argument) else argument())
    except Exception as error:
        report(log, error, "The tags callable %s failed; the call is recorded without its tags.", named(argument))
        return {}


@lru_cache(maxsize=256)
def _takes_argument(function: Callable[..., object]) -> bool:
    import inspect

    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return True
    return any(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL) for p in parameters)


def merge(*layers: TagValues) -> dict[str, str]:
    """Layers from least to most specific; a key takes the place of its last, most specific setter."""
    merged: dict[str, str] = {}
    for layer in layers:
        for key, value in layer.items():
            merged.pop(key, None)
            merged[key] = value
    return merged


def clean(merged: TagValues, settings: Settings) -> dict[str, str]:
    """Tags fit to be stored: redacted, cut to size, at most ``LLM_COST_MAX_TAGS``, the most specific ones kept."""
    kept = list(merged.items())[-settings.max_tags :] if settings.max_tags else []
    names = _redacted_names(settings.redacted_tag_keys)
    return {
        key[:_KEY_LENGTH]: _cut(REDACTED if _is_secret(key, names) else redact(value), settings.max_tag_value_bytes)
        for key, value in kept
        if key
    }


def redact(text: str) -> str:
    """The text with everything that looks like a key, a token or a JWT replaced."""
    return _SECRET_VALUE.sub(REDACTED, text)


def _cut(value: str, limit: int) -> str:
    encoded = value.encode("utf-8", "replace")
    return value if len(encoded) <= limit else encoded[:limit].decode("utf-8", "ignore")


def _normalized(key: str) -> str:
    return _NOT_WORD.sub("_", _CAMEL.sub("_", key).lower()).strip("_")


@lru_cache(maxsize=32)
def _redacted_names(keys: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"_{_normalized(key)}_" for key in keys)


@lru_cache(maxsize=4096)
def _is_secret(key: str, names: tuple[str, ...]) -> bool:
    padded = f"_{_normalized(key)}_"
    run_together = padded.replace("_", "")
    # A name of two words is also found where camel case cannot be split: OpenAIAPIKey.
    return any(name in padded or ("_" in name[1:-1] and name.replace("_", "") in run_together) for name in names)
