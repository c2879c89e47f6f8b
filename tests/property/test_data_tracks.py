"""Whatever is published, wished for, allowed and left in whatever order: the engine forwards what
is wanted and possible, nothing else, and every client knows the handles."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from livekit.protocol import models, rtc

from lkpy.engine.api import CommandFailed, Event
from lkpy.server.rtc.permissions import set_permission
from tests.room_kit import JOIN_OFFER, Client, World, running

NAMES = ("alice", "bob", "carol")
SINGLE = {"alice": True, "bob": False, "carol": True}
WHO = st.sampled_from(NAMES)
HANDLE = st.integers(1, 3)
STEPS = st.one_of(
    st.tuples(st.just("publish"), WHO, HANDLE),
    st.tuples(st.just("unpublish"), WHO, HANDLE),
    st.tuples(st.just("subscribe"), WHO, st.integers(0, 8)),
    st.tuples(st.just("unsubscribe"), WHO, st.integers(0, 8)),
    st.tuples(st.just("permit"), WHO, st.integers(0, 3)),
    st.tuples(st.just("offer"), WHO, st.just(0)),
    st.tuples(st.just("rejoin"), WHO, st.booleans().map(int)),
)


class Model:
    """What should be the case."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.clients: dict[str, Client] = {}
        self.known: list[tuple[str, int, str]] = []
        """Every track there ever was: publisher, handle, sid."""
        self.published: dict[str, tuple[str, int]] = {}
        self.wanted: dict[str, set[str]] = {}
        self.may_subscribe: dict[str, bool] = {}
        self.may_publish: dict[str, bool] = {}
        self.eager: dict[str, bool] = {}
        self.failed: list[Event] = []

    async def join(self, name: str, eager: bool) -> None:
        single = SINGLE[name]
        client = await self.world.join(name, single=single, auto_subscribe_data_track=eager)
        self.clients[name] = client
        self.may_subscribe[name] = self.may_publish[name] = True
        self.wanted[name] = set(self.published) if eager else set()
        self.eager[name] = eager

    def gone(self, sids: list[str]) -> None:
        for sid in sids:
            del self.published[sid]
            for wanted in self.wanted.values():
                wanted.discard(sid)

    def of(self, name: str) -> list[str]:
        return [sid for sid, (publisher, _) in self.published.items() if publisher == name]

    async def step(self, kind: str, name: str, value: int) -> None:
        client = self.clients[name]
        match kind:
            case "publish":
                before = len(client.all("publish_data_track_response"))
                request = rtc.PublishDataTrackRequest(pub_handle=value, name=str(value))
                await client.send(publish_data_track_request=request)
                responses = client.all("publish_data_track_response")[before:]
                free = (name, value) not in self.published.values()
                assert len(responses) == int(free and self.may_publish[name])
                for response in responses:
                    self.published[response.info.sid] = (name, value)
                    self.known.append((name, value, response.info.sid))
                    for other, eager in self.eager.items():
                        if eager and other != name:
                            self.wanted[other].add(response.info.sid)
            case "unpublish":
                request = rtc.UnpublishDataTrackRequest(pub_handle=value)
                await client.send(unpublish_data_track_request=request)
                self.gone([sid for sid in self.of(name) if self.published[sid][1] == value])
            case "subscribe" | "unsubscribe" if self.known:
                sid = self.known[value % len(self.known)][2]
                update = rtc.UpdateDataSubscription.Update(
                    track_sid=sid, subscribe=kind == "subscribe"
                )
                updates = rtc.UpdateDataSubscription(updates=[update])
                await client.send(update_data_subscription=updates)
                if kind == "unsubscribe":
                    self.wanted[name].discard(sid)
                elif sid in self.published:
                    self.wanted[name].add(sid)
            case "permit":
                self.may_subscribe[name], self.may_publish[name] = bool(value & 1), bool(value & 2)
                permission = models.ParticipantPermission(
                    can_subscribe=self.may_subscribe[name], can_publish_data=self.may_publish[name]
                )
                set_permission(client.participant, permission)
                if not self.may_publish[name]:
                    self.gone(self.of(name))
                await self.world.settle()
            case "offer":
                await client.offer(JOIN_OFFER)
            case "rejoin":
                self.gone(self.of(name))
                await self.join(name, bool(value))

    def check(self) -> None:
        engine = self.world.engine
        forwarded: dict[tuple[int, int], tuple[int, int]] = {}
        for down in engine.data_down_tracks.values():
            source = engine.data_tracks[down.data_track]
            key = (down.transport, down.handle)
            assert key not in forwarded, "a handle twice on one connection"
            forwarded[key] = (source.transport, source.handle)
        expected: dict[tuple[int, int], tuple[int, int]] = {}
        for name, client in self.clients.items():
            told = client.all("data_track_subscriber_handles")
            handles = {e.track_sid: h for h, e in told[-1].sub_handles.items()} if told else {}
            wanted = self.wanted[name] if self.may_subscribe[name] else set()
            assert set(handles) == wanted, name
            for sid, handle in handles.items():
                publisher, published = self.published[sid]
                source = self.clients[publisher].participant.transports.publisher
                if source.created:
                    primary = client.participant.transports.primary
                    expected[primary.id, handle] = (source.id, published)
        assert forwarded == expected
        assert self.failed == []


async def run(eager: tuple[bool, ...], steps: list[tuple[str, str, int]]) -> None:
    async with running() as world:
        model = Model(world)
        inject: Callable[..., None] = world.engine.inject

        def watch(*events: Event) -> None:
            model.failed += [event for event in events if isinstance(event, CommandFailed)]
            inject(*events)

        world.engine.inject = watch  # type: ignore[method-assign]
        for name, wants in zip(NAMES, eager, strict=True):
            await model.join(name, wants)
        for step in steps:
            await model.step(*step)
            model.check()


@settings(max_examples=40, deadline=None)
@given(st.tuples(*[st.booleans()] * 3), st.lists(STEPS, max_size=20))
def test_the_engine_forwards_what_is_wanted_and_possible(
    eager: tuple[bool, ...], steps: list[tuple[str, str, int]]
) -> None:
    asyncio.run(run(eager, steps))
