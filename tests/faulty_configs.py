"""Configurations that are faulty, each in one way, on files that ``folder_of_faults`` makes."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Fault:
    """``text`` goes below ``data_dir``; ``key`` is what is to be named, and ``words`` are in what is said of it.

    ``files``: what lies beside the configuration, beyond what is sound.
    """

    text: str
    key: str
    words: str
    files: Callable[[Path], object] | None = None
    browser: bool = False


def _url(**keys: Any) -> str:
    lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in keys.items())
    return f'[reports.page]\nurl = "https://page.test/"\n{lines}\n'


def _template(text: str, words: str) -> Fault:
    return Fault(
        '[reports.page]\ntemplate = "page.html"\n',
        "reports.page.template",
        words,
        lambda folder: (folder / "page.html").write_text(text),
    )


def _schema(schema: Any, words: str) -> Fault:
    text = schema if isinstance(schema, str) else json.dumps(schema)
    return Fault(
        _url(parameters_schema="page.json"),
        "reports.page.parameters_schema",
        words,
        lambda folder: (folder / "page.json").write_text(text),
    )


def _tokens(text: str, words: str) -> Fault:
    return Fault(
        '[auth]\ntokens_file = "FOLDER/tokens"\n',
        "auth.tokens_file",
        words,
        lambda folder: (folder / "tokens").write_text(text),
    )


FAULTS: dict[str, Fault] = {
    "no TOML": Fault("[reports", "", "is not TOML"),
    "an unknown key": Fault("[log]\nlevl = 3\n", "log.levl", "did you mean log.level?"),
    "a wrong type": Fault("[shutdown]\ndrain_seconds = true\n", "shutdown.drain_seconds", "accepted: a number"),
    "out of bounds": Fault("[queue]\nmax_attempts = 0\n", "queue.max_attempts", "is too small"),
    "a queue without its DLQ": Fault('[queue]\nurl = "http://sqs.test/1/a"\n', "queue.dead_letter_url", "is missing"),
    "a bad alias": Fault(_url(aliases=["sales_summary"]), "reports.page.aliases", "already a name"),
    "a callback elsewhere": Fault(
        _url(callback_url="https://hooks.test/"), "reports.page.callback_url", "callbacks.allowed_hosts"
    ),
    "no such condition": Fault(_url(ready="lod"), "reports.page.ready", "is no such condition"),
    "no template": Fault('[reports.page]\ntemplate = "gone.html"\n', "reports.page.template", "no file gone.html"),
    "a template that is a folder": Fault(
        '[reports.page]\ntemplate = "sub"\n',
        "reports.page.template",
        "no file sub",
        lambda folder: (folder / "sub").mkdir(exist_ok=True),
    ),
    "an unclosed block": _template("{% if a %}", "page.html, line 1: Unexpected end of template"),
    "an unknown tag": _template("\n{% nothing %}", "line 2: Encountered unknown tag"),
    "an unknown filter": _template("{{ a | munny }}", "No filter named 'munny'"),
    "an unknown filter in a branch": _template("{% if a %}\n{{ a | munny }}{% endif %}", "line 2: No filter"),
    "an unknown test": _template("{% if a is evn %}{% endif %}", "No test named 'evn'. Did you mean even"),
    "a parent that is missing": _template('{% extends "parent.html" %}', "page.html: parent.html: no such template"),
    "a part that is missing": _template('{% if a %}{% include "part.html" %}{% endif %}', "part.html: no such"),
    "a parent with a fault": Fault(
        '[reports.page]\ntemplate = "child.html"\n',
        "reports.page.template",
        "parent.html, line 1: No filter named 'munny'",
        lambda folder: [
            (folder / "child.html").write_text('{% extends "parent.html" %}'),
            (folder / "parent.html").write_text("{{ a | munny }}"),
        ],
    ),
    "a large template with a fault": _template("<p>text</p>\n" * 2000 + "{{ a | munny }}", "line 2001: No filter"),
    "a template that is no text": Fault(
        '[reports.page]\ntemplate = "page.html"\n',
        "reports.page.template",
        "can't decode",
        lambda folder: (folder / "page.html").write_bytes(b"\xff"),
    ),
    "no schema": Fault(_url(parameters_schema="gone.json"), "reports.page.parameters_schema", "no file gone.json"),
    "a schema that is no JSON": _schema("{", "is not a JSON Schema"),
    "a schema that is a list": _schema([1], "it is no object"),
    "a schema of an unknown type": _schema({"type": "nothing"}, "is not a JSON Schema"),
    "an unresolved reference": _schema({"$ref": "#/$defs/gone"}, "is not a JSON Schema"),
    "a reference to elsewhere": _schema({"$ref": "http://127.0.0.1:9/a.json"}, "references that begin with #"),
    "a pattern that is none": _schema({"properties": {"a": {"pattern": "("}}}, "is not a JSON Schema"),
    "a large schema with a fault": _schema({"description": "x" * 10000, "type": "nothing"}, "is not a JSON Schema"),
    "requird": _schema({"requird": ["a"]}, "has requird at its top, which checks nothing; did you mean required?"),
    "propertis": _schema({"properties": {"a": {"propertis": {}}}}, "has propertis at /properties/a"),
    "minimun": _schema({"items": {"minimun": 3}}, "did you mean minimum?"),
    "no file of tokens": Fault('[auth]\ntokens_file = "FOLDER/gone"\n', "auth.tokens_file", "gone can't be read: No"),
    "tokens that are none": _tokens("nonsense\n", "tokens: line 1"),
    "no browser there": Fault('[pool]\nexecutable = "/gone/chromium"\n', "pool.executable", "can't be run"),
    "no file of authorities": Fault('[pool]\nca_file = "FOLDER/gone"\n', "pool.ca_file", "gone can't be read: No"),
    "no JavaScript": Fault(
        _url(ready="expression:window.done ==="), "reports.page.ready", "SyntaxError: Unexpected token", browser=True
    ),
    "a statement": Fault(_url(ready="expression:return 1"), "reports.page.ready", "SyntaxError", browser=True),
    "a style sheet in a header": Fault(
        _url() + "[reports.page.pdf]\nmargin = '20mm'\nheader_template = '<link href=\"https://x.test/a.css\">'\n",
        "reports.page.pdf.header_template",
        "has <link href=https://x.test/a.css>, which Chromium can't load",
    ),
    "no selector": Fault(_url(ready="selector:#a["), "reports.page.ready", "is not a valid selector", browser=True),
}


def write(folder: Path, fault: Fault, more: str = "") -> Path:
    """The configuration's file, and what it names."""
    file = folder / "reportd.toml"
    if fault.files is not None:
        fault.files(folder)
    head = "" if fault.text.startswith("[reports\n") else f'data_dir = "{folder}/data"\n{more}'
    file.write_text(head + fault.text.replace("FOLDER", str(folder)))
    return file
