"""When a channel alerts, and how often, by the incident of one cause."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reportd.core.alerts.incidents import (
    GATHER_SECONDS,
    LEASE_SECONDS,
    Alarm,
    Incident,
    Kind,
    Notice,
    claim,
    mark_failed,
    mark_sent,
    notice_for,
    record_alarm,
)

WINDOW = 900.0
NOON = 1_750_000_000.0


def quarantined(at: float, count: int = 1, **fields: Any) -> Alarm:
    alarm = Alarm(Kind.QUARANTINED, "script_error:no chart", "sales", "no chart", NOON + at, count=count)
    return replace(alarm, **fields)


def opened(at: float) -> Alarm:
    return Alarm(Kind.BREAKER_OPEN, "breaker:sales", "sales", "timeout", NOON + at)


def closed(at: float) -> Alarm:
    return replace(opened(at), over=True)


class Story:
    """One incident on a channel that always works, from one alarm to the next."""

    def __init__(self) -> None:
        self.incident: Incident | None = None
        self.sent: list[tuple[float, Notice]] = []

    def alarm(self, *alarms: Alarm) -> None:
        for alarm in alarms:
            self.run_until(alarm.at - NOON)
            self.incident = record_alarm(self.incident, alarm, WINDOW)

    def run_until(self, end: float) -> None:
        while self.incident is not None and self.incident.due_at - NOON <= end:
            now = self.incident.due_at
            self.incident = claim(self.incident, now, "token", WINDOW)
            if self.incident is not None:
                sent = notice_for("cause", self.incident)
                self.sent.append((now - NOON, sent))
                self.incident = mark_sent(self.incident, sent, now, WINDOW)

    def alerts(self) -> list[tuple[float, str]]:
        """Return the time and content of each alert: the count, that it is over, or both."""
        return [
            (at, "over" if n.recovered else f"{n.incident.untold}{' and over' if n.incident.over else ''}")
            for at, n in self.sent
        ]


def test_one_alert_with_the_count_and_one_at_the_end() -> None:
    story = Story()
    story.alarm(*(quarantined(0.001 * number) for number in range(1000)))
    story.run_until(1e6)
    assert story.alerts() == [(GATHER_SECONDS, "1000"), (pytest.approx(900.999), "over")]
    assert story.incident is None, "and then it is forgotten"


def test_a_lasting_cause_alerts_once_per_window() -> None:
    story = Story()
    story.alarm(*(quarantined(60.0 * number) for number in range(31)))
    story.run_until(1e6)
    assert story.alerts() == [(5.0, "1"), (905.0, "15"), (1805.0, "15"), (2700.0, "over")]
    totals = [sent.incident.total for _, sent in story.sent]
    assert totals == [1, 16, 31, 31]


def test_a_breaker_is_over_when_it_closes_and_not_before() -> None:
    story = Story()
    story.alarm(opened(0), closed(10_000))
    story.run_until(1e6)
    assert story.alerts() == [(5.0, "1"), (10_000.0, "over")]
    assert story.sent[-1][1].incident.since == NOON


def test_a_breaker_that_closes_before_the_first_alert() -> None:
    story = Story()
    story.alarm(opened(0), closed(2))
    story.run_until(1e6)
    assert story.alerts() == [(5.0, "1 and over")]


def test_a_flapping_breaker_alerts_once_per_window() -> None:
    story = Story()
    for number in range(40):
        story.alarm(opened(60.0 * number), closed(60.0 * number + 30))
    story.run_until(1e6)
    assert story.alerts() == [
        (5.0, "1"),
        (30.0, "over"),
        (905.0, "15"),
        (930.0, "over"),
        (1805.0, "15"),
        (1830.0, "over"),
        (2705.0, "9 and over"),
    ]


def test_an_alarm_after_the_end_is_a_new_incident() -> None:
    story = Story()
    story.alarm(quarantined(0), quarantined(2000))
    story.run_until(1e6)
    assert story.alerts() == [(5.0, "1"), (900.0, "over"), (2005.0, "1"), (2900.0, "over")]
    assert story.sent[2][1].incident.since == NOON + 2000


def test_an_end_without_an_incident_is_ignored() -> None:
    assert record_alarm(None, closed(0), WINDOW) is None
    story = Story()
    story.alarm(opened(0), closed(10))
    story.run_until(20)
    before = story.incident
    story.alarm(closed(30))
    assert story.incident == before


# --- sending ------------------------------------------------------------------------------------------------


def due(alarm: Alarm | None = None) -> tuple[Incident, float]:
    """Return an incident that is claimed at the moment it is due."""
    incident = record_alarm(None, alarm or quarantined(0, 3), WINDOW)
    assert incident is not None
    taken = claim(incident, incident.due_at, "mine", WINDOW)
    assert taken is not None
    return taken, incident.due_at


def test_nothing_is_claimed_before_it_is_due() -> None:
    incident = record_alarm(None, quarantined(0), WINDOW)
    assert incident is not None
    assert claim(incident, incident.due_at - 0.1, "mine", WINDOW) is incident
    assert claim(None, NOON, "mine", WINDOW) is None


def test_a_claim_is_exclusive_until_the_lease_ends() -> None:
    taken, at = due()
    assert claim(taken, at + LEASE_SECONDS - 1, "yours", WINDOW) is taken
    again = claim(taken, at + LEASE_SECONDS, "yours", WINDOW)
    assert again is not None
    assert (again.teller, again.attempts) == ("yours", 2)
    assert notice_for("cause", again).notice_id == notice_for("cause", taken).notice_id
    assert mark_sent(again, notice_for("cause", taken), at + 61, WINDOW) is again, "too late to say so"
    assert mark_failed(again, "mine", at + 61, 5.0, WINDOW) is again


def test_a_failed_alert_is_sent_later_with_new_events() -> None:
    taken, at = due()
    later = mark_failed(taken, "mine", at, 30.0, WINDOW)
    assert later is not None
    assert (later.due_at, later.teller) == (at + 30, "")
    more = record_alarm(later, quarantined(20, 4), WINDOW)
    assert more is not None
    assert (more.untold, more.total, more.due_at) == (7, 7, at + 30)


def test_a_deleted_incident_stays_deleted() -> None:
    taken, at = due()
    assert mark_sent(None, notice_for("cause", taken), at, WINDOW) is None
    assert mark_failed(None, "mine", at, 5.0, WINDOW) is None


def test_events_during_a_send_are_in_the_next_alert() -> None:
    taken, at = due()
    sent = notice_for("cause", taken)
    more = record_alarm(taken, quarantined(6, 4), WINDOW)
    after = mark_sent(more, sent, at + 2, WINDOW)
    assert after is not None
    assert (after.untold, after.total, after.due_at) == (4, 7, at + 2 + WINDOW)


def test_events_while_the_end_is_sent_begin_a_new_incident() -> None:
    taken, at = due()
    incident = mark_sent(taken, notice_for("cause", taken), at, WINDOW)
    assert incident is not None
    over_at = incident.due_at
    ending = claim(incident, over_at, "mine", WINDOW)
    assert ending is not None
    sent = notice_for("cause", ending)
    assert sent.recovered
    more = record_alarm(ending, quarantined(over_at - NOON + 1, 2), WINDOW)
    after = mark_sent(more, sent, over_at + 2, WINDOW)
    assert after is not None
    assert (after.since, after.total, after.untold, after.over) == (over_at + 1, 2, 2, False)


def test_a_late_alert_says_that_the_incident_is_over() -> None:
    """The channel was dead for a day."""
    taken, at = due()
    later = mark_failed(taken, "mine", at, 86400.0, WINDOW)
    again = claim(later, at + 86400, "mine", WINDOW)
    assert again is not None
    assert again.over
    assert mark_sent(again, notice_for("cause", again), at + 86400, WINDOW) == replace(
        again, untold=0, told_at=at + 86400, teller="", attempts=0, retry_at=0.0, due_at=at + 86400 + WINDOW
    )


def test_several_alarms_as_one() -> None:
    incident = record_alarm(None, quarantined(0, 5, until=NOON + 50), WINDOW)
    assert incident is not None
    assert (incident.since, incident.last_at, incident.total) == (NOON, NOON + 50, 5)


def test_long_texts_are_cut_and_long_signatures_stay_apart() -> None:
    first, second = (quarantined(0, signature="x" * 5000 + end, detail="d" * 5000) for end in "ab")
    assert first.key != second.key
    assert len(first.key) == 216
    assert quarantined(0).key == "script_error:no chart"
    incident = record_alarm(None, replace(first, report_type="t" * 100), WINDOW)
    assert incident is not None
    assert (len(incident.detail), len(incident.report_type)) == (500, 64)


steps = st.lists(st.tuples(st.floats(0, 2000), st.sampled_from([1, 7, 0])), min_size=1, max_size=40)


@settings(deadline=None, max_examples=200)
@given(steps=steps, lasts=st.booleans())
def test_any_sequence_of_events(steps: list[tuple[float, int]], lasts: bool) -> None:
    """At most one alert per window; no end without an alert; every alarm is in an alert, except one without an end."""
    story, at, total = Story(), 0.0, 0
    for gap, count in steps:
        at += gap
        make = opened if lasts else quarantined
        story.alarm(replace(make(at), count=count) if count else closed(at) if lasts else replace(make(at), over=True))
        total += count
    story.run_until(1e7)
    alerts = [when for when, sent in story.sent if not sent.recovered]
    assert all(later - earlier >= WINDOW - 1e-3 for earlier, later in pairwise(alerts))
    assert sum(sent.incident.untold for _, sent in story.sent) == total
    open_ = False
    for _, sent in story.sent:
        assert open_ or not sent.recovered
        open_ = not sent.recovered and not sent.incident.over
    assert len({sent.notice_id for _, sent in story.sent}) == len(story.sent)
    if not lasts or not steps[-1][1]:
        assert story.incident is None
