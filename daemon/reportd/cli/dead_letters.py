"""``reportd dead-letters list | show | requeue | drop``: the dead letters that a running daemon keeps."""

import argparse
import json
from http import HTTPStatus
from pathlib import Path
from typing import Any

from reportd.cli.client import Command, add_client_options, plain, refused, with_client


def add_to(command: Command) -> None:
    parser = command("dead-letters", _list, "See dead letters, put them back, or drop them.")
    add_client_options(parser)
    verbs = parser.add_subparsers(required=True, metavar="list|show|requeue|drop")
    for name, run, text in (
        ("list", _list, "List them by their cause."),
        ("show", _show, "Show a letter whole, or a group with its letters."),
        ("requeue", _requeue, "Put a letter, or a whole group, back into the queue."),
        ("drop", _drop, "Delete a letter, or a whole group; their jobs stay quarantined."),
    ):
        verb = verbs.add_parser(name, help=text, description=text)
        verb.set_defaults(run=run)
        # The client's options may also stand after the verb.
        for option in ("--url", "--token-file"):
            verb.add_argument(option, type=Path if option == "--token-file" else str, default=argparse.SUPPRESS)
        if run is not _list:
            verb.add_argument("id", metavar="ID", help="a letter's id, or a group's (g-…)")


def _list(options: argparse.Namespace) -> int:
    def work(client: Any) -> int:
        cursor: str | None = ""
        while cursor is not None:
            response = client.get("/dead-letters", params={"cursor": cursor} if cursor else {})
            if not response.is_success:
                return refused(response)
            page = response.json()
            for group in page["groups"]:
                types = ", ".join(group["reportTypes"]) or "no job"
                print(f"{group['id']}  {group['count']:6}  {group['verdict']:11}  last {group['lastSeenAt']}  {types}")
                print(f"    {group['kind']}: {plain(group['cause'])}")
            cursor = page["nextCursor"]
        return 0

    return with_client(options, work)


def _show(options: argparse.Namespace) -> int:
    def work(client: Any) -> int:
        response = client.get(f"/dead-letters/{options.id}")
        if not response.is_success:
            return refused(response)
        print(json.dumps(response.json(), indent=2, ensure_ascii=False))
        return 0

    return with_client(options, work)


def _requeue(options: argparse.Namespace) -> int:
    return with_client(options, lambda client: _repeat(client, "POST", f"{options.id}/requeue", "requeued"))


def _drop(options: argparse.Namespace) -> int:
    return with_client(options, lambda client: _repeat(client, "DELETE", options.id, "dropped"))


def _repeat(client: Any, method: str, path: str, count_field: str) -> int:
    """Repeat the call until the whole group is done: the daemon limits the letters that one call handles."""
    done = 0
    while True:
        response = client.request(method, f"/dead-letters/{path}")
        if response.status_code == HTTPStatus.NOT_FOUND and done:
            break
        if not response.is_success:
            return refused(response)
        result = response.json()
        done += result[count_field]
        if not result["remaining"] or not result[count_field]:
            break
    print(f"{done} {count_field}")
    return 0
