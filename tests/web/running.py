"""The web interface over what ``reportd.app`` wires: job store and queue on SQLite, PDFs in a folder, no browser.

The status is the test's own, as is what the page shows of it.
"""

import hashlib
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import httpx
from fastapi import FastAPI
from starlette.routing import Route

import reportd_web
from reportd.adapters.artifacts.folder import FileArtifacts
from reportd.adapters.jwt_signer import JwtSigner
from reportd.adapters.memory_breakers import MemoryBreakers
from reportd.adapters.sql.database import Database, open_database
from reportd.adapters.sql.stores.alerts import SqlAlerts
from reportd.adapters.sql.stores.audit import SqlAudit
from reportd.adapters.sql.stores.dead_letters import SqlDeadLetters
from reportd.adapters.sql.stores.evidence import SqlEvidence
from reportd.adapters.sql.stores.fleet import SqlFleet
from reportd.adapters.sql.stores.jobs import SqlJobs
from reportd.adapters.sql.stores.outbox import SqlOutbox
from reportd.adapters.sql.stores.queue import EmbeddedQueue
from reportd.adapters.sql.stores.sessions import SqlEndedSessions
from reportd.app import policies
from reportd.app.backends import Backends
from reportd.app.intake import open_service
from reportd.app.processing import Processing
from reportd.breakers.manager import Breakers
from reportd.breakers.operator import BreakerOperator
from reportd.concurrency.nurseries import open_background
from reportd.concurrency.supervisor import Supervisor
from reportd.config import Callbacks, Config
from reportd.config.models import Http, QueueOptions
from reportd.core.capacity.scaling import Demand
from reportd.core.faults import Fault, FaultKind
from reportd.core.jobs.transitions import JobEvent
from reportd.core.status.snapshot import (
    RECENT,
    BrowserView,
    Figures,
    Load,
    Node,
    Part,
    QueueView,
    Series,
    Snapshot,
    TypeView,
)
from reportd.dead_letters.service import DeadLetterService
from reportd.intake.backlog import Backlog
from reportd.intake.catalogue import Catalogue
from reportd.intake.loaded_types import ReportTypes
from reportd.intake.render_tokens import RunningAttempts
from reportd.intake.service import Service
from reportd.ports import Attempt, AttemptStarted, JobFilter, Pdf, Record, Settlement, UnavailableError
from reportd.status.condition import Condition
from reportd.telemetry.audit_recorder import open_recorder
from reportd.telemetry.metrics import Metrics
from reportd.work.job_waiters import JobWaiters
from reportd.work.worker import Worker
from reportd_web.api import wire
from reportd_web.app import WebDependencies, create_app
from reportd_web.security.access import Access
from tests.fakes import FakeRenderer
from tests.fakes.checking import inline_checker, report_types_of
from tests.fakes.messenger import FakeMessenger
from tests.render_keys import a_key

T = TypeVar("T")

MAX_BODY_BYTES = 64 * 1024
MAX_BACKLOG = 1000
MAX_WAITS = 40
SLOTS = 2
SIGNER = JwtSigner("reportd", [a_key("first"), a_key("shared", "HS256")])
TEMPLATES = (Path(reportd_web.__file__).parent / "reports",)
USER = "0b9f6c1e-6a0c-4b57-9f2a-2f3c8f1f7f10"
PARAMETERS: dict[str, Any] = {
    "period": {"from": "2025-01-01", "to": "2025-03-31"},
    "rows": [{"product": "Tea", "quantity": 3, "revenue": 12.5}],
}


def submission(**changes: Any) -> dict[str, Any]:
    """Return a valid body with these fields changed."""
    return {"reportType": "sales_summary", "parameters": PARAMETERS, "userId": USER, **changes}


async def known(look: Callable[[], Awaitable[T]]) -> T | None:
    """Return the value, unless its part is unavailable."""
    try:
        return await look()
    except UnavailableError:
        return None


def calls(app: FastAPI) -> set[tuple[str, str]]:
    """Return every method and path of the application, without a HEAD that only follows GET."""
    routes = [route for route in app.routes if isinstance(route, Route)]
    return {
        (method, re.sub(r":\w+}", "}", route.path))
        for route in routes
        for method in route.methods or ()
        if method != "HEAD"
    }


@dataclass
class Running:
    """The application, a client for it, and its parts."""

    app: FastAPI
    client: httpx.AsyncClient
    service: Service
    backlog: Backlog
    database: Database
    jobs: SqlJobs
    queue: EmbeddedQueue
    artifacts: FileArtifacts
    changes: JobWaiters
    outbox: SqlOutbox
    folder: Path
    breakers: Breakers
    letters: SqlDeadLetters
    audit: SqlAudit
    evidence: SqlEvidence
    renderer: FakeRenderer
    worker: Worker
    parts: dict[str, tuple[bool, str]] = field(default_factory=lambda: {"database": (True, "answers")})
    trouble: str = ""
    troubles: dict[str, str] = field(default_factory=dict)
    """Why templates are not in force, by report type."""
    shown: dict[str, Any] = field(default_factory=dict)
    """Fields that replace those of the snapshot."""

    async def snapshot(self) -> Snapshot:
        """Make a snapshot as ``reportd.status`` does, of the parts here."""
        here = Node(
            "n1", since=time.time() - 7500, slots=SLOTS, browsers=(BrowserView(4711, 12, 1, 210, retiring=False),)
        )
        depth, loads = await known(self.queue.depth), await known(self.jobs.loads)
        groups = await known(lambda: self.letters.groups(10))
        recent = await known(lambda: self.service.search(JobFilter(), RECENT))
        resting = self.breakers.resting()
        snapshot = Snapshot(
            at=time.time(),
            here=here,
            parts=tuple(Part(name, ok, detail) for name, (ok, detail) in self.parts.items()),
            types=tuple(
                TypeView(
                    breaker,
                    breaker.report_type in resting,
                    2,
                    None if loads is None else loads.get(breaker.report_type, Load()),
                    Figures(),
                    self.troubles.get(breaker.report_type, ""),
                )
                for breaker in self.breakers.snapshot()
            ),
            queue=None
            if depth is None
            else QueueView(
                Series(depth.visible), Series(depth.in_flight), Series(depth.delayed), Series(0), depth.oldest_at, None
            ),
            demand=None
            if depth is None
            else Demand(depth.visible, depth.visible / here.slots, depth.visible / here.slots, 1.0, 0, 1),
            letters=None if groups is None else tuple(group.view() for group in groups),
            jobs=await known(self.jobs.counts),
            recent=None if recent is None else tuple(record.view() for record in recent),
            nodes=(here,),
        )
        return replace(snapshot, **self.shown)

    async def submit(self, headers: dict[str, str] | None = None, **changes: Any) -> str:
        answer = await self.client.post("/reports/generate-async", json=submission(**changes), headers=headers)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["taskId"])

    async def record(self, task_id: str) -> Record:
        record = await self.jobs.get(task_id)
        assert record is not None
        return record

    async def rows(self) -> int:
        return sum((await self.jobs.counts()).values())

    async def messages(self) -> int:
        return (await self.queue.depth()).backlog

    async def attempts(self, task_id: str) -> list[Attempt]:
        return await self.jobs.attempts(task_id)

    async def _settle(
        self, task_id: str, event: JobEvent, *, pdf: Pdf | None = None, fault: Fault | None = None
    ) -> None:
        record = await self.record(task_id)
        at = record.job.submitted_at + 1
        started = await self.jobs.start(record.job, "test", at)
        assert isinstance(started, AttemptStarted)
        info = pdf.info if pdf else None
        settlement = Settlement(task_id, event, at + 1, attempt_id=started.attempt_id, pdf=info, fault=fault)
        assert await self.jobs.settle(settlement) is not None
        self.changes.notify(task_id)

    async def succeed(self, task_id: str, data: bytes = b"%PDF-1.7 what was rendered") -> str:
        """Store the PDF as a worker does. Return its SHA-256."""
        pdf = Pdf(len(data), hashlib.sha256(data).hexdigest(), data=data)
        await self.artifacts.put((await self.record(task_id)).job, pdf)
        await self._settle(task_id, JobEvent.SUCCEEDED, pdf=pdf)
        return pdf.sha256

    async def progress(self, task_id: str, progress: float) -> None:
        """Start an attempt whose page says that it is so far."""
        record = await self.record(task_id)
        assert isinstance(await self.jobs.start(record.job, "test", record.job.submitted_at + 1), AttemptStarted)
        await self.jobs.report_progress({task_id: progress})

    async def work(self) -> None:
        """Let the daemon's worker handle the next message."""
        self.renderer.seconds = 0.0
        await self.worker.handle(*await self.queue.receive(1, 0.0))

    async def quarantine(self, task_id: str, detail: str = "the page has no chart") -> None:
        await self._settle(task_id, JobEvent.DEAD_LETTERED, fault=Fault(FaultKind.SCRIPT_ERROR, detail))
        settlement = Settlement(task_id, JobEvent.QUARANTINED, 0.0, fault=Fault(FaultKind.SCRIPT_ERROR, detail))
        assert await self.jobs.settle(settlement) is not None


@asynccontextmanager
async def open_running(folder: Path, access: Access | None = None) -> AsyncIterator[Running]:
    """``folder`` holds a migrated database. Without ``access`` no tokens are required."""
    config = _config()
    types = Catalogue(_types(), inline_checker(TEMPLATES), config.callbacks.allowed_hosts)
    async with open_database(f"sqlite:///{folder / 'reportd.db'}") as database:
        outbox = SqlOutbox(database, wire.callback_body)
        jobs, letters, audit = SqlJobs(database, outbox), SqlDeadLetters(database), SqlAudit(database)
        queue = EmbeddedQueue(database, "main", visibility_seconds=60)
        artifacts = FileArtifacts(folder / "artifacts")
        evidence = SqlEvidence(database)
        backends = Backends(
            jobs=jobs,
            letters=letters,
            audit=audit,
            queue=queue,
            dead=EmbeddedQueue(database, "dead", visibility_seconds=60),
            artifacts=artifacts,
            breaker_store=MemoryBreakers(),
            outbox=outbox,
            messenger=FakeMessenger(),
            alert_store=SqlAlerts(database),
            fleet=SqlFleet(database),
            ended_sessions=SqlEndedSessions(database),
            evidence=evidence,
            session_secret=b"secret",
            scaling_metrics=None,
            conditions={"queue": Condition("queue", queue.depth)},
            single_node=True,
        )
        async with open_background() as background, open_recorder(audit) as recorder:
            renderer = FakeRenderer()
            processing = Processing(
                config,
                backends,
                node="n1",
                renderer=renderer,
                slots=lambda: SLOTS,
                types=types,
                supervisor=Supervisor(),
                listeners=[recorder.transition],
            )
            backlog = Backlog(policies.backlog_policy(config), jobs=jobs, queue=queue, held=processing.breakers.holding)

            async def ready() -> dict[str, tuple[bool, str]]:
                return running.parts

            async def status() -> Snapshot:
                return await running.snapshot()

            async def metrics() -> bytes:
                return Metrics({}).exposition()

            async with open_service(
                config, backends, processing, backlog, validator=types, background=background
            ) as service:
                app = create_app(
                    WebDependencies(
                        service=service,
                        dead_letters=DeadLetterService(
                            service=service, jobs=jobs, queue=queue, letters=letters, audit=audit
                        ),
                        schemas=types.schemas,
                        max_body_bytes=config.http.max_body_bytes,
                        max_waits=MAX_WAITS,
                        public_url=config.http.public_url,
                        ready=ready,
                        status=status,
                        health=lambda: running.trouble,
                        metrics=metrics,
                        nursery=background,
                        changed=lambda: None,
                        audit=audit,
                        evidence=evidence,
                        note=recorder.note,
                        breakers=BreakerOperator(processing.breakers, types, recorder),
                        public_keys=SIGNER.public_keys,
                        access=access or Access(attempts=RunningAttempts(SIGNER, jobs)),
                    )
                )
                transport = httpx.ASGITransport(app)
                async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as client:
                    running = Running(
                        app,
                        client,
                        service,
                        backlog,
                        database,
                        jobs,
                        queue,
                        artifacts,
                        processing.waiters,
                        outbox,
                        folder,
                        processing.breakers,
                        letters,
                        audit,
                        evidence,
                        renderer,
                        processing.worker,
                    )
                    yield running


@cache
def _types() -> ReportTypes:
    """Read the report types once. To compile their templates takes four fifths of the time to open an application."""
    return report_types_of(_config(), TEMPLATES)


def _config() -> Config:
    """Return a configuration with the built-in report types, one of which has an alias."""
    built_in = Config().reports
    sales = built_in["sales_summary"].model_copy(update={"aliases": ("sales",)})
    return Config(
        callbacks=Callbacks(allowed_hosts=("hooks.example.com",)),
        http=Http(max_body_bytes=MAX_BODY_BYTES, public_url="https://reports.example.com"),
        queue=QueueOptions(max_backlog=MAX_BACKLOG),
        reports={**built_in, "sales_summary": sales},
    )
