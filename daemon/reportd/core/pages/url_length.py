"""How long the URL of a page may be. The catalogue asks it at submission, the page when a server gives no answer."""

from urllib.parse import quote

MAX_URL_CHARS = 2 * 1024 * 1024
"""Chromium opens no longer URL (``url::kMaxURLChars``)."""

USUAL_URL_CHARS = 8192
"""Most servers take no longer request line: nginx 8 KiB (``large_client_header_buffers``), Apache 8,190 bytes
(``LimitRequestLine``); RFC 9112 section 3 asks them for 8,000 octets at least.
"""

UUID_CHARS = 36

_UNESCAPED = bytes(byte for byte in range(128) if quote(chr(byte), safe="") == chr(byte))


def quoted_length(text: str) -> int:
    """Return the length of ``quote(text, safe="")``, a thousand times faster."""
    encoded = text.encode()
    return len(encoded) + 2 * len(encoded.translate(None, _UNESCAPED))


def url_length(url: str, parameters_text: str) -> int:
    """Return the length of a report type's ``url`` once its placeholders are filled."""
    length = len(url)
    for placeholder, chars in (("{params}", 0), ("{taskId}", UUID_CHARS), ("{userId}", UUID_CHARS)):
        if count := url.count(placeholder):
            length += count * ((chars or quoted_length(parameters_text)) - len(placeholder))
    return length


def too_long(length: int) -> str:
    """Return why a URL of this length can't be opened; empty if it can."""
    if length <= MAX_URL_CHARS:
        return ""
    return f"the page's URL would have {length} characters; the browser opens at most {MAX_URL_CHARS}"
