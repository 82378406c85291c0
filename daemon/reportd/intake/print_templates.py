"""Headers and footers that are Jinja templates: which a report type has, and what a job prints there.

Called by ``report_types``, which reads and checks them, and by ``catalogue`` for a job. A file is read with the
configuration: what is in it later is not in force before a reload has checked it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from reportd.config import ReportType
from reportd.config.pdf import BLANK
from reportd.core.jobs.job import Job
from reportd.core.pages.print_templates import is_rendered
from reportd.core.pages.template_context import TemplateContext
from reportd.ports import Checker, RenderOptions

_ON_THE_PROTOCOL = {"pdf.header_template": "headerTemplate", "pdf.footer_template": "footerTemplate"}


@dataclass(frozen=True, slots=True)
class PrintTemplate:
    """``name`` is what faults call it: its file, or its key."""

    name: str
    text: str


def print_templates(report: ReportType) -> Mapping[str, str]:
    """Return the headers and footers that have to be rendered, by their keys in the report type."""
    both = {"pdf.header_template": report.pdf.header_template, "pdf.footer_template": report.pdf.footer_template}
    return {key: template for key, template in both.items() if is_rendered(template)}


async def with_print_templates(
    options: RenderOptions,
    templates: Mapping[str, PrintTemplate],
    job: Job,
    seconds: float,
    context: TemplateContext,
    checker: Checker,
) -> RenderOptions:
    """Return the options with what the job has in its header and footer. Raises FaultError, or UnavailableError.

    ``templates``: by their keys in the report type. ``seconds``: the most that each may take.
    """
    rendered = {
        _ON_THE_PROTOCOL[key]: await checker.print_template(one.name, one.text, job.parameters, seconds, context)
        or BLANK
        for key, one in templates.items()
    }
    return replace(options, print_parameters={**options.print_parameters, **rendered}) if rendered else options
