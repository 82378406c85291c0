"""Prints the page of one job, and judges whether the PDF is the report (I14)."""

from dataclasses import replace
from pathlib import Path

import trio

from reportd.adapters.chromium.page import inspect
from reportd.adapters.chromium.page.glyphs import missing_glyphs
from reportd.adapters.chromium.page.inspect import Inspection, Wanted
from reportd.adapters.chromium.page.monitor import NOTICE_SECONDS, PageMonitor
from reportd.adapters.chromium.page.paper import Paper
from reportd.adapters.chromium.page.pdf import receive_pdf
from reportd.adapters.chromium.protocol.cdp import Cdp, CdpError
from reportd.core.faults import FaultError, FaultKind
from reportd.core.jobs.warnings import WarningKind
from reportd.core.pages.blank import blank_fault, is_blank
from reportd.ports import Pdf, RenderRequest


class Printing:
    """The print of one job's page, which is ready."""

    def __init__(self, page: Cdp, request: RenderRequest, monitor: PageMonitor) -> None:
        self._page = page
        self._request = request
        self._monitor = monitor
        self.added_sheet = False
        """Whether a style sheet was added to the document."""
        self.under_way = False
        """Whether the print command was left to itself, so that the page can't be used again."""

    async def pdf(self, spool_folder: Path) -> Pdf:
        """Print the page. Return the PDF with the warnings of its job. Raises FaultError, or as calls of ``Cdp`` do.

        ``spool_folder``: for a large PDF.
        """
        return await self._judged(await self._print(spool_folder))

    async def _print(self, spool_folder: Path) -> Pdf:
        request, monitor = self._request, self._monitor
        monitor.activity = "printing"
        paper = Paper(request.options)
        pending = inspect.inspect(self._page, _wanted(request, paper))
        if paper.depends_on_content:
            paper = paper.fitted(inspect.found(await pending.get()))
            inspect.add_sheet(self._page, paper.sheet)
        self.added_sheet = bool(paper.sheet)
        answer = self._page.send("Page.printToPDF", **paper.parameters, transferMode="ReturnAsStream")
        answer.when_granted(monitor.print_ended)
        try:
            found = inspect.found(await pending.get())
            self._judge(found, paper)
            result = await answer.get()
        except CdpError as error:
            await trio.sleep(NOTICE_SECONDS)
            raise FaultError(FaultKind.PRINT_REJECTED, str(error)) from error
        monitor.activity = "reading the PDF"
        try:
            pdf = await receive_pdf(self._page, result["stream"], spool_folder, found.metadata)
        except OSError as error:  # for example, the disk is full
            detail = f"{error.strerror}: {spool_folder}"
            raise FaultError(FaultKind.STORE_UNAVAILABLE, detail) from error
        return pdf

    def _judge(self, found: Inspection, paper: Paper) -> None:
        """Add what the page lacks to its warnings. Raises FaultError if it is no report, or as ``fail_on`` says."""
        monitor = self._monitor
        fault = inspect.fault_of(found, self._request.options.expect, monitor.warnings.all())
        for kind, what, why in inspect.lacks(found, paper.limit_px(found), monitor.warnings.all()):
            fault = fault or monitor.warned(monitor.warnings.add(kind, what, why))
        if fault is not None:
            self.under_way = True
            raise FaultError(fault.kind, fault.detail)

    async def _judged(self, pdf: Pdf) -> Pdf:
        """Return the PDF with the warnings of its job. Raises FaultError if it is blank, or as ``fail_on`` says."""
        monitor = self._monitor
        monitor.activity = "looking for missing glyphs"
        with pdf.discarded_on_error():
            if pdf.data is not None and is_blank(pdf.data):
                if monitor.leaving:
                    raise FaultError(FaultKind.NAVIGATED_AWAY, monitor.away(monitor.leaving).detail)
                blank = blank_fault(monitor.warnings.all())
                raise FaultError(blank.kind, blank.detail)
            if warning := await missing_glyphs(pdf, self._page):
                monitor.warnings.add(WarningKind.GLYPHS, warning.what, warning.why, warning.count)
                if fault := monitor.warned(warning):
                    raise FaultError(fault.kind, fault.detail)
        monitor.activity = "idle"
        return replace(pdf, warnings=monitor.warnings.all())


def _wanted(request: RenderRequest, paper: Paper) -> Wanted:
    return Wanted(
        expect=request.options.expect,
        page="" if paper.depends_on_content else paper.sheet,
        height=request.options.content_height,
        visible=bool(request.options.print_parameters.get("displayHeaderFooter")),
    )
