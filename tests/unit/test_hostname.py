"""Host names as people write them into a configuration."""

from __future__ import annotations

import re

import pytest

from flask_llm_cost.hostname import host_key


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("LLM.Internal", "llm.internal"),
        ("localhost:11434", "localhost:11434"),
        ("my_service", "my_service"),
        ("127.0.0.1:080", "127.0.0.1:80"),
        ("::1", "[::1]"),
        ("[::1]", "[::1]"),
        ("[FE80:0:0:0:0:0:0:1]:8001", "[fe80::1]:8001"),
        ("bücher.example", "bücher.example"),
    ],
)
def test_a_host_in_the_spelling_of_look_ups(name: str, key: str) -> None:
    assert host_key(name) == key


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("https://llm.internal", "no scheme and no path"),
        ("llm.internal/v1", "no scheme and no path"),
        ("*.internal", "wildcards"),
        ("", "'host:port'"),
        ("a b", "'host:port'"),
        ("user@host", "'host:port'"),
        (":80", "'host:port'"),
        ("host:", "the port is ''"),
        ("host:0", "the port is '0'"),
        ("host:65536", "the port is '65536'"),
        ("host:http", "the port is 'http'"),
        ("host:٣", "the port is '٣'"),
        ("[::1", "'[IPv6 address]:port'"),
        ("[::1]8001", "'[IPv6 address]:port'"),
        ("[nonsense]:1", "'nonsense' is no IPv6 address"),
        ("1:2:3", "'1:2:3' is no IPv6 address"),
    ],
)
def test_what_is_no_host_is_told_why(name: str, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        host_key(name)
