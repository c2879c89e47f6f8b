"""Reception: sequence numbers, loss and recovery, first frames; senders' headers and feedback."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pylibsrtp
import pytest

from lkpy.sim import rtcp, rtp
from lkpy.sim.media.clip import Clip, from_frames
from lkpy.sim.peers import sdp, stream
from lkpy.sim.peers.receive import DECRYPT_EVERY, Receiver
from lkpy.sim.peers.send import HISTORY, Feedback, Outbound, OutStream
from lkpy.sim.peers.stream import Stream

KEY = bytes(range(30))


def feed(target: Stream, numbers: Iterable[int], now: float = 0.0) -> None:
    for number in numbers:
        target.arrived(number & 0xFFFF, now)


def test_numbers_wrap_without_loss() -> None:
    video = Stream(1, "video")
    feed(video, range(65_500, 65_500 + 200))
    assert (video.expected, video.lost, video.missing) == (200, 0, {})


def test_a_gap_is_missing_until_it_comes() -> None:
    video = Stream(1, "video")
    feed(video, [10, 11, 14])
    assert list(video.missing) == [12, 13]
    assert video.lost == 2
    assert video.arrived(13, 0.0)
    assert list(video.missing) == [12]
    assert video.lost == 1
    assert video.restored == 0  # only late: nobody had asked


def test_repeats_are_told_and_lower_the_loss_as_rfc_3550_has_it() -> None:
    video = Stream(1, "video")
    feed(video, [1, 2, 3])
    assert not video.arrived(2, 0.0)
    assert video.lost == -1


def test_nacks_wait_repeat_and_end() -> None:
    video = Stream(1, "video")
    feed(video, [65_534, 1], now=1.0)
    assert video.due_for_nack(1.005, 0.05) == []
    assert video.due_for_nack(1.011, 0.05) == [65_535, 0]
    assert video.due_for_nack(1.03, 0.05) == []
    assert video.due_for_nack(1.07, 0.05) == [65_535, 0]
    assert video.recovered(0)
    assert video.restored == 1
    assert video.due_for_nack(1.2, 0.05) == [65_535]
    assert video.due_for_nack(1.0 + stream.GIVE_UP_S + 0.1, 0.05) == []
    assert (video.abandoned, video.missing) == (1, {})
    assert not video.recovered(65_535)


def test_asking_for_one_packet_ends() -> None:
    video = Stream(1, "video")
    feed(video, [1, 3], now=0.0)
    asked = sum(len(video.due_for_nack(0.02 + step * 0.06, 0.05)) for step in range(30))
    assert asked == stream.MAX_NACKS


def test_residual_loss_leaves_out_what_may_still_come() -> None:
    video = Stream(1, "video")
    feed(video, [1, 3], now=10.0)
    assert video.residual(10.5, grace=1.0) == 0
    assert video.residual(11.5, grace=1.0) == 1
    video.due_for_nack(13.0, 0.05)
    assert video.residual(13.0, grace=1.0) == 1


def test_a_restart_is_not_a_thousand_losses() -> None:
    video = Stream(1, "video")
    feed(video, [1, 2, 20_000, 20_001])
    assert (video.expected, video.lost, video.missing) == (4, 0, {})


def test_report_blocks_tell_the_loss_of_their_interval() -> None:
    video = Stream(1, "video")
    feed(video, [0, 1, 2, 4])
    first = video.report_block(1.0)
    assert (first.fraction_lost, first.packets_lost, first.highest) == (256 // 5, 1, 4)
    feed(video, [5, 6])
    assert video.report_block(2.0).fraction_lost == 0


def frame(*, key: bool, parts: int) -> list[bytes]:
    head = b"\x00" if key else b"\x01"
    return [
        rtp.vp8_descriptor(start=index == 0, picture_id=1, tl0=1, key_index=1)
        + (head if index == 0 else b"\x01")
        + b"x" * 20
        for index in range(parts)
    ]


def test_a_frame_counts_once_all_of_it_is_there() -> None:
    video = Stream(1, "video")
    delta, key = frame(key=False, parts=2), frame(key=True, parts=3)
    assert not video.complete_first_frame(delta[0], 1, 100, marker=False)
    assert not video.complete_first_frame(delta[1], 2, 100, marker=True)
    assert not video.complete_first_frame(key[0], 65_535, 200, marker=False)
    assert not video.complete_first_frame(key[2], 1, 200, marker=True)
    assert video.complete_first_frame(key[1], 0, 200, marker=False)


# -- a sender and a receiver, with SRTP between them --------------------------------------------

EXTENSIONS = {rtp.MID_URI: 1, rtp.RID_URI: 2, rtp.REPAIRED_RID_URI: 3, rtp.TRANSPORT_CC_URI: 4}
SECTION = sdp.RemoteSection(
    mid="5",
    kind="video",
    sends=False,
    ssrc=None,
    rtx_ssrc=None,
    track_id="",
    extensions=EXTENSIONS,
    payload_types={"vp8": 96, "rtx": 97},
)


def session(kind: int) -> pylibsrtp.Session:
    policy = pylibsrtp.Policy(
        key=KEY, ssrc_type=kind, srtp_profile=pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_80
    )
    policy.allow_repeat_tx = True
    return pylibsrtp.Session(policy)


class Wire:
    """Packets of a sender, and a receiver that gets those it is given."""

    def __init__(self) -> None:
        self.plain: list[bytes] = []
        self.out = Outbound(self.plain.append, lambda packet: None)
        data = [(index == 0, b"\x00" + b"k" * 2500) for index in range(5)]
        clip: Clip = from_frames(
            "vp8", 90_000, 4500, [(k, d if k else b"\x01" + d) for k, d in data]
        )
        encoding = sdp.Encoding(ssrc=111, rtx_ssrc=222, rid="h")
        self.sender = OutStream(self.out, encoding, SECTION, clip, random.Random(3))
        self.rtcp: list[bytes] = []
        self.receiver = Receiver(rtcp_ssrc=9, cname="sim", send_rtcp=self.rtcp.append)
        self.receiver.srtp = session(pylibsrtp.Policy.SSRC_ANY_INBOUND)
        self._tx = session(pylibsrtp.Policy.SSRC_ANY_OUTBOUND)
        self.receiver.declare(mid="5", kind="video", track_sid="TR_x", ssrc=111, rtx_ssrc=222)
        self.receiver.transport_cc_id = 4

    def deliver(self, packets: Iterable[bytes]) -> None:
        for packet in packets:
            self.receiver.datagram(self._tx.protect(packet))

    def take(self) -> list[bytes]:
        packets, self.plain[:] = self.plain[:], []
        return packets

    @property
    def stream(self) -> Stream:
        return self.receiver.streams[111]


def test_a_packet_carries_what_was_negotiated() -> None:
    wire = Wire()
    wire.sender.send_frame(0)
    packets = wire.take()
    assert len(packets) == 3
    for index, packet in enumerate(packets):
        values = dict(rtp.extensions(packet))
        assert (values[1], values[2]) == (b"5", b"h")
        assert values[4] == index.to_bytes(2, "big")
        assert packet[1] == (96 | 0x80 if index == 2 else 96)


def test_retransmission_recovers_what_was_lost_and_completes_the_first_frame() -> None:
    wire = Wire()
    found: list[float] = []
    wire.receiver.first.on_frame = lambda stream, at: found.append(at)
    wire.sender.send_frame(0)
    first, second, third = wire.take()
    wire.deliver([first, third])
    assert not found
    (lost,) = wire.stream.due_for_nack(wire.stream.first_at + 1, 0.05)
    wire.sender.resend(lost)
    (again,) = wire.take()
    assert again[1] & 0x7F == 97
    assert dict(rtp.extensions(again))[3] == b"h"
    wire.deliver([again])
    assert len(found) == 1
    assert (wire.stream.restored, wire.stream.missing) == (1, {})
    assert wire.stream.lost == 1  # before recovery, as RFC 3550 counts it
    wire.deliver([second])
    assert wire.receiver.totals.decrypt_errors == 0


def test_feedback_reaches_the_stream_it_is_about() -> None:
    wire = Wire()
    feedback = Feedback(wire.out)
    feedback._streams[111] = wire.sender
    wire.sender.send_frame(0)
    sequence = rtp.TAIL.unpack_from(wire.take()[0], 2)[0]
    for packet in rtcp.parse(rtcp.nack(1, 111, [sequence]) + rtcp.nack(1, 999, [sequence])):
        feedback(packet)
    assert (wire.out.totals.nacks, wire.out.totals.retransmissions) == (1, 1)
    wire.take()
    wire.sender.send_frame(1)
    assert wire.out.totals.key_frames == 1
    for packet in rtcp.parse(rtcp.pli(1, 111)):
        feedback(packet)
    wire.sender.send_frame(2)
    assert wire.out.totals.key_frames == 2


def test_history_is_bounded_and_old_packets_are_not_invented() -> None:
    wire = Wire()
    wire.sender.send_frame(0)
    oldest = rtp.TAIL.unpack_from(wire.plain[0], 2)[0]
    for number in range(1, HISTORY):
        wire.sender.send_frame(number)
    wire.take()
    wire.sender.resend(oldest)
    assert wire.take() == []
    assert len(wire.sender._history) == HISTORY


def test_a_paused_layer_is_silent_and_comes_back_with_a_key_frame() -> None:
    wire = Wire()
    wire.sender.send_frame(0)
    wire.sender.send_frame(1)
    wire.take()
    wire.sender.set_paused(True)
    wire.sender.send_frame(2)
    assert wire.take() == []
    wire.sender.set_paused(False)
    wire.sender.send_frame(3)
    assert wire.out.totals.key_frames == 2


def test_few_packets_are_decrypted() -> None:
    wire = Wire()
    decrypted = 0
    inner = wire.receiver.srtp

    class Counting:
        def unprotect(self, data: bytes) -> bytes:
            nonlocal decrypted
            decrypted += 1
            assert inner is not None
            return inner.unprotect(data)

    wire.receiver.srtp = Counting()
    for number in range(1000):
        wire.sender.send_frame(number)
    wire.deliver(wire.take())
    assert wire.stream.packets == wire.sender.packets
    assert decrypted < 20 + wire.stream.packets / DECRYPT_EVERY


def test_wrong_keys_are_noticed() -> None:
    wire = Wire()
    wire.sender.send_frame(0)
    wire.receiver.datagram(wire.take()[0] + b"not an SRTP tag!")
    assert wire.receiver.totals.decrypt_errors == 1


@pytest.mark.parametrize(
    "data", [b"", b"\x80", b"\x80\x60" + bytes(9), b"\x80\xc8\x00\x01" + bytes(9)]
)
def test_rubbish_is_survived(data: bytes) -> None:
    wire = Wire()
    wire.receiver.datagram(data)
    assert wire.receiver.totals.packets == 0


def test_feedback_and_reports_are_sent_when_due() -> None:
    wire = Wire()
    wire.sender.send_frame(0)
    wire.deliver(wire.take())
    now = wire.stream.first_at
    wire.receiver.start(now, 0.0)
    wire.receiver.tick(now + 0.01)
    kinds = [(p.kind, p.count) for data in wire.rtcp for p in rtcp.parse(data)]
    assert (rtcp.TRANSPORT_FEEDBACK, rtcp.TRANSPORT_CC) in kinds
    assert (rtcp.RECEIVER_REPORT, 1) in kinds


def test_a_video_that_never_starts_is_asked_for_a_key_frame() -> None:
    wire = Wire()
    wire.sender._position = 1  # behind the key frame
    wire.sender.send_frame(0)
    wire.deliver(wire.take())
    now = wire.stream.first_at
    wire.receiver.start(now, 0.0)
    wire.receiver.tick(now + 1.0)
    assert wire.receiver.totals.plis == 1
