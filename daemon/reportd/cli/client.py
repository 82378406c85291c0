"""How the commands reach a running daemon: its address, their token, and what they say when it refuses."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

DEFAULT_URL = "http://127.0.0.1:8080"


def add_client_options(parser: argparse.ArgumentParser) -> None:
    """``--url`` and ``--token-file``, which may also stand after a command's own verb."""
    url = os.environ.get("REPORTD_URL", DEFAULT_URL)
    parser.add_argument("--url", default=url, help=f"the daemon's address (default {url}, or $REPORTD_URL)")
    # Never the token itself: every user of the machine can read the arguments of a program.
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="holds the token (default $REPORTD_TOKEN)")


def open_client(options: argparse.Namespace) -> Any:
    """An ``httpx.Client`` of the daemon. Ends the program where the token can't be one."""
    import httpx

    token = os.environ.get("REPORTD_TOKEN", "")
    if options.token_file is not None:
        try:
            token = options.token_file.read_text()
        except (OSError, ValueError) as error:
            say(f"reportd: --token-file {options.token_file} can't be read: {error}")
            raise SystemExit(2) from None
    token = token.strip()
    if not all("!" <= character <= "~" for character in token):
        say("reportd: the token ($REPORTD_TOKEN or --token-file) must be visible ASCII characters")
        raise SystemExit(2)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.Client(base_url=options.url, headers=headers, timeout=60, trust_env=False)


def refused(answer: Any) -> int:
    """Say what the daemon has against it; the exit status."""
    try:
        problem = answer.json()
    except ValueError:
        problem = {"title": f"answered {answer.status_code}"}
    say(f"reportd: {plain(str(problem.get('title')))}: {plain(str(problem.get('detail', '')))}")
    for error in problem.get("errors", ()):
        say(f"  {plain(error['pointer'] or error['in'])}: {plain(error['detail'])}")
    return 1


def unanswered(options: argparse.Namespace, error: Exception) -> int:
    """Say that nobody is there; the exit status."""
    say(f"reportd: {options.url} does not answer ({error}); is `reportd serve` running?")
    return 1


def plain(text: str) -> str:
    """What pages and other people wrote, without what a terminal would obey."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def say(text: str) -> None:
    """To people, not to whatever reads the output."""
    print(text, file=sys.stderr)
