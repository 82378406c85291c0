"""Loads and checks the configuration for the commands that need one, and prints its faults."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from reportd.cli.client import say

if TYPE_CHECKING:
    from reportd.config import Loaded

HERE = Path("reportd.toml")


def add_config_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", help="a TOML file")


def development_config(options: argparse.Namespace) -> Path | None:
    """Return the file that a maker of reports works on: as named, else ``reportd.toml`` in the current folder.

    None to look where the daemon does. The daemon itself never looks in the current folder.
    """
    named: Path | None = options.config
    if named is None and "REPORTD_CONFIG" not in os.environ and HERE.is_file():
        return HERE
    return named


def load(options: argparse.Namespace) -> "Loaded | None":
    """Return the configuration; None when it has faults, which are printed."""
    from reportd.config import ConfigError, load_from

    try:
        return load_from(options.config, os.environ)
    except ConfigError as error:
        say_faults(error)
        return None


def check_files(loaded: "Loaded") -> tuple[int, str]:
    """Check the files that a configuration names, and print what is wrong.

    Return the exit status, and what could not be checked.
    """
    import trio

    from reportd.app.checks import check
    from reportd.concurrency.nurseries import sole_exception
    from reportd.config import ConfigError
    from reportd.ports import UnavailableError
    from reportd.system import logs

    for notice in loaded.notices():
        say(f"reportd: {notice}")
    logs.set_up("error", "console")  # the check's browser and processes log nothing that was asked for
    try:
        return 0, trio.run(check, loaded).unchecked
    except (ConfigError, UnavailableError, BaseExceptionGroup) as failure:
        error = sole_exception(failure)
        if isinstance(error, ConfigError):
            say_faults(error)
            return 2, ""
        if isinstance(error, UnavailableError):
            say(f"reportd: the configuration can't be checked: {error}")
            return 1, ""
        raise


def say_faults(error: Exception) -> None:
    """Print all faults of a configuration."""
    say(f"reportd: the configuration has faults:\n{error}")
