"""PgBouncer in transaction mode, as it comes: each transaction may have another session of the server."""

import pytest
import trio
from sqlalchemy import Connection, text

from reportd.adapters.sql.database import open_database
from reportd.adapters.sql.migrate import migrate
from reportd.adapters.sql.stores.jobs import SqlJobs
from tests.contract.jobs.jobs_lab import a_job
from tests.servers.pgbouncer import PgBouncer
from tests.servers.postgresql import Postgres


async def test_a_node_makes_its_schema_and_repeats_its_statements_through_a_pooler(
    postgres: Postgres, pgbouncer: PgBouncer
) -> None:
    """More often than a driver needs to prepare a statement, in more connections than there are sessions."""
    with postgres.new_database("pooled"):
        async with open_database(pgbouncer.url("pooled")) as database, open_database(pgbouncer.url("pooled")) as other:
            await migrate(database)
            stores = [SqlJobs(database), SqlJobs(other)]

            async def use(jobs: SqlJobs) -> None:
                for _ in range(10):
                    job = a_job()
                    await jobs.add([job])
                    assert await jobs.get(job.task_id) is not None

            async with trio.open_nursery() as nursery:
                for number in range(8):
                    nursery.start_soon(use, stores[number % 2])
        postgres.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'pooled'")


async def test_what_bounds_a_transaction_goes_with_it(postgres: Postgres, pgbouncer: PgBouncer) -> None:
    def settings(connection: Connection) -> list[str]:
        names = ("lock_timeout", "idle_in_transaction_session_timeout", "transaction_isolation")
        return [connection.exec_driver_sql(f"SHOW {name}").scalar_one() for name in names]

    with postgres.new_database("pooled"):
        async with open_database(pgbouncer.url("pooled")) as database:
            for ask in (database.read, database.write):
                assert await ask(settings) == ["2s", "30s", "read committed"]
        postgres.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'pooled'")


@pytest.mark.parametrize("threshold", ["0", "3"])
async def test_who_has_no_pooler_may_prepare_statements(postgres: Postgres, threshold: str) -> None:
    with postgres.new_database("prepared") as url:
        async with open_database(f"{url}&prepare_threshold={threshold}") as database:

            def prepared(connection: Connection) -> int:
                for number in range(5):
                    connection.execute(text("SELECT :number"), {"number": number})
                return int(connection.execute(text("SELECT count(*) FROM pg_prepared_statements")).scalar_one())

            assert await database.write(prepared) >= 1
            assert await database.write(prepared) >= 1


async def test_without_being_asked_nothing_is_prepared(postgres: Postgres) -> None:
    with postgres.new_database("prepared") as url:
        async with open_database(url) as database:

            def prepared(connection: Connection) -> int:
                for number in range(10):
                    connection.execute(text("SELECT :number"), {"number": number})
                return int(connection.execute(text("SELECT count(*) FROM pg_prepared_statements")).scalar_one())

            assert await database.write(prepared) == 0
