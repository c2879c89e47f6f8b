"""Participant updates: what is told at once, what waits, and in which pieces. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from livekit.protocol import models, rtc

from lkpy.limits import UPDATE_CHUNK


class UpdateQueue:
    """Updates about participants who only watch wait for the next batch; a later one replaces an
    earlier one, and one that is told at once takes the place of one that waits.

    One waits per identity: clients go by it, so the end of a session that is told after the next
    one has begun would take that one for gone (livekit-server ``pkg/rtc/room.go``
    PushAndDequeueUpdates)."""

    def __init__(self) -> None:
        self._waiting: dict[str, models.ParticipantInfo] = {}
        """By identity."""

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def supersede(self, info: models.ParticipantInfo) -> models.ParticipantInfo | None:
        """Take what waits about an earlier session of the identity, as the end of that one."""
        waiting = self._waiting.get(info.identity)
        if waiting is None or waiting.sid == info.sid:
            return None
        del self._waiting[info.identity]
        ended = models.ParticipantInfo()
        ended.CopyFrom(waiting)
        ended.state = models.ParticipantInfo.State.DISCONNECTED
        return ended

    def push(self, info: models.ParticipantInfo, *, immediate: bool) -> bool:
        """Take an update; True: it has to be told now."""
        waiting = self._waiting.get(info.identity)
        outdated = waiting is not None and waiting.version > info.version
        if immediate:
            self._waiting.pop(info.identity, None)
            return not outdated
        if not outdated:
            self._waiting[info.identity] = info
        return False

    def drop(self, info: models.ParticipantInfo) -> None:
        """Nothing is to be told of this session any more. Idempotent."""
        waiting = self._waiting.get(info.identity)
        if waiting is not None and waiting.sid == info.sid:
            del self._waiting[info.identity]

    def take(self) -> list[models.ParticipantInfo]:
        """Everything that waits."""
        taken = list(self._waiting.values())
        self._waiting.clear()
        return taken


def responses(
    infos: Iterable[models.ParticipantInfo], target_size: int = UPDATE_CHUNK
) -> list[rtc.SignalResponse]:
    """Pack updates into messages of at most ``target_size`` bytes; only a single participant that
    is larger makes a larger one."""
    messages: list[rtc.SignalResponse] = []
    size = 0
    for info in infos:
        length = info.ByteSize()
        if not messages or size + length > target_size:
            messages.append(rtc.SignalResponse())
            size = 0
        messages[-1].update.participants.append(info)
        size += length
    return messages
