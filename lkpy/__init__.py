"""lkpy: a LiveKit-compatible SFU server, token minter, simulator and monitor."""

__version__ = "0.1.0"
