"""DTLS and ICE as embedded and native stacks speak them (GStreamer, mbedTLS, FFmpeg, libpeer)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from aioice import stun
from aiortc import rtcdtlstransport
from aiortc.rtcdtlstransport import RTCCertificate, SRTPProtectionProfile
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

from tests.conformance import media
from tests.conformance.kit import Lobby
from tests.conformance.whip_kit import Whip

pytestmark = pytest.mark.row(17)

SUITES = b":".join(
    b"ECDHE-%s-AES%s-GCM-SHA%s" % (kind, bits, digest)
    for bits, digest in ((b"128", b"256"), (b"256", b"384"))
    for kind in (b"RSA", b"ECDSA")
)
NO_EXTENDED_MASTER_SECRET = 1
"""Of OpenSSL's options."""


class Certificate(RTCCertificate):
    """A certificate of any kind, and what its owner's DTLS is told."""

    def __init__(
        self,
        key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
        *,
        years: tuple[int, int] = (2020, 2049),
        options: int = 0,
        issuers: int = 0,
    ) -> None:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "small stack")])
        unsigned = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(datetime(years[0], 1, 1, tzinfo=UTC))
            .not_valid_after(datetime(years[1], 1, 1, tzinfo=UTC))
        )
        super().__init__(key, unsigned.sign(key, hashes.SHA256()))  # type: ignore[arg-type]
        self._options, self._issuers = options, issuers

    def _create_ssl_context(self, srtp_profiles: list[SRTPProtectionProfile]) -> SSL.Context:
        context = super()._create_ssl_context(srtp_profiles)
        context.set_cipher_list(SUITES)
        context.set_options(self._options)
        for _ in range(self._issuers):
            context.add_extra_chain_cert(self._cert)
        return context


def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65_537, bits)


CERTIFICATES: dict[str, Callable[[], Certificate]] = {
    "P-256": lambda: Certificate(ec.generate_private_key(ec.SECP256R1())),
    "P-384": lambda: Certificate(ec.generate_private_key(ec.SECP384R1())),
    "RSA-2048": lambda: Certificate(rsa_key()),
    "expired": lambda: Certificate(rsa_key(), years=(1999, 2000)),
    "not yet valid": lambda: Certificate(rsa_key(), years=(2048, 2049)),
    "chain": lambda: Certificate(ec.generate_private_key(ec.SECP256R1()), issuers=2),
    "no extended master secret": lambda: Certificate(rsa_key(), options=NO_EXTENDED_MASTER_SECRET),
}


async def publish(lobby: Lobby, certificate: Certificate | None, setup: str) -> None:
    """Somebody with this certificate and role publishes, somebody else hears it."""
    bob = await media.join(lobby, "bob", single=True)
    device = Whip(lobby, "device")
    device.pc.addTransceiver(media.Tone(), direction="sendonly")
    if certificate is not None:
        transport = device.pc.getTransceivers()[0].sender.transport
        setattr(transport, "_RTCDtlsTransport__local_certificate", certificate)  # noqa: B010
    await device.describe()
    await device.connect(device.offer.replace("a=setup:actpass", f"a=setup:{setup}"))
    info = await bob.signal.expect_participant("device", lambda p: len(p.tracks) == 1)
    await bob.receives(info.tracks[0].sid)


@pytest.mark.parametrize("setup", ["actpass", "passive"])
@pytest.mark.parametrize("kind", CERTIFICATES)
async def test_certificates_of_every_kind(lobby: Lobby, kind: str, setup: str) -> None:
    await publish(lobby, CERTIFICATES[kind](), setup)


@pytest.mark.parametrize("setup", ["actpass", "passive"])
async def test_srtp_without_an_aead(
    lobby: Lobby, monkeypatch: pytest.MonkeyPatch, setup: str
) -> None:
    only = [p for p in rtcdtlstransport.SRTP_PROFILES if b"SHA1_80" in p.openssl_profile]
    monkeypatch.setattr(rtcdtlstransport, "SRTP_PROFILES", only)
    await publish(lobby, None, setup)


# -- ICE -----------------------------------------------------------------------------------------

ROLES = ("ICE-CONTROLLING", "ICE-CONTROLLED")


def _without(*names: str) -> Callable[[dict[str, Any]], None]:
    def remove(attributes: dict[str, Any]) -> None:
        for name in names:
            attributes.pop(name, None)

    return remove


def _zero(attributes: dict[str, Any]) -> None:
    attributes.update({name: 0 for name in ROLES if name in attributes})


def _software(attributes: dict[str, Any]) -> None:
    attributes["SOFTWARE"] = "libpeer"


CHECKS: dict[str, Callable[[dict[str, Any]], None]] = {
    "no PRIORITY": _without("PRIORITY"),
    "no role": _without(*ROLES),
    "no role and no PRIORITY": _without("PRIORITY", *ROLES),
    "a tie breaker of 0": _zero,
    "SOFTWARE": _software,
}


@pytest.fixture
def write(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Changes what messages of a class say before they are signed."""
    sign = stun.Message.add_message_integrity

    def change(kind: stun.Class, edit: Callable[[dict[str, Any]], None]) -> None:
        def edited(message: stun.Message, key: bytes) -> None:
            if message.message_class == kind:
                edit(message.attributes)
            sign(message, key)

        monkeypatch.setattr(stun.Message, "add_message_integrity", edited)

    return change


@pytest.mark.parametrize("check", CHECKS)
async def test_checks_that_say_little(lobby: Lobby, write: Callable[..., None], check: str) -> None:
    write(stun.Class.REQUEST, CHECKS[check])
    await publish(lobby, None, "actpass")


async def test_a_priority_of_eight_bytes(lobby: Lobby, monkeypatch: pytest.MonkeyPatch) -> None:
    number, name, pack, unpack = stun.ATTRIBUTES_BY_NAME["PRIORITY"]
    wide = (number, name, lambda value: pack(value) + bytes(4), unpack)
    monkeypatch.setitem(stun.ATTRIBUTES_BY_NAME, "PRIORITY", wide)
    await publish(lobby, None, "actpass")


async def test_answers_without_the_mapped_address(lobby: Lobby, write: Callable[..., None]) -> None:
    write(stun.Class.RESPONSE, _without("XOR-MAPPED-ADDRESS"))
    await publish(lobby, None, "actpass")


async def test_checks_without_a_fingerprint(lobby: Lobby, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stun.Message, "add_fingerprint", lambda message: None)
    await publish(lobby, None, "actpass")
