"""The findings of a snapshot: what is stuck, and whose fault it is (I16)."""

from dataclasses import replace
from typing import Any

import pytest

from reportd.core.breaker.breaker import Breaker, BreakerState
from reportd.core.capacity.scaling import Demand
from reportd.core.faults import FaultKind
from reportd.core.status.health import SLOW_SECONDS, Level, as_text, fault_of, health_of
from reportd.core.status.snapshot import Figures, Load, Node, Part, Snapshot, Trouble, TypeView, ready
from tests.web.busy import TIMEOUT, busy
from tests.wording import mentions

NOW = 1.8e9
HERE = Node("n1", slots=2)
IDLE = Demand(0, 0.0, 0.0, 1.0, 0, 1)
CALM = replace(busy(NOW), types=(), letters=(), nodes=(HERE,), here=HERE, demand=IDLE)


def view(
    state: BreakerState = BreakerState.CLOSED, load: Load | None = None, *, resting: bool = False, **breaker: Any
) -> TypeView:
    made = Breaker("sales", state, since=NOW - 14, **breaker)
    return TypeView(made, resting, 2, load, Figures())


def findings(snapshot: Snapshot) -> list[tuple[str, str]]:
    return [(finding.level, as_text(finding.sentence, snapshot.at)) for finding in health_of(snapshot).findings]


def first(snapshot: Snapshot) -> str:
    return findings(snapshot)[0][1]


def with_type(one: TypeView) -> Snapshot:
    return replace(CALM, types=(one,))


def test_all_clear() -> None:
    judged = health_of(CALM)
    assert (judged.level, judged.brief) == (Level.GOOD, "All clear")
    assert findings(CALM) == [("good", "All clear")]
    assert findings(replace(CALM, letters=None, queue=None, jobs=None, recent=None)) == [("good", "All clear")]


def test_dead_letters_are_a_finding_but_no_alarm() -> None:
    snapshot = replace(CALM, letters=busy(NOW).letters)
    assert findings(snapshot) == [("good", "All clear"), ("good", "20 dead letters to decide on")]
    (group, *_) = busy(NOW).letters or ()
    assert findings(replace(CALM, letters=(replace(group, quarantined=1),)))[1] == (
        "good",
        "1 dead letter to decide on",
    )


def test_an_open_breaker() -> None:
    loaded = view(
        BreakerState.OPEN, Load(37, 37), resting=True, until=NOW + 6, faults=("x", TIMEOUT), reason="3 in a row"
    )
    snapshot = with_type(loaded)
    judged = health_of(snapshot)
    assert (judged.level, judged.brief) == (Level.BAD, "● 1 open")
    assert mentions(first(snapshot), "sales is OPEN", "14 s", "probe in 6 s", "37 waiting", "no attempts used")
    assert (judged.findings[0].whose, judged.findings[0].because) == ("fault of its page", f"{TIMEOUT}; 3 in a row")


@pytest.mark.parametrize(
    ("load", "end"),
    [
        (None, ", its next job is the probe"),
        (Load(), ", its next job is the probe, no jobs waiting"),
        (Load(5, 3), ", its next job is the probe, 5 waiting, 3 of them untried"),
        (Load(5, 5), ", its next job is the probe, 5 waiting, no attempts used"),
    ],
)
def test_an_open_breaker_whose_wait_is_over(load: Load | None, end: str) -> None:
    assert first(with_type(view(BreakerState.OPEN, load, until=NOW))) == f"sales is OPEN for 14 s{end}"


def test_an_unknown_fault_is_nobodys() -> None:
    for faults in ((), ("something",), ("nothing: of ours",)):
        finding = health_of(with_type(view(BreakerState.OPEN, faults=faults))).findings[0]
        assert (finding.whose, finding.because) == ("", faults[0] if faults else "")


@pytest.mark.parametrize(
    ("state", "resting", "level", "sentence"),
    [
        (BreakerState.HALF_OPEN, True, "watch", "sales is half-open: its probe is under way, no jobs waiting"),
        (BreakerState.HALF_OPEN, False, "watch", "sales is half-open: its next job is the probe, no jobs waiting"),
        (BreakerState.FORCED_OPEN, True, "bad", "sales is held OPEN for 14 s, no jobs waiting"),
        (BreakerState.FORCED_CLOSED, False, "watch", "sales is held closed for 14 s, despite failures"),
    ],
)
def test_other_states(state: BreakerState, resting: bool, level: str, sentence: str) -> None:
    snapshot = with_type(view(state, Load(), resting=resting, by="ada", reason="it moves"))
    assert findings(snapshot) == [(level, sentence)]
    assert health_of(snapshot).findings[0].because.endswith("it moves")


def test_the_brief_names_the_worst() -> None:
    opened, held, half = view(BreakerState.OPEN), view(BreakerState.FORCED_OPEN), view(BreakerState.HALF_OPEN)
    assert health_of(replace(CALM, types=(half, opened, held))).brief == "● 2 open"
    assert health_of(with_type(half)).brief == "◐ 1 half-open"
    assert health_of(with_type(view(BreakerState.FORCED_CLOSED))).brief == "◐ Needs attention"
    away = Part("queue", ok=False, detail="no answer")
    assert health_of(replace(CALM, parts=(away,), types=(opened, half))).brief == "● queue, 1 open"


def test_parts_that_do_not_work() -> None:
    parts = (Part("queue", ok=False, detail="no answer"), Part("database", ok=True, detail="answers"))
    assert findings(replace(CALM, parts=parts)) == [("bad", "queue: no answer")]


def test_a_draining_node_is_only_watched() -> None:
    accepting = Part("accepting", ok=False, detail="draining")
    snapshot = replace(CALM, parts=(accepting,), here=Node("n1", draining=True))
    assert findings(snapshot) == [("watch", "accepting: draining")]
    assert findings(replace(CALM, parts=(accepting,))) == [("bad", "accepting: draining")]


def test_a_node_that_decides_about_breakers_by_itself() -> None:
    assert findings(replace(CALM, alone="redis: no answer")) == [("watch", "breakers: redis: no answer")]


def test_background_work_that_fails_unexpectedly() -> None:
    """It is one finding, not a part that does not work: jobs are accepted and rendered."""
    failing = Part("background", ok=False, detail="presence: no right to it")
    snapshot = replace(
        CALM, parts=(*CALM.parts, failing), troubles=(Trouble("presence", "no right to it", NOW - 14, 3),)
    )
    judged = health_of(snapshot)
    assert judged.level is Level.WATCH
    ((level, sentence),) = findings(snapshot)
    assert level == "watch"
    assert mentions(sentence, "presence", "failing", "14 s", "3 attempts")
    assert judged.findings[0].because == "no right to it"
    assert ready({"database": (True, ""), "background": (False, "")})
    assert not ready({"database": (False, ""), "background": (True, "")})


def test_a_type_that_fails_though_its_breaker_is_closed() -> None:
    failing = replace(view(faults=(TIMEOUT,)), figures=Figures(failed=3, tried=6))
    ((level, sentence),) = findings(with_type(failing))
    assert level == "watch"
    assert mentions(sentence, "sales", "3 of the last 6")
    assert findings(with_type(replace(failing, figures=Figures(failed=4, tried=4)))) == [("good", "All clear")]
    assert findings(with_type(replace(failing, figures=Figures(failed=3, tried=7)))) == [("good", "All clear")]


def test_jobs_that_wait_long_with_a_closed_breaker() -> None:
    waits = view(load=Load(8, 8, 2, NOW - SLOW_SECONDS - 60))
    ((level, sentence),) = findings(with_type(waits))
    assert level == "watch"
    assert mentions(sentence, "sales", "oldest of 8", "6 min", "0 of 2 slots busy")
    assert findings(with_type(replace(waits, load=Load(8, 8, 2, NOW - SLOW_SECONDS)))) == [("good", "All clear")]
    resting = replace(waits, resting=True)
    assert findings(with_type(resting)) == [("good", "All clear")]


@pytest.mark.parametrize("state", [BreakerState.OPEN, BreakerState.HALF_OPEN])
def test_a_breaker_is_open_since_it_first_opened_however_many_probes_failed(state: BreakerState) -> None:
    opened = {"opened_at": NOW - 840, "openings": 15}
    sentence = first(with_type(view(state, Load(3, 3), resting=True, until=NOW + 28, **opened)))
    assert mentions(sentence, "open since 07:46 UTC", "14 probes failed")
    assert state is BreakerState.HALF_OPEN or mentions(sentence, "sales is OPEN", "14 min")
    # An older daemon that shares the store knows only the last transition.
    sentence = first(with_type(view(BreakerState.OPEN, openings=2)))
    assert mentions(sentence, "sales is OPEN", "14 s", "open since 07:59 UTC", "1 ")


def backlog(jobs: int, wanted: int | None, *, seconds: float = 0.14) -> Snapshot:
    demand = Demand(jobs, jobs / 2, jobs * seconds / 2, seconds, 2, wanted)
    return replace(CALM, demand=demand)


def test_a_backlog_that_takes_longer_than_a_job_may_wait_is_not_all_clear() -> None:
    """No job has waited for five minutes yet, but all will."""
    snapshot = backlog(19000, 8)
    judged = health_of(snapshot)
    assert (judged.level, judged.brief) == (Level.WATCH, "◐ backlog")
    figures = ("19000 jobs", "22 min", "scaling.target_seconds", "10 min", "8 nodes wanted", "1 there")
    assert mentions(first(snapshot), *figures)
    assert mentions(judged.findings[0].because, "start 7 more nodes")
    gone = replace(backlog(19000, 8), nodes=(Node("n1", gone=True),))
    assert "backlog" not in health_of(gone).brief
    assert mentions(health_of(backlog(19000, None)).findings[0].because, "renders", "slow")


def test_many_fewer_nodes_than_are_wanted_are_not_all_clear() -> None:
    assert first(backlog(10, 3)).endswith("; 3 nodes wanted, 1 there")
    assert findings(backlog(4000, 2)) == [("good", "All clear")]
    assert findings(replace(CALM, demand=None)) == [("good", "All clear")]


def test_nodes() -> None:
    gone = Node("n2", gone=True, seen_at=NOW - 260, trouble="none starts")
    troubled = Node("n3", trouble="Chromium can't be started")
    here = Node("n1", trouble="the parts tell of that")
    snapshot = replace(CALM, nodes=(here, gone, troubled))
    broken, silent = findings(snapshot)
    assert broken == ("bad", "n3: Chromium can't be started")
    assert silent[0] == "watch"
    assert mentions(silent[1], "n2", "4 min ago")


def test_lost_messages() -> None:
    other = Node("n2", resent=12, resent_at=NOW - 180)
    long_ago = Node("n3", resent=7, resent_at=NOW - 3601)
    ((level, sentence),) = findings(replace(CALM, nodes=(Node("n1"), other, long_ago)))
    assert level == "watch"
    assert mentions(sentence, "12 messages", "lost", "sent again", "3 min ago")


def test_the_worst_finding_comes_first() -> None:
    levels = [finding.level for finding in health_of(busy(NOW)).findings]
    assert levels == sorted(levels, key=[Level.BAD, Level.WATCH, Level.GOOD].index)
    assert len(levels) >= 5


def test_every_fault_has_an_owner() -> None:
    whose = {fault_of(f"{kind}: it failed") for kind in FaultKind}
    assert all(text.startswith("fault of ") for text in whose)
    assert len(whose) == 6
    assert fault_of("timeout") == "fault of its page"
    assert fault_of("") == ""


def test_refused_submissions_are_a_finding_per_type() -> None:
    refusing = replace(view(load=Load(5000, 5000)), figures=Figures(refused=28))
    ((level, sentence),) = findings(with_type(refusing))
    assert level == "watch"
    assert mentions(sentence, "sales", "28 submissions refused", "10 min", "5000 waiting")
    assert "queue.max_backlog" in health_of(with_type(refusing)).findings[0].because
    unknown = replace(view(), figures=Figures(refused=1))
    assert mentions(first(with_type(unknown)), "sales", "1 submission refused", "10 min")
