"""Settings are read once, checked at start-up, and copied."""

from __future__ import annotations

import logging
from dataclasses import FrozenInstanceError, fields
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from flask_llm_cost.errors import ConfigurationError
from flask_llm_cost.settings import Settings


def test_the_defaults_are_those_of_a_fresh_install() -> None:
    """Covers P-CFG-01, P-CFG-02."""
    assert Settings.from_config({}) == Settings()
    assert Settings().storage_error == "warn"
    assert Settings().unknown_pricing == "warn"
    assert (Settings().max_tags, Settings().max_tag_value_bytes) == (50, 1024)
    assert Settings().timezone == ZoneInfo("UTC")


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("LLM_COST_ENABLED", "yes", "True and False"),
        ("LLM_COST_TIMEZONE", "Mars/Olympus", "IANA time zone"),
        ("LLM_COST_TIMEZONE", 3, "IANA time zone"),
        ("LLM_COST_DURABILITY", "maybe", "'spool', 'fsync', 'sync', 'log'"),
        ("LLM_COST_DURABILITY", object(), "Store"),
        ("LLM_COST_SPOOL_MAX_MB", 0, "at least 1"),
        ("LLM_COST_SPOOL_MAX_MB", True, "at least 1"),
        ("LLM_COST_STORAGE_ERROR", "explode", "'warn', 'raise', 'ignore'"),
        ("LLM_COST_UNKNOWN_PRICING", "explode", "'warn', 'raise', 'ignore'"),
        ("LLM_COST_OPENAI_COMPATIBLE_HOSTS", ["a"], "a mapping"),
        ("LLM_COST_OPENAI_COMPATIBLE_HOSTS", {"a": 1}, "a non-empty text"),
        ("LLM_COST_OPENAI_COMPATIBLE_HOSTS", {"http://a": "b"}, "'http://a': a host is allowed"),
        ("LLM_COST_OPENAI_COMPATIBLE_HOSTS", {"*.a": "b"}, "'*.a': wildcards are not allowed"),
        ("LLM_COST_OPENAI_COMPATIBLE_HOSTS", {"a:0": "b"}, "'a:0': the port is '0'"),
        ("LLM_COST_OPENAI_COMPATIBLE_HOSTS", {"::1": "b", "[::1]": "c"}, "'[::1]' is 'b' and 'c'; one is allowed"),
        ("LLM_COST_PROVIDERS", "shop.llm:Lumen", "a list is allowed"),
        ("LLM_COST_INJECT_STREAM_USAGE", "api.openai.com", "True, False and a list of hosts"),
        ("LLM_COST_INJECT_STREAM_USAGE", 1, "True, False and a list of hosts"),
        ("LLM_COST_INJECT_STREAM_USAGE", ["https://llm.internal"], "a host is allowed"),
        ("LLM_COST_IGNORED_HOSTS", ["llm.internal/v1"], "a host is allowed"),
        ("LLM_COST_IGNORED_HOSTS", 5, "a list of texts"),
        ("LLM_COST_DEFAULT_TAGS", 5, "a mapping"),
        ("LLM_COST_MAX_TAGS", -1, "at least 0"),
        ("LLM_COST_REPORT_TAGS", ["no spaces"], "invalid tag key 'no spaces'"),
        ("LLM_COST_REPORT_TAGS", ["a;b"], "invalid tag key 'a;b'"),
        ("LLM_COST_REPORT_TAGS", ["clé"], "invalid tag key 'clé'"),
        ("LLM_COST_REPORT_TAGS", ["a\n"], "invalid tag key 'a\\n'"),
        ("LLM_COST_INSTRUMENT", 7, "a list of texts"),
        ("LLM_COST_DATABASE_URI", "", "a non-empty text or None"),
    ],
)
def test_a_wrong_value_names_key_value_and_what_is_allowed(key: str, value: Any, allowed: str) -> None:
    """Covers P-CFG-05, P-CFG-06, P-CFG-07, P-CFG-08, P-CFG-20, P-CFG-21, P-STO-07."""
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_config({key: value})
    assert key in str(caught.value)
    assert allowed in str(caught.value)


def test_a_misspelt_key_is_said_with_the_nearest_real_one(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "flask_llm_cost"):
        Settings.from_config({"LLM_COST_TIMEZON": "UTC", "OTHER": 1})
    assert [record.getMessage() for record in caplog.records] == [
        "LLM_COST_TIMEZON is not a setting of flask-llm-cost; did you mean LLM_COST_TIMEZONE?."
    ]


def test_the_callers_dictionaries_are_copied_and_stay_theirs() -> None:
    """Covers P-CFG-13, P-CFG-34."""
    tags: dict[str, Any] = {"env": "test", "nested": {"a": 1}}
    settings = Settings.from_config({"LLM_COST_DEFAULT_TAGS": tags})
    tags["later"] = True
    tags["nested"]["a"] = 2
    assert settings.default_tags == {"env": "test", "nested": {"a": 1}}
    with pytest.raises(TypeError):
        settings.default_tags["new"] = 1  # type: ignore[index]


def test_host_names_are_lower_cased() -> None:
    """Covers P-CFG-18."""
    settings = Settings.from_config({"LLM_COST_OPENAI_COMPATIBLE_HOSTS": {"LLM.Internal": "gateway", "::1": "six"}})
    assert settings.openai_compatible_hosts == {"llm.internal": "gateway", "[::1]": "six"}


def test_two_places_for_the_ledger_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="only one is allowed"):
        Settings.from_config({"LLM_COST_DATABASE_URI": "sqlite:///x.db", "LLM_COST_BIND_KEY": "costs"})


@pytest.mark.parametrize("name", [each.name for each in fields(Settings)])
def test_settings_cannot_be_changed_afterwards(name: str) -> None:
    """Covers P-CFG-10, P-CFG-11, P-CFG-12."""
    settings = Settings()
    with pytest.raises(FrozenInstanceError):
        setattr(settings, name, getattr(settings, name))
