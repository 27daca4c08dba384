"""The SDK clients of the demo: each to its real provider where there is a key, else to a provider server of our own."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from itertools import count

import anthropic
import openai
from anthropic import Anthropic
from google import genai
from google.genai import errors as genai_errors
from openai import OpenAI

from flask_llm_cost import LLMCost
from flask_llm_cost.testing import Answer, ProviderServer, Received, plausible_answer

FAILURES = (openai.OpenAIError, anthropic.AnthropicError, genai_errors.APIError)
KEYS: Mapping[str, tuple[str, ...]] = {
    "openai": ("OPENAI_API_KEY",),
    "anthropic": ("ANTHROPIC_API_KEY",),
    "gemini": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
}
_FAILS_EVERY = 9
_TEXTS: Mapping[str, str] = {
    "anthropic": (
        "I am sorry about the leak. Please empty the water tank and look at the seal below it: if it is torn or dry, "
        "we send you a new one, free of charge. If it looks fine, the machine should come in for a repair, which takes "
        "about a week. Shall I book that for you?"
    ),
    "gemini": (
        "Three machines fit. The Piccola is the quietest at 54 dB and costs 249 euros. The Duo brews two cups at once, "
        "is a little louder, and costs 279 euros. The Classica is the cheapest at 189 euros, without a milk frother."
    ),
    "openai": (
        "The main point comes first: the numbers are right, but only by luck. Decimal amounts go through floats, which "
        "cannot hold them exactly. Sum decimals instead, and round once, at the end."
    ),
}
_SUMMARY = (
    "The third quarter went better than expected. Most of it came from repeat customers. "
    "The team keeps its plan and looks at the figures again in December."
)
_BUSY: Mapping[str, int] = {"openai": 429, "anthropic": 529, "gemini": 503}


class Clients:
    """The three clients, made and wrapped when the first of them is needed, the local server with them.

    Attributes:
        real: which of "openai", "anthropic" and "gemini" have a key in the environment.
    """

    def __init__(self, llm_cost: LLMCost) -> None:
        self._wrap = llm_cost.wrap
        self._keys = {name: _key(variables) for name, variables in KEYS.items()}
        self._lock = threading.Lock()
        self._server = ProviderServer()
        self._made: tuple[OpenAI, Anthropic, genai.Client] | None = None
        self.real = tuple(name for name, key in self._keys.items() if key)

    @property
    def openai(self) -> OpenAI:
        return self._clients()[0]

    @property
    def anthropic(self) -> Anthropic:
        return self._clients()[1]

    @property
    def gemini(self) -> genai.Client:
        return self._clients()[2]

    def stop(self) -> None:
        """Close what was opened; harmless when nothing was."""
        with self._lock:
            for client in self._made or ():
                client.close()
            self._made = None
            self._server.stop()

    def _clients(self) -> tuple[OpenAI, Anthropic, genai.Client]:
        with self._lock:
            if self._made is None:
                self._made = self._open()
            return self._made

    def _open(self) -> tuple[OpenAI, Anthropic, genai.Client]:
        local = ""
        if len(self.real) < len(self._keys):
            self._server.respond(partial(_local_answer, count(1)))
            local = self._server.start().url
        gpt, claude, gemini = self._keys["openai"], self._keys["anthropic"], self._keys["gemini"]
        # A real provider's hiccups are retried as usual; the local server's are there to be seen.
        return (
            self._wrap(OpenAI(api_key=gpt) if gpt else OpenAI(api_key="local", base_url=f"{local}/v1", max_retries=0)),
            self._wrap(
                Anthropic(api_key=claude) if claude else Anthropic(api_key="local", base_url=local, max_retries=0)
            ),
            self._wrap(
                genai.Client(api_key=gemini)
                if gemini
                else genai.Client(api_key="local", vertexai=False, http_options={"base_url": local})
            ),
        )


def _key(variables: tuple[str, ...]) -> str:
    return next((os.environ[name] for name in variables if os.environ.get(name)), "")


def _local_answer(calls: count[int], received: Received) -> Answer:
    """A plausible answer at a human pace, and every now and then a provider that is busy."""
    provider = _provider_of(received)
    if next(calls) % _FAILS_EVERY == 0:
        return Answer(status=_BUSY[provider], retry_after_s=2)
    text = _SUMMARY if received.path.endswith("/chat/completions") else _TEXTS[provider]
    return replace(plausible_answer(received), text=text, first_delay_s=0.25, delay_s=0.02)


def _provider_of(received: Received) -> str:
    if received.path.endswith("/messages"):
        return "anthropic"
    return "gemini" if ":" in received.path else "openai"
