"""A bounded copy of a streamed body: its head, its tail, and the few events between that tell something.

Identity (model, id, Anthropic's first usage) comes first in a stream and the final usage last; what
lies between is text that nobody here wants. Appending costs one ``bytearray`` extend.

Lines are kept or dropped whole. One that is longer than the tail is torn: its two ends are kept, with ``TORN``
between them (see ``providers.torn``).
"""

from __future__ import annotations

from collections.abc import Collection

from flask_llm_cost.capture.encoding import Decoder, decoder_for
from flask_llm_cost.providers import TORN

# A stream: little enough for ten thousand open ones. One JSON document: up to 4 MB, to be parsed whole.
SSE_LIMIT, JSON_LIMIT = 48 * 1024, 4 * 1024 * 1024
_HEAD = 8 * 1024
_SSE_TAIL, _JSON_TAIL = 32 * 1024, 256 * 1024
# Of a torn line the beginning, before the tail; either end, before that. All that is kept between head and tail.
_LINE_HEAD, _LINE_END, _KEPT = 4 * 1024, 2 * 1024, 16 * 1024
_PIECE = 1024


class BoundedBody:
    """Collects chunks, encoded or not, within a limit of memory.

    Args:
        telling: what marks a line of a text stream that is to be kept wherever it stands.

    Attributes:
        dropped: how many bytes there was no room for.
    """

    __slots__ = (
        "_buffer",
        "_decoder",
        "_encoding",
        "_head",
        "_kept",
        "_limit",
        "_line_head",
        "_lines",
        "_room",
        "_tail",
        "_telling",
        "dropped",
    )

    def __init__(self, content_type: str, encoding: str, telling: tuple[bytes, ...] = ()) -> None:
        stream = "json" not in content_type or "ndjson" in content_type or "jsonl" in content_type
        self._limit, self._tail = (SSE_LIMIT, _SSE_TAIL) if stream else (JSON_LIMIT, _JSON_TAIL)
        # Anything may be a newline in AWS's binary frames, and one document has no lines that mean anything.
        self._lines = stream and "eventstream" not in content_type
        self._encoding = encoding.strip().lower()
        self._telling = telling
        self._buffer = bytearray()
        self._decoder: Decoder | None = None
        self._head = self._line_head = b""
        self._kept: list[bytes] = []
        self._room = _KEPT
        self.dropped = 0

    @property
    def encoded(self) -> bool:
        return self._encoding not in ("", "identity")

    def append(self, chunk: bytes) -> None:
        self._buffer += chunk if self._decoder is None else self._decoder(chunk)
        if len(self._buffer) > self._limit:
            self._shrink()

    def is_in(self, encodings: Collection[str]) -> bool:
        """Whether it is in one of these content encodings. urllib3 leaves one it has no decoder for as it is."""
        return any(step.strip() in encodings for step in self._encoding.split(","))

    def already_decoded(self) -> None:
        """What will be appended is decoded already (requests decodes while it reads)."""
        self._encoding = ""

    def content(self) -> bytes:
        """The decoded body; where it was longer than the limit, what was kept, with a blank line for each gap.

        Raises:
            ValueError: the body is not what its content encoding says, or no decoder for it is installed.
        """
        if self.encoded and self._decoder is None:
            self._inflate()
        if not self.dropped:
            return bytes(self._buffer)
        self._cut()
        torn = self._line_head + TORN if self._line_head else b""
        return b"\n\n".join((self._head, *self._kept, torn + bytes(self._buffer)))

    def _shrink(self) -> None:
        if self.encoded and self._decoder is None:
            # The tail of a compressed body means nothing by itself: from here on, inflate as it comes.
            self._inflate()
        elif len(self._buffer) > self._limit:
            if not self._head:
                self._keep_head()
            self._cut()

    def _cut(self) -> None:
        """Drop what lies before the tail. However often that is done, what stays is the same."""
        if self._lines:
            self._drop_lines()
        elif len(self._buffer) > self._tail:
            self._drop(len(self._buffer) - self._tail)

    def _drop_lines(self) -> None:
        """Drop the lines before the tail; of a line that is longer than the tail, its middle."""
        buffer = self._buffer
        start = buffer.rfind(b"\n", 0, max(len(buffer) - self._tail, 0)) + 1
        if start:
            self._look_through(bytes(buffer[:start]))
            self._drop(start)
            self._line_head = b""
        if len(buffer) > self._tail + _LINE_HEAD or (self._line_head and len(buffer) > self._tail):
            self._line_head = self._line_head or bytes(buffer[:_LINE_HEAD])
            self._drop(len(buffer) - self._tail)

    def _keep_head(self) -> None:
        buffer = self._buffer
        end = buffer.rfind(b"\n", 0, _HEAD) + 1 if self._lines else _HEAD
        self._head = bytes(buffer[:end])
        if end < _HEAD // 2:
            # The first event is a long one: of its line the two ends.
            end = buffer.find(b"\n", end) + 1 or end
            self._head += _torn(bytes(buffer[len(self._head) : end])) or bytes(buffer[end : end + _LINE_HEAD]) + TORN
            self.dropped += end - len(self._head)
        del buffer[:end]
        self._limit -= _HEAD

    def _look_through(self, dropped: bytes) -> None:
        """Keep the telling ones of the lines that go. The first may be the end of one that is torn already."""
        if not any(mark in dropped for mark in self._telling) and not self._line_head:
            return
        first, *lines = dropped.split(b"\n")
        for line in (self._line_head + TORN + first if self._line_head else first, *lines):
            if any(mark in line for mark in self._telling):
                self._keep(line)

    def _keep(self, line: bytes) -> None:
        line = _torn(line)
        if len(line) <= self._room:
            self._room -= len(line)
            self._kept.append(line)

    def _drop(self, end: int) -> None:
        self.dropped += end
        del self._buffer[:end]

    def _inflate(self) -> None:
        packed, self._buffer = bytes(self._buffer), bytearray()
        self._decoder = decoder_for(self._encoding)
        # Piece by piece: a small compressed body may be a very large one.
        for start in range(0, len(packed), _PIECE):
            self.append(packed[start : start + _PIECE])


def _torn(line: bytes) -> bytes:
    """A line, or the two ends of a long one."""
    if len(line) <= 2 * _LINE_END:
        return line
    return line[:_LINE_END] + TORN + line[-_LINE_END:]
