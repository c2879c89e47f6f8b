"""Pages of one headless Chromium, each a participant through livekit-client.

A test calls JavaScript functions in a page (``page.js`` has what they share) and asserts on what
they return and on the events of the room that the page has noted.
"""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import aiohttp
import pytest

from tests.interop.conftest import RunningServer
from tests.interop.sdk_kit import eventually

HERE = pathlib.Path(__file__).parent


class PageError(Exception):
    """A function that was called in a page threw this."""


class Page:
    """One page: before ``join`` a browser without a room, after it a participant."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url
        self.identity = ""
        self.sid = ""

    async def run(self, code: str, *values: object) -> Any:
        """Call the JavaScript function ``code`` with JSON ``values``; promises are awaited.

        Raises:
            PageError: it threw, with the message of what it threw.
        """
        body = {"code": code, "values": values}
        async with self._session.post(self._url, json=body) as response:
            found = await response.json()
        if "error" in found:
            raise PageError(found["error"])
        return found["value"]

    async def join(
        self,
        server: RunningServer,
        room: str,
        identity: str,
        topology: str = "single",
        *,
        options: dict[str, Any] | None = None,
        connect: dict[str, Any] | None = None,
        key: str | None = None,
        **grants: object,
    ) -> None:
        """Join a room; ``options`` and ``connect`` are LiveKit's, ``key`` encrypts end to end."""
        settings: dict[str, Any] = {
            "room": {"singlePeerConnection": topology == "single", **(options or {})},
            "connect": connect or {},
        }
        if key is not None:
            settings["key"] = key
        token = server.token(room, identity, **grants)
        joined = await self.run("join", server.url, token, settings)
        self.identity, self.sid = joined["identity"], joined["sid"]

    async def events(self, name: str) -> list[list[Any]]:
        """Return the values of each event ``name`` (a key of RoomEvent) that was noted."""
        found: list[list[Any]] = await self.run(
            "(name) => state.events.filter((e) => e.name === name).map((e) => e.values)", name
        )
        return found

    async def forget(self) -> None:
        """Forget the events so far."""
        await self.run("() => { state.events.length = 0; }")

    async def event(self, name: str, *values: object, seconds: float = 10) -> list[Any]:
        """Return the first event ``name`` whose values begin with ``values``, seen or to come."""

        async def find() -> list[list[Any]]:
            return [
                found for found in await self.events(name) if found[: len(values)] == list(values)
            ]

        try:
            found: list[Any] = (await eventually(f"{name} {values}", find, seconds))[0]
        except pytest.fail.Exception as failure:
            seen = await self.run("() => state.events.map((e) => [e.name, e.values])")
            pytest.fail(f"{self.identity}: {failure.msg}; seen: {seen}")
        return found

    async def inbound(self, source: str = "camera") -> dict[str, Any]:
        """Return what WebRTC counted of the tracks of ``source``, or {} while there is none."""
        found = await self.run("inbound")
        result: dict[str, Any] = found.get(source, {})
        return result

    async def sees(self, source: str = "camera", seconds: float = 20) -> dict[str, Any]:
        """Wait until ten pictures more of ``source`` are decoded; return the statistics."""
        before = (await self.inbound(source)).get("frames", 0)

        async def decoded() -> dict[str, Any] | None:
            found = await self.inbound(source)
            return found if found.get("frames", 0) > before + 10 else None

        found: dict[str, Any] = await eventually(
            f"{self.identity} to see the {source}", decoded, seconds
        )
        return found

    async def sees_width(self, width: int, seconds: float = 20) -> dict[str, Any]:
        """Wait until ten pictures in a row of the camera are ``width`` pixels wide."""
        first: int | None = None

        async def wide() -> dict[str, Any] | None:
            nonlocal first
            found = await self.inbound()
            if found.get("width") != width:
                first = None
                return None
            first = found["frames"] if first is None else first
            return found if found["frames"] >= first + 10 else None

        found: dict[str, Any] = await eventually(
            f"{self.identity} to see {width} pixels", wide, seconds
        )
        return found

    async def hears(self, source: str = "microphone", seconds: float = 20) -> dict[str, Any]:
        """Wait until more sound of ``source`` is heard; return the statistics."""
        before = (await self.inbound(source)).get("energy", 0)

        async def louder() -> dict[str, Any] | None:
            found = await self.inbound(source)
            return found if found.get("energy", 0) > before else None

        found: dict[str, Any] = await eventually(
            f"{self.identity} to hear the {source}", louder, seconds
        )
        return found

    async def falls_silent(self, source: str, seconds: float = 10) -> None:
        """Wait until for a second no packet of ``source`` arrives."""
        packets = None
        for _ in range(int(seconds)):
            before, packets = packets, (await self.inbound(source)).get("packets")
            if packets is not None and packets == before:
                return
            await asyncio.sleep(1)
        pytest.fail(f"{self.identity} still receives the {source} after {seconds} s")

    async def remotes(self) -> dict[str, Any]:
        """Return the other participants as this page knows them, by identity."""
        found: dict[str, Any] = await self.run("remotes")
        return found

    async def refusal(self, code: str, *values: object) -> dict[str, Any]:
        """Call ``code`` as ``run`` does; return what it throws, which it must."""
        error: dict[str, Any] | None = await self.run(
            f"(...values) => refusal(({code})(...values))", *values
        )
        assert error is not None, f"{code} was not refused"
        return error


class Chromium:
    """A browser at the address of ``host.mjs``."""

    def __init__(self, url: str) -> None:
        self._url = url

    @contextlib.asynccontextmanager
    async def pages(self, count: int) -> AsyncIterator[list[Page]]:
        """Open pages in profiles of their own; at the end they leave, close, and had no error."""
        async with aiohttp.ClientSession() as session:
            urls: list[str] = []
            problems: list[str] = []
            try:
                for _ in range(count):
                    async with session.post(f"{self._url}/pages") as response:
                        urls.append(f"{self._url}/pages/{(await response.json())['id']}")
                yield [Page(session, url) for url in urls]
                for url in urls:
                    await Page(session, url).run("() => room?.disconnect()")
            finally:
                for url in urls:
                    async with session.delete(url) as response:
                        problems += (await response.json())["problems"]
            assert problems == []


@contextlib.contextmanager
def run_chromium(address: str = "127.0.0.1", enter: Sequence[str] = ()) -> Iterator[Chromium]:
    """Start the browser; it ends with the block, and with this process.

    ``enter`` is a command before its own that takes it to another place, where ``address`` is.
    """
    executable = (
        shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )
    node = shutil.which("node")
    assert executable, "Chromium is not installed: sudo apt-get install -y chromium"
    assert node, "Node.js is not installed: sudo apt-get install -y nodejs npm"
    with subprocess.Popen(
        [*enter, node, "host.mjs", executable, address],
        cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdin
        assert process.stdout
        try:
            url = process.stdout.readline().strip()
            assert url, "the browser did not start: its messages are above"
            yield Chromium(url)
        finally:
            process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def noise(size: int) -> bytes:
    """Return the bytes that ``noise`` of ``page.js`` makes."""
    value = 1
    found = bytearray(size)
    for index in range(size):
        value = (value * 1103515245 + 12345) & 0xFFFFFFFF
        found[index] = value >> 24
    return bytes(found)
