"""Nodes on one PostgreSQL: they share an artifact store or do not start. And parts in trouble, on /readyz."""

from collections import Counter
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import trio

from tests.e2e.process import Daemon, finished, open_daemon, submit
from tests.servers.aws import ENVIRONMENT, make_bucket, new_bucket
from tests.servers.postgresql import Postgres

pytestmark = [pytest.mark.browser, pytest.mark.stands_still("makes and drops databases")]

ROWS = [{"product": "Lamp", "quantity": 1, "revenue": 10.0}]
PARAMETERS = {"period": {"from": "2025-01-01", "to": "2025-03-31"}, "rows": ROWS}
ONE_BROWSER = "[pool]\nbrowsers = 1\npages_per_browser = 1\n"


def config(database_url: str, artifacts: str = "") -> str:
    return f'[database]\nurl = "{database_url}"\n{artifacts}\n{ONE_BROWSER}'


def folder_of(tmp_path: Path, name: str) -> Path:
    folder = tmp_path / name
    folder.mkdir()
    return folder


@pytest.mark.parametrize("kind", ["folder", "s3"])
async def test_three_nodes_on_one_store_answer_for_each_others_pdfs(
    tmp_path: Path, postgres: Postgres, moto: str, kind: str
) -> None:
    artifacts = f'[artifacts]\nurl = "file:{tmp_path / "shared"}"'
    if kind == "s3":
        artifacts = f'[artifacts]\nurl = "s3://{new_bucket(moto)}/pdfs"\nendpoint_url = "{moto}"'
    with postgres.new_database("stores") as url:
        async with AsyncExitStack() as stack:
            nodes = []
            for number in range(3):
                folder = folder_of(tmp_path, f"node-{number}")
                nodes.append(await stack.enter_async_context(open_daemon(folder, config(url, artifacts), ENVIRONMENT)))
            clients = [await stack.enter_async_context(node.client()) for node in nodes]
            task_ids = [await submit(clients[number % 3], "sales_summary", PARAMETERS) for number in range(15)]
            reports = [await finished(clients[0], task_id) for task_id in task_ids]
            assert Counter(report["state"] for report in reports) == {"succeeded": 15}
            for task_id in task_ids:
                for client in clients:
                    pdf = await client.get(f"/reports/{task_id}/pdf", follow_redirects=True)
                    assert (pdf.status_code, pdf.content[:5]) == (200, b"%PDF-")


async def test_a_node_with_a_folder_of_its_own_does_not_start(tmp_path: Path, postgres: Postgres) -> None:
    with postgres.new_database("stores") as url:
        async with open_daemon(folder_of(tmp_path, "one"), config(url), {}) as one:
            other = Daemon(folder_of(tmp_path, "other"), config(url), {})
            other.launch()
            with trio.fail_after(30):
                assert await other.ended() == 1, "its mount may be late, so systemd is to try again"
            told = other.log.read_text()
            mark = (one.data_dir / "artifacts" / "store.id").read_text().strip()
            assert mark in told
            own = other.data_dir / "artifacts" / "store.id"
            own.parent.mkdir(exist_ok=True)
            own.write_text("another")
            other.launch()
            with trio.fail_after(30):
                assert await other.ended() == 2, "another store stays another store"
            # An operator who has moved the store on purpose does what the message says.
            own.write_text(mark)
            await other.start()
            assert await other.stop() == 0


async def parts(client: httpx.AsyncClient) -> tuple[int, dict[str, Any]]:
    answer = await client.get("/readyz")
    return answer.status_code, {name: one["detail"] for name, one in answer.json()["parts"].items() if not one["ok"]}


async def until(client: httpx.AsyncClient, status: int) -> dict[str, Any]:
    with trio.fail_after(30):
        while True:
            answered, wrong = await parts(client)
            if answered == status:
                return wrong
            await trio.sleep(0.2)


async def test_a_bucket_that_is_missing_at_the_start_is_told_and_found_without_a_job(tmp_path: Path, moto: str) -> None:
    artifacts = f'[artifacts]\nurl = "s3://not-there-yet/pdfs"\nendpoint_url = "{moto}"\n{ONE_BROWSER}'
    daemon = Daemon(tmp_path, artifacts, ENVIRONMENT)
    daemon.launch()
    try:
        async with httpx.AsyncClient(base_url=daemon.url, trust_env=False) as client:
            with trio.fail_after(30):
                while not daemon.events("daemon.ready"):
                    await trio.sleep(0.1)
            status, wrong = await parts(client)
            assert status == 503
            assert "does not exist" in wrong["artifacts"]
            await trio.to_thread.run_sync(make_bucket, moto, "not-there-yet")
            await until(client, 200)
    finally:
        await daemon.end()


async def test_a_right_that_is_taken_away_is_told_and_work_goes_on_once_it_is_back(
    tmp_path: Path, postgres: Postgres
) -> None:
    with suppress(psycopg.errors.DuplicateObject):
        postgres.run("CREATE ROLE weak LOGIN")
    with postgres.new_database("stores") as url:
        postgres.run("GRANT ALL ON SCHEMA public TO weak", database="stores")

        def own(table: str, role: str) -> None:
            postgres.run(f"ALTER TABLE {table} OWNER TO {role}", database="stores")

        async with (
            open_daemon(tmp_path, config(url.replace("reportd@", "weak@")), {}) as daemon,
            daemon.client() as client,
        ):
            for table in ("attempts", "jobs", "messages", "nodes"):
                await trio.to_thread.run_sync(own, table, "reportd")
                with suppress(AssertionError, httpx.HTTPError, KeyError):
                    await submit(client, "sales_summary", PARAMETERS)
                wrong = await until(client, 503)
                assert "grant" in wrong["database"].lower(), table
                await trio.to_thread.run_sync(own, table, "weak")
                await until(client, 200)
                task_id = await submit(client, "sales_summary", PARAMETERS)
                assert (await finished(client, task_id))["state"] == "succeeded", table
