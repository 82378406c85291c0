"""A daemon that requires tokens, one token of each kind, and a client for any call."""

import re
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import trio

from reportd.adapters.sql.database import open_database
from reportd.adapters.sql.stores.jobs import SqlJobs
from reportd.adapters.sql.stores.sessions import SqlEndedSessions
from reportd.concurrency.nurseries import open_background
from reportd.intake.render_tokens import RunningAttempts
from reportd.intake.tokens import Tokens, new_token
from reportd_web.api import reports
from reportd_web.security.access import Access
from reportd_web.security.ended_sessions import EndedLogins
from reportd_web.security.sessions import COOKIE, Sessions
from tests.web.running import SIGNER, USER, Running, calls, open_running, submission

OTHER_USER = "11111111-2222-4333-8444-555555555555"
ALL = "submit,read,operate"

TOKENS = {
    "submit": ("submit", None),
    "read": ("read", None),
    "operate": ("operate", None),
    "all": (ALL, None),
    "tenant": (ALL, USER),
    "other": (ALL, OTHER_USER),
}
"""Roles and bound user, by the token's name."""


@dataclass
class Secured:
    """A daemon that requires tokens."""

    running: Running
    secrets: dict[str, str]
    access: Access

    @property
    def client(self) -> httpx.AsyncClient:
        return self.running.client

    def bearer(self, name: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.secrets[name]}"}

    def cookie(self, name: str) -> dict[str, str]:
        token = self.access.tokens.named(name)
        assert token is not None
        return {"Cookie": f'{COOKIE}="{self.access.sessions.issue(token)}"'}

    def ways(self, name: str) -> list[dict[str, str]]:
        """The ways to present that token."""
        return [self.bearer(name), self.cookie(name)]

    def calls(self) -> Iterator[tuple[str, str]]:
        """Return every method and route template."""
        yield from sorted(calls(self.running.app))

    async def task(self, user_id: str = USER) -> str:
        return await self.running.submit(self.bearer("all"), userId=user_id)

    async def ask(self, method: str, template: str, headers: dict[str, str], task_id: str = "") -> "Answer":
        """Make the call, with a body if it takes one. Wait only for the status: some answers have no end."""
        values = {"taskId": task_id, "reportType": "sales_summary", "id": task_id, "attempt": "1"}
        path = re.sub(r"{(\w+)}", lambda found: values[found[1]] or str(uuid4()), template)
        body = submission() if template == reports.SUBMIT else None
        request = self.client.build_request(method, path, json=body, headers=httpx.Headers(headers, encoding="latin-1"))
        answer = Answer()
        with trio.fail_after(20), trio.CancelScope() as scope:
            await self.running.app(*_asgi(request, answer, scope))
        return answer


class Answer:
    status = 0
    headers: dict[str, str]
    text = ""


def _asgi(request: httpx.Request, answer: Answer, scope: trio.CancelScope) -> tuple[Any, Any, Any]:
    given = {
        "type": "http",
        "method": request.method,
        "path": request.url.path,
        "raw_path": request.url.raw_path,
        "query_string": request.url.query,
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "scheme": "http",
        "http_version": "1.1",
        "server": ("127.0.0.1", 8080),
        "client": ("127.0.0.1", 1234),
        "root_path": "",
    }
    messages = [{"type": "http.request", "body": request.content, "more_body": False}]

    async def receive() -> Any:
        if messages:
            return messages.pop()
        await trio.sleep_forever()
        raise AssertionError

    async def send(message: Any) -> None:
        await trio.lowlevel.checkpoint()
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {name.decode().lower(): value.decode() for name, value in message["headers"]}
            if answer.status < 400:
                scope.cancel()
        answer.text += message.get("body", b"").decode()

    return given, receive, send


@asynccontextmanager
async def open_secured(folder: Path) -> AsyncIterator[Secured]:
    """``folder`` holds a migrated database."""
    made = {name: new_token(name, *given) for name, given in TOKENS.items()}
    file = folder / "tokens"
    file.touch(0o600)
    file.write_text("\n".join(line for _, line in made.values()))
    async with open_database(f"sqlite:///{folder / 'reportd.db'}") as database, open_background() as nursery:
        ended = EndedLogins(SqlEndedSessions(database), nursery)
        attempts = RunningAttempts(SIGNER, SqlJobs(database))
        access = Access(Tokens(file), Sessions(secrets.token_bytes(32)), ended, attempts)
        async with open_running(folder, access) as running:
            yield Secured(running, {name: secret for name, (secret, _) in made.items()}, access)
