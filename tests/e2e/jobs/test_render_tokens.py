"""Render tokens with everything real: pages of three origins that ask for them, while the keys are changed."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jwt
import pytest
import trio

from tests.documents.test_verifiers import PythonVerifier
from tests.documents.verifiers import Verifier
from tests.e2e.operator.test_reload import configure, reloaded
from tests.e2e.process import USER, Daemon, finished, open_daemon, submit
from tests.e2e.products import PLACES, Products, open_products
from tests.render_keys import a_key

pytestmark = pytest.mark.browser

JOBS = 30
OLD, NEW = "2026-05", "2026-11"


def config(products: Products, *kids: str) -> str:
    keys = ", ".join(f'{{kid = "{kid}", algorithm = "EdDSA", key = {{file = "{kid}.pem"}}}}' for kid in kids)
    return f"[render_tokens]\nkeys = [{keys}]\nmargin_seconds = 1\n{products.types()}"


async def test_pages_of_three_origins_know_whom_they_are_rendered_for(tmp_path: Path) -> None:
    def verifiers(daemon: str, page: str) -> Sequence[Verifier]:
        return [PythonVerifier(daemon, page)]

    async with open_products() as products, rendered(products, tmp_path, JOBS, verifiers) as (_, tokens):
        assert len(tokens) == JOBS


@asynccontextmanager
async def rendered(
    products: Products, folder: Path, jobs: int, verifiers: Callable[[str, str], Sequence[Verifier]]
) -> AsyncIterator[tuple[Daemon, dict[str, str]]]:
    """Render so many jobs, and change keys on the way. Yield the daemon, and the token of each job.

    ``verifiers``: makes those of an origin, from the address of the daemon and the origin.
    """
    for kid in (OLD, NEW):
        (folder / f"{kid}.pem").touch(0o600)
        (folder / f"{kid}.pem").write_text(a_key(kid).text)
    async with open_daemon(folder, config(products, OLD)) as daemon, daemon.client() as client:
        products.daemon = daemon.url
        products.ask(lambda page: verifiers(daemon.url, page))
        names = list(PLACES)
        task_ids = {
            await submit(client, names[n % 3], {"number": n, "city": "上海"}): names[n % 3] for n in range(jobs)
        }
        await change_keys(products, daemon, jobs)
        reports = [await finished(client, task_id, 600) for task_id in task_ids]
        assert {(report["state"], report["attempts"], len(report["warnings"])) for report in reports} == {
            ("succeeded", 1, 0)
        }
        tokens = check_tokens(products, task_ids)
        assert set(products.opened.values()) == {200}
        for task_id, token in tokens.items():
            assert (await products.parameters(task_id, token)).status_code == 401
        log = daemon.log.read_text()
        assert [token for token in tokens.values() if token in log] == []
        assert a_key(OLD).text.splitlines()[1] not in log
        yield daemon, tokens


async def change_keys(products: Products, daemon: Daemon, jobs: int) -> None:
    """As docs/OPERATIONS.md does it, a quarter of the jobs apart."""
    for part, kids in enumerate(((OLD, NEW), (NEW, OLD), (NEW,)), 1):
        with trio.fail_after(600):
            while len(products.claims) < part * jobs // 4:
                await trio.sleep(0.05)
        products.later(60.0)
        configure(daemon, config(products, *kids))
        await reloaded(daemon, "config.read")


def check_tokens(products: Products, task_ids: dict[str, str]) -> dict[str, str]:
    """Assert that each page's own origin got the token of its own job, with every request, and no other origin any.

    Return the token of each job.
    """
    tokens: dict[str, set[str]] = {task_id: set() for task_id in task_ids}
    counted = {"own": 0, "elsewhere": 0}
    for asked in products.asked:
        if asked.at == task_ids[asked.task_id]:
            counted["own"] += 1
            assert len(asked.tokens) == 1, asked
            tokens[asked.task_id] |= set(asked.tokens)
        else:
            counted["elsewhere"] += 1
            assert asked.tokens == (), asked
    print(f"\n{len(task_ids)} jobs; requests with their token at its origin and without one elsewhere: {counted}")
    assert counted == {"own": 3 * len(task_ids), "elsewhere": 3 * len(task_ids)}
    assert {len(found) for found in tokens.values()} == {1}
    one = {task_id: token for task_id, (token,) in tokens.items()}
    assert {jwt.get_unverified_header(token)["kid"] for token in one.values()} == {OLD, NEW}
    for task_id, name in task_ids.items():
        claims: dict[str, Any] = products.claims[task_id]
        assert (claims["taskId"], claims["sub"], claims["reportType"]) == (task_id, USER, name)
        assert claims["aud"] == products.origin(name)
        assert claims["exp"] - claims["iat"] in (62, 63)
        assert claims["iat"] <= time.time()
    return one
