"""``reportd serve``: run the daemon until a signal stops it."""

import argparse
import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

from reportd.cli.client import say
from reportd.cli.configuration import load, say_faults

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import trio

    from reportd.app.shutdown import Stopping


def serve(options: argparse.Namespace) -> int:
    """Return 0 after a clean stop, 1 when it was cut short or could not start, 2 for a wrong configuration."""
    loaded = load(options)
    if loaded is None:
        return 2
    config = loaded.config
    import faulthandler

    import trio

    from reportd.adapters.sql.migrate import NewerSchemaError
    from reportd.app import lifecycle
    from reportd.app.reload import ReloadRequests
    from reportd.app.shutdown import Stopping
    from reportd.app.startup import StartError
    from reportd.concurrency.nurseries import sole_exception
    from reportd.config import ConfigError, load_from
    from reportd.ports import BrowserError, UnavailableError, WrongStoreError
    from reportd.system import file_limit, logs
    from reportd.system.permissions import keep_new_files_private

    keep_new_files_private()
    set_level = logs.set_up(config.log.level, config.log.format)
    file_limit.raise_limit()
    # systemd ends a daemon that hangs with SIGABRT: the log then shows where it hung.
    faulthandler.enable()

    async def until_signal() -> int:
        send_reload, receive_reload = trio.open_memory_channel[None](1)
        reloads = ReloadRequests(receive_reload, lambda: load_from(options.config, os.environ), set_level)
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            async with trio.open_nursery() as nursery:
                stopping = Stopping(config.shutdown.drain_seconds, nursery.cancel_scope)
                nursery.start_soon(_on_signal, signals, stopping, send_reload)
                await lifecycle.run(loaded, stopping, reloads)
                nursery.cancel_scope.cancel()
        return int(stopping.cut)

    expected = (StartError, BrowserError, UnavailableError, NewerSchemaError, OSError)
    try:
        return trio.run(until_signal)
    except BaseExceptionGroup as group:
        error = sole_exception(group)
        if isinstance(error, ConfigError):
            say_faults(error)
            return 2
        if not isinstance(error, expected):
            raise
        say(f"reportd: {error}")
        # systemd does not restart the daemon after a 2. A mount that is late at boot is worth another start.
        return 2 if isinstance(error, WrongStoreError) and not error.unmarked else 1


async def _on_signal(
    signals: "AsyncIterator[int]", stopping: "Stopping", reload: "trio.MemorySendChannel[None]"
) -> None:
    """SIGHUP reloads, the others stop."""
    import trio

    async for number in signals:
        if number == signal.SIGHUP:
            with suppress(trio.WouldBlock):  # a reload that already waits will read the newest files
                reload.send_nowait(None)
            continue
        stopping.signalled()
