"""Headers and footers that are Jinja templates: which a report type has, and what a job prints there.

Called by ``report_types`` for the check of a configuration, and by ``catalogue`` for a job.
"""

from collections.abc import Mapping
from dataclasses import replace

from reportd.config import ReportType
from reportd.config.pdf import BLANK
from reportd.core.jobs.job import Job
from reportd.core.pages.print_templates import is_rendered
from reportd.core.pages.template_context import TemplateContext
from reportd.ports import Checker, RenderOptions

_ON_THE_PROTOCOL = {"pdf.header_template": "headerTemplate", "pdf.footer_template": "footerTemplate"}


def print_templates(report: ReportType) -> Mapping[str, str]:
    """Return the headers and footers that have to be rendered, by their keys in the report type."""
    both = {"pdf.header_template": report.pdf.header_template, "pdf.footer_template": report.pdf.footer_template}
    return {key: template for key, template in both.items() if is_rendered(template)}


async def with_print_templates(
    options: RenderOptions, report: ReportType, job: Job, context: TemplateContext, checker: Checker
) -> RenderOptions:
    """Return the options with what the job has in its header and footer. Raises FaultError, or UnavailableError."""
    rendered = {
        _ON_THE_PROTOCOL[key]: await checker.print_template(
            key, template, job.parameters, report.timeout_seconds, context
        )
        or BLANK
        for key, template in print_templates(report).items()
    }
    return replace(options, print_parameters={**options.print_parameters, **rendered}) if rendered else options
