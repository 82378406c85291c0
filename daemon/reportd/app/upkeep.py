"""Wires what repairs and cleans up: the folders ``dead_letters`` and ``maintenance``."""

import time
from collections.abc import Callable

import trio

from reportd.app import policies
from reportd.app.backends import Backends
from reportd.breakers.manager import Breakers
from reportd.concurrency.supervisor import Supervisor
from reportd.config import Config
from reportd.dead_letters.quarantine import Quarantine
from reportd.dead_letters.triage import Reader, Triage
from reportd.maintenance.janitor import Janitor
from reportd.maintenance.rescuer import Rescuer
from reportd.ports import NULL_METER, Meter, OnQuarantined
from reportd.work.job_waiters import JobWaiters


class Upkeep:
    """One a node; where one node is enough, the nodes agree by a lease in the database."""

    def __init__(
        self,
        config: Config,
        backends: Backends,
        *,
        node: str,
        reader: Reader,
        breakers: Breakers,
        waiters: JobWaiters,
        on_quarantined: OnQuarantined,
        supervisor: Supervisor,
        meter: Meter = NULL_METER,
        clock: Callable[[], float] = time.time,
    ) -> None:
        quarantine = Quarantine(
            jobs=backends.jobs,
            letters=backends.letters,
            audit=backends.audit,
            waiters=waiters,
            node=node,
            on_quarantined=on_quarantined,
            clock=clock,
        )
        self.triage = Triage(
            jobs=backends.jobs,
            queue=backends.queue,
            dead=backends.dead,
            letters=backends.letters,
            quarantine=quarantine,
            breakers=breakers,
            reader=reader,
            audit=backends.audit,
            policy=policies.triage_policy(config),
            interval_seconds=config.triage.interval_seconds,
            node=node,
            meter=meter,
            supervisor=supervisor,
            clock=clock,
        )
        self.rescuer = Rescuer(
            jobs=backends.jobs,
            letters=backends.letters,
            queue=backends.queue,
            dead=backends.dead,
            holding=breakers.holding,
            meter=meter,
            clock=clock,
        )
        self.janitor = Janitor(
            jobs=backends.jobs,
            queue=backends.queue,
            artifacts=backends.artifacts,
            evidence=backends.evidence,
            rescuer=self.rescuer,
            retention_seconds=config.artifacts.retention_days * policies.DAY_SECONDS,
            node=node,
            supervisor=supervisor,
            clock=clock,
        )

    def start(self, background: trio.Nursery) -> None:
        background.start_soon(self.triage.run)
        background.start_soon(self.janitor.run)
