"""What a page is told about its surroundings: paper, media, motion, language, zone.

Each job sets all of it, so nothing is inherited.

A warm page serves many jobs. ``apply`` sends only what differs from the job before, which is nothing for most jobs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reportd.adapters.chromium.protocol.cdp import Answer, Cdp
from reportd.ports import RenderOptions

PX_PER_INCH = 96

_CHROMIUMS_OWN: dict[str, float] = {
    # The defaults of CDP Page.printToPDF.
    "paperWidth": 8.5,
    "paperHeight": 11,
    "landscape": False,
    "scale": 1,
    **dict.fromkeys(("marginTop", "marginRight", "marginBottom", "marginLeft"), 0.4),
}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """``width`` and ``height``: of the viewport in CSS pixels; 0 leaves Chromium's 800 by 600.

    ``device_scale_factor``: device pixels per CSS pixel; canvases are drawn with it. ``media``: print or screen.
    ``locale``: a BCP 47 tag, ``timezone``: an IANA name; empty for the browser's own.
    """

    width: int = 0
    height: int = 0
    device_scale_factor: float = 1.0
    media: str = ""
    reduced_motion: bool = False
    locale: str = ""
    timezone: str = ""


def surroundings_of(options: RenderOptions) -> Surroundings:
    """Return what a job's options say about them."""
    width, height = options.viewport or printable_area(options.print_parameters)
    return Surroundings(
        width=width,
        height=height,
        device_scale_factor=options.device_scale_factor,
        media=options.media,
        reduced_motion=options.reduced_motion,
        locale=options.locale,
        timezone=options.timezone,
    )


class Emulation:
    """The surroundings of one page."""

    def __init__(self, page: Cdp) -> None:
        self._page = page
        self._present = Surroundings()
        """What Chromium begins with: a window of its own size, on a screen."""

    def apply(self, wanted: Surroundings) -> list[Answer]:
        """Send what differs from the present surroundings."""
        before, self._present = self._present, wanted
        answers = []
        if _metrics(before) != _metrics(wanted):
            answers.append(self._page.send("Emulation.setDeviceMetricsOverride", **_metrics(wanted)))
        if _media(before) != _media(wanted):
            answers.append(self._page.send("Emulation.setEmulatedMedia", **_media(wanted)))
        if before.locale != wanted.locale:
            # The first is for Intl and the dates of headers, the second for navigator and Accept-Language.
            answers.append(self._page.send("Emulation.setLocaleOverride", locale=wanted.locale))
            answers.append(self._page.send("Emulation.setUserAgentOverride", **_languages(wanted)))
        if before.timezone != wanted.timezone:
            answers.append(self._page.send("Emulation.setTimezoneOverride", timezoneId=wanted.timezone))
        return answers


def print_defaults(print_parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters with Chromium's own values for the sizes that are missing."""
    return _CHROMIUMS_OWN | dict(print_parameters)


def printable_area(print_parameters: Mapping[str, Any]) -> tuple[int, int]:
    """Return width and height of the paper within its margins, in CSS pixels of the page.

    ``print_parameters``: of CDP ``Page.printToPDF``, in inches; ``scale`` makes a page of more pixels fit.
    """
    given = print_defaults(print_parameters)
    width, height = given["paperWidth"], given["paperHeight"]
    if given["landscape"]:
        width, height = height, width
    width -= given["marginLeft"] + given["marginRight"]
    height -= given["marginTop"] + given["marginBottom"]
    pixels = PX_PER_INCH / given["scale"]
    return max(1, int(width * pixels)), max(1, int(height * pixels))


def _metrics(wanted: Surroundings) -> dict[str, Any]:
    return {
        "width": wanted.width,
        "height": wanted.height,
        "deviceScaleFactor": wanted.device_scale_factor,
        "mobile": False,
    }


def _media(wanted: Surroundings) -> dict[str, Any]:
    value = "reduce" if wanted.reduced_motion else ""
    return {"media": wanted.media, "features": [{"name": "prefers-reduced-motion", "value": value}]}


def _languages(wanted: Surroundings) -> dict[str, str]:
    # An empty user agent is the browser's own.
    return {"userAgent": "", "acceptLanguage": wanted.locale}
