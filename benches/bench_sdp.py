"""Descriptions of twenty media sections: what a busy participant's every negotiation pays."""

from __future__ import annotations

import copy
import itertools
from typing import Any

from lkpy.engine.api import MediaKind
from lkpy.sdp import SessionDescription
from tests.transport_kit import RecordingEngine, add, offer, sample, single

SECTIONS = 20


def twenty_sections() -> SessionDescription:
    """Chrome's offer with its sections repeated."""
    description = SessionDescription.parse(sample("chrome_join_offer"))
    media = [copy.deepcopy(m) for m in description.media if m.kind != "application"]
    description.media = []
    for index, section in zip(range(SECTIONS), itertools.cycle(media), strict=False):
        description.media.append(copy.deepcopy(section))
        description.media[-1].mid = str(index)
    description.groups[0] = type(description.groups[0])(
        "BUNDLE", tuple(str(index) for index in range(SECTIONS))
    )
    return description


def test_sdp_parse_20_sections(benchmark: Any) -> None:
    text = str(twenty_sections())
    assert len(benchmark(SessionDescription.parse, text).media) == SECTIONS


def test_sdp_write_20_sections(benchmark: Any) -> None:
    assert benchmark(str, twenty_sections())


def test_sdp_answer_20_sections(benchmark: Any) -> None:
    transport = single(RecordingEngine())
    text = str(twenty_sections())
    for index in range(SECTIONS):
        add(transport, list(MediaKind)[index // 3 % 2], str(index))
    assert benchmark(offer, transport, text).answer.sdp
