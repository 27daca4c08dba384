"""Providers of the app's own: what they must say about themselves, what they may say about an answer."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest

from flask_llm_cost.errors import ConfigurationError
from flask_llm_cost.providers import (
    JSON,
    Answer,
    Provider,
    Registry,
    find_route,
    is_known,
    read,
    read_exchange,
    read_stream_events,
)
from flask_llm_cost.usage import ModelUsage, Reading


class Acme(Provider):
    """Says what it is told to say."""

    name = "acme"
    hosts: Sequence[str] = ("api.acme.example", ".acme.cloud", "127.0.0.1:8001", "[::1]:8002")
    paths: Sequence[str] = ("/v2/generate", ":ask")
    operation = "text_completion"

    def read(self, body: JSON, request: JSON) -> Answer | None:
        used: Any = body.get("used")
        if used is None:
            return None
        return Answer(body.get("lumen"), usage={"input": used["in"], "output": used["out"]}, raw_usage=used)  # type: ignore[arg-type]

    def read_stream(self, events: Sequence[JSON], request: JSON) -> Answer | None:
        return self.read({name: value for event in events for name, value in event.items()}, request)

    def ends_stream(self, event: JSON) -> bool:
        return "used" in event


class SaysNothingOfStreams(Provider):
    name, hosts, paths = "quiet", ("quiet.example",), ("/say",)

    def read(self, body: JSON, request: JSON) -> Answer | None:
        return Answer(usage={"input": 1})


BODY = {"lumen": "lumen-1", "used": {"in": 12, "out": 5, "who": "Ann"}}
URL = "https://api.acme.example/v2/generate"
READ = Reading(
    provider="acme",
    model="lumen-1",
    usage={"input": 12, "output": 5},
    request_model="lumen",
    operation="text_completion",
    usage_source="response",
    raw_usage={"in": 12, "out": 5},
)


def ask(body: object, provider: Any = Acme, *, url: str = URL, request: object = None, status: int = 200) -> Reading:
    reading = read_exchange(
        url=url,
        request_body=json.dumps({"model": "lumen"} if request is None else request).encode(),
        status=status,
        headers={},
        body=body if isinstance(body, bytes) else json.dumps(body).encode(),
        providers=[provider],
    )
    assert reading is not None
    return reading


def saying(said: Any, **attributes: Any) -> Provider:
    """A provider whose ``read`` gives that, or raises it."""

    def read(self: Provider, body: JSON, request: JSON) -> Any:
        if isinstance(said, Exception):
            raise said
        return said

    made: Any = type("Saying", (Acme,), {"read": read, **attributes})
    provider: Provider = made()
    return provider


@pytest.mark.parametrize("provider", [Acme, Acme(), f"{__name__}:Acme"])
def test_a_class_an_object_or_a_name_of_either_is_a_provider(provider: object) -> None:
    """Covers P-PARSE-GEN-12."""
    assert ask(BODY, provider) == READ


@pytest.mark.parametrize(
    ("host", "port", "path", "ours"),
    [
        ("api.acme.example", None, "/v2/generate", True),
        ("API.Acme.Example", 8443, "/eu/v2/generate", True),
        ("eu.acme.cloud", None, "/models/lumen:ask", True),
        ("acme.cloud", None, "/v2/generate", False),
        ("notacme.cloud", None, "/v2/generate", False),
        ("127.0.0.1", 8001, "/v2/generate", True),
        ("127.0.0.1", 8002, "/v2/generate", False),
        ("127.0.0.1", None, "/v2/generate", False),
        ("::1", 8002, "/v2/generate", True),
        ("api.acme.example", None, "/v2/generate/more", False),
        ("api.acme.example", None, "/xv2/generate", False),
        ("other.example", None, "/v2/generate", False),
    ],
)
def test_host_port_and_path_decide(host: str, port: int | None, path: str, ours: bool) -> None:
    """Covers P-PARSE-GEN-18."""
    own = Registry([Acme])
    route = find_route("POST", host, port, path, own=own)
    assert (route.provider if route else None) == ("acme" if ours else None)
    if ours:
        assert is_known(host, own=own)
    assert not is_known(host)
    assert find_route("GET", host, port, path, own=own) is None


def test_the_newest_goes_first_and_before_the_built_in_ones_on_its_paths() -> None:
    """Covers P-PARSE-GEN-12. On its other paths the host stays what it was."""
    own = Registry([saying(None, name="first", hosts=("api.openai.com",), paths=("/chat/completions",))])
    own.add(saying(None, name="second", hosts=("api.openai.com",), paths=("/v1/chat/completions",)), key="k")

    def provider_at(path: str, **configured: Any) -> str | None:
        route = find_route("POST", "api.openai.com", None, path, own=own, **configured)
        return route.provider if route else None

    assert provider_at("/v1/chat/completions") == "second"
    assert provider_at("/v2/chat/completions") == "first"
    assert provider_at("/v1/responses") == "openai"
    assert provider_at("/v1/chat/completions", compatible_hosts={"api.openai.com": "gateway"}) == "second"


def test_the_name_of_a_provider_is_compared_in_any_case_and_makes_up_for_the_host() -> None:
    """Covers P-PARSE-GEN-14."""
    own = Registry([Acme])
    for name in ("acme", "ACME"):
        route = find_route("POST", "10.0.0.7", 9, "/v2/generate", provider=name, own=own)
        assert route is not None
        assert route.provider == "acme"
    assert find_route("POST", "10.0.0.7", 9, "/v2/generate", provider="", own=own) is None
    assert read_stream_events("Acme", [BODY], own) == Reading(
        provider="acme",
        model="lumen-1",
        usage={"input": 12, "output": 5},
        operation="text_completion",
        stream=True,
        usage_source="stream_final",
        raw_usage={"in": 12, "out": 5},
    )


@pytest.mark.parametrize(
    "body",
    [
        b'data: {"lumen": "lumen-1"}\n\ndata: {"used": {"in": 12, "out": 5}}\n\n',
        b'{"lumen": "lumen-1"}\n{"used": {"in": 12, "out": 5}}\n',
        b'[{"lumen": "lumen-1"},\n{"used": {"in": 12, "out": 5}}]',
    ],
    ids=["server-sent events", "JSON lines", "an array"],
)
def test_a_stream_is_read_by_its_events(body: bytes) -> None:
    reading = ask(body)
    assert (reading.model, reading.usage, reading.stream) == ("lumen-1", {"input": 12, "output": 5}, True)
    assert (reading.usage_source, reading.status) == ("stream_final", "ok")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'data: {"lumen": "l"}\n\ndata: {"used": {"in": 1, "out": 2}}\n\n', ("stream_final", ())),
        (b'data: {"lumen": "l"}\n\n', ("unknown", ("cut_off",))),
    ],
)
def test_a_stream_left_after_its_last_event_is_whole(body: bytes, expected: tuple[str, tuple[str, ...]]) -> None:
    own = Registry([Acme])
    route = find_route("POST", "api.acme.example", None, "/v2/generate", own=own)
    assert route is not None
    reading = read(route, url=URL, request_body=b"", status=200, headers={}, body=body, complete=False)
    assert (reading.usage_source, reading.notes) == expected


def test_a_stream_that_reports_an_error_failed() -> None:
    reading = ask(b'data: {"error": {"code": "overloaded"}}\n\n')
    assert (reading.status, reading.error_type, reading.usage_source) == ("error", "overloaded", "unknown")


def test_a_provider_that_reads_no_streams_leaves_their_usage_unknown() -> None:
    """Covers P-PARSE-GEN-17."""
    reading = ask(b'data: {"n": 1}\n\ndata: [DONE]\n\n', SaysNothingOfStreams, url="https://quiet.example/say")
    assert (reading.usage, reading.usage_source, reading.stream) == ({}, "unknown", True)


def test_an_answer_that_is_an_error_is_not_read() -> None:
    """Covers P-PARSE-GEN-01."""
    reading = ask({**BODY, "error": {"code": "quota"}}, saying(AssertionError("read")), status=429)
    assert (reading.status, reading.error_type, reading.usage) == ("error", "quota", {})


@pytest.mark.parametrize(
    "said",
    [
        ValueError("the text of a message"),
        {"input": 1},
        Answer(usage={"input": -1}),
        Answer(usage={"input": True}),
        Answer(usage={"input": "3"}),  # type: ignore[dict-item]
        Answer(usage={"input": float("nan")}),  # type: ignore[dict-item]
        Answer(usage={"input": Decimal("Infinity")}),
        Answer(model=7),  # type: ignore[arg-type]
        Answer(extra=(ModelUsage("m", {"output": -2}),)),
    ],
)
def test_what_goes_wrong_is_unknown_usage_and_one_line_in_the_log(said: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The line names the place and the kind of error, never its message: that may hold text of the answer."""
    provider = saying(said)
    own = Registry([provider])
    route = find_route("POST", "api.acme.example", None, "/v2/generate", own=own)
    assert route is not None
    with caplog.at_level(logging.DEBUG, "flask_llm_cost"):
        readings = [
            read(route, url=URL, request_body=b"{}", status=200, headers={}, body=json.dumps(BODY).encode())
            for _ in range(3)
        ]
    assert (
        readings == [Reading("acme", "unknown", operation="text_completion", notes=("provider_failed", "no_usage"))] * 3
    )
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("Saying.read of the provider 'acme' failed: ")
    assert "text of a message" not in caplog.text


def test_every_other_method_may_fail_too(caplog: pytest.LogCaptureFixture) -> None:
    def wrong(*_: object) -> Any:
        raise LookupError

    provider = saying(None, read_stream=wrong, ends_stream=wrong, requested_model=wrong)
    reading = ask(b'data: {"a": 1}\n\n', provider)
    assert (reading.model, reading.usage_source, reading.stream) == ("unknown", "unknown", True)
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_quantities_are_exact_and_only_numbers_and_codes_are_kept() -> None:
    said = Answer(
        "lumen-1",
        usage={"audio.second": 0.1, "input": 0},  # type: ignore[dict-item]
        raw_usage={"seconds": 0.1, "who": "Ann"},
        notes=("estimated", "Dear Ann, thanks"),
        provider_cost=0.25,  # type: ignore[arg-type]
    )
    reading = ask({}, saying(said))
    assert reading.usage == {"audio.second": Decimal("0.1"), "input": 0}
    assert (reading.raw_usage, reading.notes, reading.provider_cost) == (
        {"seconds": 0.1},
        ("estimated",),
        Decimal("0.25"),
    )


def test_sound_is_read_as_an_empty_body_beside_the_request() -> None:
    class Spoken(Provider):
        name, hosts, paths, operation, opaque = "spoken", ("s.example",), (":say",), "speech", True

        def read(self, body: JSON, request: JSON) -> Answer | None:
            return Answer(usage={"character": len(str(request["text"]))})

        def requested_model(self, path: str, request: JSON) -> str | None:
            return path.rpartition("/")[2].partition(":")[0]

    reading = ask(b"\xff\xfb\x00", Spoken, url="https://s.example/voices/ann:say", request={"text": "Hello"})
    assert (reading.model, reading.usage, reading.usage_source) == ("ann", {"character": 5}, "response")


def test_a_form_is_the_request_of_a_provider_too() -> None:
    class Heard(SaysNothingOfStreams):
        def read(self, body: JSON, request: JSON) -> Answer | None:
            return Answer(str(request["model"]), usage={"input": 1})

    form = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\near-1\r\n--b--\r\n'
    reading = read_exchange(
        url="https://quiet.example/say", request_body=form, status=200, headers={}, body=b"{}", providers=[Heard]
    )
    assert reading is not None
    assert (reading.model, reading.request_model) == ("ear-1", "ear-1")


class NeedsArguments(Acme):
    def __init__(self, key: str) -> None:
        """Whatever."""


class Unfinished(Provider):
    name, hosts, paths = "x", ("x.example",), ("/x",)


@pytest.mark.parametrize(
    ("provider", "message"),
    [
        (3, "P: 3 is no provider; a subclass of flask_llm_cost.providers.Provider is allowed, an object of one, or"),
        (dict, "P: <class 'dict'> is no provider;"),
        ("acme", "P: 'acme' is allowed as 'package.module:Name'."),
        ("no.such:Acme", "P: 'no.such:Acme' cannot be imported: No module named 'no'."),
        ("json:Acme", "P: 'json:Acme' cannot be imported: module 'json' has no attribute 'Acme'."),
        (Unfinished, "Unfinished has no read()."),
        (NeedsArguments, "NeedsArguments cannot be made without arguments; give an object of it."),
        (saying(None, name=" "), "Saying: name = ' '; a text of at most 64 characters is allowed."),
        (saying(None, name="x" * 65), "a text of at most 64 characters is allowed."),
        (saying(None, operation="o" * 33), "a text of at most 32 characters is allowed."),
        (saying(None, hosts="acme.example"), "hosts = 'acme.example'; a tuple of texts is allowed"),
        (saying(None, hosts=()), "hosts = (); a tuple of texts is allowed, ('api.acme.example',) say."),
        (saying(None, hosts=("https://a.b",)), "hosts has 'https://a.b'; a host is allowed, with or without a port"),
        (saying(None, hosts=("*.a.b",)), "hosts has '*.a.b'; wildcards are not allowed; name each host."),
        (saying(None, hosts=(".a.b:80",)), "hosts has '.a.b:80'; an ending has no port."),
        (saying(None, hosts=("a:99999",)), "hosts has 'a:99999'; the port is '99999'; 1 to 65535 are allowed."),
        (saying(None, paths=("v1/x",)), "paths has 'v1/x'; what a path ends in is allowed, from a '/' or a ':' on"),
        (saying(None, paths=("/",)), "paths has '/';"),
        (saying(None, paths=("/x?y",)), "paths has '/x?y';"),
        (saying(None, paths=(b"/x",)), "paths = (b'/x',); a tuple of texts is allowed"),
    ],
)
def test_what_is_wrong_with_a_provider_is_said_at_start_up(provider: object, message: str) -> None:
    """Covers P-PARSE-GEN-13."""
    with pytest.raises(ConfigurationError) as caught:
        Registry([provider], key="P")
    assert str(caught.value).startswith("P: ")
    assert message in str(caught.value)


def test_adding_a_provider_again_replaces_it() -> None:
    own = Registry([Acme, SaysNothingOfStreams])
    own.add(Acme, key="k")
    own.add(Acme(), key="k")
    assert len(own._served) == 2


def test_looking_up_while_others_add_finds_what_was_there() -> None:
    """Eight look up 200 times each while eight add ten each: nobody fails, nothing that is there is missed.

    Covers P-CON-01.
    """
    registry, start = Registry([Acme]), threading.Barrier(16)
    failures: list[object] = []

    def look_up() -> None:
        start.wait(timeout=10)
        for _ in range(200):
            route = registry.find("api.acme.example", None, "/v2/generate")
            if route is None or not registry.knows("api.acme.example"):
                failures.append(route)

    def add(writer: int) -> None:
        start.wait(timeout=10)
        for number in range(10):
            added = {"name": f"acme-{writer}-{number}", "hosts": (f"llm-{writer}-{number}.example",)}
            registry.add(type("Added", (Acme,), added), key="test")

    threads = [threading.Thread(target=look_up) for _ in range(8)]
    threads += [threading.Thread(target=add, args=(writer,)) for writer in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert all(registry.knows(f"llm-{writer}-{number}.example") for writer in range(8) for number in range(10))
