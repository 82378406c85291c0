"""``reportd check-config``: print the configuration as it is understood, without its secrets."""

import argparse
import json

from reportd.cli.client import say
from reportd.cli.configuration import check_files, load


def check_config(options: argparse.Namespace) -> int:
    loaded = load(options)
    if loaded is None:
        return 2
    status, unchecked = check_files(loaded)
    if unchecked:
        say(f"reportd: no conditions of ready were checked, which takes a browser: {unchecked}")
    if status == 0:
        print(json.dumps(loaded.redacted(), indent=2))
    return status
