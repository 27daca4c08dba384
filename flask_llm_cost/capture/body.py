"""A bounded copy of a streamed body: its head and its tail.

Identity (model, id, Anthropic's first usage) comes first in a stream and the final usage last; what
lies between is text that nobody here wants. Appending costs one ``bytearray`` extend.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable, Collection
from typing import Any

# A stream: little enough for ten thousand open ones. One JSON document: up to 4 MB, to be parsed whole.
SSE_LIMIT, JSON_LIMIT = 50 * 1024, 4 * 1024 * 1024
_HEAD = 8 * 1024
_OPENING = 4 * 1024
_SSE_TAIL, _JSON_TAIL = 36 * 1024, 256 * 1024
_PIECE = 1024
_EVENT_ENDS = (b"\n\n", b"\r\n\r\n")
_FIELDS = (b"data:", b"event:", b":")

Decoder = Callable[[bytes], bytes]


class BoundedBody:
    """Collects chunks, encoded or not, within a limit of memory.

    Attributes:
        dropped: how many bytes there was no room for.
    """

    __slots__ = (
        "_buffer",
        "_decoder",
        "_elided",
        "_encoding",
        "_head",
        "_limit",
        "_lines",
        "_opening",
        "_tail",
        "dropped",
    )

    def __init__(self, content_type: str, encoding: str) -> None:
        stream = "json" not in content_type or "ndjson" in content_type or "jsonl" in content_type
        self._limit, self._tail = (SSE_LIMIT, _SSE_TAIL) if stream else (JSON_LIMIT, _JSON_TAIL)
        # Only a stream of lines is cut between two of them: anything may be a newline in AWS's binary frames.
        self._lines = stream and "eventstream" not in content_type
        self._encoding = encoding.strip().lower()
        self._buffer = bytearray()
        self._decoder: Decoder | None = None
        self.dropped = 0
        self._head = _HEAD
        self._opening = 0
        self._elided = False

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
        """The decoded body; where it was longer than the limit, its head and tail with a blank line for the gap.

        Of an event that began in the gap and ends in the tail, the opening stands before the tail. What is left
        out of it is most likely the middle of one long text or image, so what remains is most likely JSON.

        Raises:
            ValueError: the body is not what its content encoding says, or no decoder for it is installed.
        """
        if self.encoded and self._decoder is None:
            self._inflate()
        if not self.dropped:
            return bytes(self._buffer)
        self._cut()
        tail_at = self._head + self._opening
        opening, tail = bytes(self._buffer[self._head : tail_at]), bytes(self._buffer[tail_at:])
        if self._elided:
            opening, tail = _without_half_an_escape(opening), tail.lstrip(b'\\"')
        return bytes(self._buffer[: self._head]) + b"\n\n" + opening + tail

    def _shrink(self) -> None:
        if self.encoded and self._decoder is None:
            # The tail of a compressed body means nothing by itself: from here on, inflate as it comes.
            self._inflate()
        elif len(self._buffer) > self._limit:
            self._cut()

    def _cut(self) -> None:
        """Drop what lies between the head and the tail. However often that is done, what stays is the same."""
        cut = len(self._buffer) - self._tail
        if self._lines:
            self._open(cut)
        if cut > self._head + self._opening:
            self.dropped += cut - self._head - self._opening
            del self._buffer[self._head + self._opening : cut]

    def _open(self, cut: int) -> None:
        """Put the opening of the event that ``cut`` falls into behind the head."""
        if not self.dropped:
            whole_events = self._last_start(_HEAD)
            self._head = self._buffer.rfind(b"\n", 0, _HEAD) + 1 if whole_events < 0 else whole_events
        start = self._last_start(cut)
        if start >= 0:
            opening = self._buffer[start : min(start + _OPENING, cut)]
            self._buffer[self._head : self._head + len(opening)] = opening
            self._opening, self._elided = len(opening), cut - start > _OPENING
        elif self._opening and not self._elided:
            # Still the event that was open at the last cut.
            self._opening, self._elided = min(_OPENING, cut - self._head), cut - self._head > _OPENING

    def _last_start(self, end: int) -> int:
        """Where the last event before ``end`` starts; -1 where none does."""
        known = self._head + self._opening if self.dropped else 0
        found = ((self._buffer.rfind(mark, known, end), len(mark)) for mark in _EVENT_ENDS)
        start = max((at + length for at, length in found if at >= 0), default=-1)
        return 0 if start < 0 and not self.dropped and self._buffer.startswith(_FIELDS) else start

    def _inflate(self) -> None:
        packed, self._buffer = bytes(self._buffer), bytearray()
        self._decoder = decoder_for(self._encoding)
        # Piece by piece: a small compressed body may be a very large one.
        for start in range(0, len(packed), _PIECE):
            self.append(packed[start : start + _PIECE])


def _without_half_an_escape(text: bytes) -> bytes:
    r"""A piece of JSON without a ``\u12`` or a backslash at its very end."""
    at = text.rfind(b"\\", max(len(text) - 6, 0))
    return text if at < 0 else text[:at].rstrip(b"\\")


def decode(data: bytes, encoding: str) -> bytes:
    """The data without its content encoding. What a cut-off body yields is kept.

    Raises:
        ValueError: the data is not in that encoding, or no decoder for it is installed.
    """
    return decoder_for(encoding)(data)


def decoder_for(encoding: str) -> Decoder:
    """An incremental decoder of a ``Content-Encoding`` value ("gzip", "br", "gzip, br", …).

    Raises:
        ValueError: no decoder for it is installed.
    """
    steps = [_single_decoder(name.strip()) for name in reversed(encoding.split(",")) if name.strip() != "identity"]

    def run(data: bytes) -> bytes:
        for step in steps:
            data = step(data)
        return data

    return run


def _single_decoder(name: str) -> Decoder:
    if name in ("gzip", "x-gzip"):
        return _zlib_decoder(zlib.MAX_WBITS | 16)
    if name == "deflate":
        return _deflate_decoder()
    if name == "br":
        return _brotli_decoder()
    if name == "zstd":
        return _zstd_decoder()
    raise ValueError(f"no decoder for the content encoding {name!r}")


def _zlib_decoder(window_bits: int) -> Decoder:
    return _frames(lambda: zlib.decompressobj(window_bits), zlib.error)


def _deflate_decoder() -> Decoder:
    # RFC 9110 says zlib; some servers send the bare stream. The first bytes tell.
    chosen: list[Decoder] = []

    def run(data: bytes) -> bytes:
        if not chosen:
            zlib_header = len(data) < 2 or (data[0] & 0x0F == 8 and int.from_bytes(data[:2], "big") % 31 == 0)
            chosen.append(_zlib_decoder(zlib.MAX_WBITS if zlib_header else -zlib.MAX_WBITS))
        return chosen[0](data)

    return run


def _brotli_decoder() -> Decoder:
    # Either library is what httpx and urllib3 themselves use; without one the client never asked for brotli.
    for module in ("brotli", "brotlicffi"):
        with contextlib.suppress(ImportError):
            brotli = __import__(module)
            inflate = brotli.Decompressor()
            run = getattr(inflate, "process", None) or inflate.decompress
            return _guarded(run, brotli.error)
    raise ValueError("no brotli decoder is installed")


def _zstd_decoder() -> Decoder:
    for module in ("compression.zstd", "backports.zstd"):
        with contextlib.suppress(ImportError):
            zstd = __import__(module, fromlist=["ZstdDecompressor"])
            return _frames(zstd.ZstdDecompressor, zstd.ZstdError)
    with contextlib.suppress(ImportError):
        zstandard = __import__("zstandard")
        return _frames(lambda: zstandard.ZstdDecompressor().decompressobj(), zstandard.ZstdError)
    raise ValueError("no zstd decoder is installed")


def _frames(new: Callable[[], Any], failure: type[Exception]) -> Decoder:
    """A decoder of one compressed frame after another: a server may end one wherever it flushes."""
    decoder = new()

    def run(data: bytes) -> bytes:
        nonlocal decoder
        pieces = []
        while data:
            if decoder.eof:
                decoder = new()
            pieces.append(decoder.decompress(data))
            data = decoder.unused_data if decoder.eof else b""
        return b"".join(pieces)

    return _guarded(run, failure)


def _guarded(run: Decoder, failure: type[Exception]) -> Decoder:
    def guarded(data: bytes) -> bytes:
        try:
            return bytes(run(data))
        except failure as error:
            raise ValueError(f"broken compressed body: {error}") from error

    return guarded
