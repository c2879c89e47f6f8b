"""ICE candidates as text (RFC 8839 5.1, RFC 6544 4.5 for ``tcptype``)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest

from lkpy.sdp.errors import SdpError


@dataclass(frozen=True, slots=True)
class Candidate:
    """One ``a=candidate`` value. ``protocol`` and ``type`` are lower-case, ``foundation`` may be
    empty, ``address`` may be an mDNS name or have a zone."""

    foundation: str
    component: int
    protocol: str
    priority: int
    address: str
    port: int
    type: str = "host"
    related_address: str | None = None
    related_port: int | None = None
    tcp_type: str | None = None
    extensions: tuple[tuple[str, str], ...] = ()
    """Extension attributes in their order, e.g. ``generation``, ``ufrag``, ``network-id``. The last
    may have no value, which is empty then."""

    @classmethod
    def parse(cls, text: str) -> Candidate:
        """Parse ``candidate:...``, with or without that prefix. Raises :class:`SdpError`."""
        try:
            return cls.parse_value(text.strip().removeprefix("a=").removeprefix("candidate:"))
        except ValueError as error:
            raise SdpError(f"candidate: {error}") from None

    @classmethod
    def parse_value(cls, value: str) -> Candidate:
        """Parse what follows ``candidate:``. Raises ValueError."""
        fields = value.split()
        if value[:1] == " ":
            # An empty foundation: pion and mDNS proxies have written it.
            fields.insert(0, "")
        if len(fields) < 8 or fields[6].lower() != "typ":
            raise ValueError("expected 'foundation component protocol priority address port typ x'")
        # The last extension may lack its value, as in "generation".
        extra = dict(zip_longest(fields[8::2], fields[9::2], fillvalue=""))
        related_port = extra.pop("rport", None)
        return cls(
            foundation=fields[0],
            component=_number(fields[1], "component", 256),
            protocol=fields[2].lower(),
            priority=_number(fields[3], "priority", 2**32 - 1),
            address=fields[4],
            port=_number(fields[5], "port", 65_535),
            type=fields[7].lower(),
            related_address=extra.pop("raddr", None),
            related_port=None if related_port is None else _number(related_port, "rport", 65_535),
            tcp_type=extra.pop("tcptype", None),
            extensions=tuple(extra.items()),
        )

    @property
    def ufrag(self) -> str | None:
        """The generation's user name fragment, where the agent writes it (RFC 8838 does not)."""
        return next((value for name, value in self.extensions if name == "ufrag"), None)

    def __str__(self) -> str:
        text = (
            f"candidate:{self.foundation} {self.component} {self.protocol} {self.priority} "
            f"{self.address} {self.port} typ {self.type}"
        )
        if self.related_address is not None:
            text += f" raddr {self.related_address}"
        if self.related_port is not None:
            text += f" rport {self.related_port}"
        if self.tcp_type is not None:
            text += f" tcptype {self.tcp_type}"
        return text + "".join(f" {name} {value}".rstrip() for name, value in self.extensions)


def _number(text: str, what: str, largest: int) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 10 or int(text) > largest:
        raise ValueError(f"{what} must be a number from 0 to {largest}")
    return int(text)
