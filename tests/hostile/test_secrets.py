"""Rows J6 and C10: what a server writes down has no token and no address in it."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
from collections.abc import Iterator

import pytest

from lkpy.server.telemetry import log
from tests.control_plane import Harness, running
from tests.patience import PATIENCE_S

SECRET = "SECRETTOKEN"


@pytest.fixture(params=["text", "json"])
def written(request: pytest.FixtureRequest) -> Iterator[io.StringIO]:
    root, ours = logging.getLogger(), logging.getLogger("lkpy")
    before = (root.handlers[:], root.level, ours.level)
    stream = io.StringIO()
    log.configure(level="debug", as_json=request.param == "json", stream=stream)
    yield stream
    root.handlers[:], root_level, our_level = before
    root.setLevel(root_level)
    ours.setLevel(our_level)


async def say(server: Harness, raw: bytes) -> None:
    port = int(server.server.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.suppress(ConnectionError):
        writer.write(raw)
        await asyncio.wait_for(reader.read(), PATIENCE_S)
    writer.close()


async def test_row_j6_what_is_no_request_is_not_repeated(
    written: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """aiohttp's own log names requests that it cannot parse, with a piece of them."""
    monkeypatch.setattr("lkpy.server.http.guard.HTTP_HEADER_TIMEOUT_S", 2.0)
    token = SECRET.encode()
    async with running() as server:
        for raw in (
            b"GET /rtc?access_token=%s HTTP/1.1\r\nbad header line\r\n\r\n",
            b"GET /rtc?access_token=" + b"a" * 1_100_000 + b"%s HTTP/1.1\r\n\r\n",
            b"GET /rtc?access_token=%s HTTP/9.9\r\n\r\n",
            b"GET /rtc?sdk=js&join_request=%s bad HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nAuthorization: Bearer %s\x00\r\n\r\n",
            b"GET / HTTP/1.1\r\nAuthorization: Bearer a\r\n%s\r\n\r\n",
            b"%s",
            b"%s\r\n\r\n",
        ):
            await say(server, raw % token)
        body = b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n%s\r\n"
        await say(server, (b"DELETE /x?access_token=%s HTTP/1.1\r\n" + body) % (token, token))
    text = written.getvalue()
    assert text.count("refused what is no HTTP request") >= 4
    assert SECRET not in text
    assert "127.0.0.1" not in text
    assert "Traceback" not in text


async def test_row_j6_a_handler_that_fails_does_not_tell_what_it_was_asked(
    written: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(request: object, *_: object) -> object:
        raise RuntimeError(f"{request} https://h/x?X-Amz-Signature={SECRET} Bearer {SECRET}")

    monkeypatch.setattr("lkpy.server.http.service.not_found", broken)
    async with running() as server:
        token = server.token()
        assert (await server.get(f"/nope?access_token={token}"))[0] == 500
    text = written.getvalue()
    assert "handling a request failed" in text
    assert SECRET not in text
    assert token.split(".")[1] not in text
