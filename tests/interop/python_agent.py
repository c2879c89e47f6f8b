"""An agent of livekit-agents, run by its own interpreter: answers data with the same data."""

from __future__ import annotations

import asyncio

from livekit import rtc
from livekit.agents import JobContext, WorkerOptions, cli


async def entrypoint(context: JobContext) -> None:
    await context.connect()
    me = context.room.local_participant
    answers: set[asyncio.Task[None]] = set()

    def answer(packet: rtc.DataPacket) -> None:
        text = f"{context.job.metadata}:{bytes(packet.data).decode()}"
        answers.add(asyncio.ensure_future(me.publish_data(text, reliable=True)))

    context.room.on("data_received", answer)


if __name__ == "__main__":
    cli.run_app(WorkerOptions(entrypoint_fnc=entrypoint, agent_name="echo"))
