"""A page has the language and the zone of its own job, and none of the job before (I13)."""

import os
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from reportd.ports import Page, Ready, RenderRequest
from tests.servers.chromium import Stage, on_stage, open_stage, request, text_of
from tests.servers.site import open_site

pytestmark = pytest.mark.browser

MOMENT = datetime(2026, 1, 31, 22, 30, tzinfo=UTC)

# What CLDR says of a number and a time in each language.
LOCALES: dict[str, Callable[[datetime], str]] = {
    "de-DE": lambda at: f"1.234.567,89 {at.day}.{at.month}.{at.year}, {at:%H:%M:%S}",
    "en-IN": lambda at: f"12,34,567.89 {at.day}/{at.month}/{at.year}, {at.hour % 12 or 12}:{at:%M:%S} {at:%p}".lower(),
    "fr-FR": lambda at: f"1 234 567,89 {at:%d/%m/%Y %H:%M:%S}",
    "ja-JP": lambda at: f"1,234,567.89 {at.year}/{at.month}/{at.day} {at.hour}:{at:%M:%S}",
    "pt-BR": lambda at: f"1.234.567,89 {at:%d/%m/%Y, %H:%M:%S}",
}
ZONES = ("Asia/Tokyo", "America/New_York", "Asia/Kolkata", "Pacific/Auckland")

SAYS = f"""
<p id=said></p><script>{{
const at = new Date({MOMENT.timestamp() * 1000:.0f});
said.textContent = [navigator.language, (1234567.891).toLocaleString(undefined, {{maximumFractionDigits: 2}}),
  at.toLocaleString(), Intl.DateTimeFormat().resolvedOptions().locale].join(' ');
}}</script>"""
DATED = {
    "displayHeaderFooter": True,
    "headerTemplate": '<span class="date" style="font-size: 10px"></span>',
    "footerTemplate": "<span></span>",
    "marginTop": 1,
}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with open_stage(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


def said(locale: str, zone: str) -> str:
    return f"{locale} {LOCALES[locale](MOMENT.astimezone(ZoneInfo(zone)))} {locale}"


async def text(page: Page, wanted: RenderRequest) -> str:
    return text_of(await page.render(wanted))


def dates(zone: str, *moments: datetime) -> set[str]:
    """The text of an inert page with the date in its header, whose language is always that of the browser."""
    there = [moment.astimezone(ZoneInfo(zone) if zone else None) for moment in moments]
    return {f"inert {at.month}/{at.day}/{at:%y}, {at.hour % 12 or 12}:{at:%M %p}" for at in there}


async def wrong_jobs(stage: Stage, jobs: list[tuple[str, str]]) -> list[tuple[str, str, str]]:
    """Render the jobs on two pages that are never replaced, and return those whose page is not as its job says.

    Every other document is inert, as those of a warm page are; it shows its zone in the header.
    """
    wrong = []
    async with stage.browser.page() as first, stage.browser.page() as second:
        own = await text(first, request(html=SAYS))
        for number, (locale, zone) in enumerate(jobs):
            page = (first, second)[number // 2 % 2]
            if number % 2:
                before = datetime.now(UTC)
                found = await text(page, request(html="<p>inert", locale=locale, timezone=zone, print_parameters=DATED))
                expected = dates(zone, before, datetime.now(UTC))
            else:
                found = await text(page, request(html=SAYS, locale=locale, timezone=zone))
                expected = {said(locale, zone) if locale and zone else own}
            if found not in expected:
                wrong.append((locale, zone, found))
    return wrong


def shuffled(times: int, seed: int) -> list[tuple[str, str]]:
    """Each locale in each zone, and as often a job that says nothing, in random order."""
    jobs = [(locale, zone) for locale in LOCALES for zone in ZONES] * times
    jobs += [("", "")] * len(jobs)
    random.Random(seed).shuffle(jobs)
    return jobs


@on_stage
async def test_each_job_has_its_own_language_and_zone_and_leaves_none(stage: Stage) -> None:
    assert await wrong_jobs(stage, shuffled(1, 4)) == []


@pytest.mark.soak
@on_stage
async def test_four_hundred_jobs_in_five_languages_and_four_zones_on_two_pages(stage: Stage) -> None:
    assert await wrong_jobs(stage, shuffled(10, int(os.environ.get("REPORTD_TEST_SEED") or 1))) == []


@on_stage
async def test_one_of_the_two_leaves_the_other_alone(stage: Stage) -> None:
    async with stage.browser.page() as page:
        own = await text(page, request(html=SAYS))
        german = await text(page, request(html=SAYS, locale="de-DE"))
        assert german.startswith("de-DE 1.234.567,89 ")
        there = await text(page, request(html=SAYS, timezone="Asia/Tokyo"))
        assert there == own.replace("1/31/2026, 10:30:00 PM", "2/1/2026, 7:30:00 AM") != own
        assert await text(page, request(html=SAYS)) == own


@on_stage
async def test_a_page_at_a_url_and_its_frames_on_other_hosts_ask_in_the_language_of_the_job(stage: Stage) -> None:
    done = Ready("expression", "window.done")
    async with open_site({"/frame": SAYS}, host="127.0.0.2") as other, open_site() as site, stage.page() as page:
        other.pages["/frame"] = SAYS + "<script>parent.postMessage(said.textContent, '*')</script>"
        site.pages["/"] = (
            "<script>onmessage = (e) => { document.body.append(e.data); window.done = true }</script>"
            f"<body><iframe hidden src='{other.url('/frame')}'></iframe>"
        )
        url, hosts = site.url("/"), ("127.0.0.2",)
        found = await text(page, request(url=url, hosts=hosts, ready=done, locale="fr-FR", timezone="Asia/Tokyo"))
        assert found == said("fr-FR", "Asia/Tokyo")
        assert [asked.requests[-1].headers["accept-language"] for asked in (site, other)] == ["fr-FR", "fr-FR"]
        agent = site.requests[-1].headers["user-agent"]
        assert await page.scrub()
        await text(page, request(url=url, hosts=hosts, ready=done))
        assert [asked.requests[-1].headers.get("accept-language") for asked in (site, other)] == [None, None]
        assert site.requests[-1].headers["user-agent"] == agent
