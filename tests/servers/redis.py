"""A real Redis for tests, on a free loopback port, that keeps nothing on disk. It ends with its block."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.servers.ports import free_port

START_SECONDS = 10.0


class RedisServer:
    """Made by ``running_redis``. It may be started again with further options, at the same address."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.folder = folder
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def runs(self) -> bool:
        return self._server is not None

    def start(self, *options: str) -> None:
        nothing_kept = ("--save", "", "--appendonly", "no")
        self._start("--bind", "127.0.0.1", "--port", str(self.port), *nothing_kept, *options)

    def start_sentinel(self, file: Path) -> None:
        """It writes to its file what it learns."""
        self._start(str(file), "--sentinel", "--bind", "127.0.0.1", "--port", str(self.port))

    def _start(self, *options: str) -> None:
        command = ["setpriv", "--pdeathsig=KILL", "redis-server", *options]
        command += ["--dir", str(self.folder), "--loglevel", "warning"]
        self._server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        until = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
            except ConnectionRefusedError:
                assert self._server.poll() is None, "redis-server has ended"
                assert time.monotonic() < until, "redis-server does not listen"
                time.sleep(0.01)
            else:
                return

    def stop(self) -> None:
        """All that it kept is gone."""
        if self._server is not None:
            self._server.kill()
            self._server.wait()
            self._server = None

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """It takes connections and answers nothing."""
        assert self._server is not None
        self._server.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._server.send_signal(signal.SIGCONT)

    def ask(self, *words: str) -> str:
        """What redis-cli prints."""
        command = ["redis-cli", "-p", str(self.port), *words]
        answer = subprocess.run(command, check=False, capture_output=True, text=True, env=os.environ)
        assert answer.returncode == 0, (answer.stdout, answer.stderr, self._server and self._server.poll())
        return answer.stdout.strip()


@contextmanager
def running_redis() -> Iterator[RedisServer]:
    if not shutil.which("redis-server"):
        pytest.skip("needs Redis: apt-get install redis-server")
    with tempfile.TemporaryDirectory(prefix="reportd-redis-") as folder:
        server = RedisServer(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()


def make_certificate(folder: Path, host: str) -> tuple[str, str]:
    """Two files: a certificate that vouches for itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(encoding))
    (folder / "key.pem").write_bytes(key.private_bytes(encoding, form, serialization.NoEncryption()))
    return str(folder / "certificate.pem"), str(folder / "key.pem")
