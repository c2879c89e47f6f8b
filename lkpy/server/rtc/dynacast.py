"""What of a track is needed by anybody, so that its publisher sends no more (LiveKit
``pkg/rtc/dynacast``). Pure; told ``now``.

Video has a maximum quality per codec, audio is needed or not. What is needed is *committed* when
the publisher is to be told: more at once, less after a pause, because who looks away often looks
back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from livekit.protocol import models

from lkpy.limits import DYNACAST_INITIAL_S

OFF, LOW, HIGH = models.VideoQuality.OFF, models.VideoQuality.LOW, models.VideoQuality.HIGH


class _Codec:
    """One codec's subscribers."""

    def __init__(self, initial_at: float | None) -> None:
        self.needs: dict[str, models.VideoQuality] = {}
        """By subscriber sid; who needs nothing is not in it."""
        self._needing: Counter[models.VideoQuality] = Counter()
        """How many need which quality."""
        self.initial_at = initial_at
        """Until then nothing is known as long as nobody has subscribed."""
        self.known = False
        self.floor = OFF
        """The lowest quality that comes."""
        self.regressed_to: str | None = None

    def need(self, subscriber: str, quality: models.VideoQuality) -> None:
        """A subscriber needs at most ``quality``; OFF: nothing."""
        before = self.needs.pop(subscriber, None)
        if before is not None:
            self._needing[before] -= 1
        if quality != OFF:
            self.needs[subscriber] = quality
            self._needing[quality] += 1

    @property
    def most(self) -> models.VideoQuality:
        """What somebody needs and nobody needs more than; OFF without subscribers. Who needs less
        than comes is sent the lowest that does."""
        needed = [quality for quality, count in self._needing.items() if count]
        return max(*needed, self.floor, key=_rank) if needed else OFF


class VideoDynacast:
    """The maximum quality of each codec of one video track, over its subscribers.

    Codecs are lower-case mime types.
    """

    def __init__(self, pause_delay_s: float) -> None:
        self._pause_delay_s = pause_delay_s
        self._codecs: dict[str, _Codec] = {}
        self._needed: dict[str, models.VideoQuality] = {}
        self._committed: dict[str, models.VideoQuality] = {}
        self._pause_at: float | None = None
        self._news: list[Mapping[str, models.VideoQuality]] = []

    # -- what happens -----------------------------------------------------------------------------

    def add_codec(self, now: float, mime: str) -> None:
        """The codec is published. Repeated: nothing."""
        self._get_or_create(now, mime)

    def _get_or_create(self, now: float, mime: str) -> _Codec:
        codec = self._codecs.get(mime)
        if codec is None:
            codec = self._codecs[mime] = _Codec(now + DYNACAST_INITIAL_S)
        return codec

    def subscriber(
        self, now: float, mime: str, subscriber: str, quality: models.VideoQuality
    ) -> None:
        """A subscriber needs at most ``quality`` of the codec; OFF: nothing."""
        codec = self._get_or_create(now, mime)
        if codec.regressed_to is not None:
            self.subscriber(now, codec.regressed_to, subscriber, quality)
            return
        codec.need(subscriber, quality)
        self._need(now, mime)

    def comes_from(self, now: float, mime: str, quality: models.VideoQuality) -> None:
        """Nothing below ``quality`` comes of a codec that is published."""
        codec = self._codecs.get(mime)
        if codec is None or codec.floor == quality:
            return
        codec.floor = quality
        if codec.known and codec.regressed_to is None:
            self._need(now, mime)

    def _need(self, now: float, mime: str, *, initial: bool = False) -> None:
        codec = self._codecs[mime]
        quality = codec.most
        if codec.known and quality == self._needed.get(mime) and not initial:
            return
        codec.known = True
        codec.initial_at = None
        if codec.regressed_to is None:
            self._needed[mime] = quality
        self._update(now)

    def regress(self, now: float, mime: str, to: str) -> None:
        """Everybody receives the codec ``to`` from now on, and nobody ``mime``."""
        codec = self._get_or_create(now, mime)
        if codec.regressed_to is not None:
            return
        self._needed[mime] = OFF
        # A codec that has not begun is asked for.
        self._needed.setdefault(to, HIGH)
        self._update(now)
        codec.regressed_to, codec.initial_at = to, None
        target = self._get_or_create(now, to)
        for subscriber, quality in list(codec.needs.items()):
            codec.need(subscriber, OFF)
            known = target.needs.get(subscriber, OFF)
            target.need(subscriber, max(known, quality, key=_rank))
        self._begin(now, target)

    def restart(self, now: float) -> None:
        """The publisher came back and may have forgotten what it was told."""
        self._committed = {}
        for codec in self._codecs.values():
            if codec.regressed_to is None:
                self._begin(now, codec)

    def _begin(self, now: float, codec: _Codec) -> None:
        codec.known = False
        codec.initial_at = now + DYNACAST_INITIAL_S

    def force(self) -> None:
        """Tell the publisher at once, also what it knows."""
        if self._needed:
            self._commit()

    def resend(self) -> None:
        """Tell the publisher again what it was told last, if that leaves anything out."""
        if any(quality != HIGH for quality in self._committed.values()):
            self._news.append(self._committed)

    # -- what comes of it -------------------------------------------------------------------------

    def _update(self, now: float) -> None:
        if self._needed.keys() == self._committed.keys():
            if self._needed == self._committed:
                return
            if self._pause_delay_s > 0 and not any(
                _rank(quality) > _rank(self._committed[mime])
                for mime, quality in self._needed.items()
            ):
                if self._pause_at is None:
                    self._pause_at = now + self._pause_delay_s
                return
        self._commit()

    def _commit(self) -> None:
        self._pause_at = None
        self._committed = dict(self._needed)
        self._news.append(self._committed)

    def told(self, mime: str) -> models.VideoQuality | None:
        """What the publisher was last told to send of a codec at the most; None: nothing yet."""
        return self._committed.get(mime)

    def next_deadline(self) -> float | None:
        """When :meth:`poll` has something to say of itself."""
        deadlines = [c.initial_at for c in self._codecs.values() if c.initial_at is not None]
        if self._pause_at is not None:
            deadlines.append(self._pause_at)
        return min(deadlines, default=None)

    def poll(self, now: float) -> list[Mapping[str, models.VideoQuality]]:
        """What was committed since the last call, oldest first."""
        for mime, codec in self._codecs.items():
            if codec.initial_at is not None and codec.initial_at <= now:
                self._need(now, mime, initial=True)
        if self._pause_at is not None and self._pause_at <= now:
            self._commit()
        news, self._news = self._news, []
        return news


class AudioDynacast:
    """Which codecs of one audio track anybody receives. Nothing is debounced."""

    def __init__(self) -> None:
        self._subscribed: dict[str, bool] = {}
        self._committed: dict[str, bool] = {}
        self._regressed: set[str] = set()
        self._news: list[Mapping[str, bool]] = []

    def subscriber(self, mime: str) -> None:
        """Somebody receives the codec. LiveKit never takes that back."""
        if mime not in self._regressed:
            self._subscribed[mime] = True
            self._update()

    def regress(self, mime: str, to: str) -> None:
        """Everybody receives the codec ``to`` from now on, and nobody ``mime``."""
        self._regressed.add(mime)
        self._subscribed[mime] = False
        self._subscribed.setdefault(to, True)
        self._update()

    def restart(self) -> None:
        """The publisher came back and may have forgotten what it was told."""
        self._committed = {}

    def force(self) -> None:
        """Tell the publisher at once, also what it knows."""
        if self._subscribed:
            self._commit()

    def _update(self) -> None:
        if self._subscribed != self._committed:
            self._commit()

    def _commit(self) -> None:
        self._committed = dict(self._subscribed)
        self._news.append(self._committed)

    def poll(self) -> list[Mapping[str, bool]]:
        """What was committed since the last call, oldest first."""
        news, self._news = self._news, []
        return news


def _rank(quality: models.VideoQuality) -> int:
    """OFF is less than LOW, though its number is the highest."""
    return -1 if quality == OFF else int(quality)
