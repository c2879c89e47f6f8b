"""Properties of a room's pure parts: subscriptions converge, updates never go back in time."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from livekit.protocol import models, rtc

from lkpy.limits import MAX_SUBSCRIPTIONS, SUBSCRIPTION_NOT_FOUND_S, UPDATE_CHUNK
from lkpy.server.rtc.options import AudioOptions
from lkpy.server.rtc.speakers import Speakers
from lkpy.server.rtc.subscriptions import (
    Action,
    ActionKind,
    Availability,
    Resolution,
    Subscriptions,
)
from lkpy.server.rtc.updates import UpdateQueue, responses

SIDS = st.sampled_from(["TR_a", "TR_b", "TR_c"])


class SubscriptionMachine(RuleBasedStateMachine):
    """Wishes, tracks and permissions change; reconciling follows."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.subscriptions = Subscriptions()
        self.available: dict[str, Availability] = {}
        self.desired: set[str] = set()
        self.active: set[str] = set()

    def check(self, sid: str) -> Availability:
        return self.available.get(sid, Availability.NOT_FOUND)

    def resolve(self, sid: str) -> Resolution:
        return Resolution(self.check(sid))

    def apply(self, actions: Iterable[Action]) -> None:
        for action in actions:
            match action.kind:
                case ActionKind.SUBSCRIBE:
                    assert action.sid not in self.active, "subscribed twice"
                    assert self.check(action.sid) is Availability.READY
                    self.active.add(action.sid)
                case ActionKind.UNSUBSCRIBE:
                    self.active.remove(action.sid)
                case ActionKind.GIVE_UP:
                    assert action.sid not in self.active
                    assert self.check(action.sid) is Availability.NOT_FOUND
                    self.desired.discard(action.sid)

    @rule(sid=SIDS, desired=st.booleans())
    def want(self, sid: str, desired: bool) -> None:
        self.subscriptions.want(self.now, sid, desired)
        (self.desired.add if desired else self.desired.discard)(sid)

    @rule(sid=SIDS, available=st.sampled_from(Availability))
    def change(self, sid: str, available: Availability) -> None:
        self.available[sid] = available

    @rule(sid=SIDS)
    def set_settings(self, sid: str) -> None:
        self.subscriptions.set_settings(sid, rtc.UpdateTrackSettings(disabled=True))

    @rule(sid=SIDS)
    def unpublish(self, sid: str) -> None:
        self.available[sid] = Availability.NOT_FOUND
        self.subscriptions.lost(sid)
        self.active.discard(sid)
        self.desired.discard(sid)

    @rule(sids=st.lists(SIDS, max_size=4))
    def reconcile_some(self, sids: list[str]) -> None:
        self.apply(self.subscriptions.reconcile(self.now, self.resolve, sids))

    @rule(seconds=st.floats(0, SUBSCRIPTION_NOT_FOUND_S))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def reconcile(self) -> None:
        self.apply(self.subscriptions.reconcile(self.now, self.resolve))
        # What waits for a subscription that ends is subscribed to when that has ended.
        self.now = max(self.now, self.subscriptions.retry_at())
        self.apply(self.subscriptions.reconcile(self.now, self.resolve))
        ready = {sid for sid in self.desired if self.check(sid) is Availability.READY}
        assert self.active == ready, "what is wanted and possible is received, nothing else"
        assert list(self.subscriptions.reconcile(self.now, self.resolve)) == []

    @invariant()
    def nothing_is_active_for_ever(self) -> None:
        self.reconcile()
        self.now += SUBSCRIPTION_NOT_FOUND_S + 1
        self.reconcile()
        missing = {sid for sid in self.desired if self.check(sid) is Availability.NOT_FOUND}
        assert not missing, "what is not found is given up"


TestSubscriptions = SubscriptionMachine.TestCase
TestSubscriptions.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


def test_names_without_end_are_forgotten() -> None:
    subscriptions = Subscriptions()
    subscriptions.want(0.0, "TR_real", True)
    ready = {"TR_real": Availability.READY}

    def check(sid: str) -> Resolution:
        return Resolution(ready.get(sid, Availability.NOT_FOUND))

    list(subscriptions.reconcile(0.0, check))
    for number in range(MAX_SUBSCRIPTIONS * 2):
        subscriptions.want(0.0, f"TR_{number}", True)
    assert len(subscriptions._tracks) == MAX_SUBSCRIPTIONS
    ready.clear()
    assert Action(ActionKind.UNSUBSCRIBE, "TR_real") in subscriptions.reconcile(0.0, check)


INFOS = st.builds(
    lambda sid, version, size: models.ParticipantInfo(
        sid=f"PA_{sid}", identity=f"{sid}", version=version, metadata="x" * size
    ),
    st.integers(0, 3),
    st.integers(1, 20),
    st.sampled_from([0, 100, UPDATE_CHUNK // 2]),
)


@given(st.lists(st.tuples(INFOS, st.booleans(), st.booleans()), max_size=30))
def test_nobody_is_told_an_older_version(
    changes: list[tuple[models.ParticipantInfo, bool, bool]],
) -> None:
    """Whatever is immediate or waits, the versions told of one sid rise, and the newest is told."""
    queue = UpdateQueue()
    versions: dict[str, int] = {}
    told: dict[str, int] = {}

    def tell(infos: list[models.ParticipantInfo]) -> None:
        for message in responses(infos):
            assert len(message.update.participants) == 1 or message.ByteSize() < UPDATE_CHUNK * 1.01
            for info in message.update.participants:
                assert info.version >= told.get(info.sid, 0)
                told[info.sid] = info.version

    for info, immediate, flush in changes:
        versions[info.sid] = info.version = versions.get(info.sid, 0) + info.version
        if queue.push(info, immediate=immediate):
            tell([info])
        if flush:
            tell(queue.take())
    tell(queue.take())
    assert told == versions


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from("abc"), st.tuples(st.integers(0, 127), st.integers(0, 500))
        ),
        max_size=20,
    )
)
def test_speakers_tell_changes_only(windows: list[dict[str, tuple[int, int]]]) -> None:
    speakers = Speakers(AudioOptions())
    known: dict[str, float] = {}
    for window in [*windows, {}, {}, {}]:
        for change in speakers.window(window):
            assert known.get(change.sid, 0.0) != change.level
            assert change.active == (change.level > 0)
            assert change.level * 8 == int(change.level * 8)
            known[change.sid] = change.level
    assert set(known.values()) <= {0.0}, "silence is told in the end"
    assert speakers.idle
