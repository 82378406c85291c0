"""The header names the download: whole for clients that know RFC 8187, in ASCII for the others."""

import re
from dataclasses import replace
from email.message import Message
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.http import parse_options_header

from reportd.core.jobs.disposition import content_disposition, file_name
from reportd.core.jobs.job import Job
from reportd.core.jobs.options import JobOptions, read_options

ID = "4f8c0e0e-5c1b-5a86-8a5e-1d1f3f0c9b7e"
LATE = 1769898600.0  # 2026-01-31T22:30:00Z
JOB = Job(ID, "sales", {}, ID, LATE)


def named(name: str) -> Job:
    return replace(JOB, options=JobOptions(file_name=name))


def in_ascii(header: str) -> str:
    """What a client reads that knows only RFC 2616."""
    match = re.match(r'inline; filename="([ -~]*?)"', header)
    assert match
    return match[1]


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        ("", "2026-01-31"),
        ("Asia/Tokyo", "2026-02-01"),
        ("America/New_York", "2026-01-31"),
        ("Pacific/Auckland", "2026-02-01"),
        ("Mars/Base", "2026-01-31"),
    ],
)
def test_without_a_name_it_is_the_type_and_the_day_in_the_zone_of_the_job(zone: str, day: str) -> None:
    job = replace(JOB, options=JobOptions(timezone=zone))
    assert file_name(job) == f"sales-{day}.pdf"
    assert content_disposition(job) == f'inline; filename="sales-{day}.pdf"'


def test_the_last_day_of_the_calendar_has_a_name_in_every_zone() -> None:
    job = replace(JOB, submitted_at=253402300799.0, options=JobOptions(timezone="Asia/Tokyo"))
    assert file_name(job) == "sales-9999-12-31.pdf"


@pytest.mark.parametrize(
    ("name", "ascii_name"),
    [
        ("Report Q1.pdf", "Report Q1.pdf"),
        ("Übersicht é.pdf", "Ubersicht e.pdf"),
        ("2026年 報告.pdf", "2026_ __.pdf"),
        ("報告.pdf", "sales-2026-01-31.pdf"),
        ('say "hi"; 100%.pdf', "say _hi_; 100_.pdf"),
        ("report.PDF", "report.pdf"),
    ],
)
def test_a_name_has_a_fallback_in_ascii(name: str, ascii_name: str) -> None:
    header = content_disposition(named(name))
    assert in_ascii(header) == ascii_name
    assert ("filename*" in header) == (name != ascii_name)
    assert parse_options_header(header) == ("inline", {"filename": name})


def test_a_parser_of_mail_reads_both_names() -> None:
    message = Message()
    message["Content-Disposition"] = content_disposition(named("2026年 報告.pdf"))
    assert message.get_filename() == "2026_ __.pdf"
    parameters: list[Any] = message.get_params([], header="content-disposition")
    name, (charset, _, value) = parameters[-1]
    assert (name, value.encode("latin-1").decode(charset)) == ("filename", "2026年 報告.pdf")


@given(st.text(max_size=150))
def test_every_name_that_is_accepted_is_read_back(name: str) -> None:
    options, _ = read_options({"fileName": name})
    header = content_disposition(replace(JOB, options=options))
    assert re.fullmatch(r"[ -~]+", header)
    assert in_ascii(header).endswith(".pdf")
    assert parse_options_header(header) == ("inline", {"filename": options.file_name or "sales-2026-01-31.pdf"})
