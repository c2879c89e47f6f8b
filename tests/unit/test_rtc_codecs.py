from __future__ import annotations

import pytest
from livekit.protocol import models

from lkpy.engine.api import MediaKind, RtpCodec
from lkpy.sdp import Codec, SessionDescription
from lkpy.server.rtc import codecs as rules
from lkpy.server.rtc.direction_config import PUBLISHER, SINGLE, subscriber
from tests.transport_kit import CODECS, sample, track_info

AUDIO, VIDEO = MediaKind.AUDIO, MediaKind.VIDEO
TABLE = rules.codec_table(CODECS)
PM1_42E0 = "packetization-mode=1;profile-level-id=42e01f"


def names(codecs: tuple[Codec, ...]) -> list[str]:
    return [f"{codec.payload_type} {codec.name}" for codec in codecs]


def test_registered_payload_types() -> None:
    assert names(TABLE.audio) == ["111 opus", "63 red", "0 PCMU", "8 PCMA"]
    assert names(TABLE.video) == [
        "96 VP8",
        "98 VP9",
        "100 VP9",
        "125 H264",
        "108 H264",
        "123 H264",
        "35 AV1",
        "116 H265",
    ]
    assert TABLE.rtx


def test_codecs_that_are_not_enabled_are_not_registered() -> None:
    table = rules.codec_table([models.Codec(mime="video/vp8"), models.Codec(mime="audio/red")])
    assert names(table.video) == ["96 VP8"]
    assert table.audio == (), "RED needs Opus"
    assert not table.rtx


def test_exact_parameters_register_more_profiles() -> None:
    fmtp = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=4D001F"
    table = rules.codec_table([models.Codec(mime="video/H264", fmtp_line=fmtp)])
    assert names(table.video) == ["106 H264"]


@pytest.mark.parametrize(
    ("name", "ours", "theirs", "same"),
    [
        ("H264", PM1_42E0, "profile-level-id=42E033;packetization-mode=1", True),
        ("H264", PM1_42E0, "packetization-mode=0;profile-level-id=42e01f", False),
        ("H264", PM1_42E0, "packetization-mode=1;profile-level-id=42001f", False),
        ("H264", "profile-level-id=42000a", "", True),
        ("VP9", "profile-id=0", "", True),
        ("VP9", "profile-id=0", "profile-id=2", False),
        ("AV1", "", "level-idx=5;profile=0;tier=0", True),
        ("AV1", "", "profile=1", False),
        ("H265", "", "level-id=93;tx-mode=SRST", True),
        ("VP8", "", "max-fs=12288;max-fr=60", True),
    ],
)
def test_profiles(name: str, ours: str, theirs: str, same: bool) -> None:
    left, right = Codec(1, name, 90_000, 0, ours), Codec(2, name.lower(), 90_000, 0, theirs)
    assert rules.same_encoding(left, right) is same


def test_clock_rate_and_channels_must_match() -> None:
    opus = Codec(111, "opus", 48_000, 2)
    assert not rules.same_encoding(opus, Codec(96, "opus", 48_000, 1))
    assert rules.same_encoding(opus, Codec(96, "opus", 48_000)), "as we have it"
    assert rules.same_encoding(opus, Codec(96, "OPUS")), "as we have it"
    assert not rules.same_encoding(opus, Codec(96, "opus", 16_000, 2))
    assert rules.same_encoding(Codec(0, "PCMU", 8_000), Codec(0, "PCMU", 8_000, 1))


@pytest.mark.parametrize(
    ("text", "profile"),
    [
        ("42e01f", "constrained baseline"),
        ("42C016", "constrained baseline"),
        ("4d801f", "constrained baseline"),
        ("58c01f", "constrained baseline"),
        ("42001f", "baseline"),
        ("4d401f", "main"),
        ("4d0032", "main"),
        ("640032", "high"),
        ("640c1f", "constrained high"),
        ("f4001f", "f400"),
        ("nothing", "nothing"),
    ],
)
def test_h264_profiles_have_several_values(text: str, profile: str) -> None:
    assert rules.h264_profile({"profile-level-id": text}) == profile


def h264(number: int, fmtp: str) -> Codec:
    return Codec(number, "H264", 90_000, 0, fmtp)


def accepts(*offered: Codec, kind: MediaKind = VIDEO, h264_high: bool = True) -> list[str]:
    return names(rules.answer_codecs(kind, offered, TABLE, (), h264_high=h264_high))


@pytest.mark.parametrize(
    "codec",
    [
        h264(119, ""),
        h264(119, "profile-level-id=42001f;packetization-mode=1"),
        h264(119, "profile-level-id=4d001f;packetization-mode=1"),
        h264(119, "profile-level-id=640c1f"),
        h264(119, "packetization-mode=1"),
        Codec(35, "VP9", 90_000, 0, "profile-id=2"),
        Codec(35, "AV1", 90_000, 0, "profile=1;tier=0"),
        Codec(35, "H265", 90_000, 0, "profile-id=2"),
        Codec(5, "vp8", 90_000),
        Codec(96, "VP8"),
    ],
)
def test_a_codec_that_is_offered_in_other_profiles_alone_is_taken(codec: Codec) -> None:
    assert accepts(codec) == [f"{codec.payload_type} {codec.name}"]


def test_profiles_that_are_not_ours_are_left_out_beside_ours() -> None:
    ours, other = h264(96, PM1_42E0), h264(98, "packetization-mode=1;profile-level-id=4d001f")
    same = h264(100, "packetization-mode=1;profile-level-id=42c01f")
    assert accepts(other, ours, same) == ["96 H264", "100 H264"]
    assert accepts(Codec(96, "VP8", 90_000), other) == ["96 VP8", "98 H264"], "of another name"


def test_two_profiles_that_are_not_ours_are_both_taken_with_their_rtx() -> None:
    one, two = h264(96, ""), h264(98, "packetization-mode=1;profile-level-id=4d001f")
    rtx = Codec(97, "rtx", 90_000, 0, "apt=96;rtx-time=3000")
    bare = Codec(99, "rtx", 90_000)
    assert accepts(rtx, one, two, bare) == ["96 H264", "97 rtx", "98 H264"]


def test_h264_high_alone_is_sent_to_who_offers_nothing_else() -> None:
    high = h264(96, "packetization-mode=1;profile-level-id=64001f")
    low = h264(98, "packetization-mode=1;profile-level-id=4d001f")
    assert accepts(high, h264_high=False) == ["96 H264"]
    assert accepts(high, Codec(99, "VP8", 90_000), h264_high=False) == ["96 H264", "99 VP8"]
    assert accepts(high, low, h264_high=False) == ["98 H264"]


@pytest.mark.parametrize(
    "codec",
    [
        Codec(96, "VP8", 8_000),
        Codec(96, "AV1X", 90_000),
        Codec(96, "ulpfec", 90_000),
        Codec(96, "red", 90_000),
        Codec(96, ""),
    ],
)
def test_other_codecs_are_not_taken(codec: Codec) -> None:
    assert accepts(codec) == []


def test_a_clock_rate_that_was_left_out_is_answered() -> None:
    (codec,) = rules.answer_codecs(AUDIO, (Codec(96, "opus"),), TABLE, (), h264_high=True)
    assert (codec.clock_rate, codec.channels) == (48_000, 0)


def test_a_publisher_that_offers_stereo_is_asked_for_it() -> None:
    stereo = Codec(96, "opus", 48_000, 2, "maxaveragebitrate=96000;stereo=1;sprop-stereo=1")
    for offered, expected in (
        (stereo, "minptime=10;useinbandfec=1;stereo=1;maxaveragebitrate=96000"),
        (Codec(96, "opus", 48_000, 2, "stereo=0"), "minptime=10;useinbandfec=1"),
    ):
        accepted = rules.answer_codecs(AUDIO, (offered,), TABLE, (), h264_high=True)
        assert rules.offered_stereo(accepted, (offered,))[0].fmtp == expected


def test_answer_keeps_payload_types_order_and_pairs_rtx() -> None:
    offered = SessionDescription.parse(sample("firefox_offer")).media[3].codecs
    accepted = rules.answer_codecs(VIDEO, offered, TABLE, SINGLE.feedback(VIDEO), h264_high=True)
    assert names(accepted) == [
        "120 VP8",
        "124 rtx",
        "121 VP9",
        "125 rtx",
        "126 H264",
        "127 rtx",
        "97 H264",
        "98 rtx",
    ]
    assert accepted[0].feedback == ("transport-cc", "goog-remb", "ccm fir", "nack", "nack pli")
    assert accepted[0].fmtp == "max-fs=12288;max-fr=60"
    assert accepted[1] == Codec(124, "rtx", 90_000, 0, "apt=120")


def test_feedback_that_was_not_offered_is_not_answered() -> None:
    offered = SessionDescription.parse(sample("aiortc_offer")).media[1].codecs
    for config, expected in (
        (PUBLISHER, ("nack", "nack pli")),
        (subscriber(send_side_bwe=False), ("nack", "nack pli", "goog-remb")),
        (subscriber(send_side_bwe=True), ("nack", "nack pli")),
    ):
        accepted = rules.answer_codecs(
            VIDEO, offered, TABLE, config.feedback(VIDEO), h264_high=True
        )
        assert accepted[0].feedback == expected


@pytest.mark.parametrize(("h264_high", "first"), [(True, "96 H264"), (False, "98 H264")])
def test_h264_high_only_where_allowed(h264_high: bool, first: str) -> None:
    high = Codec(96, "H264", 90_000, 0, "packetization-mode=1;profile-level-id=640033")
    base = Codec(98, "H264", 90_000, 0, "packetization-mode=1;profile-level-id=42e01f")
    accepted = rules.answer_codecs(VIDEO, (high, base), TABLE, (), h264_high=h264_high)
    assert names(accepted)[0] == first


def test_red_needs_the_opus_that_it_repeats() -> None:
    opus = Codec(109, "opus", 48_000, 2)
    for fmtp, expected in (("109/109", ["109 opus", "63 red"]), ("111/111", ["109 opus"])):
        red = Codec(63, "red", 48_000, 2, fmtp)
        assert names(rules.answer_codecs(AUDIO, (opus, red), TABLE, (), h264_high=True)) == expected


def test_our_offers() -> None:
    video = rules.offer_codecs(VIDEO, TABLE, ("nack",))
    assert names(video) == [
        "96 VP8",
        "97 rtx",
        "98 VP9",
        "99 rtx",
        "100 VP9",
        "101 rtx",
        "125 H264",
        "126 rtx",
        "108 H264",
        "109 rtx",
        "35 AV1",
        "36 rtx",
        "116 H265",
        "117 rtx",
    ]
    assert not any(rules.is_h264_high(codec) for codec in video)
    assert video[0].feedback == ("nack",)
    assert rules.offer_codecs(AUDIO, TABLE, ("nack",))[1].feedback == ()


def test_preferred_codec_first() -> None:
    offered = rules.offer_codecs(VIDEO, TABLE, ())
    assert names(rules.prefer("video", offered, "video/AV1", only=False))[:4] == [
        "35 AV1",
        "36 rtx",
        "96 VP8",
        "97 rtx",
    ]
    assert names(rules.prefer("video", offered, "video/h264", only=True)) == [
        "125 H264",
        "126 rtx",
        "108 H264",
        "109 rtx",
    ]
    assert rules.prefer("video", offered, "video/theora", only=True) == offered


def test_preferred_mime_of_a_section() -> None:
    info = models.TrackInfo(
        codecs=[
            models.SimulcastCodecInfo(mime_type="video/AV1", cid="main"),
            models.SimulcastCodecInfo(mime_type="video/VP8", cid="backup", sdp_cid="sdp"),
        ]
    )
    assert rules.preferred_mime(info, "backup") == "video/VP8"
    assert rules.preferred_mime(info, "sdp") == "video/VP8"
    assert rules.preferred_mime(info, "other") == "video/AV1"
    assert rules.preferred_mime(models.TrackInfo(mime_type="video/VP9"), "x") == "video/VP9"


@pytest.mark.parametrize(
    ("features", "fmtp"),
    [
        ([], "minptime=10;useinbandfec=1;usedtx=1"),
        ([models.TF_NO_DTX], "minptime=10;useinbandfec=1"),
        (
            [models.TF_STEREO],
            "minptime=10;useinbandfec=1;usedtx=1;stereo=1;maxaveragebitrate=510000",
        ),
    ],
)
def test_opus_of_a_published_track(features: list[int], fmtp: str) -> None:
    codecs = rules.publisher_opus(TABLE.audio, track_info(audio_features=features))
    assert codecs[0].fmtp == fmtp
    assert codecs[1:] == TABLE.audio[1:]


def test_opus_to_a_subscriber() -> None:
    offered = rules.offer_codecs(AUDIO, TABLE, ("nack",))
    stereo = rules.subscriber_opus(offered, stereo=True, nack=True)[0]
    assert (stereo.fmtp, stereo.feedback) == (
        "minptime=10;useinbandfec=1;sprop-stereo=1",
        ("nack",),
    )
    assert rules.subscriber_opus(offered, stereo=False, nack=False)[0].feedback == ()


def test_engine_codecs_fold_rtx_in() -> None:
    codecs = rules.engine_codecs(
        VIDEO,
        rules.offer_codecs(VIDEO, TABLE, ("nack", "nack pli", "transport-cc", "goog-remb")),
    )
    assert codecs[0] == RtpCodec(
        96,
        "video/vp8",
        90_000,
        rtx_payload_type=97,
        nack=True,
        pli=True,
        transport_cc=True,
        remb=True,
    )
    assert all(codec.mime_type != "video/rtx" for codec in codecs)


def test_subscribers_codec_for_a_published_one() -> None:
    def h264(number: int, mode: int, profile: str) -> RtpCodec:
        fmtp = f"packetization-mode={mode};profile-level-id={profile}"
        return RtpCodec(number, "video/h264", 90_000, fmtp=fmtp)

    theirs = (
        RtpCodec(96, "video/vp8", 90_000),
        h264(1, 0, "42e01f"),
        h264(2, 1, "42e01f"),
        h264(3, 1, "4d001f"),
    )
    for source, chosen in (
        (h264(50, 1, "4d0033"), 3),
        (h264(50, 1, "640c1f"), 2),
        (h264(50, 0, "42e01f"), 1),
    ):
        assert [c.payload_type for c in rules.codecs_for_source((source,), theirs)] == [chosen]
    assert rules.codecs_for_source((RtpCodec(1, "video/av1", 90_000),), theirs) == ()
