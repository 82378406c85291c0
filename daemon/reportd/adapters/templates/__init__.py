"""Turns a report template and its parameters into one HTML page.

Called by whoever makes a page for the browser: `Templates.render`. Templates are the operator's own files,
yet run in Jinja's sandbox and with strict undefined names: a template with a bug must say so, and can
neither print a half-empty report nor reach into the daemon. Parameters are only ever values, never template
text; all that is printed is escaped.
"""

import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jinja2 import FileSystemLoader, StrictUndefined, TemplateNotFound, TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from reportd.adapters.templates import charts, filters
from reportd.core.faults import FaultError, FaultKind
from reportd.descriptors import none_left


class TemplateFault(FaultError):  # noqa: N818
    """A template could not be rendered. The text names the template, the line, and what is wrong with it."""

    def __init__(self, detail: str) -> None:
        super().__init__(FaultKind.TEMPLATE_ERROR, detail)

    def __str__(self) -> str:
        return self.fault.detail


class Templates:
    """The templates found in `folders`, of which an earlier one hides files of the same name in a later one.

    A template is compiled when it is first used, and again when its file changes. One object may be used by
    many threads.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = [folder.resolve() for folder in folders]
        self._environment = ImmutableSandboxedEnvironment(
            loader=FileSystemLoader(self._folders),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            # What is constant would be computed when the template is read, in the daemon, whatever it takes.
            optimized=False,
        )
        self._environment.filters |= {
            "amount": filters.amount,
            "bar_chart": charts.bar_chart,
            "column": filters.column,
            "compact": filters.compact,
            "css_string": filters.css_string,
            "day": filters.day,
            "has": filters.has,
            "line_chart": charts.line_chart,
            "money": filters.money,
            "number": filters.number,
            "places": filters.places,
            "percent": filters.percent,
            "short_money": filters.short_money,
            "short_number": filters.short_number,
            "span": filters.span,
            "top": filters.top,
            "total": filters.total,
            "totals_by": filters.totals_by,
            "weekday": filters.weekday,
        }

    def check(self, name: str) -> None:
        """Compile a template, so that one that can't be used is found before the first job. Raises TemplateFault."""
        with self._faults(name):
            self._environment.get_template(name)

    def render(self, name: str, parameters: Mapping[str, Any]) -> str:
        """The HTML of template `name`. Pure CPU, and no more than a tenth of a second for 5,000 rows.

        Raises TemplateFault, whatever went wrong; but FaultError when the node has no file descriptor to open it with.
        """
        with self._faults(name):
            return self._environment.get_template(name).render(parameters)

    @contextmanager
    def _faults(self, name: str) -> Iterator[None]:
        try:
            yield
        except TemplateNotFound as fault:
            where = name if fault.name == name else f"{name}: {fault.name}"
            folders = ", ".join(map(str, self._folders))
            raise TemplateFault(f"{where}: no such template in {folders}") from fault
        except TemplateSyntaxError as fault:
            raise TemplateFault(f"{fault.name or name}, line {fault.lineno}: {fault.message}") from fault
        except Exception as fault:
            if none_left(fault):
                raise FaultError(FaultKind.OUT_OF_FILES, f"{name} can't be opened: {fault}") from fault
            # A template can raise anything (a division by zero, a date that is none): all is its own fault.
            raise TemplateFault(f"{self._place(fault) or name}: {_reason(fault)}") from fault

    def _place(self, fault: Exception) -> str | None:
        """Where in a template it happened: Jinja rewrites tracebacks to the template's own file and line."""
        for frame in reversed(traceback.extract_tb(fault.__traceback__)):
            for folder in self._folders:
                path = Path(frame.filename)
                if path.suffix != ".py" and path.is_relative_to(folder):
                    return f"{path.relative_to(folder)}, line {frame.lineno}"
        return None


def _reason(fault: Exception) -> str:
    """The fault in words. Jinja's own say what is undefined; a bare Python one needs its type with it."""
    return str(fault) if type(fault).__module__.startswith("jinja2") else f"{type(fault).__name__}: {fault}"
