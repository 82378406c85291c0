"""``reportd dead-letters list | show | requeue | drop``: what a running daemon keeps of them."""

import argparse
import json
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

from reportd.cli.client import add_client_options, open_client, plain, refused, unanswered


def add_to(command: Callable[[str, Any, str], argparse.ArgumentParser]) -> None:
    """``command`` makes the parser of a command of ``reportd``."""
    parser = command("dead-letters", _listing, "See dead letters, put them back, or drop them.")
    add_client_options(parser)
    verbs = parser.add_subparsers(required=True, metavar="list|show|requeue|drop")
    for name, run, text in (
        ("list", _listing, "List them by their cause."),
        ("show", _show, "Show a letter whole, or a group with its letters."),
        ("requeue", _requeue, "Put a letter, or a whole group, back into the queue."),
        ("drop", _drop, "Forget a letter, or a whole group; their jobs stay quarantined."),
    ):
        verb = verbs.add_parser(name, help=text, description=text)
        verb.set_defaults(run=run)
        for option in ("--url", "--token-file"):
            verb.add_argument(option, type=Path if option == "--token-file" else str, default=argparse.SUPPRESS)
        if run is not _listing:
            verb.add_argument("id", metavar="ID", help="a letter's id, or a group's (g-…)")


def _listing(options: argparse.Namespace) -> int:
    return _with_client(options, _list_all)


def _list_all(client: Any, _: argparse.Namespace) -> int:
    cursor: str | None = ""
    while cursor is not None:
        answer = client.get("/dead-letters", params={"cursor": cursor} if cursor else {})
        if not answer.is_success:
            return refused(answer)
        page = answer.json()
        for group in page["groups"]:
            types = ", ".join(group["reportTypes"]) or "no job"
            print(f"{group['id']}  {group['count']:6}  {group['verdict']:11}  last {group['lastSeenAt']}  {types}")
            print(f"    {group['kind']}: {plain(group['cause'])}")
        cursor = page["nextCursor"]
    return 0


def _show(options: argparse.Namespace) -> int:
    def show(client: Any, options: argparse.Namespace) -> int:
        answer = client.get(f"/dead-letters/{options.id}")
        if not answer.is_success:
            return refused(answer)
        print(json.dumps(answer.json(), indent=2, ensure_ascii=False))
        return 0

    return _with_client(options, show)


def _requeue(options: argparse.Namespace) -> int:
    return _with_client(options, lambda client, _: _until_done(client, "POST", f"{options.id}/requeue", "requeued"))


def _drop(options: argparse.Namespace) -> int:
    return _with_client(options, lambda client, _: _until_done(client, "DELETE", options.id, "dropped"))


def _until_done(client: Any, method: str, path: str, what: str) -> int:
    """A call does so many letters of a group at most."""
    done = 0
    while True:
        answer = client.request(method, f"/dead-letters/{path}")
        if answer.status_code == HTTPStatus.NOT_FOUND and done:
            break
        if not answer.is_success:
            return refused(answer)
        told = answer.json()
        done += told[what]
        if not told["remaining"] or not told[what]:
            break
    print(f"{done} {what}")
    return 0


def _with_client(options: argparse.Namespace, work: Callable[[Any, argparse.Namespace], int]) -> int:
    import httpx

    try:
        with open_client(options) as client:
            return work(client, options)
    except httpx.HTTPError as error:
        return unanswered(options, error)
