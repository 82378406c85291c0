"""The daemon: what it opens, in which order, and how it stops. Read this first.

``backends`` opens what the configuration's URLs mean, ``wiring`` puts the parts together, ``startup`` has the steps of
a start, ``shutdown`` bounds the end.
"""

import gc
import os
import socket
from functools import partial

import structlog
import trio

from reportd.adapters.chromium import open_launcher
from reportd.adapters.edition_folder import EditionFolder
from reportd.adapters.egress.resolving import LookupThreads
from reportd.adapters.jwt_signer import JwtSigner
from reportd.adapters.worker_processes.checker import new_checker
from reportd.app import policies, startup
from reportd.app.backends import open_alerts, open_backends
from reportd.app.checks import Checks, folders_of
from reportd.app.intake import open_service
from reportd.app.reload import Reload, ReloadRequests
from reportd.app.shutdown import Stopping
from reportd.app.web import web_dependencies
from reportd.app.wiring import Daemon, Telemetry
from reportd.breakers.operator import BreakerOperator
from reportd.browsers.pool import open_pool
from reportd.concurrency.nurseries import open_background
from reportd.concurrency.supervisor import Supervisor
from reportd.config import Loaded
from reportd.status.systemd_status import report_status
from reportd.system import sd_notify
from reportd.telemetry.audit_recorder import open_recorder
from reportd.telemetry.history import History
from reportd.telemetry.metrics import Metrics
from reportd.telemetry.watchdog import open_watchdog
from reportd_web.api import wire
from reportd_web.app import create_app

log = structlog.get_logger()


async def run(loaded: Loaded, stopping: Stopping, reloads: ReloadRequests) -> None:
    """Serve until asked to stop, then drain.

    ``reloads``: requests to read the configuration again. Raises ConfigError when something that the configuration
    names can't be used; StartError, BrowserError or UnavailableError when the daemon can't start.
    """
    trio.socket.set_custom_hostname_resolver(LookupThreads())
    listener, config = startup.inherited_socket(loaded.config)
    folders = folders_of(loaded)
    checker = new_checker(folders)
    editions = EditionFolder(policies.editions_folder(config))
    checks = Checks(folders, checker, editions)
    types = await startup.report_types(loaded, checks, checker)
    tokens = startup.accepted_tokens(config)
    signer = JwtSigner(config.render_tokens.issuer, config.render_tokens.parsed())
    metrics, history = Metrics(policies.labels(config)), History(policies.labels(config))
    supervisor = Supervisor()
    node = f"{socket.gethostname()}-{os.getpid()}"
    with startup.exclusive(config):
        await types.keep_editions()
        await trio.to_thread.run_sync(editions.remove_others, list(config.reports))
        async with (
            open_watchdog(metrics, supervisor) as watchdog,
            startup.running(checker),
            startup.step("opening database, queue and store"),
            open_backends(config, wire.callback_body) as backends,
            open_recorder(backends.audit) as recorder,
            open_alerts(config, backends.alert_store, metrics, supervisor) as alerts,
            startup.step("starting browsers"),
            open_launcher(policies.chromium_settings(config), config.data_dir, policies.own_ports(config)) as launcher,
            open_pool(launcher, policies.pool_settings(config), metrics, supervisor) as pool,
            open_background() as background,
        ):
            daemon = Daemon(
                config,
                backends,
                Telemetry(metrics, history, recorder, alerts, supervisor),
                node=node,
                pool=pool,
                types=types,
                checker=checker,
                signer=signer,
                background=background,
                stop=stopping.asked,
            )
            reload = Reload(reloads, config, types, checks, tokens, daemon.reconfigure, supervisor)
            await daemon.start(background)
            async with open_service(
                config,
                backends,
                daemon.processing,
                daemon.backlog,
                validator=types,
                background=background,
                meter=metrics,
            ) as service:
                app = create_app(
                    web_dependencies(
                        config,
                        backends,
                        service=service,
                        breakers=BreakerOperator(daemon.processing.breakers, types, recorder),
                        types=types,
                        observability=daemon.observability,
                        watchdog=watchdog,
                        recorder=recorder,
                        tokens=tokens,
                        signer=signer,
                        background=background,
                    )
                )
                async with startup.serving(app, listener, config) as url:
                    # These objects stay for good. A full collection would walk them and hold the loop for 0.1 s.
                    gc.collect()
                    gc.freeze()
                    line = daemon.observability.status_line(url, lambda: reload.trouble).line
                    connections = policies.max_connections(config)
                    log.info("daemon.ready", url=url, slots=pool.slots, connections=connections, node=node)
                    sd_notify.notify("READY=1", f"STATUS={line()}")
                    background.start_soon(supervisor.keep, "standing", partial(report_status, line, sd_notify.notify))
                    background.start_soon(supervisor.keep, "reload", reload.run)
                    # Ends once everything that was received is settled.
                    async with trio.open_nursery() as polling:
                        polling.start_soon(daemon.processing.poller.run)
                        stopping.begun.set()
                        await stopping.asked.wait()
                        log.info("daemon.stopping", held=len(daemon.processing.in_flight))
                        sd_notify.notify("STOPPING=1", f"STATUS={line()}")
                        await daemon.processing.drain(stopping.hurried)
    log.info("daemon.stopped")
