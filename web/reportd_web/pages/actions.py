"""Handles the buttons of the pages: a form is posted, and a page comes back. Programs use the API instead.

A form can't send DELETE, and a refusal must be readable for people. So these are separate calls.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from reportd.breakers.operator import BreakerCommand, BreakerOperator
from reportd.dead_letters.service import DeadLetterService
from reportd.intake.service import Service
from reportd.ports import AuditEntry
from reportd_web.api import reports
from reportd_web.api.breakers import reason_of
from reportd_web.api.dead_letters import target_of
from reportd_web.pages.forms import read_form
from reportd_web.pages.html import Pages, page
from reportd_web.security.actor import actor
from reportd_web.security.guard import Handler, problem_for

Action = Callable[[Request], Awaitable[None]]

TO_TYPES = "/#types"
TO_JOB = "/jobs/{taskId}"
TO_LETTERS = "/#letters"


@dataclass(frozen=True, slots=True)
class PageActions:
    """``note``: adds to the audit record. ``changed``: makes the next snapshot show the action."""

    service: Service
    breakers: BreakerOperator
    letters: DeadLetterService
    pages: Pages
    note: Callable[[AuditEntry], None]
    changed: Callable[[], None]

    def add_to(self, app: FastAPI) -> None:
        for command in (BreakerCommand.OPEN, BreakerCommand.CLOSE, BreakerCommand.PROBE):
            handler = self._then(TO_TYPES, self._breaker(command))
            reports.add_calls(app, f"/types/{{reportType}}/{command}", {"POST": handler})
        reports.add_calls(app, "/jobs/{taskId:uuid}/cancel", {"POST": self._then(TO_JOB, self._cancel)})
        reports.add_calls(app, "/jobs/{taskId:uuid}/retry", {"POST": self._then(TO_JOB, self._retry)})
        reports.add_calls(app, "/letters/{id}/requeue", {"POST": self._then(TO_LETTERS, self._requeue)})
        reports.add_calls(app, "/letters/{id}/drop", {"POST": self._then(TO_LETTERS, self._drop)})

    def _then(self, back: str, action: Action) -> Handler:
        """Run the action and go back to the page that shows it, or show why it was refused."""

        async def handle(request: Request) -> Response:
            target = back.format(**request.path_params)
            try:
                await action(request)
            except Exception as error:
                if (problem := problem_for(error)) is None:
                    raise
                return page(self.pages.refused(problem.status, problem.detail, target), problem.status, problem.headers)
            self.changed()
            return RedirectResponse(target, HTTPStatus.SEE_OTHER, {"Cache-Control": "no-store"})

        return handle

    def _breaker(self, command: BreakerCommand) -> Action:
        async def move(request: Request) -> None:
            reason = reason_of((await read_form(request)).get("reason", "").strip())
            await self.breakers.execute(request.path_params["reportType"], command, actor(request), reason)

        return move

    async def _cancel(self, request: Request) -> None:
        await reports.cancel_own(self.service, self.note, request)

    async def _retry(self, request: Request) -> None:
        await reports.retry_own(self.service, self.note, request)

    async def _requeue(self, request: Request) -> None:
        await self.letters.requeue(target_of(request), actor(request))

    async def _drop(self, request: Request) -> None:
        await self.letters.drop(target_of(request), actor(request))
