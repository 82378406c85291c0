"""``reportd token``: make a token, and the line of ``auth.tokens_file`` that admits it."""

import argparse

from reportd.cli.client import Command, say


def add_to(command: Command) -> None:
    parser = command("token", make_token, "Make a token, and the line for auth.tokens_file that admits it.")
    parser.add_argument("name", help="the holder's name, which also appears in the audit record")
    parser.add_argument("roles", metavar="ROLE[,ROLE]", help="submit, read, operate (which includes read)")
    parser.add_argument("--user", metavar="UUID", help="bind it to that user's reports")


def make_token(options: argparse.Namespace) -> int:
    """Print the line on stdout, so that it can be appended to the file, and the token on stderr."""
    from reportd.intake.tokens import new_token

    try:
        secret, line = new_token(options.name, options.roles, options.user)
    except ValueError as error:
        say(f"reportd: {error}")
        return 2
    say(f"The token, which is shown only once:\n\n    {secret}\n\nIts line for auth.tokens_file:\n")
    print(line)
    return 0
