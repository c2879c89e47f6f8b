"""Values of what happens to a room: mostly plausible, some of others, some unknown, some broken."""

from __future__ import annotations

import contextlib
import random

from lkpy.errors import LkpyError
from tests.property.sequences.people import Person, more_sections
from tests.property.sequences.stage import Stage
from tests.room_kit import AUDIO_CID, JOIN_OFFER, PUBLISH_OFFER, VIDEO_CID
from tests.transport_kit import SAMPLES, sample

Random = random.Random

TEXTS = {path.stem: sample(path.stem) for path in sorted(SAMPLES.glob("*.sdp"))}
CIDS = [VIDEO_CID, AUDIO_CID, "other", "third", ""]


def one_in(rng: Random, number: int) -> bool:
    """True once in ``number`` times."""
    return rng.randrange(number) == 0


def identity(stage: Stage, rng: Random) -> str:
    """Somebody's, or nobody's."""
    names = [person.identity for person in stage.everybody]
    return rng.choice([*names, *stage.people, "nobody", ""])


def sid(stage: Stage, rng: Random) -> str:
    """Of a participant."""
    known = [str(participant.sid) for participant in stage.room._participants.values()]
    return rng.choice([*known, "PA_unknown", ""])


def track(stage: Stage, person: Person, rng: Random, *, own: bool = False) -> str:
    """Sid of a track; ``own``: rather of the person's."""
    tracks = list(stage.room.tracks._tracks)
    participant = stage.participant(person)
    if participant is not None:
        mine = [t.sid for t in participant.publishing.tracks]
        mine += [p.info.sid for p in participant.publishing.tracks._pending]
        tracks += mine
        if own and mine and not one_in(rng, 5):
            return rng.choice(mine)
    return rng.choice([*tracks, *tracks, "TR_unknown", ""])


def tracks(stage: Stage, person: Person, rng: Random) -> list[str]:
    """Some sids, perhaps the same twice."""
    return [track(stage, person, rng) for _ in range(rng.choice([0, 1, 1, 2, 5]))]


def data_track(stage: Stage, rng: Random) -> str:
    """Sid of a data track."""
    known = list(stage.room.data_tracks._tracks)
    return rng.choice([*known, *known, "DTR_unknown", ""])


def broken(text: str, rng: Random) -> str:
    """A description with a fault."""
    lines = text.splitlines(keepends=True)
    match rng.randrange(5):
        case 0:
            return "".join(lines[: rng.randrange(len(lines))])
        case 1:
            return "".join(line for line in lines if not one_in(rng, 20))
        case 2:
            at = rng.randrange(len(text))
            return text[:at] + chr(rng.randrange(1, 0x2FF)) + text[at + 1 :]
        case 3:
            return "".join(rng.sample(lines, len(lines)))
        case _:
            return rng.choice(["", "v=0", "not a description", "\0" * 50])


def offer_text(person: Person, rng: Random) -> str:
    """What a client may offer next."""
    match rng.randrange(10):
        case 0 | 1 | 2 | 3:
            person.text = PUBLISH_OFFER
        case 4:
            person.text = JOIN_OFFER
        case 5:
            # It does not send any more.
            person.text = person.text.replace("a=sendonly", "a=inactive")
        case 6:
            with contextlib.suppress(LkpyError, StopIteration):
                person.text = more_sections(person.text, rng.randrange(2), rng.randrange(2))
        case 7:
            # An ICE restart.
            ufrag = f"gen{rng.randrange(1000)}"
            lines = person.text.splitlines(keepends=True)
            person.text = "".join(
                f"a=ice-ufrag:{ufrag}\r\n" if line.startswith("a=ice-ufrag") else line
                for line in lines
            )
        case 8 if one_in(rng, 4):
            return rng.choice(list(TEXTS.values()))
        case _:
            if one_in(rng, 4):
                return broken(person.text, rng)
    return person.text
