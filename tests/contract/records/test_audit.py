"""The audit record: what is told of a deed, in which order, and that a deed told twice is one."""

from collections.abc import AsyncIterator
from functools import partial

import pytest
import trio
from sqlalchemy import Connection, TextClause, text

from reportd.adapters.sql.database import Database, open_database
from reportd.adapters.sql.stores.audit import SqlAudit
from reportd.ports import Audit, AuditEntry
from tests.contract.jobs.jobs_lab import NOON
from tests.fakes import MemoryJobs
from tests.fakes.audit import FakeAudit


def deed(at: float = NOON, subject: str = "sales", action: str = "breaker.tripped", actor: str = "n1") -> AuditEntry:
    return AuditEntry(at, actor, action, subject, {"reason": f"at {at}"})


@pytest.fixture
async def audits(store: str | MemoryJobs) -> AsyncIterator[tuple[Audit, Audit]]:
    """One record, as two nodes have it."""
    if isinstance(store, MemoryJobs):
        fake = FakeAudit()
        yield fake, fake
        return
    async with open_database(store) as one, open_database(store) as other:
        yield SqlAudit(one), SqlAudit(other)


@pytest.fixture
def audit(audits: tuple[Audit, Audit]) -> Audit:
    return audits[0]


async def test_nothing_is_recorded_until_something_is_done(audit: Audit) -> None:
    await audit.record([])
    assert await audit.latest(10) == []


async def test_an_entry_comes_back_whole(audits: tuple[Audit, Audit]) -> None:
    detail = {
        "reason": "3 Fehler, “茶”\n",
        "faults": ["timeout: 60 s", "script_error: \0 in its text"],
        "attempts": 3,
        "before": None,
        "nested": {"half": 0.5, "yes": True},
    }
    entries = [
        AuditEntry(NOON + 0.123456, "anna", "breaker.forced_open", "sales", detail),
        AuditEntry(NOON, "n1", "drained", ""),
    ]
    await audits[0].record(entries)
    assert await audits[1].latest(10) == entries


async def test_newest_first_whoever_recorded_it_and_when(audits: tuple[Audit, Audit]) -> None:
    await audits[0].record([deed(NOON + 2), deed(NOON)])
    await audits[1].record([deed(NOON + 3), deed(NOON + 1)])
    assert [entry.at - NOON for entry in await audits[0].latest(10)] == [3, 2, 1, 0]
    assert [entry.at - NOON for entry in await audits[0].latest(2)] == [3, 2]


async def test_of_one_instant_the_last_told_is_first(audit: Audit) -> None:
    await audit.record([deed(action="a"), deed(action="c")])
    await audit.record([deed(action="b")])
    assert [entry.action for entry in await audit.latest(10)] == ["b", "c", "a"]


async def test_by_subject(audit: Audit) -> None:
    await audit.record([deed(NOON + number, "sales" if number % 2 else "users") for number in range(6)])
    assert [entry.at - NOON for entry in await audit.latest(2, "sales")] == [5, 3]
    assert [entry.at - NOON for entry in await audit.latest(10, "users")] == [4, 2, 0]
    assert await audit.latest(10, "sale") == []


async def test_a_deed_that_is_told_again_is_one(audits: tuple[Audit, Audit]) -> None:
    """As it is when the answer to the first telling was lost."""
    await audits[0].record([deed(), deed(NOON + 1)])
    await audits[1].record([deed(NOON + 1), deed(NOON + 2)])
    assert [entry.at - NOON for entry in await audits[0].latest(10)] == [2, 1, 0]
    others = [deed(subject="users"), deed(action="breaker.reset"), deed(actor="n2")]
    await audits[0].record(others)
    assert len(await audits[0].latest(10)) == 6


async def test_many_at_once_are_all_recorded(audits: tuple[Audit, Audit]) -> None:
    async with trio.open_nursery() as nursery:
        for number in range(40):
            nursery.start_soon(audits[number % 2].record, [deed(NOON + number), deed(NOON + 100)])
    assert [entry.at - NOON for entry in await audits[0].latest(100)] == [100, *range(39, -1, -1)]


# --- what only a database does to it ------------------------------------------------------------------------


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with open_database(database_url) as database:
        yield database


async def test_text_of_any_kind_can_be_kept(database: Database) -> None:
    audit = SqlAudit(database)
    odd = "\0 \ud800"
    await audit.record([AuditEntry(NOON, odd, odd * 1000, odd * 1000, {"faults": [odd], odd: 1})])
    (entry,) = await audit.latest(1, odd * 1000)
    assert (entry.actor, len(entry.action), len(entry.subject)) == ("\ufffd ?", 255, 255)
    assert entry.detail == {"faults": ["\0 ?"], "\0 ?": 1}


def answer(query: TextClause, connection: Connection) -> str:
    return str(connection.execute(query).all())


async def test_both_ways_of_reading_walk_along_an_index(database: Database) -> None:
    """However many there are: a page of the newest costs what it shows."""
    await SqlAudit(database).record([deed(NOON + number, f"type_{number % 50}") for number in range(2000)])
    await database.write(lambda connection: connection.execute(text("ANALYZE audit")).rowcount)
    explain = "EXPLAIN QUERY PLAN" if database.is_sqlite else "EXPLAIN"
    for where, index in (("", "ix_audit_newest"), ("WHERE subject = 'type_7'", "ix_audit_subject")):
        query = text(f"{explain} SELECT * FROM audit {where} ORDER BY at DESC, id DESC LIMIT 20")  # noqa: S608

        assert index in await database.read(partial(answer, query))
