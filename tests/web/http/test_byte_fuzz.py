"""A few hundred connections with arbitrary bytes; ``make soak`` sends 20,000 to a whole daemon."""

from structlog.testing import capture_logs

from tests.web.byte_fuzzer import attack, clients
from tests.web.running import Running
from tests.web.serving import get, serving

SEED = 13
CONNECTIONS = 400


async def test_whatever_comes_the_others_are_answered(running: Running) -> None:
    with capture_logs() as logged:
        async with serving(running, within_seconds=60, max_connections=30) as served:
            await attack(served.port, SEED, CONNECTIONS)
            connection = await served.connect()
            await connection.send(get("/healthz"))
            assert (await connection.answer()).status == 200
            assert await served.end() < 4
    # No known input fails even its own connection. Another test checks that such a failure is survived.
    assert [entry for entry in logged if entry["log_level"] == "error"] == []


def test_a_seed_makes_the_same_connections_again() -> None:
    assert list(clients(7, 50)) == list(clients(7, 50)) != list(clients(8, 50))
