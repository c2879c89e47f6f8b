"""The verdict on a run, from what was found out about it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lkpy.sim.result import Sample, Status
from lkpy.sim.server_stats import ServerSample

STARVED_PART = 0.2
"""A process that waits for a processor for this part of a second is starved in it."""
STARVED_LIMIT = 0.05
"""Part of a run's seconds that may be starved before a breach says nothing about the server."""
STARVED_LEAST = 2
"""Starved seconds that mean nothing, however short the run."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What is known at the end. Texts are for people."""

    failures: Sequence[str] = ()
    """Faults of the simulator itself, such as a worker that crashed."""
    interrupted: bool = False
    server_died: str = ""
    """How the server ended before the run did."""
    faults: Sequence[str] = ()
    """Why the generator's figures are not to be trusted."""
    doubts: Sequence[str] = ()
    """What may have caused a breach without being the server's fault."""
    breached: bool = False
    """Some SLO does not hold."""


def conclude(found: Findings) -> tuple[Status, list[str]]:
    """Return the status, and the reasons for it.

    What says least about the server goes first: our own failure, an interruption. A dead server is
    dead, however busy we were. A generator at fault has no opinion on SLOs, whether they hold or
    not; a machine that was too busy only takes back a breach.
    """
    reasons = [*found.failures, *([found.server_died] if found.server_died else []), *found.faults]
    if found.failures:
        return Status.FAILED, reasons
    if found.interrupted:
        return Status.INTERRUPTED, reasons
    if found.server_died:
        return Status.SERVER_DIED, reasons
    if found.faults:
        return Status.INVALID, [*reasons, *found.doubts]
    if not found.breached:
        return Status.PASSED, reasons
    return (Status.INVALID if found.doubts else Status.BREACHED), [*reasons, *found.doubts]


def doubts(
    samples: Sequence[Sample], server: Sequence[ServerSample], excused: int = 0
) -> list[str]:
    """Say who was kept waiting for a processor on this machine, for how many seconds.

    ``excused`` is how many silences only a waiting server explains.
    """
    found = []
    for name, waits in (
        ("the load generator", [sample.waited for sample in samples]),
        ("the server", [sample.waited for sample in server]),
    ):
        starved = sum(wait >= STARVED_PART for wait in waits)
        if starved > max(STARVED_LEAST, STARVED_LIMIT * len(waits)):
            found.append(
                f"this machine was too busy: {name} waited for a processor in {starved} of "
                f"{len(waits)} s (at most {max(waits):.0%} of a second)"
            )
    if excused:
        found.append(
            f"{excused} silence{'s' if excused > 1 else ''} not counted: "
            "the server waited for a processor of this machine"
        )
    return found
