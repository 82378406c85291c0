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

from jinja2 import (
    FileSystemLoader,
    StrictUndefined,
    TemplateAssertionError,
    TemplateNotFound,
    TemplateSyntaxError,
    nodes,
)
from jinja2.sandbox import ImmutableSandboxedEnvironment

from reportd.adapters.templates import charts, filters
from reportd.core.faults import FaultError, FaultKind
from reportd.system.file_descriptors import none_left


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
        self._loader = FileSystemLoader(self._folders)
        self._environment = ImmutableSandboxedEnvironment(
            loader=self._loader,
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

    def check(self, name: str, at_most_bytes: int | None = None) -> bool:
        """Compile a template and all it refers to by name, so that what can't be used is found before the first job.

        False when these have more bytes than that: then the rest has not been looked at. Raises TemplateFault.
        """
        left, seen, size = [name], {name}, 0
        while left:
            here = left.pop()
            with self._faults(name):
                size += self._size(here)
                if at_most_bytes is not None and size > at_most_bytes:
                    return False
                source, file, _ = self._loader.get_source(self._environment, here)
                tree = self._environment.parse(source, here, file)
                self._environment.compile(tree, here, file)
                self._check_names(tree, here)
            others = _references(tree) - seen
            left += others
            seen |= others
        return True

    def _check_names(self, tree: nodes.Template, template: str) -> None:
        """Within a condition Jinja leaves that to the first job that meets it."""
        for node in tree.find_all((nodes.Filter, nodes.Test)):
            filtering = isinstance(node, nodes.Filter)
            name = str(getattr(node, "name", ""))
            if name not in (self._environment.filters if filtering else self._environment.tests):
                what = "filter" if filtering else "test"
                raise TemplateAssertionError(f"No {what} named {name!r}.", node.lineno, template)

    def _size(self, name: str) -> int:
        """Before it is read: a file may have any."""
        files = (folder / name for folder in self._folders)
        return next((file.stat().st_size for file in files if file.is_file()), 0)

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


def _references(tree: nodes.Template) -> set[str]:
    """The templates that one can't do without, as far as it says so: not those of a list, or that may be missing."""
    found = tree.find_all((nodes.Extends, nodes.FromImport, nodes.Import, nodes.Include))
    needed = (getattr(node, "template", None) for node in found if not getattr(node, "ignore_missing", False))
    return {part.value for part in needed if isinstance(part, nodes.Const) and isinstance(part.value, str)}


def _reason(fault: Exception) -> str:
    """The fault in words. Jinja's own say what is undefined; a bare Python one needs its type with it."""
    return str(fault) if type(fault).__module__.startswith("jinja2") else f"{type(fault).__name__}: {fault}"
