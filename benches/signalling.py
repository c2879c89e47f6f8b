"""What signalling costs a whole server process, measured from outside with real sockets.

CPU is the kernel's account of the server's threads (``schedstat``, ns), so the clients beside it do
not count; rates are of the wall clock and share the machine with the clients. Prints one JSON row
per line.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import json
import pathlib
import sys
import time
from collections.abc import AsyncIterator, Callable
from urllib.parse import urlencode

import aiohttp
from livekit.protocol import models, rtc

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benches.server_process import Server, started  # noqa: E402
from tests.conformance.kit import wrap  # noqa: E402

OFFER = (ROOT / "tests/data/sdp/chrome_join_offer.sdp").read_text()
SIZES = (10, 100, 500)
_numbers = itertools.count()


class Client:
    """A signal connection that only counts what it receives. Without media the server gives it up
    after 15 s, so each figure takes less than that."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.received = 0
        self.reader = asyncio.create_task(self._read())
        self._more = asyncio.Event()

    async def _read(self) -> None:
        async for _ in self.socket:
            self.received += 1
            self._more.set()

    async def until(self, received: int) -> None:
        """Wait until so many responses have come."""
        while self.received < received:
            self._more.clear()
            await self._more.wait()

    async def send(self, **message: object) -> None:
        await self.socket.send_bytes(rtc.SignalRequest(**message).SerializeToString())


def join_url(server: Server, room: str, *, single: bool = True) -> str:
    """Where somebody who was not there before joins, as browsers do."""
    token = server.target.token(f"p{next(_numbers)}", room, canUpdateOwnMetadata=True)
    query = {"access_token": token}
    if single:
        request = rtc.JoinRequest(
            client_info=models.ClientInfo(sdk=models.ClientInfo.JS, protocol=16),
            connection_settings=rtc.ConnectionSettings(auto_subscribe=True),
            publisher_offer=rtc.SessionDescription(type="offer", sdp=OFFER, id=1),
        )
        query["join_request"] = wrap(request, compress=True)
    else:
        query |= {"protocol": "16", "sdk": "js", "auto_subscribe": "1"}
    path = "/rtc/v1" if single else "/rtc"
    return f"{server.target.url}{path}?{urlencode(query)}"


async def join(
    session: aiohttp.ClientSession, server: Server, room: str, *, single: bool = True
) -> Client:
    """Join, up to the first response; media is never connected."""
    url = join_url(server, room, single=single)
    return Client(await session.ws_connect(url, compress=15, max_msg_size=0))


@contextlib.asynccontextmanager
async def opened(server: Server) -> AsyncIterator[tuple[aiohttp.ClientSession, list[Client]]]:
    clients: list[Client] = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        try:
            yield session, clients
        finally:
            await asyncio.gather(*(client.socket.close() for client in clients))
            await asyncio.gather(*(client.reader for client in clients))


async def settled(server: Server) -> None:
    """Wait until the server has little to do."""
    while True:
        before = server.cpu()
        await asyncio.sleep(0.25)
        if (server.cpu() - before).total < 0.01:
            return


def row(name: str, **figures: float) -> None:
    print(json.dumps({"name": name} | {k: round(v, 4) for k, v in figures.items()}), flush=True)


async def storm(server: Server, *, single: bool, count: int = 100) -> None:
    """Everybody joins at once."""
    async with opened(server) as (session, clients):
        # The first join of a process imports and compiles.
        clients.append(await join(session, server, "warm", single=single))
        await settled(server)
        before, began = server.cpu(), time.monotonic()
        room = f"storm-{single}"
        clients += await asyncio.gather(
            *(join(session, server, room, single=single) for _ in range(count))
        )
        wall = time.monotonic() - began
        await settled(server)
        spent = server.cpu() - before
        row(
            f"storm of {count} joins, {'single' if single else 'dual'} peer connection",
            joins_per_s=count / wall,
            python_ms=1000 * spent.python / count,
            cpu_ms=1000 * spent.total / count,
        )


async def growth(server: Server) -> None:
    """Joins of a room one after the other."""
    async with opened(server) as (session, clients):

        async def grow(to: int) -> float:
            """CPU ms per join."""
            await settled(server)
            count, before = to - len(clients), server.cpu()
            for _ in range(count):
                clients.append(await join(session, server, "growth"))
            await asyncio.sleep(0.2)
            return 1000 * (server.cpu() - before).python / count

        await grow(1)
        first = await grow(11)
        await grow(500)
        last = await grow(510)
        row("join of the 2nd to 11th participant", python_ms=first)
        row("join of the 501st to 510th participant", python_ms=last, growth=last / first)


async def broadcast(server: Server, *, size: int, count: int = 40) -> None:
    """Metadata updates that everybody in a room hears of."""
    async with opened(server) as (session, clients):
        for _ in range(size):
            clients.append(await join(session, server, f"broadcast-{size}"))
        await settled(server)
        before = server.cpu()
        for number in range(count):
            update = rtc.UpdateParticipantMetadata(metadata=f"{size}-{number}")
            await clients[0].send(update_metadata=update)
            await asyncio.sleep(0.01)
        await settled(server)
        spent = server.cpu() - before
        row(
            f"an update to {size} participants",
            python_ms=1000 * spent.python / count,
            us_per_receiver=1e6 * spent.python / count / size,
        )


async def requests(server: Server, count: int = 1800) -> None:
    """Requests that change nothing and are answered: as many as a connection may send at once."""
    async with opened(server) as (session, clients):
        client = await join(session, server, "requests")
        clients.append(client)
        await settled(server)
        before, began, already = server.cpu(), time.monotonic(), client.received
        for sent in range(count):
            await client.send(mute=rtc.MuteTrackRequest(sid="TR_none", muted=True))
            await client.until(already + sent - 100)
        await client.until(already + count)
        wall, spent = time.monotonic() - began, server.cpu() - before
        row(
            "signal requests with an answer",
            requests_per_s=count / wall,
            python_us=1e6 * spent.python / count,
        )


async def main() -> None:
    steps: list[Callable[[Server], object]] = [
        lambda server: storm(server, single=True),
        lambda server: storm(server, single=False),
        growth,
        requests,
        *(functools.partial(broadcast, size=size) for size in SIZES),
    ]
    wanted = sys.argv[1:]
    for number, step in enumerate(steps):
        if wanted and str(number) not in wanted:
            continue
        with started() as server:
            try:
                await step(server)  # type: ignore[misc]
            except aiohttp.ClientConnectionResetError:
                # These clients connect no media, and a server may end their sessions for it.
                print(f"step {number} has no row: the server ended a session", file=sys.stderr)


if __name__ == "__main__":
    asyncio.run(main())
