"""Which codecs are negotiated, in which order and with which parameters."""

from __future__ import annotations

import pathlib
import re

import pytest
from livekit.protocol import models, rtc

from tests.conformance import media
from tests.conformance.kit import Lobby, until

SAMPLES = pathlib.Path(__file__).parents[1] / "data" / "sdp"
CHROME = ("7c10b47e-fc34-420f-843b-a5c1d8cc566e", "7377fe4b-3cad-43e0-9c31-8c13d0870e77")
"""Track ids of the camera and the microphone in the recorded offer of Chromium."""
FIREFOX = ("{9e8d7c6b-5a49-4838-9271-605f4e3d2c1b}", "{c6d5a9de-2f4e-4a5e-8f6c-1a2b3c4d5e6f}")
Feature = models.AudioTrackFeature


def section(sdp: str, kind: str) -> str:
    """The last section of a kind: that of what is published."""
    return "m=" + [part for part in sdp.split("\r\nm=") if part.startswith(kind)][-1]


def codecs(sdp: str, kind: str) -> list[str]:
    """Lower-case codec names of a section in its order, without repeats and RTX."""
    media_section = section(sdp, kind)
    names = dict(re.findall(r"a=rtpmap:(\d+) ([^/]+)/", media_section))
    static = {"0": "pcmu", "8": "pcma"}
    order = media_section.split("\r\n", 1)[0].split()[3:]
    found = [names.get(number, static.get(number, number)).lower() for number in order]
    return [name for name in dict.fromkeys(found) if name != "rtx"]


def opus_parameters(sdp: str) -> set[str]:
    """Format parameters of Opus."""
    audio = section(sdp, "audio")
    number = re.search(r"a=rtpmap:(\d+) opus/", audio)
    assert number
    fmtp = re.search(rf"a=fmtp:{number.group(1)} (\S+)", audio)
    return set(fmtp.group(1).split(";")) if fmtp else set()


async def answer(
    lobby: Lobby,
    *,
    sample: str = "chrome_offer",
    cids: tuple[str, str] = CHROME,
    codec: str = "vp8",
    params: dict[str, str] | None = None,
    more_codecs: str = "",
    **audio: object,
) -> str:
    """The answer to a browser's offer of a camera in ``codec`` and of a microphone. ``more_codecs``
    are lines of the video sections, for the payload type 121."""
    signal = await lobby.signal("alice", params=params)
    camera = rtc.AddTrackRequest(
        cid=cids[0],
        type=models.TrackType.VIDEO,
        source=models.TrackSource.CAMERA,
        width=640,
        height=360,
        simulcast_codecs=[rtc.SimulcastCodec(codec=codec, cid=cids[0])],
    )
    microphone = rtc.AddTrackRequest(
        cid=cids[1],
        type=models.TrackType.AUDIO,
        source=models.TrackSource.MICROPHONE,
        **audio,
    )
    for request in (camera, microphone):
        await signal.send(add_track=request)
        await signal.expect("track_published")
    sdp = (SAMPLES / f"{sample}.sdp").read_bytes().decode()
    if more_codecs:
        sdp = re.sub(r"(m=video \d+ \S+) ", r"\1 121 ", sdp)
        sdp = re.sub(r"(?s)(m=video .*?a=rtpmap:)", rf"\g<1>121 {more_codecs}a=rtpmap:", sdp)
    await signal.send(offer=rtc.SessionDescription(type="offer", sdp=sdp, id=1))
    described = await signal.expect("answer")
    return str(described.sdp)


# -- published ------------------------------------------------------------------------------------


@pytest.mark.row(143)
@pytest.mark.parametrize(("disable_red", "first"), [(False, "red"), (True, "opus")])
async def test_red_goes_first_unless_it_is_disabled(
    lobby: Lobby, disable_red: bool, first: str
) -> None:
    assert codecs(await answer(lobby, disable_red=disable_red), "audio")[0] == first


@pytest.mark.row(144)
@pytest.mark.parametrize(
    ("features", "present", "absent"),
    [
        ([], {"usedtx=1"}, {"maxaveragebitrate=510000"}),
        ([Feature.TF_NO_DTX], set(), {"usedtx=1"}),
        ([Feature.TF_STEREO], {"usedtx=1", "stereo=1", "maxaveragebitrate=510000"}, set()),
    ],
)
async def test_audio_features_are_opus_parameters(
    lobby: Lobby, features: list[Feature], present: set[str], absent: set[str]
) -> None:
    parameters = opus_parameters(await answer(lobby, audio_features=features))
    assert present <= parameters
    assert not absent & parameters


@pytest.mark.row(148, 138)
@pytest.mark.parametrize("codec", ["vp8", "h264", "vp9", "av1"])
async def test_the_preferred_codec_goes_first(lobby: Lobby, codec: str) -> None:
    found = codecs(await answer(lobby, codec=codec), "video")
    assert found[0] == codec
    assert len(found) > 1


H265 = """H265/90000\r
a=rtcp-fb:121 nack\r
a=rtcp-fb:121 nack pli\r
a=rtcp-fb:121 ccm fir\r
a=rtcp-fb:121 transport-cc\r
a=fmtp:121 level-id=93;profile-id=1;tier-flag=0;tx-mode=SRST\r
"""


@pytest.mark.row(139)
async def test_h265_is_taken_from_who_offers_it(lobby: Lobby) -> None:
    sdp = await answer(lobby, codec="h265", more_codecs=H265)
    assert codecs(sdp, "video")[0] == "h265"
    for feedback in ("nack", "nack pli", "ccm fir", "transport-cc"):
        assert f"a=rtcp-fb:121 {feedback}" in sdp


@pytest.mark.row(148)
@pytest.mark.parametrize(("system", "only"), [("linux", True), ("windows", False)])
async def test_firefox_is_left_no_choice_where_it_makes_its_own(
    lobby: Lobby, system: str, only: bool
) -> None:
    params = {"browser": "firefox", "os": system}
    sdp = await answer(lobby, sample="firefox_offer", cids=FIREFOX, codec="vp9", params=params)
    found = codecs(sdp, "video")
    assert found[0] == "vp9"
    assert (found == ["vp9"]) is only


@pytest.mark.row(138)
async def test_descriptors_of_layers_are_negotiated(lobby: Lobby) -> None:
    video = section(await answer(lobby, codec="vp9"), "video")
    assert "dependency-descriptor-rtp-header-extension" in video


# -- received -------------------------------------------------------------------------------------


async def received(lobby: Lobby, kind: str, **request: object) -> str:
    """The offer to a subscriber of a track."""
    alice = await media.join(lobby, "alice", single=False)
    bob = await media.join(lobby, "bob", single=False)
    track, _ = await alice.publish(kind=kind, **request)
    await until(lambda: track.sid in bob.mids.values(), "the track in an offer")
    return str(bob.signal.all("offer")[-1].sdp)


@pytest.mark.row(144)
@pytest.mark.parametrize("stereo", [False, True])
async def test_a_subscriber_is_told_of_stereo(lobby: Lobby, stereo: bool) -> None:
    features = [Feature.TF_STEREO] if stereo else []
    sdp = await received(lobby, "audio", audio_features=features)
    assert ("sprop-stereo=1" in opus_parameters(sdp)) is stereo


@pytest.mark.row(149)
async def test_no_subscriber_is_offered_h264_high(lobby: Lobby) -> None:
    sdp = await received(lobby, "video", simulcast_codecs=[rtc.SimulcastCodec(codec="h264")])
    assert "h264" in codecs(sdp, "video")
    assert "profile-level-id=64" not in sdp
