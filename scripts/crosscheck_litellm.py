"""LiteLLM's half of ``crosscheck_prices.py``: prices the calls on stdin with its engine, as JSON.

Runs under an interpreter that has litellm, which keeps other packages back and so lives in an environment of its own.
Knows nothing of flask_llm_cost.
"""

from __future__ import annotations

import json
import os
import sys

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # Else its import fetches the map.

import litellm
from litellm.cost_calculator import batch_cost_calculator, completion_cost
from litellm.types.utils import EmbeddingResponse, ModelResponse, Usage

litellm.suppress_debug_info = True
PREFIXES = {"vertex": "vertex_ai", "together": "together_ai", "fireworks": "fireworks_ai", "cohere": "cohere_chat"}


def usage(meters: dict[str, int]) -> Usage:
    """A usage in LiteLLM's inclusive terms."""
    written = meters.get("cache_write", 0) + meters.get("cache_write.1h", 0)
    prompt = sum(count for name, count in meters.items() if name.startswith(("input", "cache_")))
    completion = sum(count for name, count in meters.items() if name.startswith("output"))
    read = meters.get("cache_read", 0)
    details = {
        "cached_tokens": read,
        "audio_tokens": meters.get("input.audio"),
        "text_tokens": meters.get("input", 0) if "input.audio" in meters else None,
        "web_search_requests": meters.get("tool.web_search"),
    }
    if written:
        details["cache_creation_token_details"] = {
            "ephemeral_5m_input_tokens": meters.get("cache_write", 0),
            "ephemeral_1h_input_tokens": meters.get("cache_write.1h", 0),
        }
    made = {"reasoning_tokens": meters.get("output.reasoning"), "audio_tokens": meters.get("output.audio")}
    if "output.audio" in meters:
        made["text_tokens"] = meters.get("output", 0)
    searches = meters.get("tool.web_search")
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=prompt + completion,
        prompt_tokens_details={name: value for name, value in details.items() if value is not None},
        completion_tokens_details={name: value for name, value in made.items() if value is not None} or None,
        cache_creation_input_tokens=written,
        cache_read_input_tokens=read,
        **({"server_tool_use": {"web_search_requests": searches}} if searches else {}),
    )


def price(call: dict[str, object]) -> float:
    provider = PREFIXES.get(call["provider"], call["provider"])
    meters, mode = call["usage"], call.get("mode")
    if mode == "batch":
        return sum(batch_cost_calculator(usage=usage(meters), model=call["model"], custom_llm_provider=provider))
    embeds = "embed" in call["model"]
    if embeds and provider == "cohere_chat":
        provider = "cohere"
    kind = EmbeddingResponse if embeds else ModelResponse
    answer = kind(model=call["model"], usage=usage(meters))
    name = f"{provider}/{call['model']}"
    return completion_cost(completion_response=answer, model=name, custom_llm_provider=provider, service_tier=mode)


def priced(call: dict[str, object]) -> str | None:
    """The cost as a decimal text; ``None`` where LiteLLM refuses the model."""
    try:
        return repr(price(call))
    except Exception as error:
        print(f"{call['provider']}/{call['model']}: {str(error)[:100]!r}", file=sys.stderr)
        return None


def main() -> None:
    json.dump([priced(call) for call in json.load(sys.stdin)], sys.stdout)


if __name__ == "__main__":
    main()
