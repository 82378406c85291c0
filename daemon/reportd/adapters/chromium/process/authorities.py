"""Makes Chromium trust further authorities: those in the NSS database of its user (``~/.pki/nssdb``).

This is the only way that keeps all checks of a chain: names, dates, signatures. A flag that ignores errors by key
(``--ignore-certificate-errors-spki-list``) accepts any chain that just contains the authority's certificate, which is
public. NSS writes its database itself; Chromium needs the same library, so it is there.
"""

import ctypes
from collections.abc import Iterable
from pathlib import Path

from reportd.ports import BrowserError

FOLDER = ".pki/nssdb"
"""Where Chromium looks for it, below HOME."""

_TRUSTED_FOR_SERVERS = b"C,,"
"""The trust string of certutil(1): an authority for TLS servers, and for nothing else."""


class _Item(ctypes.Structure):
    """SECItem."""

    _fields_ = (("type", ctypes.c_int), ("data", ctypes.c_char_p), ("length", ctypes.c_uint))


class _Trust(ctypes.Structure):
    """CERTCertTrust."""

    _fields_ = (("ssl", ctypes.c_uint), ("email", ctypes.c_uint), ("signing", ctypes.c_uint))


def write_authorities(folder: Path, certificates: Iterable[bytes]) -> None:
    """Make a database in ``folder`` that trusts these certificates (DER). Blocks for 5 ms a certificate.

    Raises BrowserError.
    """
    folder.mkdir(parents=True)
    try:
        nss = _library()
    except OSError as error:
        raise BrowserError(f"pool.ca_file needs NSS: {error}; apt install libnss3") from error
    context = nss.NSS_InitContext(f"sql:{folder}".encode(), b"", b"", b"", None, 0)
    if not context:
        raise BrowserError(f"pool.ca_file: NSS can't make its database in {folder}")
    try:
        slot = nss.PK11_GetInternalKeySlot()
        # The database has no password: it holds no secret.
        good = not nss.PK11_NeedUserInit(slot) or nss.PK11_InitPin(slot, None, b"") == 0
        for number, certificate in enumerate(certificates):
            good = good and _trust(nss, slot, number, certificate)
        nss.PK11_FreeSlot(slot)
    finally:
        nss.NSS_ShutdownContext(context)
    if not good:
        raise BrowserError("pool.ca_file: NSS does not accept one of its certificates")


def _trust(nss: ctypes.CDLL, slot: int, number: int, certificate: bytes) -> bool:
    database = nss.CERT_GetDefaultCertDB()
    item = _Item(0, certificate, len(certificate))
    known = nss.CERT_NewTempCertificate(database, ctypes.byref(item), None, 0, 1)
    if not known:
        return False
    trust = _Trust()
    good: bool = (
        nss.PK11_ImportCert(slot, known, 0, f"authority {number}".encode(), 0) == 0
        and nss.CERT_DecodeTrustString(ctypes.byref(trust), _TRUSTED_FOR_SERVERS) == 0
        and nss.CERT_ChangeCertTrust(database, known, ctypes.byref(trust)) == 0
    )
    nss.CERT_DestroyCertificate(known)
    return good


def _library() -> ctypes.CDLL:
    """Return libnss3 with the types of its functions (nss.h, pk11pub.h, cert.h). Raises OSError."""
    nss = ctypes.CDLL("libnss3.so")
    pointer, text, number, unsigned = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_ulong
    for name, result, arguments in (
        ("NSS_InitContext", pointer, (text, text, text, text, pointer, ctypes.c_uint32)),
        ("NSS_ShutdownContext", number, (pointer,)),
        ("PK11_GetInternalKeySlot", pointer, ()),
        ("PK11_FreeSlot", None, (pointer,)),
        ("PK11_NeedUserInit", number, (pointer,)),
        ("PK11_InitPin", number, (pointer, text, text)),
        ("PK11_ImportCert", number, (pointer, pointer, unsigned, text, number)),
        ("CERT_GetDefaultCertDB", pointer, ()),
        ("CERT_NewTempCertificate", pointer, (pointer, pointer, text, number, number)),
        ("CERT_DestroyCertificate", None, (pointer,)),
        ("CERT_DecodeTrustString", number, (pointer, text)),
        ("CERT_ChangeCertTrust", number, (pointer, pointer, pointer)),
    ):
        function = getattr(nss, name)
        function.restype, function.argtypes = result, arguments
    return nss
