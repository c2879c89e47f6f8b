"""An engine without a network: records commands, takes events from a test.

With ``auto_connect`` it also answers the commands that a real engine would answer when everything
goes well, so that a control plane can be driven by clients that have no media at all.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

from lkpy.engine.api import (
    CloseDataDownTrack,
    CloseDataTrack,
    CloseDownTrack,
    CloseReceiver,
    CloseTransport,
    CollectStats,
    Command,
    CommandFailed,
    CreateDataDownTrack,
    CreateDataTrack,
    CreateDownTrack,
    CreateReceiver,
    CreateTransport,
    DataChannelOpened,
    DataDownTrackStats,
    DataTrackStats,
    DownTrackStats,
    DtlsState,
    DtlsStateChanged,
    EngineInfo,
    Event,
    IceCandidate,
    IceState,
    IceStateChanged,
    LayerStats,
    OpenDataChannel,
    RenegotiateDownTrack,
    RenegotiateReceiver,
    SetRemoteParameters,
    StatsCollected,
    TransportStats,
    WorkerFailed,
    WorkerInfo,
    WorkerStats,
)
from lkpy.errors import Blame, Code, LkpyError

C = TypeVar("C")


class _OnTransport(Protocol):
    @property
    def transport(self) -> int: ...


_T = TypeVar("_T", bound=_OnTransport)

_LOCAL, _REMOTE = "192.0.2.1:7882", "192.0.2.50:5000"


def _worker(number: int) -> WorkerInfo:
    host = IceCandidate("1", 1, "udp", 2_130_706_431, "192.0.2.1", 7882 + number)
    return WorkerInfo(number, (host,))


class FakeEngine:
    """Implements :class:`lkpy.engine.api.Engine`. Single-threaded."""

    def __init__(self, *, auto_connect: bool = False, workers: int = 1) -> None:
        self.commands: list[Command] = []
        """Everything submitted, in order."""
        self.transports: dict[int, CreateTransport] = {}
        self.receivers: dict[int, CreateReceiver] = {}
        self.down_tracks: dict[int, CreateDownTrack] = {}
        self.data_tracks: dict[int, CreateDataTrack] = {}
        self.data_down_tracks: dict[int, CreateDataDownTrack] = {}
        self._auto_connect = auto_connect
        self._events: deque[Event] = deque()
        self._streams: dict[int, int] = {}
        self._closed = False
        self._info = EngineInfo(
            fingerprint_algorithm="sha-256",
            fingerprint=":".join(f"{byte:02X}" for byte in range(32)),
            workers=tuple(_worker(number) for number in range(workers)),
        )
        # A pipe and not an eventfd: it works wherever the tests run.
        self._readable, self._writable = os.pipe()

    # -- Engine ---------------------------------------------------------------------------------

    @property
    def info(self) -> EngineInfo:
        """Fingerprint and candidates."""
        return self._info

    def submit(self, commands: Sequence[Command]) -> None:
        """Record the commands and keep track of which objects exist."""
        if self._closed:
            raise LkpyError(Code.UNAVAILABLE, "engine is closed", blame=Blame.US)
        for command in commands:
            self.commands.append(command)
            self._track(command)
            if isinstance(command, CollectStats):
                for worker in self._info.workers:
                    self.inject(self._stats(command.request, worker.worker))
            elif self._auto_connect:
                self._answer(command)

    def drain(self, limit: int = 1024) -> list[Event]:
        """Take up to ``limit`` events."""
        count = min(limit, len(self._events))
        events = [self._events.popleft() for _ in range(count)]
        if not self._events and count:
            os.read(self._readable, 1)
        return events

    def fileno(self) -> int:
        """A descriptor that polls readable while events wait."""
        return self._readable

    def close(self) -> None:
        """Close the descriptors. Idempotent."""
        if not self._closed:
            self._closed = True
            os.close(self._readable)
            os.close(self._writable)

    # -- for tests ------------------------------------------------------------------------------

    def inject(self, *events: Event) -> None:
        """Let events happen."""
        if events and not self._events:
            os.write(self._writable, b"\0")
        self._events += events

    def fail_worker(self, worker: int, *, replaced: bool = True, reason: str = "panic") -> None:
        """A worker loses everything that is on it."""
        for transport in [t.transport for t in self.transports.values() if t.worker == worker]:
            self._track(CloseTransport(transport))
        self.inject(WorkerFailed(worker, reason, replaced))

    def connect(self, transport: int) -> None:
        """Connect ICE and DTLS of a transport."""
        self.inject(
            IceStateChanged(transport, IceState.CONNECTED, _LOCAL, _REMOTE, "udp"),
            DtlsStateChanged(transport, DtlsState.CONNECTED, "AEAD_AES_128_GCM"),
        )

    def of(self, kind: type[C]) -> list[C]:
        """The commands of one kind, in order."""
        return [command for command in self.commands if isinstance(command, kind)]

    def forget(self) -> None:
        """Begin the record of commands afresh."""
        self.commands.clear()

    # -- behaviour ------------------------------------------------------------------------------

    def _track(self, command: Command) -> None:
        match command:
            case CreateTransport():
                self.transports.setdefault(command.transport, command)
            case CloseTransport(transport):
                self.transports.pop(transport, None)
                _drop(self.receivers, transport)
                _drop(self.down_tracks, transport)
                _drop(self.data_tracks, transport)
                _drop(self.data_down_tracks, transport)
            case CreateReceiver():
                self.receivers.setdefault(command.receiver, command)
            case RenegotiateReceiver(receiver=changed) if changed in self.receivers:
                self.receivers[changed] = replace(
                    self.receivers[changed],
                    codecs=command.codecs,
                    header_extensions=command.header_extensions,
                    encodings=command.encodings,
                )
            case CloseReceiver(receiver=closed):
                self.receivers.pop(closed, None)
            case CreateDownTrack():
                self.down_tracks.setdefault(command.down_track, command)
            case RenegotiateDownTrack(down_track=changed) if changed in self.down_tracks:
                self.down_tracks[changed] = replace(
                    self.down_tracks[changed],
                    codecs=command.codecs,
                    header_extensions=command.header_extensions,
                )
            case CloseDownTrack(down_track=closed):
                self.down_tracks.pop(closed, None)
            case CreateDataTrack():
                self._create_data_track(command)
            case CloseDataTrack(data_track=closed):
                self.data_tracks.pop(closed, None)
            case CreateDataDownTrack():
                self._create_data_down_track(command)
            case CloseDataDownTrack(data_down_track=closed):
                self.data_down_tracks.pop(closed, None)
            case _:
                pass

    def _create_data_track(self, command: CreateDataTrack) -> None:
        """As the engine does: the transport must exist and have the handle once."""
        others = (t for t in self.data_tracks.values() if t.data_track != command.data_track)
        taken = {(track.transport, track.handle) for track in others}
        if command.transport not in self.transports:
            self._refuse(command, command.data_track, Code.NOT_FOUND)
        elif (command.transport, command.handle) in taken:
            self._refuse(command, command.data_track, Code.INVALID_ARGUMENT)
        else:
            self.data_tracks.setdefault(command.data_track, command)

    def _create_data_down_track(self, command: CreateDataDownTrack) -> None:
        """As the engine does: both ends must exist."""
        if command.transport not in self.transports:
            self._refuse(command, command.data_down_track, Code.NOT_FOUND)
        elif command.data_track not in self.data_tracks:
            self._refuse(command, command.data_down_track, Code.FAILED_PRECONDITION)
        else:
            self.data_down_tracks.setdefault(command.data_down_track, command)

    def _refuse(self, command: Command, subject: int, code: Code) -> None:
        self.inject(CommandFailed(type(command).__name__, subject, code, "refused by the fake"))

    def _answer(self, command: Command) -> None:
        match command:
            case SetRemoteParameters(transport=transport):
                self.connect(transport)
            case OpenDataChannel():
                stream = command.negotiated
                if stream is None:
                    # The DTLS server's streams are odd (RFC 8832 6).
                    stream = self._streams.get(command.transport, 1)
                    self._streams[command.transport] = stream + 2
                self.inject(
                    DataChannelOpened(
                        command.transport,
                        stream,
                        command.label,
                        "",
                        command.ordered,
                        command.max_retransmits,
                    )
                )
            case _:
                pass

    def _stats(self, request: int, worker: int) -> StatsCollected:
        """Everything exists and nothing has flowed."""
        transports = [t for t in self.transports.values() if t.worker == worker]
        ours = {transport.transport for transport in transports}
        return StatsCollected(
            request=request,
            worker=WorkerStats(worker, len(transports), 0, 0, 0, 0, 0, 0, 0, 0, 0.0),
            transports=tuple(
                TransportStats(t.transport, 0, 0, 0, 0, 0, 1.0, 0) for t in transports
            ),
            layers=tuple(
                LayerStats(
                    receiver=r.receiver,
                    spatial=encoding.spatial,
                    ssrc=encoding.ssrc or 0,
                    rid=encoding.rid or "",
                    live=False,
                    packets=0,
                    bytes=0,
                    packets_lost=0,
                    packets_recovered=0,
                    duplicates=0,
                    jitter_ms=0.0,
                    bitrate_bps=0.0,
                    frames=0,
                    key_frames=0,
                    nacks_sent=0,
                    plis_sent=0,
                )
                for r in self.receivers.values()
                if r.transport in ours
                for encoding in r.encodings
            ),
            down_tracks=tuple(
                DownTrackStats(
                    down_track=d.down_track,
                    ssrc=d.ssrc,
                    spatial=-1,
                    temporal=-1,
                    muted=d.muted,
                    packets=0,
                    bytes=0,
                    retransmissions=0,
                    bitrate_bps=0.0,
                    packets_lost=0,
                    fraction_lost=0.0,
                    jitter_ms=0.0,
                    rtt_ms=-1.0,
                    nacks_received=0,
                    plis_received=0,
                    key_frames=0,
                )
                for d in self.down_tracks.values()
                if d.transport in ours
            ),
            data_tracks=tuple(
                DataTrackStats(t.data_track, 0, 0, 0, 0)
                for t in self.data_tracks.values()
                if t.transport in ours
            ),
            data_down_tracks=tuple(
                DataDownTrackStats(d.data_down_track, 0, 0, 0)
                for d in self.data_down_tracks.values()
                if d.transport in ours
            ),
        )


def _drop(objects: dict[int, _T], transport: int) -> None:
    """Forget what is on a transport."""
    for identifier in [i for i, item in objects.items() if item.transport == transport]:
        del objects[identifier]
