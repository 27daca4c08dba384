"""The provider server itself: what it is told, what it remembers, how it ends."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from flask_llm_cost.testing import Answer, ProviderServer, Received

CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture
def server() -> Iterator[ProviderServer]:
    with ProviderServer() as running:
        yield running


@pytest.fixture
def client(server: ProviderServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url) as http:
        yield http


def said(response: httpx.Response) -> str:
    text: str = response.json()["choices"][0]["message"]["content"]
    return text


def test_queued_answers_come_first_then_the_responder_then_the_plausible_one(
    server: ProviderServer, client: httpx.Client
) -> None:
    """First come, first served; a responder that answers ``None`` leaves it to the default."""
    server.respond(lambda received: Answer(text="from the responder") if "x-ask" in received.headers else None)
    server.next(Answer(text="first"), Answer(text="second"))
    assert server.pending == 2
    texts = [said(client.post("/v1/chat/completions", json=CHAT)) for _ in range(3)]
    texts.append(said(client.post("/v1/chat/completions", json=CHAT, headers={"x-ask": "1"})))
    server.respond(None)
    texts.append(said(client.post("/v1/chat/completions", json=CHAT, headers={"x-ask": "1"})))
    assert texts == ["first", "second", texts[2], "from the responder", texts[2]]
    assert texts[2] not in ("first", "second", "from the responder")


def test_requests_are_remembered_without_their_secrets(server: ProviderServer, client: httpx.Client) -> None:
    secrets = {"authorization": "Bearer sk-1", "x-api-key": "sk-2", "x-goog-api-key": "sk-3", "cookie": "sk-4"}
    client.post("/v1/chat/completions?key=sk-5&a=b", json=CHAT, headers={**secrets, "x-app": "shop"})
    (received,) = server.requests
    assert (received.method, received.path, received.query) == ("POST", "/v1/chat/completions", {"a": "b"})
    assert received.json == CHAT
    assert received.headers["x-app"] == "shop"
    assert "sk-" not in repr(received)


def test_a_responder_that_raises_is_told_to_the_client(server: ProviderServer, client: httpx.Client) -> None:
    """A mistake in a test's own responder must not look like a hanging provider, nor be retried by an SDK."""

    def wrong(received: Received) -> Answer:
        raise LookupError("no such case")

    server.respond(wrong)
    response = client.post("/v1/chat/completions", json=CHAT)
    assert (response.status_code, response.headers["x-should-retry"]) == (500, "false")
    assert response.json()["error"]["message"] == "LookupError('no such case')"


@pytest.mark.parametrize(
    ("path", "headers", "error"),
    [
        ("/v1/nothing", {}, {"type": "invalid_request_error", "code": "model_not_found", "param": None}),
        ("/v1/nothing", {"anthropic-version": "2023-06-01"}, {"type": "not_found_error"}),
        ("/v1beta/nothing", {}, {"code": 404, "status": "NOT_FOUND"}),
    ],
)
def test_an_unknown_path_is_a_404_in_the_shape_of_the_provider(
    client: httpx.Client, path: str, headers: dict[str, str], error: dict[str, object]
) -> None:
    response = client.post(path, json={}, headers=headers)
    assert response.status_code == 404
    assert response.json()["error"] == {**error, "message": f"No such path: {path}"}


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"model": 3}', b"\xff"])
def test_a_body_that_names_no_model_is_a_400(client: httpx.Client, body: bytes) -> None:
    for path in ("/v1/chat/completions", "/v1/messages"):
        response = client.post(path, content=body)
        assert (response.status_code, response.json()["error"]["type"]) == (400, "invalid_request_error")


def test_other_methods_are_refused(client: httpx.Client) -> None:
    assert client.get("/v1/chat/completions").status_code == 405


def test_headers_are_the_providers_own_and_can_be_replaced(server: ProviderServer, client: httpx.Client) -> None:
    server.next(Answer(headers={"X-Request-Id": "req_mine", "x-extra": "1"}), Answer(), Answer())
    chat = client.post("/v1/chat/completions", json=CHAT).headers
    message = client.post("/v1/messages", json=CHAT).headers
    gemini = client.post("/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse", json={}).headers
    assert (chat["x-request-id"], chat["x-extra"], chat["content-type"]) == ("req_mine", "1", "application/json")
    assert chat["openai-processing-ms"].isdigit()
    assert message["request-id"].startswith("req_011C")
    assert gemini["content-type"] == "text/event-stream"


def test_a_body_of_ones_own_is_sent_as_it_is(server: ProviderServer, client: httpx.Client) -> None:
    """For what no provider should answer: the recording side must survive it."""
    server.next(Answer(body=b"<html>bad gateway"), Answer(body=b"", status=503))
    assert client.post("/v1/chat/completions", json=CHAT).content == b"<html>bad gateway"
    empty = client.post("/v1/chat/completions", json=CHAT)
    assert (empty.status_code, empty.content) == (503, b"")


def test_a_429_says_when_to_come_back(server: ProviderServer, client: httpx.Client) -> None:
    server.next(Answer(status=429), Answer(status=429, retry_after_s=2.4))
    first, second = (client.post("/v1/chat/completions", json=CHAT).headers for _ in range(2))
    assert (first["retry-after"], second["retry-after"], second["retry-after-ms"]) == ("1", "3", "2400")


@pytest.mark.parametrize("stream", [False, True])
def test_gzip_and_small_pieces_change_the_wire_and_not_the_answer(
    server: ProviderServer, client: httpx.Client, stream: bool
) -> None:
    server.next(*[Answer(text="Grüße, 世界", gzip=zipped, chunk_bytes=5) for zipped in (False, True)])
    plain, zipped = (client.post("/v1/chat/completions", json=CHAT | {"stream": stream}) for _ in range(2))
    assert "content-encoding" not in plain.headers
    assert zipped.headers["content-encoding"] == "gzip"
    for response in (plain, zipped):
        assert response.text.count("世界") == 1


@pytest.mark.parametrize(("cut_after", "cut"), [(0, "drop"), (2, "drop"), (0, "end"), (2, "end")])
def test_an_answer_with_a_length_that_is_cut_is_a_broken_one(
    server: ProviderServer, client: httpx.Client, cut_after: int, cut: str
) -> None:
    """``content-length`` was promised, so however the body is cut, the client must notice and not wait."""
    server.next(Answer(chunk_bytes=50, cut_after=cut_after, cut=cut))  # type: ignore[arg-type]
    with pytest.raises(httpx.RemoteProtocolError):
        client.post("/v1/chat/completions", json=CHAT)


def test_a_cut_stream_has_the_events_before_the_cut(server: ProviderServer, client: httpx.Client) -> None:
    """A dropped one breaks after them; an ended one looks, to HTTP, like any other answer."""
    server.next(Answer(text="a b c d", cut_after=2), Answer(text="a b c d", cut_after=2, cut="end"))
    dropped: list[bytes] = []

    def read(into: list[bytes]) -> None:
        with client.stream("POST", "/v1/chat/completions", json=CHAT | {"stream": True}) as response:
            into.extend(response.iter_bytes())

    with pytest.raises(httpx.RemoteProtocolError):
        read(dropped)
    ended: list[bytes] = []
    read(ended)
    assert b"".join(dropped).count(b"data: ") == b"".join(ended).count(b"data: ") == 2


def test_connections_are_kept_and_reused(server: ProviderServer, client: httpx.Client) -> None:
    """As with the real providers: one connection carries many calls, streamed ones too."""
    streams = []
    for stream in (False, True, False):
        with client.stream("POST", "/v1/chat/completions", json=CHAT | {"stream": stream}) as response:
            response.read()
            streams.append(response.extensions["network_stream"].get_extra_info("client_addr"))
    assert len(set(streams)) == 1


def test_32_streams_at_once_each_get_their_own_answer(server: ProviderServer) -> None:
    """All 32 are open at the same time, and none sees another's words."""
    barrier = threading.Barrier(32, timeout=20)

    def answer(received: Received) -> Answer:
        barrier.wait()
        return Answer(text=received.prompt * 20, chunks=20)

    def ask(number: int) -> str:
        body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": f"<{number:02}>"}], "stream": True}
        lines = httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=30).text.split("\n\n")
        events = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
        return "".join(event["choices"][0]["delta"].get("content", "") for event in events)

    server.respond(answer)
    with ThreadPoolExecutor(32) as pool:
        texts = list(pool.map(ask, range(32)))
    assert texts == [f"<{number:02}>" * 20 for number in range(32)]
    assert len(server.requests) == 32


def test_stopping_ends_slow_streams_idle_connections_and_the_threads(server: ProviderServer) -> None:
    """A stop waits neither for a stream's pauses nor for a client that keeps its connection open."""
    before = set(threading.enumerate())
    server.next(Answer(), Answer(text="a b c", delay_s=3600.0), Answer(first_delay_s=3600.0))
    with httpx.Client(base_url=server.url) as client, ThreadPoolExecutor(2) as pool:
        client.post("/v1/chat/completions", json=CHAT)
        started = threading.Event()

        def read_slowly() -> None:
            with client.stream("POST", "/v1/chat/completions", json=CHAT | {"stream": True}) as response:
                for _ in response.iter_bytes():
                    started.set()

        reading = pool.submit(read_slowly)
        assert started.wait(10)
        waiting = pool.submit(client.post, "/v1/chat/completions", json=CHAT)
        while len(server.requests) < 3:
            threading.Event().wait(0.01)
        server.stop()
        assert isinstance(reading.exception(10), httpx.TransportError)
        assert waiting.exception(10) is None or isinstance(waiting.exception(10), httpx.TransportError)
    assert {thread for thread in threading.enumerate() if thread.is_alive()} <= before


def test_start_and_stop_may_be_called_twice_and_the_port_is_free_afterwards() -> None:
    server = ProviderServer().start()
    assert server.start().url == server.url
    port = int(server.url.rsplit(":", 1)[1])
    server.stop()
    server.stop()
    with pytest.raises(RuntimeError, match="not running"):
        _ = server.url
    with ProviderServer(port) as again:
        assert again.url == f"http://127.0.0.1:{port}"


def test_a_port_that_is_taken_is_an_error_at_the_start() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            ProviderServer(taken.getsockname()[1]).start()


def test_an_answer_with_a_body_of_its_own_is_given_on_every_path(server: ProviderServer, client: httpx.Client) -> None:
    """So it speaks the formats of providers that it does not know; server-sent events come one by one."""
    events = b'data: {"a": 1}\n\ndata: [DONE]\n\n'
    server.next(
        Answer(body=b'{"x": 1}', headers={"x-own": "yes"}),
        Answer(body=events, headers={"Content-Type": "text/event-stream"}),
        Answer(body=b"no", status=418),
    )
    whole = client.post("/v2/generate")
    assert (whole.json(), whole.headers["x-own"], whole.headers["content-type"]) == (
        {"x": 1},
        "yes",
        "application/json",
    )
    streamed = client.post("/v2/generate", json={})
    assert (streamed.content, streamed.headers["transfer-encoding"]) == (events, "chunked")
    assert client.post("/anything").status_code == 418
    assert client.post("/v2/generate", json={}).status_code == 404
