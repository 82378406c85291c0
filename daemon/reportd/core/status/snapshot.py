"""The state of the daemon at one moment. The status page, its JSON and its events all show this value.

Times are seconds since the epoch. A value that can't be read is None, because people open the page when a part is
away. Two snapshots that differ only in ``at`` show the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from reportd.core.breaker.breaker import Breaker
from reportd.core.capacity.scaling import Demand
from reportd.core.faults import Fault
from reportd.core.jobs.transitions import JobState

RECENT = 25
"""How many recent jobs are listed."""


@dataclass(frozen=True, slots=True)
class Part:
    """A dependency or an activity of the daemon. ``detail`` says why it does not work."""

    name: str
    ok: bool
    detail: str


BACKGROUND = "background"
"""The part that stands for all background work."""


def ready(parts: Mapping[str, tuple[bool, str]]) -> bool:
    """Return whether a node can take requests. With failing background work it still accepts and renders."""
    return all(ok for name, (ok, _) in parts.items() if name != BACKGROUND)


@dataclass(frozen=True, slots=True)
class Trouble:
    """Background work that keeps failing. ``tries``: how often it was tried."""

    part: str
    error: str
    since: float
    tries: int


@dataclass(frozen=True, slots=True)
class Load:
    """The unfinished jobs of a report type. ``untried``: waiting jobs that have used no attempt."""

    waiting: int = 0
    untried: int = 0
    running: int = 0
    oldest_at: float | None = None


@dataclass(frozen=True, slots=True)
class Figures:
    """Recent renders of a report type, on one node or on all of them.

    ``failed`` of the ``tried`` renders of the last minutes; ``refused``: submissions in the same time. The percentiles
    are those of the node that shows the page.
    """

    per_minute: float = 0.0
    failed: int = 0
    tried: int = 0
    p50_seconds: float | None = None
    p95_seconds: float | None = None
    refused: int = 0


@dataclass(frozen=True, slots=True)
class TypeView:
    """A report type. ``limit``: how many of its jobs all nodes together may render at once now.

    ``trouble``: why the files of its template are not in force on this node; empty if they are.
    """

    breaker: Breaker
    resting: bool
    limit: int
    load: Load | None
    figures: Figures
    trouble: str = ""

    @property
    def name(self) -> str:
        return self.breaker.report_type


@dataclass(frozen=True, slots=True)
class Series:
    """The current count, and the highest count in each of the last minutes."""

    now: int
    minutes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class QueueView:
    """Messages of both queues, each counted once. ``held``: waiting for the breaker of their report type.

    ``stored_p95_seconds``: from the submission of a job to its stored PDF.
    """

    visible: Series
    in_flight: Series
    delayed: Series
    dead: Series | None
    oldest_at: float | None
    stored_p95_seconds: float | None
    held: Series = Series(0)


@dataclass(frozen=True, slots=True)
class LetterView:
    """A dead letter. ``verdict``: waiting for its redrive at ``due_at``, or quarantined."""

    id: str
    task_id: str | None
    detail: str
    verdict: str
    last_seen_at: float
    due_at: float | None


@dataclass(frozen=True, slots=True)
class LetterGroup:
    """The dead letters of one cause. ``letters``: the last ones."""

    id: str
    kind: str
    cause: str
    report_types: tuple[str, ...]
    waiting: int
    quarantined: int
    first_seen_at: float
    last_seen_at: float
    letters: tuple[LetterView, ...]

    @property
    def due_at(self) -> float | None:
        """The earliest redrive time of the listed letters; None if none waits."""
        return min((letter.due_at for letter in self.letters if letter.due_at), default=None)

    @property
    def count(self) -> int:
        return self.waiting + self.quarantined


@dataclass(frozen=True, slots=True)
class JobView:
    """A job in a list. ``progress``: of the running attempt, from 0 to 1, if its page has said so."""

    task_id: str
    report_type: str
    user_id: str
    state: JobState
    attempts: int
    deferrals: int
    submitted_at: float
    finished_at: float | None
    error: Fault | None
    pdf_bytes: int | None
    progress: float | None = None


@dataclass(frozen=True, slots=True)
class BrowserView:
    """A browser. ``memory_mib`` is rounded, so that its noise does not change the page."""

    pid: int
    jobs: int
    busy: int
    memory_mib: int
    retiring: bool


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the fleet, by its last heartbeat. ``seen_at``: its time, or None if it is recent.

    ``resent``: lost messages that the node sent again, the last one at ``resent_at``. ``figures``: by report type.
    ``gone``: its last heartbeat is so old that it must be dead.
    """

    name: str
    since: float = 0.0
    seen_at: float | None = None
    gone: bool = False
    draining: bool = False
    slots: int = 0
    busy: int = 0
    waiting: int = 0
    stalled: int = 0
    held: int = 0
    lost: int = 0
    trouble: str = ""
    resent: int = 0
    resent_at: float | None = None
    browsers: tuple[BrowserView, ...] = ()
    figures: Mapping[str, Figures] | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """``here``: the node that was asked; ``nodes``: all of them. ``jobs``: their number by state.

    ``alone``: why this node decides about breakers by itself. ``troubles``: failing background work of this node.
    """

    at: float
    here: Node
    parts: tuple[Part, ...]
    types: tuple[TypeView, ...]
    queue: QueueView | None
    demand: Demand | None
    letters: tuple[LetterGroup, ...] | None
    jobs: Mapping[JobState, int] | None
    recent: tuple[JobView, ...] | None
    nodes: tuple[Node, ...]
    alone: str = ""
    troubles: tuple[Trouble, ...] = ()

    def shows_the_same(self, other: "Snapshot") -> bool:
        return replace(self, at=other.at) == other

    @property
    def slots(self) -> int:
        """The slots of all live nodes."""
        return sum(node.slots for node in self.nodes if not node.gone)

    @property
    def busy(self) -> int:
        return sum(node.busy for node in self.nodes if not node.gone)

    @property
    def live_nodes(self) -> int:
        """The number of live nodes."""
        return sum(not node.gone for node in self.nodes)

    @property
    def backlog_seconds(self) -> float | None:
        """How long all live nodes together take for the backlog."""
        if self.demand is None or not self.slots:
            return None
        return self.demand.backlog * self.demand.render_seconds / self.slots


def sum_figures(nodes: tuple[Node, ...], name: str, here: Figures) -> Figures:
    """Return a type's figures summed over live ``nodes``. Percentiles can't be summed, so they are ``here``'s."""
    live = [node.figures.get(name, Figures()) for node in nodes if node.figures is not None and not node.gone]
    return replace(
        here,
        per_minute=sum(figures.per_minute for figures in live),
        failed=sum(figures.failed for figures in live),
        tried=sum(figures.tried for figures in live),
        refused=sum(figures.refused for figures in live),
    )
