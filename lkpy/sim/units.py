"""Quantities people write in scenarios and SLOs: durations, bitrates, percentages.

Everything inside the simulator is in base units: seconds, bits per second, plain ratios.
"""

from __future__ import annotations

import re

_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "us": 1e-6}
_RATE_UNITS = {"bps": 1.0, "kbps": 1e3, "mbps": 1e6, "gbps": 1e9}
_NUMBER = r"\d+(?:\.\d+)?"
_DURATION = re.compile(rf"(?:{_NUMBER}(?:us|ms|s|min|m|h))+")
_DURATION_PART = re.compile(rf"({_NUMBER})(us|ms|s|min|m|h)")
_RATE = re.compile(rf"({_NUMBER})\s*(bps|kbps|mbps|gbps|kbit/s|Mbit/s|bit/s)", re.IGNORECASE)


def parse_duration(value: object) -> float:
    """Return seconds for ``10s``, ``500ms``, ``1m30s`` or a bare number of seconds.

    Raises :class:`ValueError` with a message that says what is accepted.
    """
    if isinstance(value, bool):
        raise ValueError("expected a duration such as 10s, 500ms or 1m30s")  # noqa: TRY004
    if isinstance(value, int | float):
        seconds = float(value)
    elif isinstance(value, str) and _DURATION.fullmatch(value.strip()):
        seconds = sum(
            float(number) * _DURATION_UNITS[unit]
            for number, unit in _DURATION_PART.findall(value.strip())
        )
    else:
        raise ValueError(f"{value!r} is not a duration; write it like 10s, 500ms or 1m30s")
    if seconds < 0 or seconds != seconds or seconds == float("inf"):
        raise ValueError("a duration is finite and not negative")
    return seconds


def parse_bitrate(value: object) -> int:
    """Return bits per second for ``150kbps``, ``1.5mbps``, ``900kbit/s`` or a bare number."""
    if isinstance(value, bool):
        raise ValueError("expected a bitrate such as 150kbps or 1.5mbps")  # noqa: TRY004
    if isinstance(value, int):
        bits = float(value)
    elif isinstance(value, str) and (match := _RATE.fullmatch(value.strip())):
        unit = match.group(2).lower().replace("bit/s", "bps")
        bits = float(match.group(1)) * _RATE_UNITS[unit]
    else:
        raise ValueError(f"{value!r} is not a bitrate; write it like 150kbps or 1.5mbps")
    if bits <= 0:
        raise ValueError("a bitrate is greater than zero")
    return round(bits)


def parse_size(value: object) -> tuple[int, int]:
    """Return (width, height) in pixels for ``640x360`` or a pair; even numbers, as VP8 wants."""
    if isinstance(value, list | tuple) and len(value) == 2:
        value = f"{value[0]}x{value[1]}"
    if isinstance(value, str) and (match := re.fullmatch(r"(\d+)x(\d+)", value.strip())):
        width, height = int(match.group(1)), int(match.group(2))
        if 16 <= width <= 7680 and 16 <= height <= 4320 and not width % 2 and not height % 2:
            return width, height
        raise ValueError(f"{value!r}: width and height are even and at least 16")
    raise ValueError(f"{value!r} is not a picture size; write it like 640x360")


def format_duration(seconds: float) -> str:
    """Return a short human form of a duration: ``850 ms``, ``12.5 s``, ``2 m 05 s``."""
    if seconds < 0.9995:
        milliseconds = seconds * 1000
        return f"{milliseconds:.0f} ms" if milliseconds >= 10 else f"{milliseconds:.1f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 or seconds % 1 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} m {rest:02d} s"


def format_bitrate(bits: float) -> str:
    """Return a short human form of a bitrate: ``32 kbit/s``, ``1.25 Mbit/s``."""
    for limit, unit in ((1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s")):
        if bits >= limit:
            scaled = bits / limit
            return f"{scaled:.0f} {unit}" if scaled >= 100 else f"{scaled:.3g} {unit}"
    return f"{bits:.0f} bit/s"


def format_ratio(ratio: float) -> str:
    """Return a ratio as a percentage; zero is ``0 %``."""
    percent = ratio * 100
    if percent == 0:
        return "0 %"
    return f"{percent:.1f} %" if percent >= 1 else f"{percent:.3g} %"
