"""The server of the interop tests."""

from tests.interop.conftest import server

__all__ = ["server"]
