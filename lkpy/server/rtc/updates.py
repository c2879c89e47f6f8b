"""Participant updates: what is told at once, what waits, and in which pieces. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from livekit.protocol import models, rtc

from lkpy.limits import UPDATE_CHUNK


class UpdateQueue:
    """Updates about participants who only watch wait for the next batch; a later one replaces an
    earlier one, and one that is told at once takes the place of one that waits."""

    def __init__(self) -> None:
        self._waiting: dict[str, models.ParticipantInfo] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def push(self, info: models.ParticipantInfo, *, immediate: bool) -> bool:
        """Take an update; True: it has to be told now."""
        if immediate:
            waiting = self._waiting.pop(info.sid, None)
            return waiting is None or waiting.version <= info.version
        waiting = self._waiting.get(info.sid)
        if waiting is None or waiting.version <= info.version:
            self._waiting[info.sid] = info
        return False

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
