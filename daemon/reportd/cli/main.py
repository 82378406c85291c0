"""The command line: ``reportd serve | submit | get | breakers | dead-letters | token | provision | …``."""

import argparse
import json
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from reportd import __version__, revision
from reportd.cli import dead_letters
from reportd.cli.client import add_client_options, open_client, plain, refused, say, unanswered

NOBODY = "00000000-0000-0000-0000-000000000000"
_FAULTS = "reportd: the configuration has faults:\n"
TERMINAL = ("succeeded", "quarantined", "cancelled")


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 done, 1 failed, 2 wrong usage or configuration."""
    options = _parser().parse_args(arguments)
    status: int = options.run(options)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="reportd", description="Turns heavy report pages into PDFs.")
    parser.add_argument("--version", action=_Version, nargs=0, help="show version and git revision, and exit")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(name: str, run: Any, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        return sub

    for name, run, text in (
        ("serve", serve, "Run the daemon until SIGTERM or Ctrl-C."),
        ("check-config", check_config, "Print the configuration as it is understood, without its secrets."),
        ("doctor", doctor, "Check what the daemon needs, and say what to do about each fault."),
        ("provision", provision, "Make the queues and the bucket that the configuration names."),
    ):
        sub = command(name, run, text)
        sub.add_argument("--config", type=Path, metavar="FILE", help="a TOML file")
        if run is provision:
            sub.add_argument("--dry-run", action="store_true", help="only say what would be done")
    dead_letters.add_to(command)
    submit_parser = command("submit", submit, "Submit a report.")
    submit_parser.add_argument("type", help="the report type, e.g. sales_summary")
    submit_parser.add_argument("--params", required=True, metavar="JSON|@FILE|-", help="its parameters")
    submit_parser.add_argument("--user", default=NOBODY, metavar="UUID", help="whose report it is")
    submit_parser.add_argument("--wait", action="store_true", help="until it is finished")
    submit_parser.add_argument("-o", dest="output", type=Path, metavar="FILE", help="save the PDF (waits)")
    get_parser = command("get", get, "Show a report, or save its PDF.")
    get_parser.add_argument("task_id", metavar="TASK_ID")
    get_parser.add_argument("-o", dest="output", type=Path, metavar="FILE", help="save the PDF")
    text = "Show the breaker of each report type, or move one: open holds its jobs back, close lets them flow, probe "
    text += "lets its next one be the probe."
    breakers_parser = command("breakers", breakers, text)
    breakers_parser.add_argument("order", nargs="?", choices=("open", "close", "probe"), help="what to do")
    breakers_parser.add_argument("type", nargs="?", help="of which report type, e.g. sales_summary")
    breakers_parser.add_argument("--reason", default="", metavar="TEXT", help="why, for whoever looks at it next")
    for sub in (submit_parser, get_parser, breakers_parser):
        add_client_options(sub)
    token_parser = command("token", token, "Make a token, and the line for auth.tokens_file that admits it.")
    token_parser.add_argument("name", help="whose it is; the record of what was done says so, too")
    token_parser.add_argument("roles", metavar="ROLE[,ROLE]", help="submit, read, operate (which includes read)")
    token_parser.add_argument("--user", metavar="UUID", help="bind it to that user's reports")
    return parser


class _Version(argparse.Action):
    """Asks for the revision only when somebody wants to know."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any, **__: Any) -> None:
        known = revision()
        print(f"reportd {__version__}" + (f" ({known})" if known else ""))
        parser.exit()


def _load(options: argparse.Namespace) -> Any:
    """A ``Loaded``; None when it has faults, which are told."""
    from reportd.config import ConfigError, load_from

    try:
        return load_from(options.config, os.environ)
    except ConfigError as error:
        say(f"{_FAULTS}{error}")
        return None


def _checked(loaded: Any) -> tuple[int, str]:
    """Tell what is wrong with the files that a configuration names: the exit status, and what could not be checked."""
    import trio

    from reportd.app.checks import check
    from reportd.concurrency.nurseries import sole_exception
    from reportd.config import ConfigError
    from reportd.ports import UnavailableError
    from reportd.system import logs

    logs.set_up("error", "console")  # what its browser and processes have to say is not asked for
    try:
        return 0, trio.run(check, loaded).unchecked
    except (ConfigError, UnavailableError, BaseExceptionGroup) as failure:
        error = sole_exception(failure)
        if isinstance(error, ConfigError):
            say(f"{_FAULTS}{error}")
            return 2, ""
        if isinstance(error, UnavailableError):
            say(f"reportd: the configuration can't be checked: {error}")
            return 1, ""
        raise


# --- the daemon -----------------------------------------------------------------------------------------------


def serve(options: argparse.Namespace) -> int:
    loaded = _load(options)
    if loaded is None:
        return 2
    config = loaded.config
    import faulthandler

    import trio

    from reportd.adapters.sql.migrate import NewerSchemaError
    from reportd.app import lifecycle
    from reportd.app.reload import ReloadRequests
    from reportd.app.shutdown import Stopping
    from reportd.app.startup import StartError
    from reportd.concurrency.nurseries import sole_exception
    from reportd.config import ConfigError, load_from
    from reportd.ports import BrowserError, UnavailableError, WrongStoreError
    from reportd.system import file_limit, logs
    from reportd.system.permissions import keep_new_files_private

    keep_new_files_private()
    set_level = logs.set_up(config.log.level, config.log.format)
    file_limit.raise_limit()
    # systemd ends a daemon that stands still with SIGABRT: the log then says where it stood.
    faulthandler.enable()

    async def until_signal() -> int:
        order, given = trio.open_memory_channel[None](1)
        reloads = ReloadRequests(given, lambda: load_from(options.config, os.environ), set_level)
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            async with trio.open_nursery() as nursery:
                stopping = Stopping(config.shutdown.drain_seconds, nursery.cancel_scope)
                nursery.start_soon(_on_signal, signals, stopping, order)
                await lifecycle.run(loaded, stopping, reloads)
                nursery.cancel_scope.cancel()
        return int(stopping.cut)

    expected = (StartError, BrowserError, UnavailableError, NewerSchemaError, OSError)
    try:
        return trio.run(until_signal)
    except BaseExceptionGroup as group:
        error = sole_exception(group)
        if isinstance(error, ConfigError):
            say(f"{_FAULTS}{error}")
            return 2
        if not isinstance(error, expected):
            raise
        say(f"reportd: {error}")
        return 2 if isinstance(error, WrongStoreError) else 1


async def _on_signal(signals: Any, stopping: Any, order: Any) -> None:
    """SIGHUP reloads, the others stop."""
    import trio

    async for number in signals:
        if number == signal.SIGHUP:
            with suppress(trio.WouldBlock):  # one waits already, and will find all that is new
                order.send_nowait(None)
            continue
        stopping.signalled()


def check_config(options: argparse.Namespace) -> int:
    loaded = _load(options)
    if loaded is None:
        return 2
    status, unchecked = _checked(loaded)
    if unchecked:
        say(f"reportd: no conditions of ready were checked, which takes a browser: {unchecked}")
    if status == 0:
        print(json.dumps(loaded.config.redacted(), indent=2))
    return status


def doctor(options: argparse.Namespace) -> int:
    """Each check prints a line; a failed one says what to do. A faulty file of a report type does not end them."""
    loaded = _load(options)
    if loaded is None:
        return 2
    from reportd.cli.doctor import examine
    from reportd.system.permissions import keep_new_files_private

    keep_new_files_private()
    status, _ = _checked(loaded)
    for name, ok, text in examine(loaded.config):
        status = status or (0 if ok else 1)
        print(f"{'ok  ' if ok else 'FAIL'}  {name}: {text}", flush=True)
    return status


def provision(options: argparse.Namespace) -> int:
    """Idempotent; what exists is not loosened. 1: the daemon lacks something it needs; 3: it lacks something else."""
    loaded = _load(options)
    if loaded is None:
        return 2
    import trio

    from reportd.cli.provision import provision as make

    undone = trio.run(lambda: make(loaded.config, print, dry_run=options.dry_run))
    if undone:
        say(f"reportd: {len(undone)} not done:")
    for each in undone:
        say(f"  {'needed' if each.needed else 'not needed'}: {each.text}")
    if any(each.needed for each in undone):
        return 1
    return 3 if undone else 0


def token(options: argparse.Namespace) -> int:
    """The line goes to the output, so that it can be appended to the file; the token is only shown."""
    from reportd.intake.tokens import new_token

    try:
        secret, line = new_token(options.name, options.roles, options.user)
    except ValueError as error:
        say(f"reportd: {error}")
        return 2
    say(f"The token, which is shown this once:\n\n    {secret}\n\nIts line for auth.tokens_file:\n")
    print(line)
    return 0


# --- its clients ----------------------------------------------------------------------------------------------


def submit(options: argparse.Namespace) -> int:
    import httpx

    try:
        parameters = json.loads(_read(options.params))
    except (OSError, ValueError) as error:
        say(f"reportd: --params must be JSON, @FILE or -: {error}")
        return 2
    request = {"reportType": options.type, "parameters": parameters, "userId": options.user}
    try:
        with open_client(options) as client:
            answer = client.post("/reports/generate-async", json=request, headers={"Idempotency-Key": str(uuid4())})
            if answer.status_code != httpx.codes.ACCEPTED:
                return refused(answer)
            task_id = answer.json()["taskId"]
            print(task_id)
            if not options.wait and options.output is None:
                return 0
            return _finish(client, _follow(client, task_id), options.output)
    except httpx.HTTPError as error:
        return unanswered(options, error)


def get(options: argparse.Namespace) -> int:
    import httpx

    try:
        with open_client(options) as client:
            answer = client.get(f"/reports/{options.task_id}")
            if answer.status_code != httpx.codes.OK:
                return refused(answer)
            if options.output is None:
                print(json.dumps(answer.json(), indent=2))
                return 0
            return _finish(client, answer.json(), options.output)
    except httpx.HTTPError as error:
        return unanswered(options, error)


def breakers(options: argparse.Namespace) -> int:
    """With an order, the table has only the breaker that was moved."""
    import httpx

    if options.order and not options.type:
        say(f"reportd: breakers {options.order} needs a report type")
        return 2
    try:
        with open_client(options) as client:
            if options.order:
                path = f"/breakers/{quote(options.type, safe='')}/{options.order}"
                answer = client.post(path, json={"reason": options.reason})
            else:
                answer = client.get("/breakers")
            if answer.status_code != httpx.codes.OK:
                return refused(answer)
            found = answer.json()
            _show_breakers([found] if options.order else found["breakers"])
            if found.get("trouble"):
                say(f"reportd: {plain(found['trouble'])}")
            return 0
    except httpx.HTTPError as error:
        return unanswered(options, error)


def _show_breakers(found: list[dict[str, Any]]) -> None:
    """A line each, and below one that is not closed, or may not stay so, its last faults."""
    rows = [("TYPE", "STATE", "SINCE", "UNTIL", "FAILURES", "PROBES FAILED", "BY", "REASON")]
    for one in found:
        until = one["until"] or one["probeUntil"] or "-"
        since = one.get("openSince") or one["since"] or "-"
        counts = (str(one["failures"]), str(one.get("failedProbes", 0)))
        rest = (since, until, *counts, one["by"] or "-", one["reason"] or "-")
        rows.append((one["reportType"], one["state"], *map(plain, rest)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    faults: list[list[str]] = [[], *(one["faults"] for one in found)]
    for row, below in zip(rows, faults, strict=True):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        for fault in below:
            print(f"  {plain(fault)}")


def _read(source: str) -> str:
    if source == "-":
        return sys.stdin.read()
    return Path(source[1:]).read_text() if source.startswith("@") else source


def _follow(client: Any, task_id: str) -> dict[str, Any]:
    """Long-poll until the job is finished, with a line for every change."""
    begun, last = time.monotonic(), ""
    while True:
        answer = client.get(f"/reports/{task_id}", params={"wait": 20})
        answer.raise_for_status()
        report: dict[str, Any] = answer.json()
        line = f"{report['state']}, attempt {report['attempts']}"
        if line != last:
            say(f"{time.monotonic() - begun:6.1f} s  {line}")
            last = line
        if report["state"] in TERMINAL:
            return report


def _finish(client: Any, report: dict[str, Any], output: Path | None) -> int:
    if report["state"] != "succeeded":
        error = report["error"]
        say(f"reportd: {report['state']}" + (f", {error['kind']}: {error['detail']}" if error else ""))
        return 1
    if output is not None:
        with (
            client.stream("GET", report["pdf"]["url"], follow_redirects=True) as answer,
            output.open("wb") as file,
        ):
            answer.raise_for_status()
            for piece in answer.iter_bytes():
                file.write(piece)
        say(f"{output}: {report['pdf']['bytes']} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
