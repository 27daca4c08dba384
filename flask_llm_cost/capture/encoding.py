"""Content encodings: the bytes of a body as they were before they were packed for the way."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable
from typing import Any

Decoder = Callable[[bytes], bytes]


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
