"""The simulator's own RTP and RTCP, against aiortc's where it has the same."""

from __future__ import annotations

import struct

import aiortc.rtp
from aiortc.codecs.vpx import VpxPayloadDescriptor
from hypothesis import given
from hypothesis import strategies as st

from lkpy.sim import rtcp, rtp
from lkpy.sim.media.clip import Clip, ClipError, from_frames, split_vp8
from lkpy.sim.plan import PAYLOAD_MAX

SEQUENCES = st.integers(0, 0xFFFF)


@given(st.binary(max_size=80))
def test_parsers_survive_anything(data: bytes) -> None:
    list(rtp.extensions(data))
    rtp.payload(data)
    rtp.vp8_start(data)
    for packet in rtcp.parse(data):
        rtcp.nacked(packet)
        rtcp.fir_targets(packet)
        rtcp.sender_report_time(packet)


@given(
    st.lists(
        st.tuples(st.integers(1, 14), st.binary(min_size=1, max_size=16)),
        max_size=5,
        unique_by=lambda item: item[0],
    ),
    st.binary(max_size=50),
)
def test_what_is_written_is_read_by_us_and_by_aiortc(
    values: list[tuple[int, bytes]], body: bytes
) -> None:
    block = rtp.pack_extensions(values)
    packet = rtp.HEADER.pack(0x90, 96, 7, 8, 9) + block + body
    assert list(rtp.extensions(packet)) == values
    assert rtp.payload(packet) == body
    parsed = aiortc.rtp.RtpPacket.parse(packet)
    assert parsed.payload == body
    profile = struct.unpack("!H", block[:2])[0]
    assert aiortc.rtp.unpack_header_extensions(profile, block[4:]) == values


@given(st.booleans(), st.integers(0, 0x7FFF), st.integers(0, 255), st.integers(0, 31))
def test_vp8_descriptors_are_read_by_aiortc(
    start: bool, picture_id: int, tl0: int, key: int
) -> None:
    made = rtp.vp8_descriptor(start=start, picture_id=picture_id, tl0=tl0, key_index=key)
    parsed, rest = VpxPayloadDescriptor.parse(made + b"\x00rest")
    assert rest == b"\x00rest"
    assert (parsed.partition_start, parsed.picture_id) == (int(start), picture_id)
    assert (parsed.tl0picidx, parsed.tid, parsed.keyidx) == (tl0, (0, 0), key)
    assert rtp.vp8_start(made + b"\x00") == (start, start)
    assert rtp.vp8_start(made + b"\x01") == (start, False)


@given(st.lists(SEQUENCES, min_size=1, max_size=60, unique=True).map(sorted))
def test_nacks_name_what_was_asked(numbers: list[int]) -> None:
    (packet,) = rtcp.parse(rtcp.nack(1, 2, numbers))
    assert (packet.sender, packet.media) == (1, 2)
    assert rtcp.nacked(packet) == numbers
    (theirs,) = aiortc.rtp.RtcpPacket.parse(rtcp.nack(1, 2, numbers))
    assert theirs.lost == numbers


@given(SEQUENCES, st.integers(-30000, 30000))
def test_unwrapping(start: int, step: int) -> None:
    reference = start + (1 << 20)
    assert rtp.unwrap(reference, (reference + step) & 0xFFFF) == reference + step


def decode_transport_cc(body: bytes) -> dict[int, float]:
    """Read feedback by the draft, independently of the writer: sequence to seconds."""
    base, count, head = struct.unpack_from("!HHI", body, 8)
    reference = (head >> 8) * 0.064
    symbols: list[int] = []
    position = 16
    while len(symbols) < count:
        (chunk,) = struct.unpack_from("!H", body, position)
        position += 2
        if not chunk & 0x8000:
            symbols += [chunk >> 13 & 3] * (chunk & 0x1FFF)
        elif chunk & 0x4000:
            symbols += [chunk >> shift & 3 for shift in range(12, -1, -2)]
        else:
            symbols += [chunk >> shift & 1 for shift in range(13, -1, -1)]
    result, now = {}, reference
    for index, symbol in enumerate(symbols[:count]):
        if symbol == 1:
            now += body[position] * 0.00025
            position += 1
        elif symbol == 2:
            now += struct.unpack_from("!h", body, position)[0] * 0.00025
            position += 2
        else:
            continue
        result[base + index & 0xFFFF] = now
    return result


@given(
    st.integers(0, 0x1FFFF),
    st.lists(st.tuples(st.integers(1, 40), st.floats(-0.5, 0.5)), min_size=1, max_size=100),
)
def test_transport_feedback_tells_when_packets_came(
    start: int, steps: list[tuple[int, float]]
) -> None:
    number, at, arrivals = start, 1000.0, []
    for gap, delay in steps:
        number += gap
        at += delay
        arrivals.append((number, at))
    packets = list(rtcp.parse(rtcp.transport_cc(1, 2, 3, arrivals)))
    assert len(packets) == 1
    decoded = decode_transport_cc(packets[0].body)
    assert set(decoded) == {sequence & 0xFFFF for sequence, _ in arrivals}
    for sequence, moment in arrivals:
        assert abs(decoded[sequence & 0xFFFF] - moment) < 0.001


def test_reports_are_read_by_aiortc() -> None:
    block = rtcp.ReportBlock(5, 12, -3, 70000, 44, 0x1234, 0x5678)
    compound = rtcp.receiver_report(1, [block]) + rtcp.source_description(1, "sim")
    report, names = aiortc.rtp.RtcpPacket.parse(compound)
    (theirs,) = report.reports
    assert (theirs.ssrc, theirs.fraction_lost, theirs.packets_lost) == (5, 12, -3)
    assert (theirs.highest_sequence, theirs.jitter, theirs.lsr, theirs.dlsr) == (
        70000,
        44,
        0x1234,
        0x5678,
    )
    assert names.chunks[0].items == [(1, b"sim")]
    sent = rtcp.sender_report(9, 1_700_000_000.5, 77, 3, 400)
    (theirs,) = aiortc.rtp.RtcpPacket.parse(sent)
    assert theirs.sender_info.ntp_timestamp == (1_700_000_000 + rtcp.NTP_EPOCH << 32) + (1 << 31)
    assert theirs.sender_info.rtp_timestamp == 77


@given(st.binary(min_size=1, max_size=20_000))
def test_frames_are_cut_evenly_and_whole(frame: bytes) -> None:
    parts = split_vp8(frame)
    assert b"".join(parts) == frame
    assert max(map(len, parts)) <= PAYLOAD_MAX
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@given(st.lists(st.tuples(st.booleans(), st.binary(min_size=1, max_size=3000)), min_size=1))
def test_clips_survive_the_disk(frames: list[tuple[bool, bytes]]) -> None:
    clip = from_frames("vp8", 90_000, 4500, frames)
    assert Clip.from_bytes(clip.to_bytes()) == clip


@given(st.binary(max_size=60))
def test_damaged_clips_are_noticed(data: bytes) -> None:
    whole = from_frames("opus", 48_000, 960, [(True, b"x" * 40)]).to_bytes()
    for broken in (data, whole[:-1], whole + b"y", whole.replace(b'"format":1', b'"format":0')):
        try:
            Clip.from_bytes(broken)
        except ClipError:
            continue
        raise AssertionError("accepted")
