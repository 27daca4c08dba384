"""The matrix: every surface of every SDK × every ending, once without us and once with."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import certifi

from flask_llm_cost import LLMCost
from flask_llm_cost.ledger.models import Call
from flask_llm_cost.testing import ProviderServer
from sdk_calls import SURFACES
from sdk_calls.endings import ENDINGS, Ending, Row
from sdk_calls.optional import OptionalCall, surfaces
from sdk_calls.rates import true_cost
from sdk_calls.site import SDKCall, Site, raised

TARGETS = ("openai", "anthropic", "google-genai", "boto3")


@dataclass(frozen=True)
class Scenario:
    """A surface and an ending."""

    call: SDKCall
    ending: Ending

    @property
    def name(self) -> str:
        return f"{self.call.name} - {self.ending.name}"

    @property
    def usage_bearing(self) -> bool:
        """Whether the app's answers carry all of their usage."""
        return any(row.cost == "complete" for row in self.ending.rows(self.call))


def scenarios(words: Sequence[str] = ()) -> Iterator[Scenario]:
    """Every scenario there is here; of the surfaces with one of the words in their names, where there are any."""
    for call in (*SURFACES, *surfaces()):
        if not words or any(word in call.name for word in words):
            endings = ENDINGS if call.thorough else ENDINGS[:1]
            yield from (Scenario(call, ending) for ending in endings if ending.applies(call))


@contextmanager
def leading_here(server: ProviderServer, folder: Path) -> Iterator[None]:
    """Every http:// address leads to the server, which plays the proxy: clients keep the providers' own host names.

    Clients also trust one certificate instead of a whole bundle: loading that takes most of a client's time.
    """
    bundle = Path(certifi.where()).read_text()
    end = "-----END CERTIFICATE-----"
    one = folder / "one.pem"
    one.write_text(bundle[bundle.index("-----BEGIN") : bundle.index(end)] + end + "\n")
    changed = {"HTTP_PROXY": server.url, "http_proxy": server.url, "SSL_CERT_FILE": str(one)}
    dropped = dict.fromkeys(("NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy"))
    before = {name: os.environ.get(name) for name in (*changed, *dropped)}
    _set(changed | dropped)
    try:
        yield
    finally:
        _set(before)


def _set(environment: dict[str, Any]) -> None:
    for name, value in environment.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


class Matrix:
    """Runs scenarios against one server and one ledger.

    Args:
        llm_cost: its app context must be pushed.
    """

    def __init__(self, llm_cost: LLMCost, server: ProviderServer) -> None:
        self._llm_cost = llm_cost
        self._server = server
        self._seen = 0
        self.rows()

    def without_us(self, scenario: Scenario) -> Any:
        """What the app sees where nothing of ours is in place."""
        self._llm_cost.uninstrument()
        return self._outcome(scenario, wrapped=False)

    def with_us(self, scenario: Scenario) -> tuple[Any, list[Call]]:
        """What the app sees with us, and the new rows of the ledger."""
        if not scenario.ending.wrapped:
            self._llm_cost.instrument(*TARGETS, *_own_target(scenario.call))
        try:
            return self._outcome(scenario, wrapped=scenario.ending.wrapped), self.rows()
        finally:
            self._llm_cost.uninstrument()

    def problems(self, scenario: Scenario) -> list[str]:
        """What is not as it should be; nothing if all is well."""
        before = self.without_us(scenario)
        after, rows = self.with_us(scenario)
        seen = [] if after == before else [f"the app sees {after!r:.300} instead of {before!r:.300}"]
        return [*seen, *differences(rows, scenario)]

    def rows(self) -> list[Call]:
        """The rows since the last look, oldest first."""
        assert self._llm_cost.flush(timeout=10)
        with self._llm_cost.session() as session:
            rows = list(session.query(Call).filter(Call.id > self._seen).order_by(Call.id))
        self._seen = max((row.id for row in rows), default=self._seen)
        return rows

    def _outcome(self, scenario: Scenario, *, wrapped: bool) -> Any:
        ending, call = scenario.ending, scenario.call
        self._server.next(*ending.answers)
        before = len(self._server.requests)
        site = Site(
            f"http://{call.host}",
            taking=ending.taking,
            timeout_s=ending.timeout_s,
            retries=len(ending.answers) - 1,
            asked=lambda: len(self._server.requests) > before,
        )
        if wrapped:
            site = replace(site, wrap=self._llm_cost.wrap)
        # Collected now, what the app dropped is of this scenario; and only what is new, or it would take too long.
        gc.disable()
        try:
            return call.ask(site)
        except Exception as error:
            return raised(error)
        finally:
            self._server.forget()
            gc.collect(0)
            gc.enable()


def _own_target(call: SDKCall) -> tuple[str, ...]:
    return (call.sdk,) if isinstance(call, OptionalCall) else ()


def differences(rows: list[Call], scenario: Scenario) -> list[str]:
    """In what the ledger's rows are not what they are to be."""
    expected, call = scenario.ending.rows(scenario.call), scenario.call
    if len(rows) != len(expected):
        return [f"{len(rows)} rows instead of {len(expected)}"]
    return [
        difference for row, wanted in zip(rows, expected, strict=True) for difference in _compare(row, wanted, call)
    ]


def _compare(row: Call, wanted: Row, call: SDKCall) -> Iterator[str]:
    tokens = (row.input_tokens, row.cache_read_input_tokens, row.output_tokens, row.hidden_output_tokens)
    for name, value, allowed in (
        ("provider", row.provider, {call.provider}),
        ("model", row.model if wanted.tokens == call.tokens else call.model, {call.model}),
        ("stream", row.stream, {call.stream}),
        ("status", row.status, {wanted.status}),
        ("usage_source", row.usage_source, {wanted.usage_source}),
        ("error_type", row.error_type, wanted.errors),
        ("cost_status", row.cost_status, {wanted.cost}),
        ("tokens", tokens, {wanted.tokens or tokens}),
        ("total_cost", row.total_cost, {true_cost(call) if wanted.cost == "complete" else None}),
        ("what it truly cost is within its bounds", _is_within(row, call), {wanted.cost == "estimated"}),
    ):
        if allowed and value not in allowed:
            yield f"{name} is {value!r} instead of {' or '.join(map(repr, allowed))}"


def _is_within(row: Call, call: SDKCall) -> bool:
    if row.cost_low is None:
        return False
    return row.cost_low <= true_cost(call) and (row.cost_high is None or true_cost(call) <= row.cost_high)
