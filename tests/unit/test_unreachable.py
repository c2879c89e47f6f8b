"""A server that is not there, or is another one than it should be: what each command says of it."""

from __future__ import annotations

import contextlib
import datetime
import http.server
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.ports import free_port
from tests.unit.test_cli import Done, lkpy

SECRET = "a secret that is longer than 32 characters"
SCENARIO = """\
version: 1
name: nobody
duration: 1s
groups:
  - name: all
    count: 1
    publish:
      - { kind: audio }
"""
EXIT_SERVER = 3
HINT = "hint: is the server running, and is its address right? start one: lkpy server start --dev"
TLS_HINT = "hint: does the server speak TLS there, with a certificate that this machine trusts?"


class NotFound(http.server.BaseHTTPRequestHandler):
    """A web server that is no LiveKit server."""

    def _refuse(self) -> None:
        self.send_error(404)

    do_GET = do_POST = do_HEAD = _refuse

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def web_server(tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """Its port on loopback."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), NotFound) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def web_port() -> Iterator[int]:
    with web_server() as port:
        yield port


@pytest.fixture(scope="module")
def tls_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Of a server whose certificate nobody signed but itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(
        issuer_name=name,
        subject_name=name,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now - datetime.timedelta(days=1),
        not_valid_after=now + datetime.timedelta(days=1),
    )
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    file.write_bytes(private + public)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    with web_server(context) as port:
        yield port


@pytest.fixture(params=["room", "top", "sim"])
def command(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def run(command: str, url: str, directory: Path) -> Done:
    """Run the command against ``url``, without anything about its own choices on stderr."""
    scenario = directory / "nobody.yaml"
    scenario.write_text(SCENARIO)
    arguments = {
        "room": ["room", "list", "-q"],
        "top": ["top", "--once"],
        "sim": ["sim", "run", str(scenario), "-q", "--report", str(directory / "out")],
    }
    return lkpy(
        *(*arguments[command], "--url", url),
        LIVEKIT_API_KEY="key",
        LIVEKIT_API_SECRET=SECRET,
        LKPY_CACHE_DIR=str(directory / "cache"),
    )


def said(done: Done, reason: str, hint: str) -> None:
    assert done.returncode == EXIT_SERVER, done.stderr
    error, advice = done.stderr.splitlines()
    assert error.startswith(f"error: {reason}")
    assert advice.startswith(hint)


def test_nobody_listens(command: str, tmp_path: Path) -> None:
    url = f"ws://127.0.0.1:{free_port()}"
    said(run(command, url, tmp_path), f"cannot reach {url}: connection refused", HINT)


def test_an_unknown_host(command: str, tmp_path: Path) -> None:
    url = "ws://nobody.invalid:7880"
    reason = f"cannot reach {url}: name or service not known"
    said(run(command, url, tmp_path), reason, HINT)


def test_tls_where_there_is_none(command: str, web_port: int, tmp_path: Path) -> None:
    url = f"https://127.0.0.1:{web_port}"
    # The rest is OpenSSL's, and differs with its version.
    said(run(command, url, tmp_path), f"cannot reach {url}: TLS: ", TLS_HINT)


def test_a_certificate_that_nobody_trusts(command: str, tls_port: int, tmp_path: Path) -> None:
    url = f"wss://127.0.0.1:{tls_port}"
    reason = f"cannot reach {url}: TLS: its certificate is not trusted: self-signed certificate"
    said(run(command, url, tmp_path), reason, TLS_HINT)


@pytest.mark.parametrize(
    ("command", "reason", "hint"),
    [
        ("room", "does not serve LiveKit's API, or not this call: it answers 404", "hint: is that"),
        ("top", "has no /lkpy/v1/stats: it is not an lkpy server", "hint: lkpy top needs"),
        ("sim", "has no /rtc/validate", "hint: is that a LiveKit-compatible server?"),
    ],
)
def test_another_server(
    command: str, reason: str, hint: str, web_port: int, tmp_path: Path
) -> None:
    url = f"http://127.0.0.1:{web_port}"
    said(run(command, url, tmp_path), f"{url} {reason}", hint)
