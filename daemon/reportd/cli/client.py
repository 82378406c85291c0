"""How the commands reach a running daemon: its address, the token, and how a refusal is printed."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

DEFAULT_URL = "http://127.0.0.1:8080"

Command = Callable[[str, Callable[[argparse.Namespace], int], str], argparse.ArgumentParser]
"""Makes the parser of a command of ``reportd``: name, what runs it, description."""


def add_client_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--url`` and ``--token-file``."""
    # Its value is not told: a URL may hold a password.
    url = os.environ.get("REPORTD_URL", DEFAULT_URL)
    parser.add_argument("--url", default=url, help=f"the daemon's address (default $REPORTD_URL, else {DEFAULT_URL})")
    # Never the token itself: every user of the machine can read the arguments of a program.
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="holds the token (default $REPORTD_TOKEN)")


def with_client(options: argparse.Namespace, work: Callable[[Any], int]) -> int:
    """Run ``work`` with an ``httpx.Client`` of the daemon. Return its exit status; 1 when the daemon does not answer.

    Exits with 2 when the token is not usable.
    """
    import httpx

    from reportd.core.pages.documents import shown

    try:
        with _open_client(options) as client:
            return work(client)
    except httpx.InvalidURL:
        say("reportd: --url or $REPORTD_URL is no address; accepted: http(s)://HOST:PORT")
        return 2
    except httpx.HTTPError as error:
        say(f"reportd: {shown(options.url)} does not answer ({error}); is `reportd serve` running?")
        return 1


def _open_client(options: argparse.Namespace) -> Any:
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


def refused(response: Any) -> int:
    """Print the daemon's problem document. Return the exit status."""
    try:
        problem = response.json()
    except ValueError:
        problem = {"title": f"answered {response.status_code}"}
    say(f"reportd: {plain(str(problem.get('title')))}: {plain(str(problem.get('detail', '')))}")
    for error in problem.get("errors", ()):
        say(f"  {plain(error['pointer'] or error['in'])}: {plain(error['detail'])}")
    return 1


def plain(text: str) -> str:
    """Replace what a terminal would obey in text that pages and other people wrote."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def say(text: str) -> None:
    """Print for people, on stderr; stdout is for programs."""
    print(text, file=sys.stderr)
