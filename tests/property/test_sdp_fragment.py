"""Fragments of any kind are parsed or meet an SdpError; what is parsed is written the same."""

from __future__ import annotations

import contextlib
import random
import string

from hypothesis import given, settings
from hypothesis import strategies as st

from lkpy.sdp import Candidate, IceFragment, SdpError
from tests.property.test_sdp import damage

ICE = st.text(string.ascii_letters + string.digits + "+/", min_size=22, max_size=32)
MID = st.text(string.ascii_letters + string.digits, min_size=1, max_size=8)
CANDIDATES = st.builds(
    Candidate,
    foundation=MID,
    component=st.integers(1, 256),
    protocol=st.sampled_from(["udp", "tcp"]),
    priority=st.integers(0, 2**32 - 1),
    address=st.ip_addresses().map(str),
    port=st.integers(0, 65_535),
    type=st.sampled_from(["host", "srflx", "relay"]),
    tcp_type=st.none() | st.sampled_from(["passive", "active"]),
)


@st.composite
def fragments(draw: st.DrawFn) -> IceFragment:
    """Any fragment."""
    mid = draw(MID)
    others = draw(st.none() | st.lists(MID, max_size=3))
    return IceFragment(
        mid=mid,
        ufrag=draw(ICE),
        pwd=draw(ICE),
        candidates=tuple(draw(st.lists(CANDIDATES, max_size=4))),
        end_of_candidates=draw(st.booleans()),
        media=draw(st.sampled_from(["audio 9 UDP/TLS/RTP/SAVPF 0", "application 9 DTLS/SCTP x"])),
        bundle=() if others is None else (mid, *others),
        ice_lite=draw(st.booleans()),
        ice_options=draw(st.none() | st.just("trickle ice2")),
    )


@given(fragments())
def test_what_is_written_is_parsed(fragment: IceFragment) -> None:
    assert IceFragment.parse(str(fragment)) == fragment


@settings(max_examples=300)
@given(fragments(), st.randoms(use_true_random=False), st.integers(1, 5))
def test_damaged_fragments(fragment: IceFragment, chance: random.Random, times: int) -> None:
    with contextlib.suppress(SdpError):
        parsed = IceFragment.parse(damage(str(fragment), chance, times))
        assert IceFragment.parse(str(parsed)) == parsed


@given(st.text(max_size=500))
def test_any_text(text: str) -> None:
    for prefix in ("", "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n"):
        with contextlib.suppress(SdpError):
            IceFragment.parse(prefix + text)
