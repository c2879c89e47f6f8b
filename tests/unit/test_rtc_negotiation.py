from __future__ import annotations

import pytest

from lkpy.server.rtc.negotiation import Action, Negotiation, NegotiationState

OFFER, ASK, FAIL = Action.SEND_OFFER, Action.REQUEST_OFFER, Action.FAIL


def offering() -> Negotiation:
    return Negotiation(offers=True, first_offer_id=40)


def test_first_request_waits_10_ms() -> None:
    machine = offering()
    machine.request(1.0)
    assert machine.next_deadline() == pytest.approx(1.010)
    assert machine.poll(1.009, connected=True) == []
    assert machine.poll(1.010, connected=True) == [OFFER]
    assert machine.offer_id == 40


def test_requests_soon_after_the_last_wait_150_ms() -> None:
    machine = Negotiation(offers=False)
    machine.request(0.0)
    assert machine.poll(0.010, connected=True) == [ASK]
    machine.request(0.020)
    assert machine.next_deadline() == pytest.approx(0.170)
    machine.request(0.150)
    assert machine.next_deadline() == pytest.approx(0.170), "a burst is one negotiation"
    assert machine.poll(0.170, connected=True) == [ASK]
    machine.request(0.321)
    assert machine.next_deadline() == pytest.approx(0.331)


def test_force_skips_the_debounce() -> None:
    machine = offering()
    machine.request(0.0)
    machine.request(0.001, force=True)
    assert machine.poll(0.001, connected=False) == [OFFER]
    assert machine.next_deadline() == pytest.approx(15.001)


def test_one_offer_is_out_at_a_time() -> None:
    machine = offering()
    machine.request(0.0, force=True)
    machine.poll(0.0, connected=True)
    for now in (0.1, 0.2, 0.3):
        machine.request(now, force=True)
        assert machine.poll(now, connected=True) == []
    assert machine.state is NegotiationState.RETRY
    assert machine.expects(40)
    machine.answered(0.5)
    assert machine.poll(0.5, connected=True) == [OFFER]
    assert machine.offer_id == 41
    machine.answered(0.6)
    assert machine.poll(100.0, connected=True) == []
    assert machine.next_deadline() is None


@pytest.mark.parametrize(
    ("answer_id", "expected"), [(40, True), (0, True), (39, False), (41, False)]
)
def test_answers_must_fit_the_offer(answer_id: int, expected: bool) -> None:
    machine = offering()
    assert not machine.expects(answer_id), "no offer is out"
    machine.request(0.0, force=True)
    machine.poll(0.0, connected=True)
    assert machine.expects(answer_id) is expected


@pytest.mark.parametrize(("connected", "actions"), [(True, [FAIL]), (False, [])])
def test_an_offer_without_answer_fails_once(connected: bool, actions: list[Action]) -> None:
    machine = offering()
    machine.request(0.0, force=True)
    machine.poll(0.0, connected=connected)
    assert machine.poll(14.9, connected=connected) == []
    assert machine.poll(15.0, connected=connected) == actions
    assert machine.poll(30.0, connected=connected) == []


def test_abandoned_offer_makes_room_for_another() -> None:
    machine = offering()
    machine.request(0.0, force=True)
    machine.poll(0.0, connected=True)
    machine.abandon()
    assert not machine.expects(40)
    machine.request(1.0, force=True)
    assert machine.poll(1.0, connected=True) == [OFFER]
    assert machine.expects(41)


def test_answering_side_only_asks() -> None:
    machine = Negotiation(offers=False)
    for now in (0.0, 1.0, 2.0):
        machine.request(now, force=True)
        assert machine.poll(now, connected=True) == [ASK]
    assert machine.next_deadline() is None


def test_offer_ids_wrap_without_zero() -> None:
    machine = Negotiation(offers=True, first_offer_id=0xFFFF_FFFF)
    for expected in (0xFFFF_FFFF, 1):
        machine.request(0.0, force=True)
        machine.poll(0.0, connected=True)
        assert machine.offer_id == expected
        machine.answered(0.0)
