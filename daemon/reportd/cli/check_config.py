"""``reportd check-config``: print the configuration as it is understood, without its secrets."""

import argparse
import json
import os

from reportd.cli.client import say
from reportd.cli.configuration import HERE, check_files, load


def check_config(options: argparse.Namespace) -> int:
    loaded = load(options)
    if loaded is None:
        return 2
    status, unchecked = check_files(loaded)
    if unchecked:
        say(f"reportd: no conditions of ready were checked, which takes a browser: {unchecked}")
    if notice := _other_file(options):
        say(f"reportd: {notice}")
    if status == 0:
        print(json.dumps(loaded.redacted(), indent=2))
    return status


def _other_file(options: argparse.Namespace) -> str:
    """Return what was checked, where the caller may think of another file: the daemon looks in no current folder."""
    from reportd.config.file import find_file

    read = find_file(options.config, os.environ)
    here = HERE.is_file() and not (read and read.exists() and read.samefile(HERE))
    if read and not (here and options.config is None):
        return ""
    checked = f"this is {read}" if read else "there is no configuration file, so these are the defaults"
    return f"{checked}; {HERE} of this folder was not read: name it with --config {HERE}" if here else checked
