"""Prints the page of a case, from the table ``[reports.NAME]`` to the PDF or the fault."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import trio

from reportd.config import Config
from reportd.core.faults import Fault, FaultError, FaultKind
from reportd.ports import Pdf
from tests.daemon.node import job
from tests.documents.cases import Answer, Case, Opened, media_type, report_type
from tests.fakes.checking import catalogue_of
from tests.servers.chromium import Stage
from tests.servers.site import Content, Handler, Reply, Request, Site, open_site


async def render(opened: Opened, stage: Stage, folder: Path) -> tuple[Pdf | Fault, float, Mapping[str, str]]:
    """What comes out, how long it took, and the addresses that ``$SITE`` and ``$CDN`` stand for."""
    case = opened.case
    with trio.fail_after(60):
        async with open_site() as site, open_site(host="127.0.0.2") as cdn, stage.page() as page:
            names = {"$SITE": site.url(""), "$CDN": cdn.url("")}
            site.pages |= {"/report": of_page(case, names)}
            fill(site, cdn, case, names)
            (folder / "page.html").write_text(filled(case.page, names))
            config = Config(reports={"corpus": report_type(case, opened.way, site.url(case.path))})
            wanted = await catalogue_of(config, [folder]).request(
                replace(job(report_type="corpus"), parameters=case.parameters)
            )
            begun = trio.current_time()
            try:
                with trio.fail_after(wanted.timeout_seconds):
                    outcome: Pdf | Fault = await page.render(wanted)
            except FaultError as error:
                outcome = error.fault
            except trio.TooSlowError:  # as the pool does
                outcome = Fault(FaultKind.TIMEOUT, f"not done within its time, while {page.activity}")
            return outcome, trio.current_time() - begun, names


def fill(site: Site, cdn: Site, case: Case, names: Mapping[str, str]) -> None:
    for path, given in case.answers.items():
        answers = given if isinstance(given, list) else [given]
        where, local = (cdn, path.removeprefix("cdn")) if path.startswith("cdn") else (site, path)
        replies = [reply(each, local, case, names) for each in answers]
        plain = len(replies) == 1 and not answers[0].seconds
        where.pages[local] = replies[0] if plain else one_after_the_other(replies, [each.seconds for each in answers])


def one_after_the_other(replies: list[Reply], seconds: list[float]) -> Handler:
    asked = 0

    async def handle(request: Request, stream: trio.SocketStream) -> None:
        nonlocal asked
        number, asked = min(asked, len(replies) - 1), asked + 1
        await trio.sleep(seconds[number])
        await stream.send_all(replies[number].encoded(request.method))

    return handle


def of_page(case: Case, names: Mapping[str, str]) -> Content:
    return Reply(filled(case.page, names), content_type=case.type or media_type(".html"))


def reply(answer: Answer, path: str, case: Case, names: Mapping[str, str]) -> Reply:
    headers = {name: filled(value, names) for name, value in answer.headers.items()}
    if answer.redirect:
        headers["Location"] = filled(answer.redirect, names)
    kind = answer.type or media_type(path)
    status = 302 if answer.redirect and answer.status == 200 else answer.status
    return Reply(filled(case.page if answer.page else answer.body, names), status, kind, headers)


def filled(text: str, names: Mapping[str, str]) -> str:
    for name, value in names.items():
        text = text.replace(name, value)
    return text
