"""An engine and a log that tell when something is wrong."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from lkpy.engine import api as engine_api
from lkpy.engine.api import Command, CreateTransport, TransportClosed
from lkpy.engine.fake import FakeEngine


class Broken(AssertionError):
    """Something that must hold does not."""


def check(holds: object, what: str) -> None:
    """Raise :class:`Broken` unless it holds."""
    if not holds:
        raise Broken(what)


class StrictEngine(FakeEngine):
    """Takes note of commands that the engine would refuse, which a correct control plane sends
    only about transports that the engine has given up by itself."""

    def __init__(self) -> None:
        super().__init__(auto_connect=True)
        self.refused: list[str] = []
        self.shy = False
        """Transports that are created meanwhile are not connected by themselves."""
        self._shy: set[int] = set()
        self._transport_of: dict[int, int] = {}
        self._given_up: set[int] = set()

    def submit(self, commands: Sequence[Command]) -> None:
        for command in commands:
            if isinstance(command, CreateTransport) and self.shy:
                self._shy.add(command.transport)
        super().submit(commands)

    def give_up(self, transport: int) -> None:
        """The engine loses a transport."""
        super()._track(engine_api.CloseTransport(transport))
        self._given_up.add(transport)
        self.inject(TransportClosed(transport, "given up by the test"))

    def _track(self, command: Command) -> None:
        match command:
            case engine_api.CreateReceiver():
                self._transport_of[command.receiver] = command.transport
                self._needs(command, command.transport, self.transports)
            case engine_api.CreateDownTrack():
                self._transport_of[command.down_track] = command.transport
                self._needs(command, command.transport, self.transports)
                self._needs(command, command.receiver, self.receivers)
            case engine_api.UpdateReceiver() | engine_api.RequestKeyFrame():
                self._needs(command, command.receiver, self.receivers)
            case engine_api.UpdateDownTrack():
                self._needs(command, command.down_track, self.down_tracks)
            case (
                engine_api.SetRemoteParameters()
                | engine_api.RestartIce()
                | engine_api.AddRemoteCandidate()
                | engine_api.OpenDataChannel()
            ):
                self._needs(command, command.transport, self.transports)
            case engine_api.CreateDataTrack():
                self._transport_of[command.data_track] = command.transport
            case engine_api.SendData():
                for transport, _ in command.channels:
                    self._needs(command, transport, self.transports)
            case _:
                pass
        super()._track(command)

    def _needs(self, command: Command, subject: int, known: Iterable[int]) -> None:
        transport = self._transport_of.get(subject, subject)
        if subject not in known and transport not in self._given_up:
            self.refused.append(f"there is no {subject}: {command}")

    def _answer(self, command: Command) -> None:
        if getattr(command, "transport", None) not in self._shy:
            super()._answer(command)

    def _refuse(self, command: Command, subject: int, code: Any) -> None:
        subjects = [getattr(command, name, 0) for name in ("transport", "data_track")]
        if not {self._transport_of.get(s, s) for s in subjects} & self._given_up:
            self.refused.append(f"{code} {subject}: {command}")
        super()._refuse(command, subject, code)


class Alarms(logging.Handler):
    """Everything that is logged as an error."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.raised: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR or record.exc_info:
            text = logging.Formatter().format(record)
            self.raised.append(text)
