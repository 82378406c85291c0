"""The text of an alert: what happened, how often, since when, and what to do."""

from dataclasses import replace

import pytest

from reportd.core.alerts.incidents import Incident, Kind, Notice
from reportd.core.alerts.text import document, text, title

NOON = 1_750_000_000.0
QUARANTINED = Incident(
    kind=Kind.QUARANTINED,
    report_type="sales",
    detail="script_error: no chart",
    since=NOON,
    last_at=NOON + 60,
    total=12,
    untold=12,
    untold_since=NOON,
)
BREAKER = replace(QUARANTINED, kind=Kind.BREAKER_OPEN, detail="timeout: 60 s", total=1, untold=1)
PAGE = "https://reports.example/"


def notice_of(incident: Incident) -> Notice:
    return Notice("id-1", "cause-1", incident)


@pytest.mark.parametrize(
    ("incident", "words"),
    [
        (
            QUARANTINED,
            "12 reports of sales went to quarantine, since 2025-06-15T15:06:40.000Z: script_error: no chart. ",
        ),
        (replace(QUARANTINED, total=1, untold=1), "1 report of sales went to quarantine, since "),
        (replace(QUARANTINED, total=20), "12 reports of sales went to quarantine (8 more before), since "),
        (replace(QUARANTINED, over=True), "script_error: no chart. It is over by now. They stay"),
        (
            replace(QUARANTINED, untold=0),
            (
                "No more reports of sales have gone to quarantine since 2025-06-15T15:07:40.000Z, after 12 since "
                "2025-06-15T15:06:40.000Z: script_error: no chart. https://reports.example/"
            ),
        ),
        (
            BREAKER,
            "The breaker of sales has opened once, since 2025-06-15T15:06:40.000Z: timeout: 60 s. Its reports wait",
        ),
        (replace(BREAKER, total=3, untold=2), "The breaker of sales has opened 2 times (1 more before), since "),
        (
            replace(BREAKER, untold=0),
            "The breaker of sales has closed at 2025-06-15T15:07:40.000Z; it was open since 2025-06-15T15:06:40.000Z.",
        ),
    ],
)
def test_words(incident: Incident, words: str) -> None:
    paragraph = text(notice_of(incident), PAGE)
    assert words in paragraph
    assert paragraph.endswith(f". {PAGE}")
    assert text(notice_of(incident)) == paragraph.removesuffix(f" {PAGE}")


def test_titles() -> None:
    assert title(notice_of(QUARANTINED)) == "reportd alert: reports quarantined, sales"
    assert title(notice_of(replace(BREAKER, untold=0))) == "reportd over: breaker open, sales"
    assert all(len(title(notice_of(replace(QUARANTINED, kind=kind, report_type="x" * 64)))) <= 100 for kind in Kind)


def test_the_alert_for_programs() -> None:
    assert document(notice_of(replace(QUARANTINED, total=20)), PAGE) == {
        "id": "id-1",
        "type": "alert.raised",
        "kind": "quarantined",
        "signature": "cause-1",
        "reportType": "sales",
        "detail": "script_error: no chart",
        "count": 12,
        "total": 20,
        "since": "2025-06-15T15:06:40.000Z",
        "lastAt": "2025-06-15T15:07:40.000Z",
        "over": False,
        "text": text(notice_of(replace(QUARANTINED, total=20)), PAGE),
        "statusUrl": PAGE,
    }
    over = document(notice_of(replace(QUARANTINED, untold=0)))
    assert (over["type"], over["over"], over["count"], over["statusUrl"]) == ("alert.recovered", True, 0, None)
    assert document(notice_of(replace(QUARANTINED, over=True)))["over"] is True
