from __future__ import annotations

import re

import pytest
from livekit.protocol import models, rtc

from lkpy.sdp import SdpError, SessionDescription
from lkpy.server.rtc.one_shot import OneShot, OneShotSink, check, one_shot, track_requests
from tests.room_kit import AUDIO_CID, JOIN_OFFER, PUBLISH_OFFER, VIDEO_CID
from tests.transport_kit import sample

AUDIO, VIDEO = models.TrackType.AUDIO, models.TrackType.VIDEO


def parse(text: str) -> SessionDescription:
    return SessionDescription.parse(text)


def test_a_request_for_each_track_that_is_sent() -> None:
    requests = {request.type: request for request in track_requests(parse(PUBLISH_OFFER))}
    assert requests == {
        AUDIO: rtc.AddTrackRequest(
            cid=AUDIO_CID,
            name="synthesized-microphone",
            type=AUDIO,
            source=models.TrackSource.MICROPHONE,
            disable_dtx=True,
            stream="camera",
        ),
        VIDEO: rtc.AddTrackRequest(
            cid=VIDEO_CID,
            name="synthesized-camera",
            type=VIDEO,
            source=models.TrackSource.CAMERA,
            disable_dtx=True,
            stream="camera",
            layers=[models.VideoLayer(quality=quality) for quality in (0, 1)],
        ),
    }


def test_nothing_is_published_in_sections_that_only_receive() -> None:
    assert track_requests(parse(JOIN_OFFER)) == ()


def test_one_plain_stream_has_one_layer() -> None:
    (video,) = (r for r in track_requests(parse(sample("aiortc_offer"))) if r.type == VIDEO)
    assert list(video.layers) == [models.VideoLayer()]


def test_a_track_without_a_name_gets_one() -> None:
    nameless = re.sub(r"a=(msid|ssrc).*\r\n", "", PUBLISH_OFFER)
    cids = [request.cid for request in track_requests(parse(nameless))]
    assert len(set(cids)) == 2
    assert all(re.fullmatch(r"TR_\w{12}", cid) for cid in cids)


def test_more_encodings_than_layers() -> None:
    many = PUBLISH_OFFER.replace("a=simulcast:send ", "a=simulcast:send a;b;")
    (video,) = (r for r in track_requests(parse(many)) if r.type == VIDEO)
    assert len(video.layers) == 3


def info(sid: str, kind: models.TrackType, name: str = "") -> models.TrackInfo:
    return models.TrackInfo(sid=sid, type=kind, name=name)


def test_tracks_that_there_is_room_for() -> None:
    room = one_shot(parse(JOIN_OFFER))
    assert room.sections == {AUDIO: 3, VIDEO: 3}
    tracks = [("bob", info(f"TR_{number}", AUDIO)) for number in range(5)]
    assert room.choose(tracks) == ["TR_0", "TR_1", "TR_2"]


def test_tracks_that_are_asked_for_come_first() -> None:
    wanted = frozenset({("carol", "voice"), ("bob", "nothing")})
    tracks = [
        ("bob", info("TR_b", AUDIO, "voice")),
        ("carol", info("TR_c", AUDIO, "voice")),
        ("carol", info("TR_v", VIDEO, "voice")),
    ]
    assert OneShot({AUDIO: 1}, wanted).choose(tracks) == ["TR_c"]
    assert OneShot({}, wanted).choose(tracks) == []


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (r"a=fingerprint:.*\r\n", "", "no a=fingerprint"),
        (r"a=ice-ufrag:.*\r\n", "", "no a=ice-ufrag"),
        (r"a=mid:.*\r\n", "a=mid:0\r\n", "two media sections have the same a=mid"),
        (r"m=[^$]*", "", "no media section"),
    ],
)
def test_offers_that_nothing_begins_with(before: str, after: str, message: str) -> None:
    check(parse(PUBLISH_OFFER))
    with pytest.raises(SdpError) as error:
        check(parse(re.sub(before, after, PUBLISH_OFFER)))
    assert error.value.message == message


def test_what_is_kept_of_the_responses() -> None:
    sink = OneShotSink()
    sink.write(rtc.SignalResponse(join=rtc.JoinResponse(server_version="1")))
    sink.write(rtc.SignalResponse(answer=rtc.SessionDescription(sdp="v=0")))
    sink.write(rtc.SignalResponse(refresh_token="secret"))
    assert sink.join is not None
    assert sink.answer is not None
    assert (sink.join.server_version, sink.answer.sdp) == ("1", "v=0")
    assert not sink.closed
    sink.close("over")
    assert sink.closed
