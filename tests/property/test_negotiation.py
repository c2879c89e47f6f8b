"""A walk through negotiation: whatever happens, one offer is out at a time and none is lost."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lkpy.limits import NEGOTIATION_DEBOUNCE_S, NEGOTIATION_FAILED_S
from lkpy.server.rtc.negotiation import Action, Negotiation


class Walk(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.machine = Negotiation(offers=True, first_offer_id=1)
        self.out: int | None = None
        self.out_since = 0.0
        self.wanted = 0
        """Changes that no offer carries yet."""
        self.last_request = 0.0
        self.ids: list[int] = []

    def poll(self) -> None:
        for action in self.machine.poll(self.now, connected=True):
            if action is Action.SEND_OFFER:
                assert self.out is None, "two offers out"
                self.out = self.machine.offer_id
                self.out_since = self.now
                self.ids.append(self.out)
                self.wanted = 0
            else:
                assert action is Action.FAIL
                assert self.out is not None
                assert self.now >= self.out_since + NEGOTIATION_FAILED_S

    @rule(force=st.booleans())
    def change(self, force: bool) -> None:
        self.wanted += 1
        self.last_request = self.now
        self.machine.request(self.now, force=force)
        self.poll()

    @rule(wait=st.sampled_from([0.001, 0.01, 0.1, 0.15, 1.0, 16.0]))
    def pass_time(self, wait: float) -> None:
        end = self.now + wait
        while (deadline := self.machine.next_deadline()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            self.poll()
        self.now = end

    @precondition(lambda self: self.out is not None)
    @rule(echo=st.booleans())
    def answer(self, echo: bool) -> None:
        assert self.out is not None
        assert self.machine.expects(self.out if echo else 0)
        self.out = None
        self.machine.answered(self.now)
        self.poll()

    @rule(answer_id=st.integers(1000, 2000))
    def stray_answer(self, answer_id: int) -> None:
        assert not self.machine.expects(answer_id)

    @precondition(lambda self: self.out is not None)
    @rule()
    def restart(self) -> None:
        self.machine.abandon()
        self.out = None
        self.change(force=True)
        assert self.out is not None

    @invariant()
    def a_change_is_carried_soon(self) -> None:
        waited = self.now - self.last_request
        assert self.out is not None or self.wanted == 0 or waited <= NEGOTIATION_DEBOUNCE_S

    @invariant()
    def ids_count_up(self) -> None:
        assert self.ids == list(range(1, len(self.ids) + 1))


TestWalk = Walk.TestCase
TestWalk.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
