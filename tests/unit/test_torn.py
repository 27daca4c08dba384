"""A JSON object whose middle is missing: what is told of it is what the whole one says, or nothing."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from flask_llm_cost.capture.body import BoundedBody
from flask_llm_cost.providers import find_route, read
from flask_llm_cost.providers.torn import TORN, torn_object

KEYS = st.sampled_from(["id", "model", "usage", "service_tier", "output", "tools", "metadata", "status"])
VALUES = st.recursive(
    st.one_of(st.integers(), st.none(), st.booleans(), st.text(st.sampled_from('"\\{}[]:, usagé'), max_size=30)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)
MEMBERS = st.dictionaries(KEYS, VALUES, max_size=5)
LONG = st.text(st.sampled_from('"\\{}[]:, usagé'), max_size=60) | st.lists(VALUES, max_size=4)


@given(MEMBERS, LONG, MEMBERS, st.booleans(), st.data())
def test_no_member_is_made_up_whatever_is_missing_of_a_long_one(
    before: dict[str, Any], long: object, after: dict[str, Any], nested: bool, data: st.DataObject
) -> None:
    inner = {**{f"a_{name}": value for name, value in before.items()}, "long": long, **after}
    whole = {"type": "x", "response": inner} if nested else inner
    text = json.dumps(whole, ensure_ascii=data.draw(st.booleans())).encode()
    first = text.find(b'"long": ') + len(b'"long": ')
    _, length = json.JSONDecoder().raw_decode(text[first:].decode())
    last = first + len(text[first:].decode()[:length].encode())
    start = data.draw(st.integers(first, last))
    end = data.draw(st.integers(start, last))
    found = torn_object(text[:start] + TORN + text[end:])
    assert found is not None
    assert _within(found, whole)


def _within(part: Mapping[str, Any], whole: Mapping[str, Any]) -> bool:
    """Whether every member is one of the whole's, or an object that the gap is in."""
    for name, value in part.items():
        own = whole.get(name)
        if name not in whole or (value != own and not (isinstance(value, dict) and isinstance(own, dict))):
            return False
        if value != own and not _within(value, own):
            return False
    return True


def test_what_is_no_object_with_a_gap_is_nothing() -> None:
    assert torn_object(b'{"usage": {"input_tokens": 1}') is None
    assert torn_object(b"[1, 2" + TORN + b'{"usage": {}}]') is None


def test_hosted_tools_are_counted_and_the_tier_is_known_however_long_the_last_event_is() -> None:
    """Text that speaks of usage and a tool's schema with such names between the ends fool nobody."""
    noise = random.Random(3)
    words = "".join(noise.choices('ab "\\\n\té"usage":{', k=400_000))
    opened = {"id": "resp_" + "0" * 40, "model": "gpt-5-2025-08-07", "instructions": "Be brief. " * 3000}
    searches: list[dict[str, Any]] = [
        {"id": f"ws_{number}", "type": "web_search_call", "action": {"type": "search", "query": "x"}}
        for number in range(3)
    ]
    ran = {"id": "ci_1", "type": "code_interpreter_call", "code": "x" * 20_000, "container_id": "cntr_1"}
    items = [*searches, ran, {"type": "message", "content": [{"type": "output_text", "text": words}]}]
    finished = {
        **opened,
        "output": items,
        "service_tier": "priority",
        "tools": [{"type": "function", "parameters": {"properties": {"usage": {"input_tokens": 5}}}}],
        "usage": {"input_tokens": 1000, "output_tokens": 90_000},
    }
    events: list[dict[str, Any]] = [{"type": "response.created", "response": opened}]
    for item in items:
        events += [{"type": "response.output_item.done", "item": item}]
        events += [{"type": "response.output_text.delta", "delta": words[at : at + 50]} for at in range(0, 99_000, 50)]
    events += [{"type": "response.completed", "response": finished}]
    stream = b"".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events)

    route = find_route("POST", "api.openai.com", None, "/v1/responses")
    assert route is not None
    body = BoundedBody("text/event-stream", "", route.wire.telling)
    for at in range(0, len(stream), 4093):
        body.append(stream[at : at + 4093])
    content = body.content()
    readings = [
        read(route, url="https://api.openai.com/v1/responses", request_body=b"{}", status=200, headers={}, body=each)
        for each in (stream, content)
    ]
    assert readings[0] == readings[1]
    assert dict(readings[1].usage) == {
        "input": 1000,
        "output": 90_000,
        "tool.web_search": 3,
        "tool.code_execution": 1,
    }
    assert (readings[1].pricing_mode, readings[1].usage_source, readings[1].notes) == ("priority", "stream_final", ())
    assert len(content) < 72 * 1024
