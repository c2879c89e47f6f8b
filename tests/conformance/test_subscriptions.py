"""Subscribing: who gets what, when, and what the client is told when it does not."""

from __future__ import annotations

import pytest
from livekit.protocol import models, rtc

from tests.conformance import media
from tests.conformance.kit import Lobby, until

both = pytest.mark.parametrize("single", [False, True], ids=["dual", "single"])


async def subscribe(who: media.Participant, *sids: str, on: bool = True) -> None:
    """Ask for tracks, or not any more."""
    await who.signal.send(subscription=rtc.UpdateSubscription(track_sids=sids, subscribe=on))


async def unsubscribed(who: media.Participant, sid: str) -> None:
    """Wait until a track is not described any more."""
    await until(lambda: sid not in who.mids.values(), f"{sid} gone")


def only(*entries: rtc.TrackPermission) -> rtc.SubscriptionPermission:
    """Nobody but those of ``entries``."""
    return rtc.SubscriptionPermission(all_participants=False, track_permissions=entries)


# -- desired and actual ---------------------------------------------------------------------------


@pytest.mark.row(46, 131)
@both
async def test_by_hand(lobby: Lobby, single: bool) -> None:
    alice = await media.join(lobby, "alice", single=single)
    bob = await media.join(lobby, "bob", single=single, auto_subscribe=False)
    track, _ = await alice.publish()
    await bob.signal.expect_participant("alice", lambda p: len(p.tracks) == 1)
    await lobby.pause(0.3)
    assert bob.mids == {}
    await subscribe(bob, track.sid)
    await bob.receives(track.sid)
    await subscribe(bob, track.sid, on=False)
    await unsubscribed(bob, track.sid)
    tracks = rtc.UpdateSubscription(
        subscribe=True,
        participant_tracks=[
            models.ParticipantTracks(participant_sid=alice.sid, track_sids=[track.sid])
        ],
    )
    await bob.signal.send(subscription=tracks)
    await bob.receives(track.sid)


@pytest.mark.row(132, 133)
@both
async def test_before_the_track_is_published(lobby: Lobby, single: bool) -> None:
    alice = await media.join(lobby, "alice", single=single)
    bob = await media.join(lobby, "bob", single=single, auto_subscribe=False)
    tone = media.Tone()
    request = rtc.AddTrackRequest(cid=str(tone.id), type=models.TrackType.AUDIO)
    await alice.signal.send(add_track=request)
    sid = (await alice.signal.expect("track_published")).track.sid
    await subscribe(bob, sid)
    await lobby.pause(0.2)
    alice.publisher.addTransceiver(tone, direction="sendonly")
    await alice.negotiate()
    await bob.receives(sid)


@pytest.mark.row(147)
@pytest.mark.parametrize(
    ("client", "sections"),
    [({}, 1), ({"browser": "Safari"}, 2), ({"protocol": 3}, 2)],
    ids=["any", "safari", "protocol 3"],
)
async def test_a_media_section_is_used_again(
    lobby: Lobby, client: dict[str, object], sections: int
) -> None:
    alice = await media.join(lobby, "alice", single=False)
    bob = await media.join(lobby, "bob", single=False, params=client)
    first, _ = await alice.publish()
    await bob.receives(first.sid)
    mid = next(mid for mid, sid in bob.mids.items() if sid == first.sid)
    await subscribe(bob, first.sid, on=False)
    await unsubscribed(bob, first.sid)
    second, _ = await alice.publish(source=models.TrackSource.SCREEN_SHARE_AUDIO)
    await until(lambda: second.sid in bob.mids.values(), "the second track")
    assert bob.signal.all("offer")[-1].sdp.count("m=audio") == sections
    assert (bob.mids == {mid: second.sid}) is (sections == 1)


@pytest.mark.row(132, 147)
async def test_changing_one_s_mind_keeps_the_description_small(lobby: Lobby) -> None:
    alice = await media.join(lobby, "alice", single=False)
    bob = await media.join(lobby, "bob", single=False)
    track, _ = await alice.publish()
    await bob.receives(track.sid)
    for _ in range(4):
        for on in (False, True):
            await subscribe(bob, track.sid, on=on)
        await bob.receives(track.sid, 10)
    # livekit-server is now and then too quick for the section to be free again.
    assert bob.signal.all("offer")[-1].sdp.count("m=audio") <= 2


# -- permission of the publisher ------------------------------------------------------------------


@pytest.mark.row(48, 49)
@both
async def test_a_publisher_revokes_and_allows_again(lobby: Lobby, single: bool) -> None:
    alice = await media.join(lobby, "alice", single=single)
    bob = await media.join(lobby, "bob", single=single)
    track, _ = await alice.publish()
    await bob.receives(track.sid)
    granted = await bob.signal.expect("subscription_permission_update")
    assert (granted.participant_sid, granted.track_sid, granted.allowed) == (
        alice.sid,
        track.sid,
        True,
    )
    await alice.signal.send(subscription_permission=only())
    await bob.signal.expect(
        "subscription_permission_update", lambda u: u.track_sid == track.sid and not u.allowed
    )
    await unsubscribed(bob, track.sid)
    entry = rtc.TrackPermission(participant_identity="bob", track_sids=[track.sid])
    await alice.signal.send(subscription_permission=only(entry))
    await bob.signal.expect(
        "subscription_permission_update", lambda u: u.track_sid == track.sid and u.allowed
    )
    await bob.receives(track.sid)
    assert bob.signal.all("subscription_response") == []


@pytest.mark.row(48)
async def test_permissions_by_sid_and_for_who_joins_later(lobby: Lobby) -> None:
    alice = await media.join(lobby, "alice", single=False)
    bob = await media.join(lobby, "bob", single=False)
    entry = rtc.TrackPermission(participant_sid=bob.sid, all_tracks=True)
    await alice.signal.send(subscription_permission=only(entry))
    track, _ = await alice.publish()
    await bob.receives(track.sid)
    carol = await media.join(lobby, "carol", single=False)
    refused = await carol.signal.expect("subscription_permission_update")
    assert (refused.track_sid, refused.allowed) == (track.sid, False)
    recorder = await media.join(lobby, "recorder", single=False, recorder=True, hidden=True)
    await recorder.receives(track.sid)
    assert carol.mids == {}
    await alice.signal.send(
        subscription_permission=rtc.SubscriptionPermission(all_participants=True)
    )
    await carol.receives(track.sid)


@pytest.mark.row(48)
async def test_an_entry_for_nobody_changes_nothing(lobby: Lobby) -> None:
    alice = await media.join(lobby, "alice", single=False)
    bob = await media.join(lobby, "bob", single=False)
    track, _ = await alice.publish()
    await bob.receives(track.sid)
    await alice.signal.send(subscription_permission=only(rtc.TrackPermission(all_tracks=True)))
    await lobby.pause(0.3)
    await bob.receives(track.sid, 10)
    assert not alice.signal.closed.done()


@pytest.mark.row(132, 97)
@both
async def test_can_subscribe_is_taken_and_given_back(lobby: Lobby, single: bool) -> None:
    alice = await media.join(lobby, "alice", single=single)
    bob = await media.join(lobby, "bob", single=single)
    track, _ = await alice.publish()
    await bob.receives(track.sid)
    for allowed in (False, True):
        permission = {"canSubscribe": allowed, "canPublish": True, "canPublishData": True}
        await lobby.call(
            "UpdateParticipant",
            {"room": lobby.room, "identity": "bob", "permission": permission},
            models.ParticipantInfo,
        )
        if allowed:
            await bob.receives(track.sid)
        else:
            await unsubscribed(bob, track.sid)


@pytest.mark.row(98)
async def test_subscriptions_by_the_api(lobby: Lobby) -> None:
    alice = await media.join(lobby, "alice", single=False)
    bob = await media.join(lobby, "bob", single=False, auto_subscribe=False)
    track, _ = await alice.publish()
    for on in (True, False):
        await lobby.call(
            "UpdateSubscriptions",
            {"room": lobby.room, "identity": "bob", "trackSids": [track.sid], "subscribe": on},
            models.ParticipantInfo,
        )
        if on:
            await bob.receives(track.sid)
        else:
            await unsubscribed(bob, track.sid)


# -- failures -------------------------------------------------------------------------------------


@pytest.mark.row(50)
async def test_a_codec_that_the_client_lacks(lobby: Lobby) -> None:
    alice = await media.join(lobby, "alice", single=False)
    bob = await media.join(lobby, "bob", single=False)
    codecs = [rtc.SimulcastCodec(codec="vp9", cid="camera")]
    camera = rtc.AddTrackRequest(
        cid="camera", type=models.TrackType.VIDEO, width=640, height=480, simulcast_codecs=codecs
    )
    await alice.signal.send(add_track=camera)
    track = (await alice.signal.expect("track_published")).track
    # Nothing is sent: what aiortc has is VP8, in which the track would go on.
    transceiver = alice.publisher.addTransceiver("video", direction="sendonly")
    await media.negotiate_with(alice, {transceiver: "VP9"})
    failed = await bob.signal.expect("subscription_response")
    assert failed.track_sid == track.sid
    assert failed.err == models.SubscriptionError.SE_CODEC_UNSUPPORTED


@pytest.mark.row(50)
async def test_a_track_that_is_never_found_is_waited_for(lobby: Lobby) -> None:
    bob = await media.join(lobby, "bob", single=False)
    await subscribe(bob, "TR_no")
    await bob.signal.never("subscription_response", 1.0)


# -- what follows a subscription ------------------------------------------------------------------


@pytest.mark.row(62)
@both
async def test_speakers_are_told_with_the_subscription(lobby: Lobby, single: bool) -> None:
    alice = await media.join(lobby, "alice", single=single)
    bob = await media.join(lobby, "bob", single=single)
    track, _ = await alice.publish()

    async def hears(active: bool) -> None:
        await bob.signal.expect(
            "speakers_changed",
            lambda c: any(s.sid == alice.sid and s.active is active for s in c.speakers),
        )

    await bob.receives(track.sid)
    await hears(True)
    await subscribe(bob, track.sid, on=False)
    await hears(False)
    await unsubscribed(bob, track.sid)
    await subscribe(bob, track.sid)
    await hears(True)
