"""The bytes of bodies are limited for each caller and in total; small bodies are always accepted."""

import json
from pathlib import Path
from typing import Any

import pytest
import trio

from reportd.core.jobs.job import Job
from reportd.ports import Record
from reportd_web.http.problems import ProblemError
from reportd_web.security import body_limit
from reportd_web.security.body_limit import FREE_BYTES, BodyLimit
from tests.web.running import MAX_BODY_BYTES, submission
from tests.web.secured import open_secured
from tests.web.serving import post, serving

MIB = 1024 * 1024


def scope(name: str) -> dict[str, Any]:
    return {"reportd.actor": name, "client": ("127.0.0.1", 1)}


def test_one_caller_has_a_quarter_and_all_is_given_back() -> None:
    hands = BodyLimit(MIB)
    with hands.admit(scope("a")) as first, hands.admit(scope("a")) as second:
        first(MIB)
        first(15 * MIB)
        second(MIB)
        with pytest.raises(ProblemError) as failed:
            second(MIB + 1)
        assert failed.value.status == 429
        assert failed.value.headers["Retry-After"]
        with hands.admit(scope("a")) as small:
            small(FREE_BYTES)
        with hands.admit(scope("b")) as b, hands.admit(scope("c")) as c, hands.admit(scope("d")) as d:
            for other in (b, c, d):
                other(16 * MIB)
            with hands.admit(scope("e")) as late:
                late(FREE_BYTES)
                with pytest.raises(ProblemError) as failed:
                    late(FREE_BYTES + 1)
        assert failed.value.status == 503
    assert hands.held_bytes == 0


@pytest.mark.parametrize("size", [body_limit.MOST_BYTES // 4 + 1, body_limit.MOST_BYTES, 100 * MIB])
def test_one_body_always_has_room_and_never_all_of_it(size: int) -> None:
    hands = BodyLimit(size)
    with hands.admit(scope("a")) as one, hands.admit(scope("b")) as other:
        one(size)
        other(size)


@pytest.mark.parametrize("hold", ["body", "intake"])
async def test_no_more_is_read_than_there_is_room_for(folder: Path, monkeypatch: pytest.MonkeyPatch, hold: str) -> None:
    """A body counts until it is answered: while it arrives, and while the database is slow."""
    monkeypatch.setattr(body_limit, "MOST_BYTES", MAX_BODY_BYTES)
    # A submission that is never recorded is answered after this time, and its body counts until then.
    monkeypatch.setattr("reportd.intake.service.ACCEPT_SECONDS", 3.0)
    hands = BodyLimit(MAX_BODY_BYTES)
    monkeypatch.setattr("reportd_web.app.BodyLimit", lambda _: hands)
    async with open_secured(folder) as secured, serving(secured.running) as served:
        held, text = trio.Event(), json.dumps(submission())
        submit, token = secured.running.service._intake.submit, secured.bearer("all")

        async def never_answers(_job: Job) -> Record:
            held.set()
            await trio.sleep_forever()
            raise AssertionError

        if hold == "intake":
            monkeypatch.setattr(secured.running.service._intake, "submit", never_answers)
        large = text.ljust(MAX_BODY_BYTES - 4096)
        first = await served.connect()
        await first.send(post(len(large), **token), large if hold == "intake" else large[:-1])
        while hold == "body" and hands.held_bytes < len(large) - 1:
            await trio.sleep(0.01)
        if hold == "intake":
            await held.wait()
        monkeypatch.setattr(secured.running.service._intake, "submit", submit)

        second = await served.connect()
        await second.send(post(FREE_BYTES + 1, **token), text.ljust(FREE_BYTES), " ")
        refusal = await second.answer()
        assert refusal.status == 429
        assert int(refusal.headers["retry-after"]) > 0
        assert refusal.headers["connection"] == "close"

        small = await served.connect()
        await small.send(post(FREE_BYTES, **token), text.ljust(FREE_BYTES))
        assert (await small.answer()).status == 202
        await first.stream.aclose()
        while hands.held_bytes:
            await trio.sleep(0.01)
