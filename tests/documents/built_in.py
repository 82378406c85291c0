"""Prints the built-in reports for tests, which have a stage of their own."""

import json
from pathlib import Path
from typing import Any

import trio

import reportd_web
from reportd.adapters.templates.templates import Templates
from reportd.config.pdf import PdfOptions
from reportd.core.pages.template_context import TemplateContext
from reportd.core.schemas.compiled import problems
from tests.servers.chromium import Stage, request

REPORTS = Path(reportd_web.__file__).parent / "reports"
LANGUAGES = ("en", "de", "zh", "ar")


def sample(report: str) -> dict[str, Any]:
    parameters: dict[str, Any] = json.loads((REPORTS / f"{report}.sample.json").read_text())
    return parameters


def printed(stage: Stage, templates: Templates, report: str, parameters: dict[str, Any], locale: str = "") -> bytes:
    """Return the PDF. The page must be inert, and nothing may be missing from it."""
    html = templates.render(f"{report}.html", parameters, TemplateContext(locale=locale))
    asked = request(html=html, print_parameters=PdfOptions().print_parameters())
    assert asked.inert

    async def render() -> bytes:
        async with stage.page() as page:
            pdf = await page.render(asked)
        assert pdf.warnings == ()
        data = pdf.data if pdf.data is not None else await trio.Path(pdf.path or "").read_bytes()
        pdf.discard()
        return data

    return stage.portal.call(render)


def is_valid(report: str, parameters: object) -> bool:
    return not problems((REPORTS / f"{report}.schema.json").read_bytes(), json.dumps(parameters).encode())
