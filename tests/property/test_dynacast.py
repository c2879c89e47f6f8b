"""Dynacast converges: what is committed in the end is the maximum over subscribers, per codec."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from livekit.protocol import models

from lkpy.limits import DYNACAST_INITIAL_S
from lkpy.server.rtc.dynacast import VideoDynacast

OFF = models.VideoQuality.OFF
PAUSE_S = 5.0
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["video/vp8", "video/vp9"]),
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from([0, 1, 2, OFF]),
        st.floats(0, 4),
    ),
    max_size=30,
)


def rank(quality: int) -> int:
    return -1 if quality == OFF else quality


@given(steps=STEPS, forces=st.sets(st.integers(0, 29)))
def test_what_is_committed_follows_the_subscribers(
    steps: list[tuple[str, str, int, float]], forces: set[int]
) -> None:
    dynacast = VideoDynacast(PAUSE_S)
    needs: dict[str, dict[str, int]] = {}
    told: dict[str, int] = {}
    now = 0.0
    for number, (mime, subscriber, quality, wait) in enumerate(steps):
        needs.setdefault(mime, {})[subscriber] = quality
        dynacast.subscriber(now, mime, subscriber, quality)
        if number in forces:
            dynacast.force()
        told = dict((dynacast.poll(now) or [told])[-1])
        for codec, wanted in needs.items():
            most = max(wanted.values(), key=rank, default=OFF)
            assert rank(told[codec]) >= rank(most), "more is told at once"
        deadline = dynacast.next_deadline()
        assert deadline is None or now < deadline <= now + max(PAUSE_S, DYNACAST_INITIAL_S)
        now += wait
    told = dict((dynacast.poll(now + PAUSE_S) or [told])[-1])
    assert told == {
        mime: max(wanted.values(), key=rank, default=OFF) for mime, wanted in needs.items()
    }
    assert dynacast.next_deadline() is None
