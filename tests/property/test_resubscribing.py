"""A client that unsubscribes and subscribes again, at any speed, is offered the track once more."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st
from livekit.protocol import rtc

from lkpy.sdp import Direction, SessionDescription
from tests.room_kit import Client, World, microphone, running, session

WAITS = {"a moment": 0.004, "a debounce": 0.16, "until it is settled": 0.25}
STEPS = st.sampled_from(["subscribe", "unsubscribe", "answer", "resume", *WAITS])


class SlowClient(Client):
    """Answers when it is told to, and notes what begins and ends in its description."""

    def __init__(self, world: World, identity: str) -> None:
        super().__init__(world, session(identity, single=False))
        self.offers: list[rtc.SessionDescription] = []
        self.receiving: dict[str, str] = {}
        """Track sid by mid, as of the last answer."""
        self.begun: list[str] = []
        """Sids of tracks that it has reported since it last unsubscribed."""
        world.clients.append(self)

    def answer(self, offer: rtc.SessionDescription) -> None:
        self.offers.append(offer)

    async def give_answer(self) -> None:
        if not self.offers:
            return
        offer = self.offers.pop(0)
        receiving = {
            media.mid: media.msids[0].track
            for media in SessionDescription.parse(offer.sdp).media
            if media.direction is Direction.SENDONLY
        }
        # A client reports a track when its section begins to receive, and only then.
        self.begun += [sid for mid, sid in receiving.items() if mid not in self.receiving]
        self.receiving = receiving
        super().answer(offer)
        await self.world.settle()

    async def subscribe(self, sid: str, subscribe: bool) -> None:
        if not subscribe:
            self.begun.clear()
        update = rtc.UpdateSubscription(track_sids=[sid], subscribe=subscribe)
        await self.send(subscription=update)


async def walk(steps: list[str]) -> None:
    async with running() as world:
        alice = await world.join("alice")
        (track,) = await alice.publish(microphone())
        bob = SlowClient(world, "bob")
        await world.room.join(bob.start, bob.sink, bob.source)
        for _ in range(3):
            await bob.give_answer()
            await world.advance(0.25)
        assert bob.begun == [track.sid]
        await bob.subscribe(track.sid, False)
        for step in steps:
            match step:
                case "subscribe" | "unsubscribe":
                    await bob.subscribe(track.sid, step == "subscribe")
                case "answer":
                    await bob.give_answer()
                case "resume":
                    # ICE restarts: the offers before are void.
                    bob.offers.clear()
                    bob.participant.transports.resume(world.clock.now())
                    await world.settle()
                case _:
                    await world.advance(WAITS[step])
        await bob.subscribe(track.sid, True)
        for _ in range(6):
            await world.advance(0.25)
            await bob.give_answer()
        assert not bob.offers
        assert list(bob.receiving.values()) == [track.sid]
        assert track.sid in bob.begun
        assert all(
            subscribed.handle.forwarding for subscribed in bob.participant.subscribing.tracks
        )


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=12))
def test_whatever_comes_between_the_track_is_offered_again(steps: list[str]) -> None:
    asyncio.run(walk(steps))
