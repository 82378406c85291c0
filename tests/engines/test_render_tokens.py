"""1,000 jobs over three origins, whose pages verify their render tokens as docs/INTERFACE.md shows it, in Python and in
JavaScript, while the keys are changed. A replay after the end is refused.
"""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import jwt
import pytest
import trio

from reportd.adapters.jwt_signer import JwtSigner
from tests.documents.test_verifiers import PythonVerifier
from tests.documents.verifiers import PARAMS, Verifier, claims_of
from tests.e2e.jobs.test_render_tokens import NEW, OLD, config, rendered
from tests.e2e.operator.test_reload import configure, reloaded
from tests.e2e.products import open_products
from tests.engines.test_verifiers import node_verifier
from tests.render_keys import a_key

pytestmark = [pytest.mark.browser, pytest.mark.soak]

JOBS = 1000


async def test_a_thousand_pages_know_whom_they_are_rendered_for(tmp_path: Path) -> None:
    with ExitStack() as programs:

        def verifiers(daemon: str, page: str) -> Sequence[Verifier]:
            folder = tmp_path / page.rpartition(":")[2]
            folder.mkdir()
            return [PythonVerifier(daemon, page), programs.enter_context(node_verifier(folder, daemon, page))]

        begun = time.time()
        async with open_products() as products, rendered(products, tmp_path, JOBS, verifiers) as (daemon, tokens):
            print(f"{JOBS} jobs in {time.time() - begun:.0f} s, while the keys changed")
            await trio.sleep(max(0.0, max(map(end_of, tokens.values())) - time.time() + 1))
            # Both keys are known again, so that nothing but the time is wrong with a replay.
            products.later(60.0)
            configure(daemon, config(products, NEW, OLD))
            await reloaded(daemon, "config.read")
            for kid in (OLD, NEW):
                claims = claims_of(audience=products.origin("bearer"))
                fresh = JwtSigner("reportd", [a_key(kid)]).sign(claims)
                assert None not in await products.verified("bearer", fresh, PARAMS)
            refused = [0, 0]
            for task_id, token in tokens.items():
                said = await products.verified(
                    str(products.claims[task_id]["reportType"]), token, products.params[task_id]
                )
                refused = [count + (one is None) for count, one in zip(refused, said, strict=True)]
            print(f"replays after the end, refused in Python and in JavaScript: {refused}")
            assert refused == [JOBS, JOBS]


def end_of(token: str) -> float:
    return float(jwt.decode(token, options={"verify_signature": False})["exp"])
