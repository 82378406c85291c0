"""The filters of templates write in the language and the zone of the job, and as ever when it has none."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from reportd.adapters.templates.templates import TemplateFault, Templates
from reportd.core.faults import FaultError
from reportd.core.pages.template_context import TemplateContext
from tests.fakes.checking import from_folder, inline_checker

NOW = datetime(2025, 3, 1, 23, 30, tzinfo=UTC).timestamp()

NUMBERS = (
    "{{ 1234567.891 | number }}; {{ -0.001 | number }}; {{ 1234 | number }}; {{ 5 | number(2) }}; {{ 1 | percent(8) }}"
)
MONEY = (
    "{{ 1234.5 | money('EUR') }}; {{ -1234.4 | money('JPY') }}; {{ 1.5 | amount('KWD') }}; "
    "{{ 12345678.9 | short_money('EUR') }}; {{ 1234567 | short_money('EUR') }}; {{ 3000000000 | compact }}"
)
DATES = (
    "{{ '2025-03-01' | day }}; {{ '2025-03-01' | weekday }}; {{ {'from': '2025-01-01', 'to': '2025-03-31'} | span }}; "
    "{{ '2025-03-01' | date('full') }}"
)
MOMENTS = (
    "{{ '2025-03-01T23:30:00Z' | datetime }}; {{ '2025-03-02T00:30:00+01:00' | datetime('short') }}; "
    "{{ 1740871800000 | datetime('HH:mm') }}; {{ '2025-03-01T23:30:00' | date }}"
)


class Folder:
    """Writes each template once, so that it is compiled once for all languages."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._templates = Templates([path])

    def __call__(
        self, text: str, locale: str = "", timezone: str = "", parameters: Mapping[str, Any] | None = None
    ) -> str:
        file = self._path / f"{hash(text)}.html"
        if not file.exists():
            file.write_text(text)
        made = self._templates.render(
            file.name, parameters or {}, TemplateContext(now=NOW, locale=locale, timezone=timezone)
        )
        return re.sub(r"[\u00a0\u2009\u202f]", " ", made)


@pytest.fixture
def rendered(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.mark.parametrize(
    ("locale", "expected"),
    [
        ("", "1,234,567.89; 0; 1,234; 5.00; 12.5%"),
        ("de-DE", "1.234.567,89; 0; 1.234; 5,00; 12,5 %"),
        ("de-US", "1.234.567,89; 0; 1.234; 5,00; 12,5 %"),
        ("en-IN", "12,34,567.89; 0; 1,234; 5.00; 12.5%"),
        ("ar-EG", "١٬٢٣٤٬٥٦٧٫٨٩; ٠; ١٬٢٣٤; ٥٫٠٠; ١٢٫٥%"),  # noqa: RUF001
    ],
)
def test_numbers(rendered: Folder, locale: str, expected: str) -> None:
    assert rendered(NUMBERS, locale) == expected


@pytest.mark.parametrize(
    ("locale", "expected"),
    [
        ("", "€1,234.50; −¥1,234; 1.500; €12.35 m; €1,234,567; 3 bn"),  # noqa: RUF001
        ("de-AT", "€ 1.234,50; -¥ 1.234; 1,500; 12,35 Mio. €; € 1.234.567; 3 Mrd."),
        ("fr-FR", "1 234,50 €; -1 234 JPY; 1,500; 12,35 M €; 1 234 567 €; 3 Md"),
        ("ja-JP", "€1,234.50; -¥1,234; 1.500; €1234.57万; €1,234,567; 30億"),
    ],
)
def test_money(rendered: Folder, locale: str, expected: str) -> None:
    assert rendered(MONEY, locale).replace("￥", "¥") == expected


@pytest.mark.parametrize(
    ("locale", "expected"),
    [
        ("", "1 Mar 2025; Sat; 1 Jan – 31 Mar 2025; Saturday, 1 March 2025"),  # noqa: RUF001
        ("de-DE", "01.03.2025; Sa; 1. Jan. – 31. März 2025; Samstag, 1. März 2025"),  # noqa: RUF001
        ("en-US", "Mar 1, 2025; Sat; Jan 1 – Mar 31, 2025; Saturday, March 1, 2025"),  # noqa: RUF001
        ("zh-Hant-TW", "2025年3月1日; 週六; 2025年1月1日至3月31日; 2025年3月1日 星期六"),
    ],
)
def test_dates(rendered: Folder, locale: str, expected: str) -> None:
    assert rendered(DATES, locale) == expected


@pytest.mark.parametrize(
    ("locale", "zone", "expected"),
    [
        ("", "", "1 Mar 2025, 23:30:00; 01/03/2025, 23:30; 23:30; 1 Mar 2025"),
        ("", "Asia/Tokyo", "2 Mar 2025, 08:30:00; 02/03/2025, 08:30; 08:30; 2 Mar 2025"),
        ("de-DE", "Europe/Berlin", "02.03.2025, 00:30:00; 02.03.25, 00:30; 00:30; 02.03.2025"),
        ("en-US", "America/New_York", "Mar 1, 2025, 6:30:00 PM; 3/1/25, 6:30 PM; 18:30; Mar 1, 2025"),
    ],
)
def test_moments(rendered: Folder, locale: str, zone: str, expected: str) -> None:
    assert rendered(MOMENTS, locale, zone) == expected


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        ("", "1 Mar 2025; Sat; 1 Mar 2025; 01/03/2025, 23:30; 2025-03-01T23:30:00+00:00"),
        ("Asia/Tokyo", "2 Mar 2025; Sun; 2 Mar 2025; 02/03/2025, 08:30; 2025-03-02T08:30:00+09:00"),
    ],
)
def test_the_filters_of_dates_take_the_times_of_the_job(rendered: Folder, zone: str, expected: str) -> None:
    text = (
        "{{ now | day }}; {{ now | weekday }}; {{ now | date }}; {{ now | datetime('short') }}; {{ now.isoformat() }}"
    )
    assert rendered(text, timezone=zone) == expected


def test_a_template_in_a_language_leaves_none_to_the_next_also_if_it_fails(rendered: Folder) -> None:
    for text in (NUMBERS, MONEY, DATES, MOMENTS):
        own = rendered(text)
        german = rendered(text, "de-DE", "Asia/Tokyo")
        assert german != own == rendered(text)
        assert rendered(text, "fr-FR", "America/Lima") not in (german, own)
    with pytest.raises(TemplateFault):
        rendered("{{ 1 // 0 }}", "de-DE", "Asia/Tokyo")
    assert rendered(NUMBERS + MOMENTS) == rendered(NUMBERS) + rendered(MOMENTS)


@pytest.mark.parametrize("expression", ["1.5 | number", "'2025-03-01' | day", "[('a', 1.5)] | bar_chart"])
@pytest.mark.parametrize("text", ["{{ %s }}", "{%% set x = %s %%}{{ x }}", "{%% if %s == 'x' %%}{%% endif %%}{{ %s }}"])
def test_a_constant_is_written_anew_in_each_language(rendered: Folder, text: str, expression: str) -> None:
    text = text.replace("%s", expression).replace("%%", "%")
    assert rendered(text) != rendered(text, "de") != rendered(text)
    assert rendered(text, "de") == rendered(text + "\n", "de")


def test_a_macro_of_another_file_writes_in_the_language_too(tmp_path: Path, rendered: Folder) -> None:
    (tmp_path / "macros.html").write_text("{% macro cell(value) %}{{ value | number(1) }}{% endmacro %}")
    assert rendered("{% import 'macros.html' as m %}{{ m.cell(1.5) }}", "de") == "1,5"


def test_charts_have_the_figures_and_dates_of_the_language(rendered: Folder) -> None:
    days = "{{ [('2025-03-01', 1.5), ('2025-03-04', 2.5)] | line_chart }}"
    found = re.findall(r">([^<>]+)</text>", rendered(days, "de-DE"))
    assert found == ["0,00", "0,50", "1,00", "1,50", "2,00", "2,50", "1. März", "2. März", "3. März",
                     "2,50 · 04.03.2025"]  # fmt: skip
    months = "{{ [('2025-01-01', 1), ('2025-06-04', 20000000)] | line_chart }}"
    assert {"20 Mio.", "0", "Feb. 2025", "März 2025"} <= set(re.findall(r">([^<>]+)</text>", rendered(months, "de-DE")))


def test_a_template_knows_its_language_and_zone_unless_a_parameter_has_that_name(rendered: Folder) -> None:
    text = "{{ locale | default('none') }} {{ timezone | default('none') }}"
    assert rendered(text) == "none none"
    assert rendered(text, "de-AT", "Europe/Vienna") == "de-AT Europe/Vienna"
    assert rendered(text, "de-AT", "Europe/Vienna", {"locale": "theirs"}) == "theirs Europe/Vienna"


def test_the_rest_of_a_column_is_named_by_the_template(rendered: Folder) -> None:
    rows = "[('a', 3), ('b', 2), ('c', 1)]"
    assert rendered(f"{{{{ ({rows} | top(2))[1][0] }}}}") == "2 others"
    assert rendered(f"{{{{ ({rows} | top(2, 'weitere'))[1][0] }}}}", "de") == "2 weitere"


@pytest.mark.parametrize(
    "text", ["{{ 'x' | date }}", "{{ '2025-02-30' | date }}", "{{ 'now' | datetime }}", "{{ 1e300 | datetime }}"]
)
def test_what_is_no_date_is_a_fault_of_the_template(rendered: Folder, text: str) -> None:
    with pytest.raises(TemplateFault, match=r"line 1: (ValueError|OverflowError)"):
        rendered(text, "de")


DURATIONS = "{{ 7500 | duration }}; {{ 3599.7 | duration }}; {{ 0 | duration }}; {{ -90061 | duration }}"


@pytest.mark.parametrize(
    ("locale", "expected"),
    [
        ("", "2 h 5 min; 1 h; 0 s; −1 d 1 h"),  # noqa: RUF001
        ("de", "2 Std. 5 Min.; 1 Std.; 0 Sek.; -1 Tg. 1 Std."),
        ("zh-CN", "2小时 5分钟; 1小时; 0秒; -1天 1小时"),
        ("ar-EG", "٢ س ٥ د; ١ س; ٠ ث; \u061c-يوم ١ س"),  # noqa: RUF001
    ],
)
def test_durations_have_their_two_largest_units(rendered: Folder, locale: str, expected: str) -> None:
    assert rendered(DURATIONS, locale) == expected


def test_the_difference_of_two_times_is_a_duration(rendered: Folder) -> None:
    assert rendered("{{ (now - now) | duration }}") == "0 s"


@pytest.mark.parametrize(
    ("locale", "expected"),
    [("", "A, B and C; A or B; "), ("de", "A, B und C; A oder B; "), ("zh-CN", "A、B和C; A或B; ")],
)
def test_lists_are_joined_in_words(rendered: Folder, locale: str, expected: str) -> None:
    text = "{{ ['A', 'B', 'C'] | joined }}; {{ ['A', 'B'] | joined('or') }}; {{ [] | joined }}"
    assert rendered(text, locale) == expected
    with pytest.raises(TemplateFault, match="accepted: and, or"):
        rendered("{{ [] | joined('nor') }}", locale)


@pytest.mark.parametrize(
    ("locale", "expected"),
    [("", "lines line lines lines"), ("fr", "line line lines lines"), ("ar", "lines line two few")],
)
def test_a_word_has_the_plural_of_the_language(rendered: Folder, locale: str, expected: str) -> None:
    text = "{% for n in [0, 1, 2, 3] %}{{ n | plural('lines', one='line', two='two', few='few') }} {% endfor %}"
    assert rendered(text, locale).strip() == expected


@pytest.mark.parametrize(
    ("tag", "expected"), [("ar", "rtl"), ("fa-IR", "rtl"), ("he-XX", "rtl"), ("de", "ltr"), ("zh-Hant-TW", "ltr")]
)
def test_a_language_has_a_direction(rendered: Folder, tag: str, expected: str) -> None:
    assert rendered("{{ locale | direction }}", tag) == expected


@pytest.mark.parametrize("tag", ["", "qqq", "!"])
def test_the_direction_of_no_language_is_a_fault(rendered: Folder, tag: str) -> None:
    with pytest.raises(FaultError, match="is no language; accepted: a BCP 47 tag"):
        rendered("{{ tag | direction }}", parameters={"tag": tag})


def test_a_zone_that_the_machine_does_not_have_is_named(rendered: Folder) -> None:
    with pytest.raises(TemplateFault, match="No time zone found with key Mars/Base"):
        rendered("x", timezone="Mars/Base")


async def test_a_worker_process_renders_in_the_region_of_the_job(tmp_path: Path) -> None:
    (tmp_path / "own.html").write_text("{{ 1.5 | number }} {{ 0 | datetime('HH:mm') }}")
    context = TemplateContext(locale="de", timezone="Asia/Tokyo")
    page = await inline_checker([tmp_path]).html(from_folder("own.html"), {}, 5.0, context)
    assert page.text == "1,5 09:00"


@pytest.mark.parametrize(
    ("locale", "written"),
    [("ar", "\u200e-224.10"), ("sv", "\u2212224,10"), ("de", "-224,10"), ("", "\u2212224.10")],
)
def test_a_minus_is_that_of_the_language(rendered: Folder, locale: str, written: str) -> None:
    """The mark before it keeps it to the left of its figures where text runs from right to left."""
    assert rendered("{{ -224.1 | number(2) }}", locale) == written


def test_a_number_has_as_many_decimals_as_it_needs_up_to_a_bound(rendered: Folder) -> None:
    text = "{% for x in [812.5, 24, 100.0, 0.00017] %}{{ x | number(most=4) }} {% endfor %}"
    assert rendered(text) == "812.5 24 100 0.0002 "
    assert rendered(text, "de") == "812,5 24 100 0,0002 "
    prices = "{{ 0.2846 | price('EUR') }} {{ 64 | price('EUR') }} {{ 64 | price('JPY') }}"
    assert rendered(prices, "de") == "0,2846 64,00 64"


def test_a_rate_has_as_many_decimals_as_are_asked_for(rendered: Folder) -> None:
    text = "{{ 19 | percent(100, 0) }} {{ 5.5 | percent(100) }}"
    assert rendered(text) == "19% 5.5%"
    assert rendered(text, "de") == "19 % 5,5 %"


def test_a_month_is_named_in_the_language(rendered: Folder) -> None:
    text = "{{ '2025-03-01' | month }}"
    assert [rendered(text, locale) for locale in ("", "de", "zh", "ar")] == [
        "March 2025", "März 2025", "2025年3月", "مارس 2025"]  # fmt: skip
