"""The cluster's store: a node with another store neither writes to it nor reads from it."""

import pytest
import trio

from reportd.adapters.artifacts.cluster import ClusterStore
from reportd.ports import Pdf, UnavailableError, WrongStoreError
from tests.daemon.node import job
from tests.fakes import MemoryArtifacts, Weather

pytestmark = pytest.mark.usefixtures("autojump_clock")

PDF = Pdf(4, "sha", data=b"%PDF")


class Agreements:
    """In memory."""

    def __init__(self, *, alone: bool = False) -> None:
        self.alone = alone
        self.kept: dict[str, str] = {}

    async def known(self, name: str) -> str | None:
        return self.kept.get(name)

    async def agree(self, name: str, value: str) -> str:
        return self.kept.setdefault(name, value)

    async def change(self, name: str, value: str) -> None:
        self.kept[name] = value


async def test_nodes_on_one_store_agree() -> None:
    shared, agreements = MemoryArtifacts(), Agreements()
    one, other = ClusterStore(shared, agreements), ClusterStore(shared, agreements)
    await one.put(job(), PDF)
    assert await other.locate(job()) is not None


@pytest.mark.parametrize("marked", [None, "another-one"])
async def test_a_node_with_another_store_is_refused_with_what_to_do(marked: str | None) -> None:
    agreements, foreign = Agreements(), MemoryArtifacts()
    await ClusterStore(MemoryArtifacts(), agreements).verify()
    foreign.marked = marked
    wrong = ClusterStore(foreign, agreements)
    told: list[str] = []
    wrong.on_failure = lambda use, _why: told.append(use)
    for use in (wrong.verify, wrong.probe, lambda: wrong.put(job(), PDF), lambda: wrong.locate(job())):
        with pytest.raises(WrongStoreError, match=f"{agreements.kept['artifacts']}.*store.id with"):
            await use()
    with pytest.raises(WrongStoreError):
        await wrong.remove(job().task_id)
    assert told == ["writes", "reads", "writes"]
    assert foreign.marked == marked
    assert not foreign.puts
    foreign.marked = agreements.kept["artifacts"]  # moved on purpose
    await wrong.put(job(), PDF)


async def test_one_that_could_not_be_looked_at_is_looked_at_later() -> None:
    weather = Weather()
    store = ClusterStore(MemoryArtifacts(weather), Agreements())
    weather.fail("artifacts.identity", UnavailableError("artifacts", "it is away"))
    with pytest.raises(UnavailableError, match="away"):
        await store.verify()
    await store.put(job(), PDF)


async def test_a_start_that_was_cut_off_is_completed() -> None:
    agreements, store = Agreements(), MemoryArtifacts()
    store.marked = "marked, and not yet on record"
    await ClusterStore(store, agreements).verify()
    assert agreements.kept["artifacts"] == store.marked


async def test_a_node_alone_may_have_another_store() -> None:
    agreements, second = Agreements(alone=True), MemoryArtifacts()
    await ClusterStore(MemoryArtifacts(), agreements).verify()
    await ClusterStore(second, agreements).verify()
    assert second.marked == agreements.kept["artifacts"]
    third = MemoryArtifacts()
    third.marked = "third"
    await ClusterStore(third, agreements).verify()
    assert agreements.kept["artifacts"] == "third"


async def test_a_bucket_is_known_by_its_name_when_its_mark_has_expired() -> None:
    agreements, bucket, other = Agreements(), MemoryArtifacts(), MemoryArtifacts()
    bucket.place, other.place = "s3://one", "s3://other"
    await ClusterStore(bucket, agreements).verify()
    mark, bucket.marked = bucket.marked, None
    await ClusterStore(bucket, agreements).verify()
    assert bucket.marked == mark
    with pytest.raises(WrongStoreError):
        await ClusterStore(other, agreements).verify()


class Unconditional(MemoryArtifacts):
    """A bucket whose server knows no conditions: the last mark stays. Nodes that start together see none yet."""

    def __init__(self) -> None:
        super().__init__()
        self.place = "s3://one"

    async def identity(self) -> str | None:
        found = await super().identity()
        await trio.sleep(1.0)
        return found

    async def mark(self, identity: str) -> str:
        self.marked = identity
        await trio.sleep(1.0)
        return identity


async def test_nodes_that_start_together_agree_where_the_last_mark_stays() -> None:
    agreements, bucket = Agreements(), Unconditional()
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(ClusterStore(bucket, agreements).verify)
    assert bucket.marked == agreements.kept["artifacts"]
    await ClusterStore(bucket, agreements).verify()


async def test_a_bucket_whose_first_mark_failed_is_marked_later() -> None:
    weather, agreements = Weather(), Agreements()
    bucket = MemoryArtifacts(weather)
    bucket.place = "s3://one"
    weather.fail("artifacts.mark", UnavailableError("artifacts", "it is away"))
    store = ClusterStore(bucket, agreements)
    with pytest.raises(UnavailableError, match="away"):
        await store.verify()
    await store.verify()
    assert bucket.marked == agreements.kept["artifacts"]


async def test_a_folder_whose_mount_goes_away_is_no_longer_the_store() -> None:
    """A PDF stored below the mount point would vanish when the mount is back."""
    shared, agreements = MemoryArtifacts(), Agreements()
    store = ClusterStore(shared, agreements)
    await store.put(job(), PDF)
    mark, shared.marked = shared.marked, None
    for use in (store.probe, lambda: store.put(job(2), PDF), lambda: store.locate(job())):
        with pytest.raises(WrongStoreError, match="is it mounted"):
            await use()
    shared.marked = mark
    assert await store.locate(job()) is not None
    await store.put(job(2), PDF)
