"""What the demo app does with LLMs: four features, each with an SDK and a model of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain

from anthropic.types import TextBlockParam
from google.genai.types import GenerateContentConfig

from demo.clients import Clients

TENANTS = ("acme", "globex", "initech")

HANDBOOK = "You answer customers of a shop for coffee machines. Be brief and kind. " + (
    "Orders ship within two days; returns are free for thirty days; repairs take a week and are free in warranty. " * 50
)


@dataclass(frozen=True, slots=True)
class Feature:
    """One thing the app offers.

    Attributes:
        name: as the tag ``feature`` spells it.
        title: as people read it.
        about: which API and model is behind it.
        example: what its form asks unless somebody writes something else.
        ask: makes the call, and gives the answer's text in pieces as they come.
    """

    name: str
    title: str
    about: str
    example: str
    ask: Callable[[Clients, str], Iterator[str]]


def _support_chat(clients: Clients, prompt: str) -> Iterator[str]:
    """Streamed; the long system prompt is cached."""
    system: TextBlockParam = {"type": "text", "text": HANDBOOK, "cache_control": {"type": "ephemeral"}}
    events = clients.anthropic.messages.create(
        model="claude-haiku-4-5",
        max_tokens=400,
        system=[system],
        messages=[{"role": "user", "content": prompt}],
        stream=True,
    )
    for event in events:
        if event.type == "content_block_delta" and event.delta.type == "text_delta":
            yield event.delta.text


def _summaries(clients: Clients, prompt: str) -> Iterator[str]:
    answer = clients.openai.chat.completions.create(
        model="gpt-4.1-mini",
        messages=[{"role": "system", "content": "Summarise in three sentences."}, {"role": "user", "content": prompt}],
    )
    yield answer.choices[0].message.content or ""


def _code_review(clients: Clients, prompt: str) -> Iterator[str]:
    """A reasoning model: most of its output is never seen, and is paid for."""
    answer = clients.openai.responses.create(
        model="gpt-5.4-mini", instructions="Review this code. Name the worst problem first.", input=prompt
    )
    yield answer.output_text


def _search(clients: Clients, prompt: str) -> Iterator[str]:
    """Streamed."""
    config = GenerateContentConfig(system_instruction="Answer as a search engine for coffee machines.")
    for chunk in clients.gemini.models.generate_content_stream(
        model="gemini-2.5-flash", contents=prompt, config=config
    ):
        yield chunk.text or ""


FEATURES = {
    feature.name: feature
    for feature in (
        Feature(
            "support-chat",
            "Support chat",
            "Anthropic messages, streamed, cached system prompt: claude-haiku-4-5",
            "My machine is leaking. What can I do?",
            _support_chat,
        ),
        Feature(
            "summaries",
            "Summaries",
            "OpenAI chat completions: gpt-4.1-mini",
            "The meeting began with the figures of the third quarter, which were better than anyone had expected.",
            _summaries,
        ),
        Feature(
            "code-review",
            "Code review",
            "OpenAI responses with reasoning: gpt-5.4-mini",
            "def total(prices):\n    return sum(float(price) for price in prices)",
            _code_review,
        ),
        Feature(
            "search",
            "Search",
            "Gemini generateContent, streamed: gemini-2.5-flash",
            "A quiet machine for two people, below 300 euros",
            _search,
        ),
    )
}


def begin(pieces: Iterator[str]) -> Iterator[str]:
    """Make the call now, up to its first piece: inside the caller's tags, and while an error can still be answered."""
    first = next(pieces, "")
    return chain((first,), pieces)
