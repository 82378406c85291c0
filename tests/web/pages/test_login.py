"""The login of a browser: form, cookie, logout, and the limit of attempts."""

import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from http.cookies import SimpleCookie
from pathlib import Path

import httpx
import pytest
import trio
import trio.testing
from trio.testing import wait_all_tasks_blocked

from reportd.adapters.sql.database import open_database
from reportd.adapters.sql.stores.sessions import SqlEndedSessions
from reportd.concurrency.nurseries import open_background
from reportd.core.access import Role, Token
from reportd.ports import EndedSession, UnavailableError
from reportd_web.pages.forms import MAX_FORM_BYTES
from reportd_web.pages.login import log
from reportd_web.security.access import Access
from reportd_web.security.ended_sessions import EndedLogins
from reportd_web.security.login_throttle import IN_ALL, PER_ADDRESS, WINDOW_SECONDS, LoginThrottle
from reportd_web.security.sessions import COOKIE, SESSION_SECONDS, SKEW_SECONDS, Session, Sessions
from tests.fakes.sessions import MemoryEndedSessions
from tests.web.running import open_running
from tests.web.secured import Secured
from tests.web.serving import get, serving
from tests.wording import mentions

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
OWN = {"Origin": "http://127.0.0.1:8080"}


async def log_in(secured: Secured, token: str, **headers: str) -> httpx.Response:
    return await secured.client.post("/login", data={"token": token}, headers={**OWN, **headers})


# The way in


async def test_a_browser_is_led_to_the_form_and_back(secured: Secured) -> None:
    sent = await secured.client.get("/", headers=BROWSER)
    assert (sent.status_code, sent.headers["location"]) == (303, "/login")
    assert sent.headers["cache-control"] == "no-store"
    form = await secured.client.get("/login", headers=BROWSER)
    assert form.status_code == 200
    assert re.search(r'<form[^>]+method="post"[^>]+action="/login"', form.text)
    done = await log_in(secured, secured.secrets["operate"])
    assert (done.status_code, done.headers["location"]) == (303, "/")
    assert (await secured.client.get("/", headers=BROWSER)).status_code == 200, "httpx has kept the cookie"
    assert (await secured.client.get("/status")).status_code == 200


async def test_programs_are_told_what_is_missing_and_not_led_anywhere(secured: Secured) -> None:
    for headers in ({}, {"Accept": "*/*"}, {"Accept": "text/event-stream"}, {**BROWSER, "Authorization": "Bearer x"}):
        assert (await secured.client.get("/", headers=headers)).status_code == 401
    task_id = await secured.task()
    assert (await secured.client.delete(f"/reports/{task_id}", headers=BROWSER)).status_code == 401


async def test_a_blank_around_the_token_is_nobodys_fault(secured: Secured) -> None:
    assert (await log_in(secured, f" {secured.secrets['read']}\r\n")).status_code == 303


async def test_the_form_runs_nothing_and_nobody_frames_it(secured: Secured) -> None:
    answer = await secured.client.get("/login")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == "'none'"
    assert policy["form-action"] == "'self'"
    assert not {"script-src", "script-src-elem"} & set(policy)
    assert answer.headers["cache-control"] == "no-store"
    assert not re.search(r"<script|<style|style=|\bon\w+=|https?://", answer.text)
    for name in ("status", "login"):
        assert (await secured.client.get(f"/static/{name}.css")).status_code == 200


def cookie_of(answer: httpx.Response) -> "SimpleCookie":
    return SimpleCookie(answer.headers["set-cookie"])


@pytest.mark.parametrize(("proto", "secure"), [("", False), ("http", False), ("https", True)])
async def test_the_cookie_is_kept_from_scripts_and_other_sites(secured: Secured, proto: str, *, secure: bool) -> None:
    headers = {"X-Forwarded-Proto": proto} if proto else {}
    morsel = cookie_of(await log_in(secured, secured.secrets["read"], **headers))[COOKIE]
    assert (morsel["httponly"], morsel["samesite"], morsel["path"]) == (True, "strict", "/")
    assert morsel["max-age"] == str(SESSION_SECONDS)
    assert bool(morsel["secure"]) is secure
    assert not morsel["domain"]
    assert secured.secrets["read"] not in morsel.value


@pytest.mark.parametrize("token", ["", "x", "reportd_unknown", "é", "%00", "<script>", "a" * 2000, "\0\ud7ff"])
async def test_another_token_is_refused_and_not_repeated(secured: Secured, token: str) -> None:
    answer = await log_in(secured, token)
    assert answer.status_code == 401
    assert 'role="alert"' in answer.text
    assert "set-cookie" not in answer.headers
    assert len(token) < 2 or token not in answer.text


@pytest.mark.parametrize("name", ["submit", "tenant"])
async def test_a_token_that_may_not_see_the_page_gets_no_session(secured: Secured, name: str) -> None:
    answer = await log_in(secured, secured.secrets[name])
    assert answer.status_code == 403
    assert mentions(answer.text, "role read", "bound to a user")
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [
        (b"token=x", "application/json", 415),
        (b"token=x", "", 415),
        (b"x" * (MAX_FORM_BYTES + 1), "application/x-www-form-urlencoded", 413),
        (b"\xff\xfe=\xff&token=%ff%fe&&=", "application/x-www-form-urlencoded", 401),
        (b"&" * MAX_FORM_BYTES, "application/x-www-form-urlencoded; charset=utf-8", 401),
        (b"", "APPLICATION/X-WWW-FORM-URLENCODED", 401),
    ],
)
async def test_what_is_no_form_is_refused(secured: Secured, content: bytes, content_type: str, status: int) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    assert (await secured.client.post("/login", content=content, headers=headers)).status_code == status


async def test_another_site_can_neither_log_in_nor_out(secured: Secured) -> None:
    assert (await log_in(secured, secured.secrets["read"], Origin="http://evil.example")).status_code == 403
    await log_in(secured, secured.secrets["read"])
    answer = await secured.client.post("/logout", headers={"Origin": "http://evil.example"})
    assert answer.status_code == 403
    assert (await secured.client.get("/status")).status_code == 200


async def test_logged_out_it_is_over(secured: Secured) -> None:
    await log_in(secured, secured.secrets["read"])
    answer = await secured.client.post("/logout", headers=OWN)
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert cookie_of(answer)[COOKIE]["max-age"] == "0"
    assert (await secured.client.get("/status")).status_code == 401


async def test_a_copied_cookie_is_over_with_its_session_on_every_node(secured: Secured, folder: Path) -> None:
    mine, other = [
        {"Cookie": f"{COOKIE}={cookie_of(await log_in(secured, secured.secrets['read']))[COOKIE].value}"}
        for _ in range(2)
    ]
    async with another_node(secured, folder) as node:
        for client in (secured.client, node):
            client.cookies.clear()
            assert (await client.get("/status", headers=mine)).status_code == 200
        assert (await secured.client.post("/logout", headers={**OWN, **mine})).status_code == 303
        assert (await secured.client.get("/status", headers=mine)).status_code == 401
        with trio.fail_after(5):
            while any(part["detail"] for part in (await node.get("/readyz", headers=mine)).json()["parts"].values()):
                await trio.sleep(0.1)
        assert (await node.get("/status", headers=mine)).status_code == 401
        for client in (secured.client, node):
            assert (await client.get("/status", headers=other)).status_code == 200, "another login of the same token"
            assert (await client.get("/status", headers=secured.bearer("read"))).status_code == 200


@pytest.mark.usefixtures("autojump_clock")
async def test_what_this_node_has_ended_is_over_though_an_older_look_comes_late() -> None:
    record = MemoryEndedSessions()
    await record.end("another", "s3", time.time(), time.time() + 1000)
    ended_then = record.ended

    async def slow(at: float) -> list[EndedSession]:
        found = await ended_then(at)
        await trio.sleep(0.5)
        return found

    record.ended = slow  # type: ignore[method-assign]
    async with open_background() as nursery:
        ended, session = EndedLogins(record, nursery), Session(TOKEN, "s1", time.time())
        async with trio.open_nursery() as asking:
            asking.start_soon(ended.refresh)
            await wait_all_tasks_blocked()
            await ended.end(session)
            assert ended.includes(session)
        assert ended.includes(session)
        await ended.refresh()
        assert ended.includes(session)
        assert not ended.includes(Session(TOKEN, "s2", time.time()))


async def test_a_stream_ends_with_its_session(secured: Secured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reportd_web.pages.dashboard.ALIVE_SECONDS", 0.1)
    cookie = secured.cookie("read")
    async with serving(secured.running) as served:
        stream = await served.connect()
        await stream.send(get("/events", Connection="close", **cookie))
        await stream.stream.receive_some()
        answer = await secured.client.post("/logout", headers={**OWN, **cookie})
        assert answer.status_code == 303
        with trio.fail_after(5):
            while await stream.stream.receive_some():
                pass


async def test_while_the_database_is_away_a_session_counts_and_cannot_be_ended(
    secured: Secured, monkeypatch: pytest.MonkeyPatch
) -> None:
    await log_in(secured, secured.secrets["read"])

    async def away(*_: object) -> list[EndedSession]:
        raise UnavailableError("database", "it is away")

    for call in ("ended", "end"):
        monkeypatch.setattr(SqlEndedSessions, call, away)
    assert (await secured.client.get("/status")).status_code == 200
    answer = await secured.client.post("/logout", headers=OWN)
    assert answer.status_code == 503
    assert "still logged in" in answer.text
    assert "set-cookie" not in answer.headers
    monkeypatch.undo()
    assert (await secured.client.post("/logout", headers=OWN)).status_code == 303


async def test_the_record_is_asked_for_cookies_only_and_once_a_second(
    secured: Secured, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []
    monkeypatch.setattr(SqlEndedSessions, "ended", asking(asked))
    for _ in range(20):
        await secured.client.get("/status", headers=secured.bearer("read"))
        await secured.client.get("/healthz")
    assert not asked
    began = trio.current_time()
    for _ in range(20):
        await secured.client.get("/status", headers=secured.cookie("read"))
    assert 1 <= len(asked) <= 2 + trio.current_time() - began


def asking(asked: list[float]) -> Callable[..., Awaitable[list[EndedSession]]]:
    async def ended(_: SqlEndedSessions, at: float) -> list[EndedSession]:
        asked.append(at)
        return []

    return ended


@asynccontextmanager
async def another_node(secured: Secured, folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    """With the same tokens, secret and database."""
    async with open_database(f"sqlite:///{folder / 'reportd.db'}") as database, open_background() as nursery:
        ended = EndedLogins(SqlEndedSessions(database), nursery)
        access = Access(secured.access.tokens, secured.access.sessions, ended)
        async with open_running(folder, access) as running:
            yield running.client


async def test_what_is_done_by_a_session_is_done_by_its_token(
    secured: Secured, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[dict[str, str]] = []
    monkeypatch.setattr(log, "info", lambda event, **fields: logged.append({"event": event, **fields}))
    await log_in(secured, secured.secrets["read"])
    assert logged == [{"event": "login.done", "client": "127.0.0.1", "actor": "read"}]


# The cookie


class Clock:
    def __init__(self) -> None:
        self.now = 1.7e9

    def __call__(self) -> float:
        return self.now


TOKEN = Token("ada.l@x", frozenset({Role.READ}), b"h" * 32)
SECRET = b"s" * 32


def named(name: str) -> Token | None:
    return TOKEN if name == TOKEN.name else None


def holder(sessions: Sessions, cookie: str) -> Token | None:
    session = sessions.find(cookie, named)
    return None if session is None else session.token


def test_a_session_ends_by_itself() -> None:
    clock = Clock()
    sessions = Sessions(SECRET, clock)
    cookie = sessions.issue(TOKEN)
    for seconds, expected in ((0, TOKEN), (SESSION_SECONDS, TOKEN), (1, None)):
        clock.now += seconds
        assert holder(sessions, cookie) is expected


def test_a_session_counts_on_every_node_and_after_a_restart() -> None:
    clock, behind = Clock(), Clock()
    behind.now -= SKEW_SECONDS - 1
    cookie = Sessions(SECRET, clock).issue(TOKEN)
    assert holder(Sessions(SECRET, behind), cookie) is TOKEN
    behind.now -= 2
    assert holder(Sessions(SECRET, behind), cookie) is None, "it is from the future"


def test_a_session_ends_with_its_token() -> None:
    sessions = Sessions(SECRET)
    cookie = sessions.issue(TOKEN)
    replaced = Token(TOKEN.name, TOKEN.roles, b"i" * 32)
    assert sessions.find(cookie, lambda _: replaced) is None
    assert sessions.find(cookie, lambda _: None) is None


def test_the_hash_of_a_token_is_not_enough_to_write_a_cookie() -> None:
    assert holder(Sessions(SECRET), Sessions(b"other").issue(TOKEN)) is None
    assert holder(Sessions(SECRET), Sessions(b"").issue(TOKEN)) is None


def forgeries() -> Iterator[str]:
    cookie = Sessions(SECRET).issue(TOKEN)
    name, at, signature = cookie.rsplit(".", 2)
    yield f"{TOKEN.name}.{at}.{signature}"
    yield f"{TOKEN.name}.other.{at}.{signature}"
    yield from ("", ".", "..", name, f"{name}.", f"{name}..", f"{name}.{at}", f"{name}.{at}.", f"{name}..{signature}")
    yield from (f"{name}.{at}.{signature}.", f".{cookie}", cookie[:-1], f"{name}.é.ü", f"{name}.\0.\ud800")
    yield f"{name}.{at[:-1]}{'A' if at[-1] != 'A' else 'B'}.{signature}"
    yield from (f"{name}.{at}.{'A' * len(signature)}", f"{name}.{'/' * 9}.{signature}", f"{name}." + "A" * 10000 + ".x")


def test_no_other_text_is_a_session() -> None:
    for cookie in forgeries():
        assert holder(Sessions(SECRET), cookie) is None, cookie


# The limit of attempts


def test_failures_of_an_address_are_forgotten_after_a_while() -> None:
    clock = Clock()
    attempts = LoginThrottle(clock)
    for number in range(PER_ADDRESS):
        assert attempts.wait_seconds("a") == 0, number
        attempts.failed("a")
        clock.now += 1
    assert attempts.wait_seconds("a") == WINDOW_SECONDS - PER_ADDRESS
    assert attempts.wait_seconds("b") == 0
    clock.now += WINDOW_SECONDS - PER_ADDRESS
    assert attempts.wait_seconds("a") == 0, "the first one is out of the window"
    attempts.failed("a")
    assert attempts.wait_seconds("a") == 1


def test_many_addresses_have_so_many_together_and_no_more_is_kept() -> None:
    clock = Clock()
    attempts = LoginThrottle(clock)
    for number in range(10 * IN_ALL):
        if not attempts.wait_seconds(str(number)):
            attempts.failed(str(number))
    assert attempts.wait_seconds("new") == WINDOW_SECONDS
    assert len(attempts._failures) == IN_ALL
    clock.now += WINDOW_SECONDS
    assert attempts.wait_seconds("new") == 0
    assert not attempts._failures


async def test_too_many_failures_and_the_form_waits(secured: Secured, mock_clock: trio.testing.MockClock) -> None:
    for _ in range(PER_ADDRESS):
        assert (await log_in(secured, "x")).status_code == 401
    answer = await log_in(secured, "x")
    assert answer.status_code == 429
    wait_seconds = int(answer.headers["retry-after"])
    assert 0 < wait_seconds <= WINDOW_SECONDS
    assert f"{wait_seconds} s" in answer.text
    assert (await log_in(secured, secured.secrets["read"])).status_code == 303, "others' failures hold nobody up"
    bearer = await secured.client.get("/status", headers=secured.bearer("read"))
    assert bearer.status_code == 200, "programs are not held up"
    mock_clock.jump(wait_seconds)
    assert (await log_in(secured, "x")).status_code == 401


async def test_right_tokens_are_not_counted(secured: Secured) -> None:
    for _ in range(2 * PER_ADDRESS):
        assert (await log_in(secured, secured.secrets["read"])).status_code == 303
