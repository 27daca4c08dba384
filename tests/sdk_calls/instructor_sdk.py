"""The instructor package, on the openai package."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import instructor
import openai
from pydantic import BaseModel

from sdk_calls.detours import OPENAI_FAMILY, async_http_client, http_client
from sdk_calls.openai_sdk import OPENAI_MODEL
from sdk_calls.optional import OptionalCall
from sdk_calls.site import QUESTION, Site, seen


class Capital(BaseModel):
    """What is asked for."""

    city: str


def options(site: Site) -> dict[str, Any]:
    return {"api_key": "test", **site.patience()} | ({} if site.real_hosts else {"base_url": f"{site.url}/v1"})


@contextmanager
def completions(site: Site) -> Iterator[Any]:
    with openai.OpenAI(http_client=http_client(OPENAI_FAMILY, site), **options(site)) as inner:
        yield site.wrap(instructor.from_openai(inner, mode=instructor.Mode.JSON)).chat.completions


def create(site: Site) -> Any:
    with completions(site) as asking:
        return seen(asking.create(model=OPENAI_MODEL, messages=QUESTION, response_model=Capital))


def create_with_completion(site: Site) -> Any:
    with completions(site) as asking:
        answers = asking.create_with_completion(model=OPENAI_MODEL, messages=QUESTION, response_model=Capital)
        return [seen(answer) for answer in answers]


def create_partial(site: Site) -> Any:
    with completions(site) as asking:
        stream = asking.create_partial(
            model=OPENAI_MODEL, messages=QUESTION, response_model=Capital, stream_options={"include_usage": True}
        )
        return [seen(part) for part in stream]


def create_async(site: Site) -> Any:
    async def ask() -> Any:
        given = async_http_client(OPENAI_FAMILY, site)
        async with openai.AsyncOpenAI(http_client=given, **options(site)) as inner:
            asking = site.wrap(instructor.from_openai(inner, mode=instructor.Mode.JSON)).chat.completions
            return seen(await asking.create(model=OPENAI_MODEL, messages=QUESTION, response_model=Capital))

    return site.run(ask())


_call = partial(
    OptionalCall,
    provider="openai",
    sdk="instructor",
    http=OPENAI_FAMILY.__name__,
    model="gpt-4o-mini-2024-07-18",
    asked=OPENAI_MODEL,
)

CALLS = (
    _call("instructor", stream=False, ask=create),
    _call("instructor with completion", stream=False, ask=create_with_completion),
    _call("instructor partial, streamed", stream=True, ask=create_partial),
    _call("instructor, async", stream=False, ask=create_async),
)
