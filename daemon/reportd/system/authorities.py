"""Certificate authorities of the operator's own (``pool.ca_file``), beside those that everybody trusts."""

import ssl
from pathlib import Path

import httpx

from reportd.system.regular_files import read_regular


def read_authorities(path: Path) -> tuple[bytes, ...]:
    """Return the certificates of a PEM file, in DER.

    Raises OSError if it can't be read, and ValueError if it holds no certificate of an authority.
    """
    # Between the certificates may be comments, in any language.
    text = read_regular(path)[0].decode("ascii", errors="ignore")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError):
        raise ValueError("holds no certificate in PEM") from None
    authorities = context.get_ca_certs(binary_form=True)
    if not authorities:
        raise ValueError("holds no certificate of an authority, only of servers")
    return tuple(authorities)


def trusting(ca_file: Path | None, *more: str) -> ssl.SSLContext:
    """Return a context for clients: it trusts what browsers trust, what the machine trusts, and the ``ca_file``.

    ``more``: paths of further PEM files. Raises OSError.
    """
    trusted = httpx.create_ssl_context(trust_env=False)
    trusted.load_default_certs()
    for path in (ca_file, *more):
        if path is not None:
            trusted.load_verify_locations(path)
    return trusted
