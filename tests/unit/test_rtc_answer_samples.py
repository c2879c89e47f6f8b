"""What clients offer, and what each is answered: files of ``tests/data/sdp/answers``.

Most offers were taken from the wire. Those of OBS, ESP32 and GStreamer's whipsink are what their
code writes, put together by hand. Every answer but Safari's and webrtcbin's was compared with
livekit-server 1.13.11's to the same offer; docs/differences.md has what is otherwise. ``python -m
tests.unit.test_rtc_answer_samples`` writes the files anew.
"""

from __future__ import annotations

import re

import pytest

from tests.transport_kit import SAMPLES, RecordingEngine, offer, sample, single

ANSWERS = SAMPLES / "answers"
OFFERS = sorted(path.stem for path in SAMPLES.glob("*_offer.sdp"))


def answer(name: str) -> str:
    """The answer on one peer connection, without what is random."""
    text = offer(single(RecordingEngine()), sample(name)).answer.sdp
    text = re.sub(r"(?m)^o=- \d+", "o=- 1", text)
    return re.sub(r"(?m)^a=ice-(ufrag|pwd):.*", r"a=ice-\1:\1", text.replace("\r\n", "\n"))


@pytest.mark.parametrize("name", OFFERS)
def test_answer(name: str) -> None:
    assert answer(name) == (ANSWERS / f"{name}.sdp").read_text()


if __name__ == "__main__":
    ANSWERS.mkdir(exist_ok=True)
    for each in OFFERS:
        (ANSWERS / f"{each}.sdp").write_text(answer(each))
