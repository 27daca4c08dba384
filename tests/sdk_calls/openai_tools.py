"""The loops of the openai package that run tools, since its version 3: each turn is a call of its own.

The answers of the matrix ask for no tool: one turn.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from sdk_calls.openai_sdk import OPENAI_MODEL, async_openai_client, openai_client
from sdk_calls.site import SDKCall, Site, seen

_SNAPSHOT = ("openai", "gpt-4o-mini-2024-07-18")
_ASKED: dict[str, Any] = {"model": OPENAI_MODEL, "input": "What is the capital of France?"}
_TOOL: dict[str, Any] = {
    "type": "function",
    "name": "population",
    "description": "How many people live in a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}


def _run(stream: bool) -> Any:
    def ask(site: Site) -> Any:
        from openai.lib.responses_tool_runner import RegisteredFunction, ResponsesToolRunner

        runner = ResponsesToolRunner(functions=[RegisteredFunction(_TOOL, lambda _said: "2 million")])
        with openai_client(site) as client:
            return seen(runner.run(client, _ASKED, stream=stream))

    return ask


def _run_async(stream: bool) -> Any:
    async def population(_said: dict[str, object]) -> str:
        return "2 million"

    async def ask(site: Site) -> Any:
        from openai.lib.responses_tool_runner import AsyncRegisteredFunction, AsyncResponsesToolRunner

        runner = AsyncResponsesToolRunner(functions=[AsyncRegisteredFunction(_TOOL, population)])
        async with async_openai_client(site) as client:
            return seen(await runner.run(client, _ASKED, stream=stream))

    return lambda site: site.run(ask(site))


CALLS: tuple[SDKCall, ...] = ()
if find_spec("openai.lib.responses_tool_runner") is not None:
    CALLS = (
        SDKCall("openai tool runner", *_SNAPSHOT, False, _run(stream=False)),
        SDKCall("openai tool runner, streamed", *_SNAPSHOT, True, _run(stream=True)),
        SDKCall("openai tool runner, async", *_SNAPSHOT, False, _run_async(stream=False), asynchronous=True),
        SDKCall("openai tool runner, async, streamed", *_SNAPSHOT, True, _run_async(stream=True), asynchronous=True),
    )
