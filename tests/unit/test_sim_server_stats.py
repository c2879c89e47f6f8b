"""The server's effort during a run."""

from __future__ import annotations

import asyncio
import contextlib
import os

import pytest

from lkpy.sim.server_stats import ServerSample, ServerSampler
from lkpy.sim.target import Target

NOWHERE = Target(url="ws://127.0.0.1:1")


def sample(at: float, cores: float, cpu_s: float | None = None) -> ServerSample:
    return ServerSample(at, cores, cpu_s, 1, None)


def test_cpu_time_is_counted_where_it_is_known() -> None:
    sampler = ServerSampler(NOWHERE, None)
    sampler.samples = [sample(at, 9.9, cpu_s=at / 2) for at in range(10)]
    assert sampler.cpu_between(2, 8) == pytest.approx(3.0)
    assert sampler.cpu_between(8.5, 9.5) is None


def test_cpu_time_is_summed_from_rates_elsewhere() -> None:
    sampler = ServerSampler(NOWHERE, None)
    sampler.samples = [sample(0, 0.0), sample(5, 0.2), sample(10, 0.4)]
    assert sampler.cpu_between(0, 10) == pytest.approx(5 * 0.2 + 5 * 0.4)


async def test_a_server_that_tells_nothing_leaves_no_samples() -> None:
    sampler = ServerSampler(NOWHERE, None)
    await asyncio.wait_for(sampler.run(asyncio.get_running_loop().time()), 10)
    assert sampler.samples == []


async def test_a_server_is_not_asked_if_that_is_not_wanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def get(*_: object) -> None:
        raise AssertionError("asked")

    monkeypatch.setattr("aiohttp.ClientSession.get", get)
    now = asyncio.get_running_loop().time()
    with pytest.raises(AssertionError, match="asked"):
        await ServerSampler(NOWHERE, None).run(now)
    await asyncio.wait_for(ServerSampler(NOWHERE, None, ask=False).run(now), 10)


async def test_a_process_of_ours_is_observed_without_statistics() -> None:
    sampler = ServerSampler(NOWHERE, os.getpid())
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(sampler.run(asyncio.get_running_loop().time() - 3), 2)
    assert sampler.samples
    assert sampler.samples[0].cpu_s is not None
    assert sampler.samples[0].memory_bytes > 1_000_000
