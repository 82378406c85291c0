"""A certificate authority for tests: it signs servers' certificates, through one of its own in between."""

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from reportd.concurrency.nurseries import open_background
from tests.servers.site import Content, Site

_DAY = timedelta(days=1)


class Authority:
    """``file``: its certificate in PEM. The one in between belongs to the chain that a server sends."""

    def __init__(self, folder: Path, name: str = "Tests") -> None:
        self._folder = folder / name
        self._folder.mkdir(parents=True)
        self._name = name
        self.certificate, key = _signed(name, None, None)
        self._between, self._key = _signed(f"{name} between", self.certificate, key)
        self.file = self._folder / "authority.pem"
        self.file.write_bytes(self.certificate.public_bytes(Encoding.PEM))

    def server(
        self, address: str = "127.0.0.1", *, expired: bool = False, chain: tuple[x509.Certificate, ...] | None = None
    ) -> ssl.SSLContext:
        """What a server at ``address`` needs. ``chain``: what it sends besides its own certificate."""
        certificate, key = _signed("server", self._between, self._key, address=address, expired=expired)
        file = self._folder / "server.pem"
        sent = (certificate, *((self._between,) if chain is None else chain))
        file.write_bytes(
            b"".join(one.public_bytes(Encoding.PEM) for one in sent)
            + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context


@asynccontextmanager
async def open_secure_site(context: ssl.SSLContext, pages: Mapping[str, Content]) -> AsyncIterator[str]:
    """Yield the URL of a site, without a path, that speaks only TLS."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    site = Site("127.0.0.1", port, pages)

    async def serve(stream: trio.SSLStream[trio.SocketStream]) -> None:
        # A client that does not trust the certificate breaks the handshake off.
        with suppress(trio.BrokenResourceError):
            await site.serve(stream)  # type: ignore[arg-type]  # it needs only what every stream has

    async with open_background() as nursery:
        nursery.start_soon(trio.serve_listeners, serve, [trio.SSLListener(listener, context)])
        yield f"https://127.0.0.1:{port}"


def _signed(
    name: str,
    issuer: x509.Certificate | None,
    issuer_key: EllipticCurvePrivateKey | None,
    *,
    address: str = "",
    expired: bool = False,
) -> tuple[x509.Certificate, EllipticCurvePrivateKey]:
    """A certificate and its key: a server's if ``address`` is given, else an authority's."""
    key, now = generate_private_key(SECP256R1()), datetime.now(UTC)
    own = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(own)
        .issuer_name(own if issuer is None else issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 30 * _DAY)
        .not_valid_after(now + (-_DAY if expired else 30 * _DAY))
        .add_extension(x509.BasicConstraints(ca=not address, path_length=None), critical=True)
    )
    if address:
        names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(issuer_key or key, hashes.SHA256()), key
