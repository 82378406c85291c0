"""``reportd preview``: show a report type in a browser, and print it again after each change of its files."""

import argparse
import os
import signal
from functools import partial
from pathlib import Path

from reportd.cli.client import Command, say
from reportd.cli.configuration import add_config_option, development_config, say_faults

MAX_PORT = 65535


def add_to(command: Command) -> None:
    parser = command("preview", preview, "Show a report type in a browser, and print it again after each change.")
    parser.add_argument("type", help="the report type, e.g. sales_summary")
    parser.add_argument("--params", type=_file, metavar="FILE", help="its parameters (default TYPE.sample.json)")
    parser.add_argument("--locale", metavar="TAG", help="its language, e.g. de-DE")
    parser.add_argument("--timezone", metavar="ZONE", help="its time zone, e.g. Europe/Berlin")
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    parser.add_argument("--port", type=_port, default=0, metavar="N", help="on 127.0.0.1 (default: any that is free)")
    add_config_option(parser)


def preview(options: argparse.Namespace) -> int:
    """Return 0 after Ctrl-C, 1 when it can't start, 2 for a wrong configuration or type."""
    import trio

    from reportd.app import preview as app
    from reportd.app.startup import StartError
    from reportd.concurrency.nurseries import sole_exception
    from reportd.config import ConfigError, Loaded, load_from
    from reportd.ports import BrowserError, UnavailableError
    from reportd.system import file_limit, logs

    def load() -> Loaded:
        return load_from(development_config(options), os.environ)

    fields = {name: getattr(options, name) for name in ("locale", "timezone") if getattr(options, name)}
    parameters = options.params.absolute() if options.params else None
    wanted = app.Wanted(options.type, parameters, fields, options.port)

    async def until_signal(loaded: Loaded) -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
            async with trio.open_nursery() as nursery:

                def served(url: str) -> None:
                    say(f"reportd: the preview is at {url}\nCtrl-C ends it.")
                    if options.open:
                        # A browser of the terminal takes as long as its reader does.
                        nursery.start_soon(partial(trio.to_thread.run_sync, _open, url, abandon_on_cancel=True))

                nursery.start_soon(app.run, loaded, load, wanted, served)
                async for _ in signals:
                    nursery.cancel_scope.cancel()

    expected = (StartError, BrowserError, UnavailableError, OSError)
    logs.set_up("error", "auto")
    file_limit.raise_limit()
    try:
        loaded = load()
        app.only(loaded, options.type)
        trio.run(until_signal, loaded)
    except (*expected, ConfigError, BaseExceptionGroup) as failure:
        error = sole_exception(failure)
        if isinstance(error, ConfigError):
            say_faults(error)
            return 2
        if not isinstance(error, expected):
            raise
        say(f"reportd: {error}")
        return 1
    return 0


def _open(url: str) -> None:
    import webbrowser

    if not webbrowser.open(url):
        say("reportd: no browser could be opened; open the address yourself")


def _file(text: str) -> Path:
    """Return the path; ``@FILE`` is what ``submit`` takes."""
    return Path(text.removeprefix("@"))


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > MAX_PORT:
        raise argparse.ArgumentTypeError(f"{text} is no port; accepted: 0 to {MAX_PORT}")
    return int(text)
