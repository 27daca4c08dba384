"""A bounded copy of a streamed body: its head and its tail.

Identity (model, id, Anthropic's first usage) comes first in a stream and the final usage last; what
lies between is text that nobody here wants. Appending costs one ``bytearray`` extend.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable

# A text stream: little enough for ten thousand open ones. One JSON document: up to 4 MB, to be parsed whole.
SSE_LIMIT, JSON_LIMIT = 50 * 1024, 4 * 1024 * 1024
_HEAD = 8 * 1024
_SSE_TAIL, _JSON_TAIL = 40 * 1024, 256 * 1024
_PIECE = 1024

Decoder = Callable[[bytes], bytes]


class BoundedBody:
    """Collects chunks, encoded or not, within a limit of memory.

    Attributes:
        dropped: how many bytes there was no room for.
    """

    __slots__ = ("_buffer", "_decoder", "_encoding", "_limit", "_tail", "dropped")

    def __init__(self, content_type: str, encoding: str) -> None:
        text_stream = "json" not in content_type or "ndjson" in content_type or "jsonl" in content_type
        self._limit, self._tail = (SSE_LIMIT, _SSE_TAIL) if text_stream else (JSON_LIMIT, _JSON_TAIL)
        self._encoding = encoding.strip().lower()
        self._buffer = bytearray()
        self._decoder: Decoder | None = None
        self.dropped = 0

    @property
    def encoded(self) -> bool:
        return self._encoding not in ("", "identity")

    def append(self, chunk: bytes) -> None:
        self._buffer += chunk if self._decoder is None else self._decoder(chunk)
        if len(self._buffer) > self._limit:
            self._shrink()

    def already_decoded(self) -> None:
        """What will be appended is decoded already (requests decodes while it reads)."""
        self._encoding = ""

    def content(self) -> bytes:
        """The decoded body; where it was longer than the limit, its head and tail with a blank line for the gap.

        Raises:
            ValueError: the body is not what its content encoding says, or no decoder for it is installed.
        """
        if self.encoded and self._decoder is None:
            self._inflate()
        if not self.dropped:
            return bytes(self._buffer)
        head, _, _ = bytes(self._buffer[:_HEAD]).rpartition(b"\n")
        return head + b"\n\n" + bytes(self._buffer[_HEAD:])

    def _shrink(self) -> None:
        if self.encoded and self._decoder is None:
            # The tail of a compressed body means nothing by itself: from here on, inflate as it comes.
            self._inflate()
        elif len(self._buffer) > self._limit:
            self.dropped += len(self._buffer) - _HEAD - self._tail
            del self._buffer[_HEAD : -self._tail]

    def _inflate(self) -> None:
        packed, self._buffer = bytes(self._buffer), bytearray()
        self._decoder = decoder_for(self._encoding)
        # Piece by piece: a small compressed body may be a very large one.
        for start in range(0, len(packed), _PIECE):
            self.append(packed[start : start + _PIECE])


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
    inflate = zlib.decompressobj(window_bits)

    def run(data: bytes) -> bytes:
        try:
            return inflate.decompress(data)
        except zlib.error as error:
            raise ValueError(f"broken compressed body: {error}") from error

    return run


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
            return _guarded(zstd.ZstdDecompressor().decompress, zstd.ZstdError)
    with contextlib.suppress(ImportError):
        zstandard = __import__("zstandard")
        return _guarded(zstandard.ZstdDecompressor().decompressobj().decompress, zstandard.ZstdError)
    raise ValueError("no zstd decoder is installed")


def _guarded(run: Decoder, failure: type[Exception]) -> Decoder:
    def guarded(data: bytes) -> bytes:
        try:
            return bytes(run(data))
        except failure as error:
            raise ValueError(f"broken compressed body: {error}") from error

    return guarded
