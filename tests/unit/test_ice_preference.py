"""Which kind of path a client should take, and for how long that is remembered."""

from __future__ import annotations

import pytest

from lkpy.ids import ParticipantIdentity
from lkpy.limits import ICE_FAILURE_WINDOW_S, ICE_PREFERENCE_TTL_S, ICE_PREFERENCES
from lkpy.server.rtc.ice_preference import IceFallback, IcePreference, IcePreferences
from lkpy.server.rtc.simulation import ResumeFaults

ANY, TCP, TLS = IcePreference.ANY, IcePreference.TCP, IcePreference.TLS
ALICE = ParticipantIdentity("alice")


def fallback(
    preference: IcePreference = ANY, *, client_tcp: bool = True, relay_tls: bool = False
) -> IceFallback:
    return IceFallback(preference, enabled=True, client_tcp=client_tcp, relay_tls=relay_tls)


@pytest.mark.parametrize(
    ("preference", "protocol", "client_tcp", "relay_tls", "following"),
    [
        (ANY, "udp", True, True, TCP),
        (ANY, "udp", True, False, TCP),
        (ANY, "udp", False, True, TLS),
        (ANY, "udp", False, False, ANY),
        (TCP, "udp", True, True, ANY),
        (ANY, "tcp", True, True, TLS),
        (TCP, "tcp", True, True, TLS),
        (TCP, "tcp", True, False, TCP),
        (ANY, "", True, True, ANY),
    ],
)
def test_what_follows(
    preference: IcePreference,
    protocol: str,
    client_tcp: bool,
    relay_tls: bool,
    following: IcePreference,
) -> None:
    chosen = fallback(preference, client_tcp=client_tcp, relay_tls=relay_tls)
    changed = chosen.failed(0.0, protocol, short=True, signal_alive=True)
    assert chosen.preference is following
    assert changed is (following is not preference)


def test_a_long_connection_must_fail_twice_within_a_minute() -> None:
    chosen = fallback()
    assert not chosen.failed(0.0, "udp", short=False, signal_alive=True)
    assert not chosen.failed(ICE_FAILURE_WINDOW_S + 1, "udp", short=False, signal_alive=True)
    assert chosen.failed(ICE_FAILURE_WINDOW_S + 2, "udp", short=False, signal_alive=True)


def test_without_a_signal_connection_nothing_counts() -> None:
    chosen = fallback()
    assert not chosen.failed(0.0, "udp", short=False, signal_alive=True)
    assert not chosen.failed(1.0, "udp", short=True, signal_alive=False)
    assert not chosen.failed(2.0, "udp", short=False, signal_alive=True), "counted anew"


def test_it_changes_once_until_it_is_set() -> None:
    chosen = fallback(relay_tls=True)
    assert chosen.failed(0.0, "udp", short=True, signal_alive=True)
    assert not chosen.failed(1.0, "tcp", short=True, signal_alive=True)
    chosen.set(chosen.preference)
    assert chosen.failed(2.0, "tcp", short=True, signal_alive=True)
    assert chosen.preference is TLS


def test_it_can_be_switched_off() -> None:
    chosen = IceFallback(ANY, enabled=False, client_tcp=True, relay_tls=True)
    assert not chosen.failed(0.0, "udp", short=True, signal_alive=True)


def test_preferences_are_remembered_for_a_while_and_not_without_end() -> None:
    known = IcePreferences()
    known.put(0.0, ALICE, TCP)
    assert known.get(ICE_PREFERENCE_TTL_S - 1, ALICE) is TCP
    assert known.get(ICE_PREFERENCE_TTL_S, ALICE) is ANY
    for number in range(ICE_PREFERENCES):
        known.put(0.0, ParticipantIdentity(str(number)), TLS)
    assert known.get(1.0, ALICE) is ANY
    assert known.get(1.0, ParticipantIdentity("0")) is TLS
    assert len(known._known) == ICE_PREFERENCES


def test_faults_go_with_their_participant() -> None:
    faults = ResumeFaults()
    faults.arm(0.0, ALICE, silent=True)
    faults.arm(0.0, ALICE, silent=False)
    faults.forget(ALICE)
    assert not faults.drops_at_once(1.0, ALICE)
    assert not faults.drops_after_messages(1.0, ALICE)
