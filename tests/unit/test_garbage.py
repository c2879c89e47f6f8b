"""When everything is searched for garbage."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator

import pytest

from lkpy.limits import GARBAGE_LEFT_PER_PRESENT
from lkpy.server.garbage import Garbage


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


class Server:
    present = ended = 0


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def garbage(server: Server) -> Garbage:
    return Garbage(lambda: server.present, lambda: server.ended)


class Circle:
    found = 0

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        Circle.found += 1


def test_a_search_waits_until_more_has_left_than_is_there(server: Server, garbage: Garbage) -> None:
    server.present, server.ended = 4000, 100_000
    assert not garbage.due
    server.present = 100
    assert garbage.due


def test_after_a_search_it_waits_for_others_who_leave(server: Server, garbage: Garbage) -> None:
    server.ended = 20 * GARBAGE_LEFT_PER_PRESENT
    garbage.look()
    assert not garbage.due
    server.ended *= 2
    assert garbage.due


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="Python decides by itself")
def test_what_is_old_is_found_by_a_search_only(server: Server, garbage: Garbage) -> None:
    garbage.begin()
    Circle.found = 0
    Circle()
    gc.collect(0)
    kept = Circle()
    gc.collect(1)
    gc.collect(1)
    assert Circle.found == 1
    del kept
    many = [[] for _ in range(200_000)]
    assert Circle.found == 1
    server.ended = 20 * GARBAGE_LEFT_PER_PRESENT
    garbage.look()
    assert Circle.found == 2
    assert many
