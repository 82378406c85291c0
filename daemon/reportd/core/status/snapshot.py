"""How the daemon stands at one moment: the one value that the status page, its JSON and its events show.

Times are seconds since the epoch. What could not be looked at is None, because the page is opened when something is
away. Two snapshots that differ in ``at`` alone show the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from reportd.core.breaker.breaker import Breaker
from reportd.core.capacity.scaling import Demand
from reportd.core.faults import Fault
from reportd.core.jobs.transitions import JobState

RECENT = 25
"""Jobs that are listed."""


@dataclass(frozen=True, slots=True)
class Part:
    """Something that the daemon needs, or does. ``detail`` says why it does not work."""

    name: str
    ok: bool
    detail: str


BACKGROUND = "background"
"""The part that stands for all background work."""


def ready(parts: Mapping[str, tuple[bool, str]]) -> bool:
    """Whether a node shall be sent requests. One that fails at its background work still accepts and renders."""
    return all(ok for name, (ok, _) in parts.items() if name != BACKGROUND)


@dataclass(frozen=True, slots=True)
class Trouble:
    """Background work that fails for a reason that nobody foresaw, and is tried again. ``tries``: how often it was."""

    part: str
    error: str
    since: float
    tries: int


@dataclass(frozen=True, slots=True)
class Load:
    """The jobs of a report type that are not finished. ``untried``: those waiting that have used no attempt."""

    waiting: int = 0
    untried: int = 0
    running: int = 0
    oldest_at: float | None = None


@dataclass(frozen=True, slots=True)
class Figures:
    """What was rendered of a report type of late: on one node, or on all of them.

    ``failed`` of the ``tried`` renders of the last minutes, and in the same time ``refused`` submissions. The times are
    those of the node whose page it is.
    """

    per_minute: float = 0.0
    failed: int = 0
    tried: int = 0
    p50_seconds: float | None = None
    p95_seconds: float | None = None
    refused: int = 0


@dataclass(frozen=True, slots=True)
class TypeView:
    """A report type. ``limit``: how many of its jobs all nodes together would render at once just now."""

    breaker: Breaker
    resting: bool
    limit: int
    load: Load | None
    figures: Figures

    @property
    def name(self) -> str:
        return self.breaker.report_type


@dataclass(frozen=True, slots=True)
class Series:
    """How many there are, and how many there were at most in each of the last minutes."""

    now: int
    minutes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class QueueView:
    """Messages, of both queues, each counted once. ``held``: they wait for the breaker of their report type.
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
    """A dead letter. ``verdict``: waiting to be tried again, which is at ``due_at``, or quarantined."""

    id: str
    task_id: str | None
    detail: str
    verdict: str
    last_seen_at: float
    due_at: float | None


@dataclass(frozen=True, slots=True)
class LetterGroup:
    """The dead letters of one cause. ``letters`` are the last ones of them."""

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
        """When one of those is tried again that are listed."""
        return min((letter.due_at for letter in self.letters if letter.due_at), default=None)

    @property
    def count(self) -> int:
        return self.waiting + self.quarantined


@dataclass(frozen=True, slots=True)
class JobView:
    """A job, for a list of them."""

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


@dataclass(frozen=True, slots=True)
class BrowserView:
    """A browser. ``memory_mib`` in steps, so that its noise changes nothing."""

    pid: int
    jobs: int
    busy: int
    memory_mib: int
    retiring: bool


@dataclass(frozen=True, slots=True)
class Node:
    """A daemon of the fleet, as it told of itself. ``seen_at``: when that was, unless it was a moment ago.

    ``resent``: lost messages that it has sent again, the last one at ``resent_at``.
    ``figures`` by report type. ``gone``: it has not been heard of for so long that it must be dead.
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
    """``here`` is the node that was asked, ``nodes`` all of them. ``jobs``: how many there are by state.

    ``alone``: why this node's breakers are its own. ``troubles``: background work of this node that fails.
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
        """Of all nodes that are there."""
        return sum(node.slots for node in self.nodes if not node.gone)

    @property
    def busy(self) -> int:
        return sum(node.busy for node in self.nodes if not node.gone)

    @property
    def there(self) -> int:
        """How many nodes are."""
        return sum(not node.gone for node in self.nodes)

    @property
    def backlog_seconds(self) -> float | None:
        """How long all nodes that are there take for what waits."""
        if self.demand is None or not self.slots:
            return None
        return self.demand.backlog * self.demand.render_seconds / self.slots


def in_all(nodes: tuple[Node, ...], name: str, here: Figures) -> Figures:
    """The figures of a report type on all ``nodes`` that are there; of ``here`` what can't be added up."""
    each = [node.figures.get(name, Figures()) for node in nodes if node.figures is not None and not node.gone]
    return replace(
        here,
        per_minute=sum(one.per_minute for one in each),
        failed=sum(one.failed for one in each),
        tried=sum(one.tried for one in each),
        refused=sum(one.refused for one in each),
    )
