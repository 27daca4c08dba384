"""The bounded copy of a streamed body: whole when small, head and tail when large, whatever its encoding."""

from __future__ import annotations

import gzip
import zlib

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from flask_llm_cost.capture.body import JSON_LIMIT, SSE_LIMIT, BoundedBody
from flask_llm_cost.capture.encoding import decode

SSE = "text/event-stream"


def chunks_of(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def raw_deflate(data: bytes) -> bytes:
    squeeze = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return squeeze.compress(data) + squeeze.flush()


ENCODERS = {
    "": lambda data: data,
    "identity": lambda data: data,
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": lambda data: brotli.compress(data, quality=4),
    "zstd": zstandard.compress,
    "gzip, br": lambda data: brotli.compress(gzip.compress(data)),
    "gzip in frames": lambda data: b"".join(gzip.compress(piece) for piece in chunks_of(data, 700)),
    "zstd in frames": lambda data: b"".join(zstandard.compress(piece) for piece in chunks_of(data, 700)),
}


@given(st.binary(max_size=4000), st.integers(1, 100), st.sampled_from(sorted(ENCODERS)))
def test_a_small_body_comes_back_whole_however_it_was_cut(data: bytes, size: int, encoding: str) -> None:
    body = BoundedBody(SSE, encoding.removesuffix(" in frames"))
    for chunk in chunks_of(ENCODERS[encoding](data), size):
        body.append(chunk)
    assert body.content() == data


def test_bare_deflate_is_understood_too() -> None:
    assert decode(raw_deflate(b"hello" * 100), "deflate") == b"hello" * 100


@pytest.mark.parametrize("encoding", ["", "gzip", "br"])
def test_a_large_stream_keeps_its_head_and_its_tail_within_the_limit(encoding: str) -> None:
    """Covers P-PRV-02. Answers P-CAP-15 and P-CAP-16, which dropped the whole copy: the usage at its end stays."""
    lines = [f"data: {number:07d} {'x' * (number % 97)}\n\n" for number in range(40_000)]
    data = "".join(lines).encode()
    body = BoundedBody(SSE, encoding)
    for chunk in chunks_of(ENCODERS[encoding](data), 1000):
        body.append(chunk)
        assert len(body._buffer) <= SSE_LIMIT
    content = body.content().decode()
    head, _, tail = content.partition("\n\n\n")
    head, tail = head.rstrip("\n"), tail.lstrip("\n")
    assert len(content) <= SSE_LIMIT
    assert "".join(lines).startswith(head)
    assert "".join(lines).endswith(tail)
    assert head.splitlines()[-1] + "\n\n" in lines, "the head ends with a whole event"
    assert tail.splitlines()[0] + "\n\n" in lines, "the tail begins with a whole event"


def test_a_json_document_is_kept_whole_up_to_four_megabytes() -> None:
    document = b'{"data": "' + b"x" * (JSON_LIMIT - 20) + b'"}'
    body = BoundedBody("application/json", "")
    for chunk in chunks_of(document, 65536):
        body.append(chunk)
    assert body.content() == document


def test_a_truncated_gzip_body_yields_what_arrived() -> None:
    data = b"".join(b"data: %d\n\n" % (number * 7919 % 10_007) for number in range(20_000))
    squeezed = gzip.compress(data)
    decoded = decode(squeezed[: len(squeezed) // 2], "gzip")
    assert decoded
    assert data.startswith(decoded)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
def test_a_body_that_is_not_in_its_encoding_is_a_value_error(encoding: str) -> None:
    with pytest.raises(ValueError, match="broken compressed body"):
        decode(b"\xff\x00 this was never compressed", encoding)


def test_an_unknown_encoding_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="no decoder"):
        decode(b"x", "snappy")
