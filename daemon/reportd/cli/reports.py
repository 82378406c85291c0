"""``reportd submit | get``: submit a report, follow it, and save its PDF."""

import argparse
import json
import sys
import time
from http import HTTPStatus
from pathlib import Path
from typing import Any
from uuid import uuid4

from reportd.cli.client import Command, add_client_options, plain, refused, say, with_client

NO_USER = "00000000-0000-0000-0000-000000000000"
LOOK_SECONDS = 2
"""How long a request waits for the end of a job, before what changed meanwhile is shown."""

TERMINAL = ("succeeded", "quarantined", "cancelled")


def add_to(command: Command) -> None:
    submit_parser = command("submit", submit, "Submit a report.")
    submit_parser.add_argument("type", help="the report type, e.g. sales_summary")
    submit_parser.add_argument("--params", required=True, metavar="JSON|@FILE|-", help="its parameters")
    submit_parser.add_argument("--user", default=NO_USER, metavar="UUID", help="the user the report is for")
    submit_parser.add_argument("--locale", metavar="TAG", help="its language, e.g. de-DE")
    submit_parser.add_argument("--timezone", metavar="ZONE", help="its time zone, e.g. Europe/Berlin")
    submit_parser.add_argument("--file-name", metavar="NAME", help="what the download is called")
    submit_parser.add_argument(
        "--pdf",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a print option, e.g. format=A5; may be repeated",
    )
    submit_parser.add_argument("--wait", action="store_true", help="until it is finished")
    submit_parser.add_argument("-o", dest="output", type=Path, metavar="FILE", help="save the PDF (waits)")
    get_parser = command("get", get, "Show a report, or save its PDF.")
    get_parser.add_argument("task_id", metavar="TASK_ID")
    get_parser.add_argument("-o", dest="output", type=Path, metavar="FILE", help="save the PDF")
    for parser in (submit_parser, get_parser):
        add_client_options(parser)


def submit(options: argparse.Namespace) -> int:
    """Return 1 also when the job itself fails, if it was waited for."""
    try:
        parameters = json.loads(_read(options.params))
    except (OSError, ValueError) as error:
        say(f"reportd: --params must be JSON, @FILE or -: {error}")
        return 2
    submission = {"reportType": options.type, "parameters": parameters, "userId": options.user}
    fields = {"locale": options.locale, "timezone": options.timezone, "fileName": options.file_name}
    fields["pdf"] = dict(_print_option(each) for each in options.pdf)
    submission |= {name: value for name, value in fields.items() if value}

    def work(client: Any) -> int:
        headers = {"Idempotency-Key": str(uuid4())}
        response = client.post("/reports/generate-async", json=submission, headers=headers)
        if response.status_code != HTTPStatus.ACCEPTED:
            return refused(response)
        task_id = response.json()["taskId"]
        print(task_id)
        if not options.wait and options.output is None:
            return 0
        return _finish(client, _follow(client, task_id), options.output)

    return with_client(options, work)


def get(options: argparse.Namespace) -> int:
    def work(client: Any) -> int:
        response = client.get(f"/reports/{options.task_id}")
        if response.status_code != HTTPStatus.OK:
            return refused(response)
        if options.output is None:
            print(json.dumps(response.json(), indent=2))
            _say_warnings(response.json())
            return 0
        return _finish(client, response.json(), options.output)

    return with_client(options, work)


def _print_option(text: str) -> tuple[str, Any]:
    """Return name and value of ``KEY=VALUE``; the daemon checks them. A value that is not JSON is a text."""
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _read(source: str) -> str:
    if source == "-":
        return sys.stdin.read()
    return Path(source[1:]).read_text() if source.startswith("@") else source


def _follow(client: Any, task_id: str) -> dict[str, Any]:
    """Long-poll until the job is finished, and print a line for every change."""
    started_at, last = time.monotonic(), ""
    while True:
        response = client.get(f"/reports/{task_id}", params={"wait": LOOK_SECONDS})
        response.raise_for_status()
        report: dict[str, Any] = response.json()
        line = f"{report['state']}, attempt {report['attempts']}"
        # An older daemon sends none.
        if (progress := report.get("progress")) is not None:
            line += f", {progress:.0%}"
        if error := report["error"]:
            line += f"; {error['kind']}: {plain(error['detail'])}"
        if line != last:
            say(f"{time.monotonic() - started_at:6.1f} s  {line}")
            last = line
        if report["state"] in TERMINAL:
            return report


def _say_warnings(report: dict[str, Any]) -> None:
    """Print what is missing from the PDF, one warning a line."""
    # An older daemon sends none.
    for warning in report.get("warnings", ()):
        times = f" ({warning['count']} times)" if warning["count"] > 1 else ""
        say(f"reportd: warning, {warning['kind']}: {plain(warning['what'])}: {plain(warning['why'])}{times}")


def _finish(client: Any, report: dict[str, Any], output: Path | None) -> int:
    """Save the PDF, or print why there is none. Return the exit status."""
    if report["state"] != "succeeded":
        error = report["error"]
        say(f"reportd: {report['state']}" + (f", {error['kind']}: {plain(error['detail'])}" if error else ""))
        return 1
    _say_warnings(report)
    if output is not None:
        with (
            client.stream("GET", report["pdf"]["url"], follow_redirects=True) as response,
            output.open("wb") as file,
        ):
            response.raise_for_status()
            for chunk in response.iter_bytes():
                file.write(chunk)
        say(f"{output}: {report['pdf']['bytes']} bytes")
    return 0
