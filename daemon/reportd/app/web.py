"""Wires what the web interface calls."""

import trio

from reportd.app import policies
from reportd.app.backends import Backends
from reportd.app.observability import Observability
from reportd.breakers.operator import BreakerOperator
from reportd.config import Config
from reportd.dead_letters.service import DeadLetterService
from reportd.intake.catalogue import Catalogue
from reportd.intake.render_tokens import RunningAttempts
from reportd.intake.service import Service
from reportd.intake.tokens import Tokens
from reportd.ports import TokenSigner
from reportd.telemetry.audit_recorder import Recorder
from reportd.telemetry.watchdog import Watchdog
from reportd_web.app import WebDependencies
from reportd_web.security.access import Access
from reportd_web.security.ended_sessions import EndedLogins
from reportd_web.security.sessions import Sessions


def web_dependencies(
    config: Config,
    backends: Backends,
    *,
    service: Service,
    breakers: BreakerOperator,
    types: Catalogue,
    observability: Observability,
    watchdog: Watchdog,
    recorder: Recorder,
    tokens: Tokens,
    signer: TokenSigner,
    background: trio.Nursery,
) -> WebDependencies:
    """Half of all connections may wait for something to happen: long polls and event streams."""
    status = observability.status
    dead_letters = DeadLetterService(
        service=service, jobs=backends.jobs, queue=backends.queue, letters=backends.letters, audit=backends.audit
    )
    return WebDependencies(
        service=service,
        dead_letters=dead_letters,
        schemas=types.schemas,
        max_body_bytes=config.http.max_body_bytes,
        max_waits=policies.max_connections(config) // 2,
        public_url=config.http.public_url,
        ready=status.parts,
        status=status.snapshot,
        changed=status.changed,
        audit=backends.audit,
        evidence=backends.evidence,
        note=recorder.note,
        nursery=background,
        public_keys=signer.public_keys,
        breakers=breakers,
        health=watchdog.trouble,
        metrics=observability.exposition.text,
        access=Access(
            tokens,
            Sessions(backends.session_secret),
            EndedLogins(backends.ended_sessions, background),
            RunningAttempts(signer, backends.jobs),
        ),
    )
