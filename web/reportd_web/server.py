"""Serves the application with hypercorn's trio worker."""

import logging

import hypercorn.trio
import trio
from hypercorn.config import Config
from starlette.types import ASGIApp

GRACE_SECONDS = 5.0


async def serve(
    app: ASGIApp, bind: str, stop: trio.Event, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED
) -> None:
    """Until ``stop`` is set; then what is being answered is finished. ``task_status`` gets the real URL."""
    config = Config()
    config.bind = [bind]
    config.accesslog = None
    config.errorlog = logging.getLogger("hypercorn.error")
    config.include_server_header = False
    config.graceful_timeout = GRACE_SECONDS
    config.shutdown_timeout = GRACE_SECONDS
    config.h11_max_incomplete_size = 64 * 1024
    async with trio.open_nursery() as nursery:
        urls = await nursery.start(_serve, app, config, stop)
        task_status.started(urls[0].replace("localhost", "127.0.0.1"))


async def _serve(app: ASGIApp, config: Config, stop: trio.Event, task_status: trio.TaskStatus[list[str]]) -> None:
    await hypercorn.trio.serve(app, config, shutdown_trigger=stop.wait, task_status=task_status)  # type: ignore[arg-type]
