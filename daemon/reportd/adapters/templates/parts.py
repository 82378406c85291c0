"""Reads from a compiled template what it is made of: other templates by name, and the files that its text asks for."""

from collections.abc import Iterator

from jinja2 import nodes

from reportd.core.pages.references import UNKNOWN, TemplateParts, html_references


def parts_of(tree: nodes.Template) -> TemplateParts:
    """Return the parts that the text names. Names that are computed are not known before a job is rendered."""
    required, optional = template_names(tree)
    return TemplateParts(required, optional, html_references(_text(tree)))


def template_names(tree: nodes.Template) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the templates that this one extends, includes or imports, and those that may be missing."""
    required: list[str] = []
    optional: list[str] = []
    for statement in tree.find_all((nodes.Extends, nodes.FromImport, nodes.Import, nodes.Include)):
        names = list(_names(getattr(statement, "template", None)))
        # Of a list, the first that is there is taken.
        surely = len(names) == 1 and not getattr(statement, "ignore_missing", False)
        (required if surely else optional).extend(names)
    return tuple(required), tuple(optional)


def _names(node: nodes.Node | None) -> Iterator[str]:
    for part in node.items if isinstance(node, nodes.List | nodes.Tuple) else [node]:
        if isinstance(part, nodes.Const) and isinstance(part.value, str):
            yield part.value


def _text(tree: nodes.Template) -> str:
    """Return the text of the template, with a mark in the place of what is computed, and around each branch."""
    return "".join(_pieces(tree))


_BRANCH = f" {UNKNOWN} "
"""Stands between the branches of a condition: in an address, as in `{% if dark %}dark{% else %}light{% endif %}.css`,
only a job knows which of them is there."""


def _pieces(node: nodes.Node) -> Iterator[str]:
    if isinstance(node, nodes.Output):
        for part in node.nodes:
            yield part.data if isinstance(part, nodes.TemplateData) else UNKNOWN
        return
    plain = isinstance(node, nodes.Template | nodes.Block)
    for _, value in node.iter_fields():
        if isinstance(value, list):
            yield "" if plain else _BRANCH
            for each in value:
                if isinstance(each, nodes.Node):
                    yield from _pieces(each)
            yield "" if plain else _BRANCH
        elif isinstance(value, nodes.Node):
            yield from _pieces(value)
