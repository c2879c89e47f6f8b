from __future__ import annotations

from dataclasses import replace

import pytest

from lkpy.limits import MAX_REMOTE_CANDIDATES
from lkpy.sdp import Candidate, IceFragment, SdpError

UFRAG, PWD = "EsAw", "P2uYro0UCOQ4zxjKXaWCBui1"
HOST = "candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0"
TRICKLE = f"""\
a=group:BUNDLE 0 1
a=ice-options:trickle
m=audio 9 UDP/TLS/RTP/SAVPF 111
a=mid:0
a=ice-ufrag:{UFRAG}
a=ice-pwd:{PWD}
a={HOST}
a=end-of-candidates
""".replace("\n", "\r\n")
"""The shape of RFC 9725 4.3.2."""


def test_every_part() -> None:
    assert IceFragment.parse(TRICKLE) == IceFragment(
        mid="0",
        ufrag=UFRAG,
        pwd=PWD,
        candidates=(Candidate.parse(HOST),),
        end_of_candidates=True,
        media="audio 9 UDP/TLS/RTP/SAVPF 111",
        bundle=("0", "1"),
        ice_options="trickle",
    )


def test_round_trip() -> None:
    fragment = IceFragment.parse(TRICKLE)
    assert str(fragment) == TRICKLE
    lite = replace(fragment, ice_lite=True, bundle=(), candidates=(), end_of_candidates=False)
    assert IceFragment.parse(str(lite)) == lite


def test_credentials_may_stand_before_the_section() -> None:
    text = f"a=ice-ufrag:{UFRAG}\na=ice-pwd:{PWD}\nm=application 9 UDP/DTLS/SCTP x\na=mid:d\n"
    fragment = IceFragment.parse(text)
    assert (fragment.ufrag, fragment.pwd, fragment.mid) == (UFRAG, PWD, "d")
    both = IceFragment.parse(text + f"a=ice-ufrag:{UFRAG}\n")
    assert both == fragment


def without(name: str) -> str:
    return "".join(line for line in TRICKLE.splitlines(True) if not line.startswith(f"a={name}:"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no media section"),
        ("\r\n\r\n", "no media section"),
        ("rubbish", "session: expected 'x=value'"),
        ("a=ice-ufrag:EsAw\r\n", "no media section"),
        (TRICKLE + "m=video 9 UDP/TLS/RTP/SAVPF 96\r\n", "more than one media section"),
        (without("mid"), "no a=mid"),
        (without("ice-ufrag"), "no a=ice-ufrag"),
        (without("ice-pwd"), "no a=ice-pwd"),
        (TRICKLE.replace("a=mid:0", "a=mid:1"), "a=group begins with 0, a=mid is 1"),
        ("a=ice-ufrag:other\r\n" + TRICKLE, "two different a=ice-ufrag"),
        (TRICKLE.replace(UFRAG, "a b"), "section 0: a=ice-ufrag: expected 1 to 256"),
        (TRICKLE.replace(" typ ", " "), "section 0: a=candidate: expected 'foundation"),
        (
            TRICKLE + f"a={HOST}\r\n" * MAX_REMOTE_CANDIDATES,
            f"more than {MAX_REMOTE_CANDIDATES} candidates",
        ),
    ],
)
def test_what_is_wrong_is_named(text: str, message: str) -> None:
    with pytest.raises(SdpError) as error:
        IceFragment.parse(text)
    assert message in error.value.message
