"""``reportd init``: write a report type that works, to begin with."""

import argparse
import os
from pathlib import Path

from reportd.cli.client import Command, say
from reportd.cli.configuration import HERE, add_config_option, say_faults


def add_to(command: Command) -> None:
    parser = command("init", init, "Write a report type that works: template, stylesheet, schema, sample and logo.")
    parser.add_argument("type", metavar="TYPE", help="its name, e.g. delivery_note")
    add_config_option(parser)


def init(options: argparse.Namespace) -> int:
    """Return 1 when a file can't be written, 2 when something is in the way or the configuration has faults."""
    from reportd.app import starter
    from reportd.config import ConfigError

    config = options.config or Path(os.environ.get("REPORTD_CONFIG", HERE))
    try:
        planned = starter.plan(options.type, config, os.environ)
        starter.write(planned)
    except starter.InTheWayError as error:
        say(f"reportd: {error}")
        return 2
    except ConfigError as error:
        say_faults(error)
        return 2
    except OSError as error:
        say(f"reportd: {error.filename} can't be written: {error.strerror}")
        return 1
    for file in (*planned.files, config):
        print(_shown(file))
    for file in planned.kept:
        say(f"{_shown(file)} was there already, and is used")
    # Only `init` and `preview` look into the current folder by themselves.
    named = f" --config {_shown(config)}"
    say(
        f"See it, and each change:  reportd preview {options.type}{named if options.config else ''} --open\n"
        f"Check it:                 reportd check-config{named}\n"
        f"Use it:                   reportd serve{named}; reportd submit {options.type} "
        f"--params @{_shown(config.parent / f'{options.type}.sample.json')} -o {options.type}.pdf"
    )
    return 0


def _shown(file: Path) -> str:
    """Return the path as a user of this folder writes it."""
    here = Path.cwd()
    return str(file.relative_to(here) if file.is_absolute() and file.is_relative_to(here) else file)
