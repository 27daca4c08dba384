"""Settings: the ``LLM_COST_*`` keys of ``app.config``, read and checked once, at start-up."""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from flask_llm_cost.errors import ConfigurationError
from flask_llm_cost.hostname import host_key

PREFIX = "LLM_COST_"
TAG_KEY = re.compile(r"[A-Za-z0-9_.\-/]+", re.ASCII)

DEFAULT_REDACTED_TAG_KEYS = (
    "api_key",
    "apikey",
    "access_token",
    "auth_token",
    "bearer",
    "authorization",
    "credential",
    "credentials",
    "password",
    "passwords",
    "refresh_token",
    "secret",
    "token",
)

Durability = Literal["spool", "fsync", "sync", "log"]
OnStorageError = Literal["warn", "raise", "ignore"]
OnUnknownPricing = Literal["warn", "raise", "ignore"]
Tags = Mapping[str, object]
DefaultTags = Tags | Callable[[], Tags | None]

log = logging.getLogger(__name__)


def _one_of(*allowed: str) -> Callable[[str, Any], Any]:
    def check(key: str, value: Any) -> Any:
        if value not in allowed:
            raise ConfigurationError(f"{key} = {value!r}: allowed are {', '.join(map(repr, allowed))}.")
        return value

    return check


def _boolean(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ConfigurationError(f"{key} = {value!r}: allowed are True and False.")
    return value


def _whole(minimum: int) -> Callable[[str, Any], int]:
    def check(key: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
            raise ConfigurationError(f"{key} = {value!r}: a whole number of at least {minimum} is allowed.")
        return value

    return check


def _text_or_none(key: str, value: Any) -> str | None:
    if value is None or (isinstance(value, str) and value.strip()):
        return value
    raise ConfigurationError(f"{key} = {value!r}: a non-empty text or None is allowed.")


def _path_or_none(key: str, value: Any) -> str | None:
    return _text_or_none(key, value if value is None or isinstance(value, str) else str(value))


def _time_zone(key: str, value: Any) -> ZoneInfo:
    try:
        return value if isinstance(value, ZoneInfo) else ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError):
        raise ConfigurationError(
            f"{key} = {value!r}: an IANA time zone is allowed, 'UTC' or 'Europe/Berlin' for example."
        ) from None


def _names(key: str, value: Any) -> tuple[str, ...]:
    names = (value,) if isinstance(value, str) else value
    if not isinstance(names, Iterable) or isinstance(names, Mapping):
        raise ConfigurationError(f"{key} = {value!r}: a list of texts is allowed.")
    collected = tuple(dict.fromkeys(names))
    for name in collected:
        if not isinstance(name, str) or not name:
            raise ConfigurationError(f"{key} = {value!r}: {name!r} is not a text.")
    return collected


def _tag_keys(key: str, value: Any) -> tuple[str, ...]:
    names = _names(key, value)
    for name in names:
        if not TAG_KEY.fullmatch(name):
            raise ConfigurationError(
                f"{key}: invalid tag key {name!r}; letters, digits, '_', '.', '-' and '/' are allowed."
            )
    return names


def _mapping(key: str, value: Any) -> Mapping[str, Any]:
    if value is None:
        return MappingProxyType({})
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise ConfigurationError(f"{key} = {value!r}: a mapping with text keys is allowed.")
    return MappingProxyType(deepcopy(dict(value)))


def _text_mapping(key: str, value: Any) -> Mapping[str, str]:
    mapping = _mapping(key, value)
    for name, target in mapping.items():
        if not isinstance(target, str) or not target or not name:
            raise ConfigurationError(f"{key}: {name!r} maps to {target!r}; a non-empty text is allowed.")
    return mapping


def _host(key: str, name: str) -> str:
    try:
        return host_key(name)
    except ValueError as error:
        raise ConfigurationError(f"{key}: {name!r}: {error}.") from None


def _hosts(key: str, value: Any) -> Mapping[str, str]:
    providers: dict[str, str] = {}
    for name, provider in _text_mapping(key, value).items():
        host = _host(key, name)
        if providers.setdefault(host, provider) != provider:
            raise ConfigurationError(f"{key}: {host!r} is {providers[host]!r} and {provider!r}; one is allowed.")
    return MappingProxyType(providers)


def _list(key: str, value: Any) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise ConfigurationError(f"{key} = {value!r}: a list is allowed.")
    return tuple(value)


def _host_names(key: str, value: Any) -> tuple[str, ...]:
    return tuple(_host(key, name) for name in _names(key, value))


def _switch_or_hosts(key: str, value: Any) -> bool | tuple[str, ...]:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ConfigurationError(f"{key} = {value!r}: allowed are True, False and a list of hosts.")
    return _host_names(key, value)


def _default_tags(key: str, value: Any) -> DefaultTags:
    return value if callable(value) else _mapping(key, value)


def _store(key: str, value: Any) -> Any:
    if isinstance(value, str) or value is None:
        return None if value is None else _one_of("spool", "fsync", "sync", "log")(key, value)
    if callable(getattr(value, "record", None)):
        return value
    raise ConfigurationError(
        f"{key} = {value!r}: allowed are 'spool', 'fsync', 'sync', 'log' or a Store with a record(event) method."
    )


def _setting(check: Callable[[str, Any], Any], default: Any) -> Any:
    return field(default=default, metadata={"check": check})


def _mapping_setting(check: Callable[[str, Any], Any]) -> Any:
    return field(default_factory=lambda: MappingProxyType({}), metadata={"check": check})


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of one app. Each attribute is the ``LLM_COST_*`` key of the same name in upper case.

    Attributes:
        enabled: ``False`` switches everything off; also read live from ``app.config``.
        timezone: whose days the rollups, the dashboard and the reports use.
        database_uri: a database of the ledger's own.
        bind_key: the Flask-SQLAlchemy bind that holds the ledger.
        durability: "spool", "fsync", "sync", "log" or a ``Store``; ``None`` chooses (see docs).
        spool_dir: where spool files live; ``None`` is the instance folder.
        spool_max_mb: how much may wait in spools before recording turns synchronous.
        shipper: ``False``: no thread ships what is spooled; ``flask llm-cost ingest`` does, as a process of its own.
        storage_error, unknown_pricing: "warn", "raise" or "ignore".
        record_errors: whether failed attempts become rows.
        prices_file: a JSON or YAML price table, reloaded when it changes.
        pricing_overrides: a price table in the configuration.
        model_aliases: the app's own names → catalogue keys.
        openai_compatible_hosts: host (with or without a port) → provider name.
        providers: the app's own: ``Provider`` classes, objects, or "package.module:Name".
        inject_stream_usage: ``True``: streams of OpenAI's own hosts are asked for their usage; hosts: these too.
        ignored_hosts: hosts whose unrecorded calls are neither counted nor warned of.
        default_tags: tags of every call, a mapping or a callable.
        max_tags, max_tag_value_bytes: caps per call and per value.
        redacted_tag_keys: names whose values are replaced by ``[REDACTED]``.
        report_tags: the tag keys that the overview and the report break spend down by.
        rollup_exclude_tags: tag keys that get no rollups (request ids).
        tag_values_per_day: values of one key that a day's rollup keeps apart.
        instrument: what ``init_app`` instruments.
        dashboard_public: ``True`` opens the dashboard to everyone who can reach it.
    """

    enabled: bool = _setting(_boolean, True)
    timezone: ZoneInfo = _setting(_time_zone, ZoneInfo("UTC"))
    database_uri: str | None = _setting(_text_or_none, None)
    bind_key: str | None = _setting(_text_or_none, None)
    durability: Any = _setting(_store, None)
    spool_dir: str | None = _setting(_path_or_none, None)
    spool_max_mb: int = _setting(_whole(1), 256)
    shipper: bool = _setting(_boolean, True)
    storage_error: OnStorageError = _setting(_one_of("warn", "raise", "ignore"), "warn")
    unknown_pricing: OnUnknownPricing = _setting(_one_of("warn", "raise", "ignore"), "warn")
    record_errors: bool = _setting(_boolean, True)
    prices_file: str | None = _setting(_path_or_none, None)
    pricing_overrides: Mapping[str, Any] = _mapping_setting(_mapping)
    model_aliases: Mapping[str, str] = _mapping_setting(_text_mapping)
    openai_compatible_hosts: Mapping[str, str] = _mapping_setting(_hosts)
    providers: tuple[Any, ...] = _setting(_list, ())
    inject_stream_usage: bool | tuple[str, ...] = _setting(_switch_or_hosts, False)
    ignored_hosts: tuple[str, ...] = _setting(_host_names, ())
    default_tags: DefaultTags = _mapping_setting(_default_tags)
    max_tags: int = _setting(_whole(0), 50)
    max_tag_value_bytes: int = _setting(_whole(0), 1024)
    redacted_tag_keys: tuple[str, ...] = _setting(_names, DEFAULT_REDACTED_TAG_KEYS)
    report_tags: tuple[str, ...] = _setting(_tag_keys, ())
    rollup_exclude_tags: tuple[str, ...] = _setting(_names, ())
    tag_values_per_day: int = _setting(_whole(1), 10_000)
    instrument: tuple[str, ...] = _setting(_names, ())
    dashboard_public: bool = _setting(_boolean, False)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Settings:
        """Read and check every key.

        Raises:
            ConfigurationError: a value is wrong; the message names key, value and what is allowed.
        """
        known = {PREFIX + each.name.upper(): each for each in fields(cls)}
        for key in config:
            if key.startswith(PREFIX) and key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                log.warning(
                    "%s is not a setting of flask-llm-cost%s.", key, f"; did you mean {near[0]}?" if near else ""
                )
        values = {each.name: each.metadata["check"](key, config[key]) for key, each in known.items() if key in config}
        settings = cls(**values)
        if settings.database_uri and settings.bind_key:
            raise ConfigurationError(
                "LLM_COST_DATABASE_URI is set, and so is "
                f"LLM_COST_BIND_KEY = {settings.bind_key!r}: only one is allowed."
            )
        return settings
