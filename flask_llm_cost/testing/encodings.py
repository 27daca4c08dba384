"""Content encodings, as a streaming server writes them: every frame can be decoded as soon as it arrives."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Literal

Encoding = Literal["gzip", "br", "zstd"]

# One frame packed and flushed, and what ends the body.
Packer = tuple[Callable[[bytes], bytes], Callable[[], bytes]]

_GZIP_FRAME = 31  # zlib's window bits for a gzip header and the largest window


def packed(frames: Iterable[bytes], encoding: Encoding) -> Iterator[bytes]:
    """The frames in that encoding, one for one.

    Raises:
        RuntimeError: no library for it is installed.
    """
    pack, end = _PACKERS[encoding]()
    *before, last = frames
    for frame in before:
        yield pack(frame)
    yield pack(last) + end()


def _gzip() -> Packer:
    packer = zlib.compressobj(wbits=_GZIP_FRAME)
    return lambda data: packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH), packer.flush


def _br() -> Packer:
    for module in ("brotli", "brotlicffi"):
        with contextlib.suppress(ImportError):
            return _flushing_brotli(__import__(module).Compressor())
    raise RuntimeError('Answer(encoding="br") needs the package brotli.')


def _zstd() -> Packer:
    for module in ("compression.zstd", "backports.zstd"):
        with contextlib.suppress(ImportError):
            zstd = __import__(module, fromlist=["ZstdCompressor"])
            return _flushing_zstd(zstd.ZstdCompressor())
    raise RuntimeError('Answer(encoding="zstd") needs Python 3.14 or the package backports.zstd.')


def _flushing_brotli(packer: Any) -> Packer:
    process = getattr(packer, "process", None) or packer.compress
    return lambda data: process(data) + packer.flush(), packer.finish


def _flushing_zstd(packer: Any) -> Packer:
    return lambda data: packer.compress(data, packer.FLUSH_BLOCK), packer.flush


_PACKERS: Mapping[Encoding, Callable[[], Packer]] = MappingProxyType({"gzip": _gzip, "br": _br, "zstd": _zstd})
