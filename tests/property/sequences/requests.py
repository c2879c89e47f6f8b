"""Every signal request that there is, with random values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from livekit.protocol import models, rtc

from tests.property.sequences.people import Person
from tests.property.sequences.stage import Stage
from tests.property.sequences.values import (
    CIDS,
    TEXTS,
    Random,
    broken,
    data_track,
    identity,
    offer_text,
    one_in,
    sid,
    track,
    tracks,
)
from tests.room_kit import VIDEO_CID

Request = Callable[[Stage, Person, Random], Any]

CANDIDATE = '{"candidate":"candidate:1 1 udp 2130706431 192.0.2.50 5000 typ host","sdpMid":"0"}'
CANDIDATES = [
    CANDIDATE,
    CANDIDATE.replace("udp", "tcp"),
    CANDIDATE.replace("192.0.2.50", "a.local"),
    CANDIDATE.replace("5000", "500000"),
    '{"candidate":"","sdpMid":"0"}',
    '{"candidate":7}',
    "{",
    "",
]

Quality = models.VideoQuality
_Source = models.TrackSource
_SOURCES = {
    True: (_Source.CAMERA, _Source.SCREEN_SHARE),
    False: (_Source.MICROPHONE, _Source.SCREEN_SHARE_AUDIO),
}


def _offer(stage: Stage, person: Person, rng: Random) -> rtc.SessionDescription:
    person.offer_id += rng.choice([1, 1, 1, 0, 5])
    kind = "offer" if not one_in(rng, 20) else rng.choice(["answer", "rollback", ""])
    return rtc.SessionDescription(type=kind, sdp=offer_text(person, rng), id=person.offer_id)


def _answer(stage: Stage, person: Person, rng: Random) -> rtc.SessionDescription | None:
    if person.offer is None:
        # Nothing was offered.
        if not one_in(rng, 5):
            return None
    elif not one_in(rng, 10):
        if person.line is not None:
            person.line.answer(person.offer)
        return None
    known = person.offer.id if person.offer is not None else 0
    text = TEXTS[rng.choice(["aiortc_answer", "libwebrtc_answer", "pion_answer"])]
    if one_in(rng, 3):
        text = broken(text, rng)
    number = rng.choice([known, known, 0, 999])
    return rtc.SessionDescription(type="answer", sdp=text, id=number)


def _trickle(stage: Stage, person: Person, rng: Random) -> rtc.TrickleRequest:
    return rtc.TrickleRequest(
        candidateInit=rng.choice([CANDIDATE, *CANDIDATES]),
        target=rng.choice([0, 1]),
        final=one_in(rng, 4),
    )


def _layers(rng: Random) -> list[models.VideoLayer]:
    return [
        models.VideoLayer(
            quality=rng.choice(list(Quality.values())),
            width=rng.choice([0, 320, 1280, 2**31]),
            height=rng.choice([0, 180, 720]),
            rid=rng.choice(["", "q", "f"]),
        )
        for _ in range(rng.randrange(4))
    ]


def add_track_request(stage: Stage, person: Person, rng: Random) -> rtc.AddTrackRequest:
    """A track, often one that the samples have media of."""
    cid = rng.choice([*CIDS[:2], *CIDS])
    video = cid == VIDEO_CID if cid in CIDS[:2] else one_in(rng, 2)
    codecs = ["vp8", "vp9", "av1", "h264", "video/VP8", "opus", "audio/red", "", "nonsense"]
    kind = models.TrackType.VIDEO if video else models.TrackType.AUDIO
    return rtc.AddTrackRequest(
        cid=cid,
        name=rng.choice(["", "camera"]),
        type=kind if not one_in(rng, 15) else rng.choice(models.TrackType.values()),
        source=rng.choice(_SOURCES[video]) if not one_in(rng, 5) else rng.randrange(5),
        width=rng.choice([0, 1280]),
        height=rng.choice([0, 720]),
        muted=one_in(rng, 4),
        layers=_layers(rng),
        simulcast_codecs=[
            rtc.SimulcastCodec(
                codec=rng.choice(codecs), cid=rng.choice([cid, *CIDS]), layers=_layers(rng)
            )
            for _ in range(rng.choice([0, 0, 1, 1, 2, 3]))
        ],
        sid=track(stage, person, rng, own=True) if one_in(rng, 5) else "",
        stereo=one_in(rng, 4),
        disable_dtx=one_in(rng, 4),
        disable_red=one_in(rng, 4),
        encryption=rng.choice(models.Encryption.Type.values()),
        stream=rng.choice(["", "camera", "x" * 300]),
        backup_codec_policy=rng.choice(models.BackupCodecPolicy.values()),
        audio_features=rng.sample(models.AudioTrackFeature.values(), rng.randrange(3)),
    )


def _mute(stage: Stage, person: Person, rng: Random) -> rtc.MuteTrackRequest:
    return rtc.MuteTrackRequest(sid=track(stage, person, rng, own=True), muted=one_in(rng, 2))


def _subscription(stage: Stage, person: Person, rng: Random) -> rtc.UpdateSubscription:
    return rtc.UpdateSubscription(
        track_sids=tracks(stage, person, rng),
        subscribe=not one_in(rng, 4),
        participant_tracks=[
            models.ParticipantTracks(
                participant_sid=sid(stage, rng), track_sids=tracks(stage, person, rng)
            )
            for _ in range(rng.choice([0, 0, 1, 2]))
        ],
    )


def _track_setting(stage: Stage, person: Person, rng: Random) -> rtc.UpdateTrackSettings:
    return rtc.UpdateTrackSettings(
        track_sids=tracks(stage, person, rng),
        disabled=one_in(rng, 3),
        quality=rng.choice(Quality.values()),
        width=rng.choice([0, 0, 160, 640, 4000]),
        height=rng.choice([0, 90, 360]),
        fps=rng.choice([0, 5, 30, 2**32 - 1]),
        priority=rng.randrange(3),
    )


def _leave(stage: Stage, person: Person, rng: Random) -> rtc.LeaveRequest:
    return rtc.LeaveRequest(
        reason=rng.choice(models.DisconnectReason.values()), action=rng.randrange(3)
    )


def _layers_update(stage: Stage, person: Person, rng: Random) -> rtc.UpdateVideoLayers:
    return rtc.UpdateVideoLayers(track_sid=track(stage, person, rng, own=True), layers=_layers(rng))


def _subscribers(stage: Stage, person: Person, rng: Random) -> rtc.SubscriptionPermission:
    return rtc.SubscriptionPermission(
        all_participants=one_in(rng, 2),
        track_permissions=[
            rtc.TrackPermission(
                participant_sid=sid(stage, rng) if one_in(rng, 2) else "",
                participant_identity=identity(stage, rng) if one_in(rng, 2) else "",
                all_tracks=one_in(rng, 2),
                track_sids=[track(stage, person, rng, own=True)],
            )
            for _ in range(rng.randrange(4))
        ],
    )


def sync_state(stage: Stage, person: Person, rng: Random) -> rtc.SyncState:
    state = rtc.SyncState(
        subscription=_subscription(stage, person, rng),
        track_sids_disabled=tracks(stage, person, rng),
        datachannel_receive_states=[
            rtc.DataChannelReceiveState(publisher_sid=sid(stage, rng), last_seq=rng.randrange(5))
            for _ in range(rng.randrange(3))
        ],
    )
    if one_in(rng, 4):
        info = models.TrackInfo(sid=track(stage, person, rng, own=True))
        state.publish_tracks.add(cid=rng.choice(CIDS), track=info)
    if one_in(rng, 8):
        state.publish_tracks.add(cid="without track")
    if one_in(rng, 8):
        state.publish_data_tracks.add().info.sid = data_track(stage, rng)
    if one_in(rng, 2):
        state.answer.CopyFrom(rtc.SessionDescription(type="answer", sdp=TEXTS["pion_answer"]))
        state.data_subscription.CopyFrom(_data_subscription(stage, person, rng))
    return state


def _simulate(stage: Stage, person: Person, rng: Random) -> rtc.SimulateScenario:
    fields = rtc.SimulateScenario.DESCRIPTOR.oneofs_by_name["scenario"].fields
    name = rng.choice([field.name for field in fields])
    values: dict[str, Any] = {
        "speaker_update": rng.choice([0, 1, 5, -3, 2**31 - 1]),
        "switch_candidate_protocol": rng.choice(rtc.CandidateProtocol.values()),
        "subscriber_bandwidth": rng.choice([0, 100_000]),
    }
    ends = name in ("node_failure", "migration", "server_leave")
    if ends and not one_in(rng, 3):
        return rtc.SimulateScenario(speaker_update=2)
    return rtc.SimulateScenario(**{name: values.get(name, True)})


def _metadata(stage: Stage, person: Person, rng: Random) -> rtc.UpdateParticipantMetadata:
    return rtc.UpdateParticipantMetadata(
        name=rng.choice(["", "A name", "n" * 300]),
        metadata=rng.choice(["", "some", "m" * 600_000 if one_in(rng, 20) else "more"]),
        attributes={rng.choice("abc"): rng.choice(["", "x", "y" * 100])},
        request_id=rng.randrange(3),
    )


def _audio_features(stage: Stage, person: Person, rng: Random) -> rtc.UpdateLocalAudioTrack:
    return rtc.UpdateLocalAudioTrack(
        track_sid=track(stage, person, rng, own=True),
        features=rng.sample(models.AudioTrackFeature.values(), rng.randrange(3)),
    )


def _video_size(stage: Stage, person: Person, rng: Random) -> rtc.UpdateLocalVideoTrack:
    size = rng.choice([0, 180, 1080, 2**32 - 1])
    return rtc.UpdateLocalVideoTrack(
        track_sid=track(stage, person, rng, own=True), width=size, height=size
    )


def _encoding(rng: Random) -> dict[str, Any]:
    if one_in(rng, 2):
        return {}
    custom = rng.choice(["", "mine", "e" * 40])
    return {"frame_encoding": models.DataTrackFrameEncoding(custom=custom)}


def _publish_data_track(stage: Stage, person: Person, rng: Random) -> rtc.PublishDataTrackRequest:
    return rtc.PublishDataTrackRequest(
        pub_handle=rng.choice([1, 2, 3, 4, 5, 6, 7, 0, 65535, 65536]),
        name=rng.choice([*"abcdefgh", "", "n" * 300]),
        encryption=rng.choice(models.Encryption.Type.values()),
        **_encoding(rng),
    )


def _unpublish_data(stage: Stage, person: Person, rng: Random) -> rtc.UnpublishDataTrackRequest:
    return rtc.UnpublishDataTrackRequest(pub_handle=rng.choice([1, 2, 3, 4, 0, 65537]))


def _data_subscription(stage: Stage, person: Person, rng: Random) -> rtc.UpdateDataSubscription:
    updates = []
    for _ in range(rng.randrange(4)):
        update = rtc.UpdateDataSubscription.Update(
            track_sid=data_track(stage, rng), subscribe=not one_in(rng, 3)
        )
        if one_in(rng, 3):
            update.options.SetInParent()
        updates.append(update)
    return rtc.UpdateDataSubscription(updates=updates)


def _key(rng: Random) -> models.DataBlobKey | None:
    if one_in(rng, 5):
        return None
    return models.DataBlobKey(generic=rng.choice(["", "a", "b", "k" * 300]))


def _store_blob(stage: Stage, person: Person, rng: Random) -> rtc.StoreDataBlobRequest:
    size = rng.choice([0, 10, 1000, 60_000, 70_000])
    blob = models.DataBlob(key=_key(rng), contents=b"x" * size)
    return rtc.StoreDataBlobRequest(request_id=rng.randrange(9), blob=blob)


def _get_blob(stage: Stage, person: Person, rng: Random) -> rtc.GetDataBlobRequest:
    return rtc.GetDataBlobRequest(
        request_id=rng.randrange(9), participant_identity=identity(stage, rng), key=_key(rng)
    )


REQUESTS: Mapping[str, Request] = {
    "offer": _offer,
    "answer": _answer,
    "trickle": _trickle,
    "add_track": add_track_request,
    "mute": _mute,
    "subscription": _subscription,
    "track_setting": _track_setting,
    "leave": _leave,
    "update_layers": _layers_update,
    "subscription_permission": _subscribers,
    "sync_state": sync_state,
    "simulate": _simulate,
    "ping": lambda stage, person, rng: rng.randrange(2**40),
    "update_metadata": _metadata,
    "ping_req": lambda stage, person, rng: rtc.Ping(timestamp=rng.randrange(2**40)),
    "update_audio_track": _audio_features,
    "update_video_track": _video_size,
    "publish_data_track_request": _publish_data_track,
    "unpublish_data_track_request": _unpublish_data,
    "update_data_subscription": _data_subscription,
    "store_data_blob_request": _store_blob,
    "get_data_blob_request": _get_blob,
}
"""By the name of the field in ``SignalRequest``: every one that there is."""
