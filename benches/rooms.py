"""What one room costs the event loop, by the number of its participants.

Everything of the control plane runs but sockets: the engine is the fake one, and every client has a
pump that serialises and compresses its messages as the server's does. Figures are CPU time of the
loop's thread: in all, and of the longest turn of the loop, which is what everybody else waits.

    python benches/rooms.py [participants ...]
"""

from __future__ import annotations

import asyncio
import gc
import logging
import pathlib
import sys
import time
import zlib
from collections.abc import Awaitable, Callable

from livekit.protocol import models
from livekit.protocol import room as room_pb

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from lkpy.auth.grants import Grants  # noqa: E402
from lkpy.auth.token import refresh  # noqa: E402
from lkpy.clock import ManualClock, SystemClock  # noqa: E402
from lkpy.engine.api import (  # noqa: E402
    AudioLevels,
    Command,
    DataChannelOpened,
    DataReceived,
    StatsCollected,
)
from lkpy.engine.fake import FakeEngine  # noqa: E402
from lkpy.limits import TOKEN_REFRESH_S  # noqa: E402
from lkpy.server.app import Server  # noqa: E402
from lkpy.server.garbage import Garbage  # noqa: E402
from lkpy.server.http.websocket import SharedDeflate  # noqa: E402
from lkpy.server.media import EnginePlane  # noqa: E402
from lkpy.signal.codec import Encoding, SharedEncoder  # noqa: E402
from tests.control_plane import config_of  # noqa: E402
from tests.loop_probe import probe, run  # noqa: E402
from tests.room_kit import PUBLISH_OFFER, Client, World, microphone, session  # noqa: E402

SIZES = (1000, 4000)
QUIET = 20
"""Turns of the loop in which nothing happens, after which an action is over."""


class BenchEngine(FakeEngine):
    """Remembers which objects exist, not what was submitted."""

    def submit(self, commands: tuple[Command, ...]) -> None:  # type: ignore[override]
        super().submit(commands)
        self.commands.clear()


class Wire:
    """Where all messages go: encoded and compressed once, as the server's sockets share it."""

    def __init__(self) -> None:
        self.encoder = SharedEncoder()
        self.deflate = SharedDeflate()
        self.messages = 0

    async def pump(self, client: Client) -> None:
        async for response in client.sink:
            frame = self.encoder.encode(response, Encoding.BINARY)
            assert isinstance(frame, bytes)
            self.deflate.compress_sync(frame)
            self.deflate.flush(zlib.Z_FULL_FLUSH)
            self.messages += 1


class Bench:
    """A room of watchers with one speaker."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.wire = Wire()
        self.world = World(engine=BenchEngine(auto_connect=True))
        self.world.hub.start(asyncio.get_running_loop())
        self.world.room._refresh_token = self._token
        self.clock: ManualClock = self.world.clock
        self.pumps: list[asyncio.Task[None]] = []
        self.joined = 0
        self.speaker: Client
        self.level = 10
        self.stats: list[StatsCollected] = []

    def _token(self, grants: Grants, _key: str) -> str:
        return refresh(grants, api_key="devkey", api_secret="secret" * 6, now=self.clock.wall())

    async def quiet(self) -> None:
        """Until nothing happens that is not waiting for time."""
        loop, calm = asyncio.get_running_loop(), 0
        while calm < QUIET:
            busy = len(loop._ready) > 0 or len(self.world.engine._events) > 0  # type: ignore[attr-defined]
            calm = 0 if busy else calm + 1
            await asyncio.sleep(0)

    async def join(self, identity: str, **values: object) -> Client:
        client = Client(self.world, session(identity, **values))
        self.pumps.append(asyncio.create_task(self.wire.pump(client)))
        await self.world.room.join(client.start, client.sink, client.source)
        self.joined += 1
        return client

    async def fill(self) -> None:
        """Everybody joins, the speaker first."""
        self.world.room.start()
        self.speaker = await self.join("speaker")
        self.speaker.source.write(_request(add_track=microphone()))
        offer = {"type": "offer", "sdp": PUBLISH_OFFER, "id": 2}
        self.speaker.source.write(_request(offer=offer))
        await self.quiet()
        for number in range(self.size):
            await self.join(f"p{number}")
            self.clock.advance(0.00100003)
        await self.quiet()
        self.advance(6.05)
        await self.quiet()

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.world.room._task.wake()

    async def measure(
        self, name: str, action: Callable[[], Awaitable[object]], times: int = 1
    ) -> None:
        await self.quiet()
        self.wire.messages = 0
        total = longest = 0.0
        for _ in range(times):
            gc.collect(0)
            probe().begin_probe()
            await asyncio.sleep(0)
            await action()
            await self.quiet()
            await asyncio.sleep(0)
            cost = probe().end_probe()
            total += cost.cpu_s
            longest = max(longest, cost.longest_s)
        print(
            f"| {name:44} | {self.size:6} | {total / times * 1000:9.1f} | {longest * 1000:9.1f} "
            f"| {self.wire.messages // times:8} |",
            flush=True,
        )

    # -- what happens -----------------------------------------------------------------------------

    def collect(self) -> None:
        """What the engine would count, made beforehand."""
        self.stats = [self.world.engine._stats(1, 0)]

    async def one_joins(self) -> None:
        await self.join(f"x{self.joined}")

    async def one_leaves(self) -> None:
        self.joined -= 1
        await self.world.room.api.remove_participant(
            f"x{self.joined}",  # type: ignore[arg-type]
            models.DisconnectReason.PARTICIPANT_REMOVED,
        )

    async def batch(self) -> None:
        self.advance(6.05)

    async def resume(self) -> None:
        self.joined += 1
        client = Client(self.world, session(f"p{self.joined % self.size}", reconnect=True))
        self.pumps.append(asyncio.create_task(self.wire.pump(client)))
        await self.world.room.join(client.start, client.sink, client.source)
        self.joined -= 1

    async def tokens(self) -> None:
        self.advance(TOKEN_REFRESH_S - 1)

    async def quality(self) -> None:
        self.world.room.measure([*self.stats])

    async def quality_after_join(self) -> None:
        await self.one_joins()
        await self.quality()

    async def speak(self) -> None:
        (track,) = self.speaker.participant.publishing.tracks
        self.level = 10 + (self.level + 15) % 30
        heard = (track.sources[0].receiver, self.level, 400)
        self.world.engine.inject(AudioLevels(0, (heard,)))
        await self.quiet()
        self.advance(0.4)

    async def mute(self) -> None:
        (track,) = self.speaker.participant.publishing.tracks
        self.speaker.source.write(_request(mute={"sid": track.sid, "muted": not track.info.muted}))

    async def channels(self) -> None:
        room = self.world.room
        for identity in [info.identity for info in room.participants()]:
            participant = room.participant(identity)  # type: ignore[arg-type]
            assert participant is not None
            transport = participant.transports.publisher.id
            self.world.engine.inject(
                DataChannelOpened(transport, 0, "_reliable", "", True, None),
                DataChannelOpened(transport, 2, "_lossy", "", False, 0),
            )
        await self.quiet()

    async def data(self) -> None:
        user = models.UserPacket(payload=b"x" * 100)
        payload = models.DataPacket(user=user).SerializeToString()
        transport = self.speaker.participant.transports.publisher.id
        self.world.engine.inject(DataReceived(transport, 2, payload, True))

    async def publish(self) -> None:
        """The speaker's microphone goes and comes back."""
        self.speaker.source.write(_request(add_track=microphone(cid="another")))
        sdp = PUBLISH_OFFER.replace("7377fe4b-3cad-43e0-9c31-8c13d0870e77", "another")
        self.speaker.source.write(_request(offer={"type": "offer", "sdp": sdp, "id": 3}))

    async def metadata(self) -> None:
        request = room_pb.UpdateParticipantRequest(
            identity="speaker", metadata=f"{time.perf_counter_ns()}" * 50
        )
        await self.world.room.api.update_participant(request)

    async def snapshot(self) -> None:
        answer = self.world.room.snapshot([*self.stats])
        if asyncio.iscoroutine(answer):
            await answer

    async def close(self) -> None:
        await self.world.room.close(models.DisconnectReason.ROOM_DELETED)


def _request(**values: object):  # type: ignore[no-untyped-def]
    from livekit.protocol import rtc

    return rtc.SignalRequest(**values)


async def bench(size: int) -> None:
    it = Bench(size)
    await it.fill()
    await it.measure("one joins", it.one_joins, 3)
    await it.measure("one leaves", it.one_leaves, 3)
    await it.measure("the batch of updates about them", it.batch)
    await it.measure("one resumes", it.resume, 3)
    it.collect()
    await it.quality()
    await it.measure("quality window, nothing changed", it.quality)
    await it.measure("quality window after a join", it.quality_after_join)
    await it.batch()
    await it.speak()
    await it.speak()
    await it.measure("a speaker changes", it.speak, 3)
    await it.measure("mute by the publisher", it.mute, 2)
    await it.measure("a track is replaced", it.publish)
    await it.channels()
    await it.measure("a data packet to everybody", it.data, 5)
    await it.measure("1 kB of metadata told to everybody", it.metadata, 3)
    it.collect()
    await it.measure("statistics snapshot", it.snapshot, 2)
    await it.measure("every token is refreshed", it.tokens)
    await it.measure("the room closes", it.close)
    for pump in it.pumps:
        pump.cancel()
    it.world.hub.stop()
    it.world.engine.close()


async def empty_rooms(count: int) -> None:
    """What rooms cost in which nobody is."""
    config = config_of()
    engine = FakeEngine(auto_connect=True, workers=3)
    server = Server(config, EnginePlane(config, engine=engine), clock=SystemClock())
    async with server:
        for number in range(count):
            request = room_pb.CreateRoomRequest(name=f"r{number}", empty_timeout=3600)
            server._manager.create_room(request)
        await asyncio.sleep(1)
        cpu, began = time.thread_time(), time.monotonic()
        await asyncio.sleep(8)
        share = (time.thread_time() - cpu) / (time.monotonic() - began)
    print(f"| {'empty rooms, CPU ms per second':44} | {count:6} | {share * 1000:9.1f} |")


def main() -> None:
    logging.disable(logging.CRITICAL)
    Garbage(lambda: 0, lambda: 0).begin()
    sizes = [int(size) for size in sys.argv[1:]] or SIZES
    print(f"| {'action':44} | {'people':>6} | {'CPU ms':>9} | {'longest':>9} | messages |")
    print(f"|{'-' * 46}|-------:|----------:|----------:|---------:|")
    for size in sizes:
        run(bench(size))
    run(empty_rooms(2000))


if __name__ == "__main__":
    main()
