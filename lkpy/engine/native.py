"""The media engine in Rust (``rust/``), behind the :class:`~lkpy.engine.api.Engine` protocol."""

from __future__ import annotations

from collections.abc import Sequence

from lkpy import _engine
from lkpy.engine.api import Command, EngineConfig, EngineInfo, Event


class NativeEngine:
    """Worker threads that own the media sockets. Raises :class:`~lkpy.errors.LkpyError`
    (``unavailable``) when a port or another resource is not to be had."""

    def __init__(self, config: EngineConfig) -> None:
        self._engine = _engine.Engine(config)

    @property
    def info(self) -> EngineInfo:
        """Fingerprint and candidates."""
        return self._engine.info

    def submit(self, commands: Sequence[Command]) -> None:
        """Queue commands in order, all or none."""
        self._engine.submit(commands)

    def drain(self, limit: int = 1024) -> list[Event]:
        """Take up to ``limit`` waiting events, oldest first."""
        return self._engine.drain(limit)

    def fileno(self) -> int:
        """A descriptor that polls readable while events wait."""
        return self._engine.fileno()

    def inject_fault(self, worker: int, fault: str) -> None:
        """Let a worker ``panic``, ``hang``, ``recover`` or ``die``, for tests. Raises
        :class:`LkpyError` unless ``EngineConfig.fault_injection`` is set."""
        self._engine.inject_fault(worker, fault)

    def close(self) -> None:
        """Stop the workers within two seconds and free the sockets. Idempotent."""
        self._engine.close()
