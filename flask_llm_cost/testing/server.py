"""A provider on this machine: a real HTTP server that speaks the real wire formats."""

from __future__ import annotations

import socket
import sys
import threading
from collections import deque
from collections.abc import Callable
from socketserver import TCPServer, ThreadingMixIn
from types import TracebackType
from typing import Any, Self

from flask_llm_cost.testing.answer import Answer
from flask_llm_cost.testing.connection import Connection
from flask_llm_cost.testing.formats import reply
from flask_llm_cost.testing.received import Received
from flask_llm_cost.testing.reply import Reply
from flask_llm_cost.testing.stored import StoredResponses

Responder = Callable[[Received], Answer | None]

_STOP_TIMEOUT_S = 5.0
_POLL_S = 0.05


class ProviderServer:
    """The providers on a local port, for tests and demos. No request leaves the machine.

    Speaks OpenAI chat completions, responses, embeddings, audio and images, Anthropic messages, Gemini
    generateContent, streamGenerateContent and embeddings, Cohere chat, embed and rerank (version 2), Groq and
    Mistral chat completions and Mistral embeddings (for models of theirs), as JSON and as streams, with usage,
    headers, ids and errors as the providers send them. An answer that brings its own body is given on every path.
    Responses can be fetched again, made in the background and called off. Told nothing, the server gives plausible
    answers that follow from the request alone::

        with ProviderServer() as server:
            OpenAI(base_url=f"{server.url}/v1", api_key="any")
            Anthropic(base_url=server.url, api_key="any")
            genai.Client(api_key="any", http_options={"base_url": server.url})

            server.next(Answer(input_tokens=12, output_tokens=5), Answer(status=429))

    Safe for many connections at once. Stopping ends open connections and streams.

    Attributes:
        requests: every request so far, in order of arrival, without its secrets.

    Args:
        port: the port on ``host``; 0 takes a free one.
        host: the interface; loopback unless told otherwise.
    """

    def __init__(self, port: int = 0, host: str = "127.0.0.1") -> None:
        self._address = (host, port)
        self._listener: Listener | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._queue: deque[Answer] = deque()
        self._responder: Responder | None = None
        self._stored = StoredResponses()
        self.requests: list[Received] = []

    @property
    def url(self) -> str:
        """The server's base URL, without a path and a trailing slash.

        Raises:
            RuntimeError: the server is not running.
        """
        if self._listener is None:
            raise RuntimeError("The provider server is not running: use it as a context manager, or call start().")
        host, port = self._listener.socket.getsockname()[:2]
        return f"http://{host}:{port}"

    def start(self) -> Self:
        """Listen and serve in a thread; a server that runs already stays as it is.

        Raises:
            OSError: the port is taken.
        """
        if self._listener is None:
            self._listener = Listener(self._address, self._answer)
            self._thread = threading.Thread(target=self._listener.serve_forever, args=(_POLL_S,), daemon=True)
            self._thread.start()
        return self

    def stop(self) -> None:
        """End every connection and free the port; returns when no thread is left. Stopping twice is harmless."""
        listener, self._listener = self._listener, None
        if listener is None or self._thread is None:
            return
        listener.stopping.set()
        listener.shutdown()
        self._thread.join(_STOP_TIMEOUT_S)
        listener.server_close()
        listener.end_connections()

    def next(self, *answers: Answer) -> None:
        """Queue answers: each is given once, first come, first served, whatever the API and the path."""
        with self._lock:
            self._queue.extend(answers)

    def forget(self) -> None:
        """Drop the queued answers that nobody asked for."""
        with self._lock:
            self._queue.clear()

    def respond(self, responder: Responder | None) -> None:
        """Ask ``responder`` for the answer to each request that finds the queue empty.

        It runs in the connection's thread; ``None`` from it means the plausible answer. If it raises, the
        client gets a 500 that says so. ``respond(None)`` takes it away.
        """
        with self._lock:
            self._responder = responder

    @property
    def pending(self) -> int:
        """How many queued answers nobody has asked for yet."""
        return len(self._queue)

    def _answer(self, received: Received) -> tuple[Answer, Reply]:
        with self._lock:
            self.requests.append(received)
        kept = self._stored.answer(received)
        if kept is not None:
            return Answer(), kept
        with self._lock:
            answer = self._queue.popleft() if self._queue else None
            responder = self._responder
        try:
            if answer is None and responder is not None:
                answer = responder(received)
            given = answer or Answer()
            return given, self._stored.keep(received, given, reply(received, answer))
        except Exception as error:
            told = Answer(status=500, error_message=f"{error!r}", headers={"x-should-retry": "false"})
            return told, reply(received, told)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class Listener(ThreadingMixIn, TCPServer):
    """The listening socket and its connections, each in a thread of its own that ``end_connections`` joins."""

    allow_reuse_address = True
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], answer: Callable[[Received], tuple[Answer, Reply]]) -> None:
        self.answer = answer
        self.stopping = threading.Event()
        self._connections: dict[threading.Thread, socket.socket] = {}
        self._lock = threading.Lock()
        super().__init__(address, Connection)

    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: Any) -> None:
        """Serve one connection in a thread that is known."""
        if not isinstance(request, socket.socket):  # pragma: no cover - UDP, which a TCPServer never has
            return
        thread = threading.Thread(target=self._serve, args=(request, client_address), daemon=True)
        with self._lock:
            self._connections[thread] = request
        thread.start()

    def _serve(self, request: socket.socket, client_address: tuple[str, int]) -> None:
        try:
            self.process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._connections.pop(threading.current_thread(), None)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no error of the server; anything else is shown."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)  # type: ignore[arg-type]

    def end_connections(self) -> None:
        """Close what is open and wait for the threads."""
        with self._lock:
            connections = dict(self._connections)
        for connection in connections.values():
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        for thread in connections:
            thread.join(_STOP_TIMEOUT_S)
