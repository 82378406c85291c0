"""``reportd breakers [open | close | probe]``: show the breakers, or move one."""

import argparse
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from reportd.cli.client import Command, add_client_options, plain, refused, say, with_client


def add_to(command: Command) -> None:
    text = "Show the breaker of each report type, or move one: open holds its jobs back, close lets them flow, probe "
    text += "makes its next job the probe."
    parser = command("breakers", breakers, text)
    parser.add_argument("order", nargs="?", choices=("open", "close", "probe"), help="what to do")
    parser.add_argument("type", nargs="?", help="of which report type, e.g. sales_summary")
    parser.add_argument("--reason", default="", metavar="TEXT", help="why, for the next reader")
    add_client_options(parser)


def breakers(options: argparse.Namespace) -> int:
    """Print a table of all breakers; after a command, of the one that was moved."""
    if options.order and not options.type:
        say(f"reportd: breakers {options.order} needs a report type")
        return 2

    def work(client: Any) -> int:
        if options.order:
            path = f"/breakers/{quote(options.type, safe='')}/{options.order}"
            response = client.post(path, json={"reason": options.reason})
        else:
            response = client.get("/breakers")
        if response.status_code != HTTPStatus.OK:
            return refused(response)
        document = response.json()
        _print_table([document] if options.order else document["breakers"])
        if document.get("trouble"):
            say(f"reportd: {plain(document['trouble'])}")
        return 0

    return with_client(options, work)


def _print_table(breakers: list[dict[str, Any]]) -> None:
    """A line for each, and below it the last faults, if the breaker is not closed or may not stay so."""
    rows = [("TYPE", "STATE", "SINCE", "UNTIL", "FAILURES", "PROBES FAILED", "BY", "REASON")]
    for breaker in breakers:
        until = breaker["until"] or breaker["probeUntil"] or "-"
        since = breaker.get("openSince") or breaker["since"] or "-"
        counts = (str(breaker["failures"]), str(breaker.get("failedProbes", 0)))
        rest = (since, until, *counts, breaker["by"] or "-", breaker["reason"] or "-")
        rows.append((breaker["reportType"], breaker["state"], *map(plain, rest)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    faults: list[list[str]] = [[], *(breaker["faults"] for breaker in breakers)]
    for row, row_faults in zip(rows, faults, strict=True):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        for fault in row_faults:
            print(f"  {plain(fault)}")
