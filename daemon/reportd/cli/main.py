"""The command line: ``reportd serve | submit | get | breakers | dead-letters | token | provision | …``."""

import argparse
import sys
from collections.abc import Callable
from typing import Any

from reportd import __version__, revision
from reportd.cli import breakers, check_config, dead_letters, init, preview, reports, serve, tokens
from reportd.cli.configuration import add_config_option


def main(arguments: list[str] | None = None) -> int:
    """Run a command. Return the exit status: 0 done, 1 failed, 2 wrong usage or configuration."""
    options = _parser().parse_args(arguments)
    status: int = options.run(options)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="reportd", description="Turns heavy report pages into PDFs.")
    parser.add_argument("--version", action=_Version, nargs=0, help="show version and git revision, and exit")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        subparser = commands.add_parser(name, help=text, description=text)
        subparser.set_defaults(run=run)
        return subparser

    for name, run, text in (
        ("serve", serve.serve, "Run the daemon until SIGTERM or Ctrl-C."),
        ("check-config", check_config.check_config, "Print the configuration as it is understood, without secrets."),
        ("doctor", _doctor, "Check what the daemon needs, and say what to do about each fault."),
    ):
        add_config_option(command(name, run, text))
    provision = command("provision", _provision, "Make the queues and the bucket that the configuration names.")
    add_config_option(provision)
    provision.add_argument("--dry-run", action="store_true", help="only say what would be done")
    for module in (dead_letters, reports, init, preview, breakers, tokens):
        module.add_to(command)
    return parser


def _doctor(options: argparse.Namespace) -> int:
    from reportd.cli import doctor

    return doctor.run(options)


def _provision(options: argparse.Namespace) -> int:
    from reportd.cli import provision

    return provision.run(options)


class _Version(argparse.Action):
    """Looks for the git revision only when the version is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any, **__: Any) -> None:
        git_revision = revision()
        print(f"reportd {__version__}" + (f" ({git_revision})" if git_revision else ""))
        parser.exit()


if __name__ == "__main__":
    sys.exit(main())
