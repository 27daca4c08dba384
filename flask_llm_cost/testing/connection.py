"""One connection to the provider server: HTTP/1.1 with keep-alive, as the providers speak it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler
from itertools import islice
from typing import TYPE_CHECKING

from flask_llm_cost.testing.answer import Answer
from flask_llm_cost.testing.encodings import packed
from flask_llm_cost.testing.received import Received
from flask_llm_cost.testing.reply import Reply

if TYPE_CHECKING:
    from flask_llm_cost.testing.server import Listener


class Connection(BaseHTTPRequestHandler):
    """Reads requests, asks the server for its answers and writes them, one frame per HTTP chunk."""

    server: Listener
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    _has_length = False

    def do_POST(self) -> None:
        """Answer one request; methods other than POST get the provider's 404 or 405."""
        received = Received.parse(self.command, self.path, dict(self.headers.items()), self._body())
        answer, reply = self.server.answer(received)
        self.server.stopping.wait(answer.first_delay_s)
        if answer.hang_up:
            self.close_connection = True
            return
        try:
            self._send(answer, reply)
        except ConnectionError:
            self.close_connection = True

    do_GET = do_PUT = do_DELETE = do_PATCH = do_POST

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the inherited name
        """Say nothing: the requests are in ``ProviderServer.requests``."""

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("content-length") or 0))

    def _send(self, answer: Answer, reply: Reply) -> None:
        chunks = _chunks(answer, reply)
        whole = None if reply.streamed else b"".join(chunks)
        self._has_length = whole is not None
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if answer.content_encoding:
            self.send_header("content-encoding", answer.content_encoding)
        if whole is None:
            self.send_header("transfer-encoding", "chunked")
        else:
            self.send_header("content-length", str(len(whole)))
        self.end_headers()
        if whole is None:
            self._send_stream(answer, chunks)
        else:
            self._send_whole(answer, whole)

    def _send_stream(self, answer: Answer, chunks: Iterable[bytes]) -> None:
        for chunk in self._paced(answer, chunks):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        if not self.close_connection:
            self.wfile.write(b"0\r\n\r\n")

    def _send_whole(self, answer: Answer, whole: bytes) -> None:
        size = answer.chunk_bytes or len(whole) or 1
        for chunk in self._paced(answer, _sliced(whole, size)):
            self.wfile.write(chunk)

    def _paced(self, answer: Answer, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The chunks with their pauses, up to where the answer is cut; a dropped one also ends the connection."""
        for number, chunk in enumerate(islice(chunks, answer.cut_after)):
            if number:
                self.server.stopping.wait(answer.delay_s)
            if self.server.stopping.is_set():
                self.close_connection = True
                return
            yield chunk
        if answer.cut_after is not None and (answer.cut == "drop" or self._has_length):
            self.close_connection = True


def _chunks(answer: Answer, reply: Reply) -> Iterator[bytes]:
    """What goes over the wire: a chunk per frame, compressed and re-cut as the answer says."""
    encoding = answer.content_encoding
    frames = packed(reply.frames, encoding) if encoding else iter(reply.frames)
    if answer.chunk_bytes is None or not reply.streamed:
        return frames
    return _sliced(b"".join(frames), answer.chunk_bytes)


def _sliced(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))
