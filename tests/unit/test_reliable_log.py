"""What is kept of a room's reliable packets, and who is given what of it."""

from __future__ import annotations

import pytest
from livekit.protocol import rtc

from lkpy.limits import JOINING_UNNUMBERED_BYTES, RELIABLE_REPLAY_S
from lkpy.server.rtc.data_packets import Routed
from lkpy.server.rtc.reliable_log import ReliableLog, ReliableReader

EVERYBODY: frozenset[str] = frozenset()


def packet(
    sequence: int, size: int = 10, *, to: frozenset[str] = EVERYBODY, tag: int = 0
) -> Routed:
    return Routed(bytes([tag]) * size, True, to, EVERYBODY, sequence=sequence)


def given(log: ReliableLog, reader: ReliableReader, now: float = 0.0) -> list[int]:
    return [p.sequence for p in log.catch_up(now, reader, "PA_me", "me")]


def state(sid: str, last: int) -> rtc.DataChannelReceiveState:
    return rtc.DataChannelReceiveState(publisher_sid=sid, last_seq=last)


def test_who_joins_is_given_the_last_ten_seconds_and_hundred_thousand_bytes() -> None:
    log = ReliableLog()
    log.add(0.0, "PA_a", packet(1))
    reader = log.reader()
    log.add(0.0, "PA_a", packet(2))
    for sequence in range(3, 7):
        log.add(5.0, "PA_a", packet(sequence, 40_000))
    log.add(5.0, "", packet(0, 90_000))
    log.add(5.0, "PA_a", packet(7, to=frozenset({"other"})))
    log.add(5.0, "PA_me", packet(8))
    assert given(log, reader, 15.0) == [5, 6], "what has no number takes no room"
    assert given(log, reader, 15.0) == [], "once"
    late = ReliableReader(0, 0)
    assert given(log, late, 15.5) == []


def test_who_joins_is_given_what_has_no_number_in_order_however_old_it_is() -> None:
    log = ReliableLog()
    reader = log.reader()
    for number, sequence in enumerate((0, 1, 0, 2, 0)):
        sent = packet(sequence, tag=number)
        if not sequence:
            assert reader.hold(log.next, sent)
        log.add(0.0 if number < 2 else 50.0, "PA_a" if sequence else "", sent)
    missed = log.catch_up(55.0, reader, "PA_me", "me")
    assert [p.payload[0] for p in missed] == [0, 2, 3, 4]
    assert log.catch_up(55.0, reader, "PA_me", "me") == []


def test_of_what_has_no_number_so_much_is_kept_and_no_more() -> None:
    reader = ReliableReader(0, 0)
    assert reader.hold(0, packet(0, JOINING_UNNUMBERED_BYTES - 10))
    assert not reader.hold(1, packet(0, 11))
    assert reader.hold(2, packet(0, 10))
    assert [number for number, _ in reader.take_held()] == [0, 2]
    assert reader.hold(3, packet(0, JOINING_UNNUMBERED_BYTES))


def fill(log: ReliableLog, sequences: range, sender: str = "PA_a") -> None:
    for sequence in sequences:
        log.add(0.0, sender, packet(sequence))


def test_who_was_interrupted_is_given_what_it_has_not_received() -> None:
    log = ReliableLog()
    reader = log.reader()
    given(log, reader)
    fill(log, range(1, 6))
    fill(log, range(1, 3), "PA_b")
    reader.interrupted(log.next)
    fill(log, range(6, 8))
    reader.told(1.0, [state("PA_a", 3)])
    assert given(log, reader, 1.0) == [4, 5, 1, 2, 6, 7], "nothing was received of b"
    fill(log, range(8, 9))
    reader.interrupted(log.next)
    assert given(log, reader, 2.0) == [], "what was told counts once"


def test_without_being_told_only_what_came_without_a_channel_is_given() -> None:
    log = ReliableLog()
    reader = log.reader()
    given(log, reader)
    fill(log, range(1, 4))
    reader.interrupted(log.next)
    fill(log, range(4, 6))
    assert given(log, reader) == [4, 5]


def test_what_was_told_long_ago_does_not_count() -> None:
    log = ReliableLog()
    reader = log.reader()
    given(log, reader)
    reader.told(0.0, [])
    log.add(RELIABLE_REPLAY_S, "PA_a", packet(1))
    reader.interrupted(log.next)
    assert given(log, reader, RELIABLE_REPLAY_S + 1) == []


@pytest.mark.parametrize("told", [True, False])
def test_packets_without_a_sequence_are_given_once_at_the_most(told: bool) -> None:
    log = ReliableLog()
    reader = log.reader()
    given(log, reader)
    log.add(0.0, "", packet(0, tag=1))
    reader.interrupted(log.next)
    log.add(0.0, "", packet(0, tag=2))
    if told:
        reader.told(0.0, [])
    missed = log.catch_up(0.0, reader, "PA_me", "me")
    assert [p.payload[0] for p in missed] == [2]


def test_nobody_is_given_what_was_sent_before_it_came() -> None:
    log = ReliableLog()
    fill(log, range(1, 4))
    reader = log.reader()
    given(log, reader)
    reader.interrupted(log.next)
    reader.told(0.0, [])
    fill(log, range(4, 5))
    assert given(log, reader) == [4]
