"""QR codes as inline SVG, for report templates."""

import segno
from markupsafe import Markup


def qr(text: str, size: str = "30mm") -> Markup:
    """A QR code of a text in UTF-8, in the colour of the text around it. ``size``: a CSS length, quiet zone excluded.

    It stays readable with 15 % of it damaged (level M, which payment codes want). Raises ValueError when the text is
    longer than a code holds, 2,331 bytes.
    """
    code = segno.make_qr(text, error="m", boost_error=False, encoding="utf-8")
    modules = code.symbol_size(border=0)[0]
    path = "".join(f"M{x} {y}h1v1h-1z" for y, row in enumerate(code.matrix) for x, dark in enumerate(row) if dark)
    return Markup(
        '<svg class="qr" style="width:{0};height:{0}" viewBox="0 0 {1} {1}" shape-rendering="crispEdges">'
        '<path fill="currentColor" d="{2}"/></svg>'
    ).format(size, modules, path)
