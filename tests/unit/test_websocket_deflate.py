"""One compressor for all sockets: every message stands alone, a repeated one is compressed once."""

from __future__ import annotations

import zlib

from lkpy.server.http.websocket import SharedDeflate

TAIL = b"\x00\x00\xff\xff"


def compressed(deflate: SharedDeflate, message: bytes) -> bytes:
    return (deflate.compress_sync(message) + deflate.flush(zlib.Z_FULL_FLUSH)).removesuffix(TAIL)


def inflated(data: bytes) -> bytes:
    """As by a client that has seen nothing before."""
    return zlib.decompressobj(wbits=-15).decompress(data + TAIL)


def test_every_message_stands_alone() -> None:
    deflate = SharedDeflate()
    messages = [b"hello " * 100, b"hello " * 100 + b"!", bytes(range(256)) * 300, b"", b"x"]
    for message in messages * 2:
        assert inflated(compressed(deflate, message)) == message


def test_a_message_for_many_is_compressed_once() -> None:
    deflate = SharedDeflate()
    message = b"update " * 50
    first = compressed(deflate, message)
    other = compressed(deflate, b"something else")
    assert compressed(deflate, message) == first != other


def test_it_remembers_little_and_is_not_fooled_by_reused_memory() -> None:
    deflate = SharedDeflate(remembered=4)
    for number in range(1000):
        message = b"message %d " % number * 10
        assert inflated(compressed(deflate, message)) == message
        assert len(deflate._done) <= 4
