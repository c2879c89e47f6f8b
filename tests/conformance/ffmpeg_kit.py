"""FFmpeg as a WHIP client, in a process of its own: it waits where it likes."""

from __future__ import annotations

import asyncio
import datetime
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import av
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

needs_whip = pytest.mark.skipif(
    "whip" not in av.formats_available, reason="this build of FFmpeg has no WHIP"
)


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate on P-256 and its key. Builds with GnuTLS make one on P-224 otherwise."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ffmpeg")])
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now - day, now + day)
    signed = made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(signed)
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
    return paths


@asynccontextmanager
async def publishing(url: str, token: str, profile: str, folder: Path) -> AsyncIterator[None]:
    """FFmpeg publishes with a token; ``url`` is the server's."""
    script = Path(__file__).parent / "ffmpeg_whip.py"
    arguments = script, f"{url}/whip/v1", token, profile, *certificate(folder)
    process = await asyncio.create_subprocess_exec(sys.executable, *map(str, arguments))
    try:
        yield
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
