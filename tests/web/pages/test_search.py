"""The search for jobs on the status page: by task, user, type and state; any query gets a page."""

import re
from urllib.parse import urlencode

import pytest

from reportd.core.status.snapshot import RECENT
from reportd.ports import UnavailableError
from tests.web.payloads import PAYLOADS
from tests.web.running import USER, Running

OTHER = "11111111-2222-4333-8444-555555555555"


async def page(running: Running, **asked: str) -> str:
    answer = await running.client.get("/?" + urlencode(asked, errors="surrogatepass"))
    assert answer.status_code == 200, asked
    return answer.text


def found(html: str) -> list[str]:
    return re.findall(r'href="/jobs/([0-9a-f-]{36})"', html)


async def test_by_each_and_by_several(running: Running) -> None:
    mine, activity = await running.submit(), await running.submit(reportType="sales")
    others = await running.submit(userId=OTHER)
    await running.client.delete(f"/reports/{others}")
    assert found(await page(running)) == [others, activity, mine]
    assert found(await page(running, q=mine)) == [mine]
    assert found(await page(running, q=f" {mine.upper()} ")) == [mine]
    assert found(await page(running, q=USER)) == [activity, mine]
    assert found(await page(running, q=OTHER, state="queued")) == []
    assert found(await page(running, state="cancelled")) == [others]
    assert found(await page(running, type="sales_summary", state="")) == [others, activity, mine]
    assert found(await page(running, type="user_activity")) == []


async def test_what_was_asked_for_stays_in_the_form(running: Running) -> None:
    html = await page(running, q=OTHER, type="sales_summary", state="queued")
    assert f'value="{OTHER}"' in html
    assert "<option selected>sales_summary</option>" in html
    assert '<option value="queued" selected>' in html
    assert 'data-again="5"' in html
    assert "data-again" not in await page(running)


async def test_older_ones(running: Running) -> None:
    tasks = [await running.submit() for _ in range(RECENT + 3)]
    html = await page(running)
    listed = found(html)
    assert len(listed) == RECENT
    older = re.search(r'href="(/\?cursor=[^"]*)#recent">Older', html)
    assert older
    rest = (await running.client.get(older[1])).text
    assert listed + found(rest) == tasks[::-1]
    assert "Older" not in rest
    narrowed = await page(running, type="sales_summary")
    assert 'href="/?type=sales_summary&amp;cursor=' in narrowed


async def test_whatever_is_asked_for_there_is_a_page(running: Running) -> None:
    for payload in [*PAYLOADS, "x" * 7000, "%", "é", "茶", "\x7f", "a\udc80"]:
        for name in ("q", "type", "state", "cursor", "nonsense"):
            html = await page(running, **{name: payload})
            assert "<script>" not in html
            assert "<img" not in html
    for query in ("%ff%fe=%00", "q=a&q=b&q", "&&&===", "q=%00", "type=%00", "state=%00&cursor=%00", "%"):
        assert (await running.client.get(f"/?{query}")).status_code == 200, query


@pytest.mark.parametrize("asked", [{"q": "abc"}, {"state": "lost"}, {"type": "\0"}])
async def test_what_cannot_be_looked_for_is_said(running: Running, asked: dict[str, str]) -> None:
    await running.submit()
    html = await page(running, **asked)
    assert 'id="q-trouble"' in html
    assert found(html) == []


async def test_the_database_is_away(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    async def down(*_: object) -> None:
        raise UnavailableError("database", "no answer")

    monkeypatch.setattr(running.database, "read", down)
    assert "Not available" in await page(running, state="queued")
