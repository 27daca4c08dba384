"""Whose a call is: views and tasks, streams that outlive their view, threads and greenlets."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from typing import Any

import httpx
import pytest
from flask import Flask, Response, stream_with_context

from flask_llm_cost import LLMCost
from flask_llm_cost.ledger.models import Call

ROOT = Path(__file__).parents[2]
ReadCalls = Callable[[], list[Call]]

URL = "https://api.openai.com/v1/chat/completions"
ASKED = {"model": "gpt-4o-mini", "messages": []}
ANSWER = {"id": "c", "model": "gpt-4o-mini", "choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 5}}


@pytest.fixture
def client(llm_cost: LLMCost) -> Iterator[httpx.Client]:
    with llm_cost.wrap(httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(200, json=ANSWER)))) as made:
        yield made


def tags_of(calls: ReadCalls) -> list[dict[str, str]]:
    return [row.tags for row in calls()]


class TestViews:
    @pytest.mark.parametrize("how", ["plain", "stream_with_context", "stream", "direct_passthrough", "async"])
    def test_a_call_has_the_tags_of_its_view(
        self, how: str, app: Flask, llm_cost: LLMCost, client: httpx.Client, calls: ReadCalls
    ) -> None:
        """Also one made by the body after the view returned, but for a body that Flask is told not to look at."""

        def body() -> Iterator[str]:
            client.post(URL, json=ASKED)
            yield "done"

        @app.before_request
        def tenant() -> None:
            llm_cost.tag_request(tenant="acme")

        @app.get("/")
        def view() -> Any:
            with llm_cost.tags(feature="chat"):
                if how == "plain":
                    return "".join(body())
                if how == "stream_with_context":
                    return Response(stream_with_context(body()))
                return Response(body(), direct_passthrough=how == "direct_passthrough")

        @app.get("/async")
        async def asynchronous() -> str:
            async def ask(number: int) -> None:
                with llm_cost.tags(number=number):
                    await asyncio.sleep(0)
                    client.post(URL, json=ASKED)

            with llm_cost.tags(feature="chat"):
                await asyncio.gather(ask(1), ask(2))
            return "done"

        assert app.test_client().get("/async" if how == "async" else "/").data == b"done"
        whole = {"tenant": "acme", "feature": "chat"}
        expected = {
            "direct_passthrough": [{}],
            "async": [{**whole, "number": "1"}, {**whole, "number": "2"}],
        }
        assert tags_of(calls) == expected.get(how, [whole])

    def test_tags_are_those_at_the_requests_start(self, llm_cost: LLMCost, calls: ReadCalls) -> None:
        def pieces() -> Iterator[bytes]:
            with llm_cost.tags(late="yes"):
                yield b'data: {"id": "c", "model": "gpt-4o-mini", "usage": {"prompt_tokens": 1}}\n\n'
            yield b"data: [DONE]\n\n"

        transport = httpx.MockTransport(lambda _: httpx.Response(200, content=pieces()))
        with llm_cost.wrap(httpx.Client(transport=transport)) as client:
            with llm_cost.tags(feature="chat"):
                streamed = client.send(client.build_request("POST", URL, json={**ASKED, "stream": True}), stream=True)
            with llm_cost.tags(feature="other"):
                streamed.read()
        assert tags_of(calls) == [{"feature": "chat"}]


def test_threads_have_tags_only_where_the_context_is_copied(
    llm_cost: LLMCost, client: httpx.Client, calls: ReadCalls
) -> None:
    with llm_cost.tags(feature="chat"), ThreadPoolExecutor(1) as pool:
        pool.submit(client.post, URL, json=ASKED).result()
        pool.submit(copy_context().run, client.post, URL, json=ASKED).result()
    assert tags_of(calls) == [{}, {"feature": "chat"}]


def test_switched_off_between_two_calls_only_the_first_is_recorded(
    app: Flask, client: httpx.Client, calls: ReadCalls
) -> None:
    """And what was under way when it was switched off is still recorded: it was asked for while it was on."""
    client.post(URL, json=ASKED)
    app.config["LLM_COST_ENABLED"] = False
    client.post(URL, json=ASKED)
    app.config["LLM_COST_ENABLED"] = True
    assert len(calls()) == 1


GEVENT = """
from gevent import monkey; monkey.patch_all()
import sys, gevent, httpx, requests
from contextvars import copy_context
from gevent.pywsgi import WSGIServer
from flask import Flask
from flask_llm_cost import LLMCost
from flask_llm_cost.ledger.models import Call

provider = Flask("provider")

@provider.post("/v1/chat/completions")
def answer():
    gevent.sleep(0.02)
    return {"id": "c", "model": "gpt-4o-mini", "choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 5}}

behind = WSGIServer(("127.0.0.1", 0), provider, log=None)
behind.start()
URL = f"http://127.0.0.1:{behind.server_port}/v1/chat/completions"
ASKED = {"model": "gpt-4o-mini", "messages": []}

app = Flask("host", instance_path=sys.argv[1])
llm_cost = LLMCost(app)
with app.app_context():
    llm_cost.upgrade()
httpx_client = llm_cost.wrap(httpx.Client(trust_env=False))
session = llm_cost.mount(requests.Session())

@app.get("/<number>")
def view(number):
    def ask():
        session.post(URL, json=ASKED)
    def without_the_context():
        with app.app_context():
            llm_cost.track(provider="openai", model="gpt-4o-mini", input_tokens=1, output_tokens=1)
    with llm_cost.tags(number=number):
        httpx_client.post(URL, json=ASKED)
        gevent.spawn(copy_context().run, ask).get()
        gevent.spawn(without_the_context).get()
    return number

front = WSGIServer(("127.0.0.1", 0), app, log=None)
front.start()
visits = [gevent.spawn(requests.get, f"http://127.0.0.1:{front.server_port}/{n}") for n in range(10)]
gevent.joinall(visits, raise_error=True)
assert [visit.value.text for visit in visits] == [str(n) for n in range(10)]
with app.app_context():
    print(llm_cost._state().ledger.durability)

def wait():
    with gevent.Timeout(0.005):
        httpx_client.post(URL, json=ASKED)

try:
    wait()
except gevent.Timeout:
    print("timed out")
assert llm_cost.flush(20)
with llm_cost.session() as ledger:
    rows = ledger.query(Call).all()
print(sorted((row.tags.get("number", ""), row.captured_by, row.status, row.output_tokens) for row in rows))
print(llm_cost.shutdown(5))
"""


def test_under_gevent_calls_keep_their_greenlets_tags_and_reach_the_ledger(tmp_path: Path) -> None:
    """A monkey-patched process: the server, the clients, the spool and its shipper are all greenlets.

    A greenlet spawned in a view has the view's tags where the context is copied, as a thread has; a
    ``gevent.Timeout`` is a cancelled call.
    """
    (tmp_path / "instance").mkdir()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", GEVENT, str(tmp_path / "instance")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    durability, timed_out, rows, drained = done.stdout.splitlines()
    assert (durability, timed_out, drained) == ("spool", "timed out", "True")
    each = [(str(n), stack, "ok", 5) for n in range(10) for stack in ("httpx", "requests")]
    assert rows == str([("", "httpx", "cancelled", 0), *[("", "manual", "ok", 1)] * 10, *each])
