"""One received RTP stream: sequence numbers, loss, recovery, the first whole frame. Pure."""

from __future__ import annotations

from lkpy.sim import rtcp, rtp

MAX_MISSING = 2000
"""Sequence numbers waited for at once; a larger gap is a restart of the stream."""
GIVE_UP_S = 2.0
"""A packet that has not come by then counts as lost for good."""
MAX_NACKS = 10
"""Times one packet is asked for."""
FIRST_NACK_S = 0.010
"""Reordering is given this long before a gap counts as loss."""

CLOCK_RATES = {"audio": 48_000, "video": 90_000}


class Stream:
    """Reception state of one SSRC. Times are monotonic seconds."""

    __slots__ = (
        "_base",
        "_frame",
        "_frame_end",
        "_frame_start",
        "_frame_timestamp",
        "_highest",
        "_prior_expected",
        "_prior_received",
        "abandoned",
        "bytes",
        "clock_rate",
        "first_at",
        "first_frame_at",
        "frames",
        "gap",
        "gap_until",
        "jitter",
        "kind",
        "last_at",
        "last_sr",
        "last_sr_at",
        "last_timestamp",
        "last_transit",
        "missing",
        "packets",
        "restored",
        "skipped",
        "ssrc",
        "track_sid",
        "until_decrypt",
    )

    def __init__(self, ssrc: int, kind: str) -> None:
        self.ssrc = ssrc
        self.kind = kind
        self.track_sid = ""
        self.clock_rate = CLOCK_RATES[kind]
        self.packets = 0
        """Packets received on this SSRC, repeats included (RFC 3550 A.3 ``received``)."""
        self.bytes = 0
        self.frames = 0
        """Packets with the marker bit: ends of video frames."""
        self.jitter = 0.0
        """Interarrival jitter in timestamp units (RFC 3550 6.4.1)."""
        self.last_timestamp: int | None = None
        self.last_transit = 0.0
        self.last_sr = 0
        self.last_sr_at = 0.0
        self.first_at = 0.0
        self.last_at = 0.0
        self.gap = 0.0
        """Longest time without a packet since :meth:`take_gap`; it ended at ``gap_until``."""
        self.gap_until = 0.0
        self.first_frame_at: float | None = None
        self.until_decrypt = 0
        self.missing: dict[int, list[float]] = {}
        """Unwrapped number → [noticed at, times asked for, last asked at]."""
        self.abandoned = 0
        """Packets given up: residual loss."""
        self.restored = 0
        """Missing packets that came after they were asked for."""
        self.skipped = 0
        """Numbers jumped over by a restart: neither expected nor lost."""
        self._base = 0
        self._highest = 0
        self._prior_expected = 0
        self._prior_received = 0
        self._frame: set[int] = set()
        self._frame_start: int | None = None
        self._frame_end: int | None = None
        self._frame_timestamp = 0

    def arrived(self, sequence: int, now: float) -> bool:
        """Count a packet of this SSRC; tell whether it is not a repeat."""
        self.packets += 1
        if self.packets == 1:
            self._base = self._highest = sequence
            self.first_at = self.last_at = now
            return True
        gap = now - self.last_at
        if gap > self.gap:
            self.gap, self.gap_until = gap, now
        self.last_at = now
        number = self._highest + ((sequence - self._highest + 0x8000) & 0xFFFF) - 0x8000
        ahead = number - self._highest
        if ahead == 1:
            self._highest = number
            return True
        if ahead <= 0:
            return self._late(number)
        if ahead > MAX_MISSING:
            self.skipped += ahead - 1
        else:
            for gap in range(self._highest + 1, number):
                self.missing[gap] = [now, 0, 0.0]
            while len(self.missing) > MAX_MISSING:
                del self.missing[next(iter(self.missing))]
                self.abandoned += 1
        self._highest = number
        return True

    def _late(self, number: int) -> bool:
        entry = self.missing.pop(number, None)
        if entry is None:
            return False
        if entry[1]:
            self.restored += 1
        return True

    def take_gap(self) -> tuple[float, float]:
        """Return when the longest time without packets began and ended, and begin the next."""
        since, until = self.gap_until - self.gap, self.gap_until
        self.gap = 0.0
        return since, until

    def recovered(self, sequence: int) -> bool:
        """Take a packet that came on the retransmission stream; tell whether it was missing."""
        number = rtp.unwrap(self._highest, sequence)
        return self.packets > 0 and self._late(number)

    def due_for_nack(self, now: float, interval: float) -> list[int]:
        """Return the 16-bit numbers to ask for now, in order; gives up what is too old."""
        due = []
        for number, entry in list(self.missing.items()):
            noticed, asked, last = entry
            if now - noticed > GIVE_UP_S:
                del self.missing[number]
                self.abandoned += 1
                continue
            wait = FIRST_NACK_S if not asked else interval
            if asked < MAX_NACKS and now - (last or noticed) >= wait:
                entry[1] = asked + 1
                entry[2] = now
                due.append(number & 0xFFFF)
        return due

    @property
    def expected(self) -> int:
        """Packets that should have come (RFC 3550 A.3)."""
        return self._highest - self._base + 1 - self.skipped if self.packets else 0

    @property
    def lost(self) -> int:
        """RFC 3550 A.3: expected minus received; negative with repeats."""
        return self.expected - self.packets

    def residual(self, now: float, grace: float) -> int:
        """Packets that never came, leaving out those missed within the last ``grace`` seconds."""
        return self.abandoned + sum(
            1 for noticed, _, _ in self.missing.values() if now - noticed > grace
        )

    def report_block(self, now: float) -> rtcp.ReportBlock:
        """Return the block for the next receiver report, and begin its next interval."""
        expected = self.expected
        interval = expected - self._prior_expected
        lost = interval - (self.packets - self._prior_received)
        self._prior_expected, self._prior_received = expected, self.packets
        fraction = min(255, (lost << 8) // interval) if interval > 0 and lost > 0 else 0
        delay = round((now - self.last_sr_at) * 65536) if self.last_sr else 0
        return rtcp.ReportBlock(
            ssrc=self.ssrc,
            fraction_lost=fraction,
            packets_lost=self.lost,
            highest=self._highest,
            jitter=round(self.jitter),
            last_sr=self.last_sr,
            delay=delay,
        )

    def complete_first_frame(
        self, body: bytes, sequence: int, timestamp: int, *, marker: bool
    ) -> bool:
        """Take a decrypted payload; tell whether the first usable frame is now whole.

        For audio that is any packet, for VP8 all packets of a key frame.
        """
        if self.kind == "audio":
            return True
        start = rtp.vp8_start(body)
        if start is not None and start[1]:
            self._frame_start = sequence
            self._frame_timestamp = timestamp
            self._frame_end = None
            self._frame = set()
        if self._frame_start is None or timestamp != self._frame_timestamp:
            return False
        self._frame.add(sequence)
        if marker:
            self._frame_end = sequence
        if self._frame_end is None:
            return False
        length = ((self._frame_end - self._frame_start) & 0xFFFF) + 1
        return len(self._frame) == length
