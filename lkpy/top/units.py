"""Numbers as people read them in a narrow column."""

from __future__ import annotations

_BLOCKS = "▁▂▃▄▅▆▇█"
_ASCII_BLOCKS = "_.-~=+*#"


def bitrate(bps: float) -> str:
    """``1234567`` → ``1.23M``; 0 is ``0``."""
    return scaled(bps)


def scaled(value: float) -> str:
    """Three significant digits and a decimal prefix (k, M, G)."""
    if value < 0:
        return "-"
    for limit, divisor, suffix in (
        (1e3, 1, ""),
        (1e6, 1e3, "k"),
        (1e9, 1e6, "M"),
        (1e15, 1e9, "G"),
    ):
        if value < limit * 0.9995 or suffix == "G":
            number = value / divisor
            if suffix == "":
                return f"{number:.0f}"
            digits = 2 if number < 9.995 else 1 if number < 99.95 else 0
            return f"{number:.{digits}f}{suffix}"
    raise AssertionError("unreachable")


def size(number_of_bytes: float) -> str:
    """Bytes with a decimal prefix: ``212M``."""
    return scaled(number_of_bytes)


def percent(fraction: float) -> str:
    """``0.0123`` → ``1.23``; negative is unknown."""
    if fraction < 0:
        return "-"
    value = fraction * 100
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def milliseconds(value: float) -> str:
    """One decimal below ten; negative is unknown."""
    if value < 0:
        return "-"
    return f"{value:.1f}" if value < 9.95 else f"{value:.0f}"


def age(seconds: float) -> str:
    """The two largest units: ``3h12m``."""
    total = max(0, int(seconds))
    if total < 60:
        return f"{total}s"
    if total < 3600:
        return f"{total // 60}m{total % 60:02d}s"
    if total < 86_400:
        return f"{total // 3600}h{total % 3600 // 60:02d}m"
    return f"{total // 86_400}d{total % 86_400 // 3600:02d}h"


def sparkline(values: list[float], width: int, *, ascii_only: bool = False) -> str:
    """The last ``width`` values as bars scaled to their own maximum."""
    blocks = _ASCII_BLOCKS if ascii_only else _BLOCKS
    shown = values[-width:]
    top = max(shown, default=0.0)
    if top <= 0:
        return blocks[0] * len(shown)
    last = len(blocks) - 1
    return "".join(blocks[min(last, int(max(0.0, value) / top * last + 0.5))] for value in shown)
