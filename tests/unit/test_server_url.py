"""Addresses of servers, and reasons why nothing was reached."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp
import pytest

from lkpy.errors import LkpyError
from lkpy.server_url import http_url, unreachable_reason, ws_url


@pytest.mark.parametrize(
    ("url", "http", "websocket"),
    [
        ("ws://host:7880", "http://host:7880", "ws://host:7880"),
        ("wss://host/base/", "https://host/base", "wss://host/base"),
        ("http://[::1]:80?x#y", "http://[::1]:80", "ws://[::1]:80"),
        ("https://host", "https://host", "wss://host"),
    ],
)
def test_addresses(url: str, http: str, websocket: str) -> None:
    assert (http_url(url), ws_url(url)) == (http, websocket)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "host",
        "//host",
        "ftp://host",
        "ws:///x",
        "ws://h:x",
        "ws://h:0",
        "ws://h:70000",
        "ws://[::1",
    ],
)
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(LkpyError, match="is no server's address") as caught:
        ws_url(url)
    assert "ws://" in str(caught.value.hint)


async def failure(connect: Callable[[aiohttp.ClientSession], Awaitable[object]]) -> Exception:
    async with aiohttp.ClientSession() as session:
        try:
            await connect(session)
        except (aiohttp.ClientError, OSError) as error:
            return error
    raise AssertionError("connected")


async def test_a_refused_connection_is_told_in_the_systems_words() -> None:
    error = await failure(lambda session: session.get("http://127.0.0.1:1/"))
    assert unreachable_reason(error) == "connection refused"


async def test_no_tls_on_the_other_side() -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        error = await failure(lambda session: session.get(f"https://127.0.0.1:{port}/"))
    assert unreachable_reason(error).startswith("TLS: ")
    assert "_" not in unreachable_reason(error)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (TimeoutError(), "no answer in time"),
        (TimeoutError(110, "Connection timed out"), "connection timed out"),
        (OSError(-2, "Name or service not known"), "name or service not known"),
        (OSError("Multiple exceptions: [Errno 111] Connect call failed"), "connection refused"),
        (aiohttp.ServerDisconnectedError(), "server disconnected"),
        (ValueError(), "valueerror"),
    ],
)
def test_reasons(error: Exception, words: str) -> None:
    assert unreachable_reason(error).lower().startswith(words)
