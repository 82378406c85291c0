"""The built-in reports, from a submission to the text and the pages of the PDF."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

import reportd_web
from reportd.config.report_types import BUILT_IN
from tests.e2e.process import USER, finished, open_daemon, submit

pytestmark = pytest.mark.browser

REPORTS = Path(reportd_web.__file__).parent / "reports"


def sample(report: str) -> dict[str, Any]:
    parameters: dict[str, Any] = json.loads((REPORTS / f"{report}.sample.json").read_text())
    return parameters


def text_of(pdf: Path) -> str:
    done = subprocess.run(["pdftotext", "-layout", str(pdf), "-"], capture_output=True, text=True, check=True)
    return done.stdout


async def test_product_names_totals_and_page_numbers_are_in_the_pdfs(tmp_path: Path) -> None:
    async with open_daemon(tmp_path) as daemon, daemon.client() as client:
        texts = {}
        for report in ("sales_summary", "user_activity"):
            done = await finished(client, await submit(client, report, sample(report)))
            assert done["state"] == "succeeded"
            pdf = tmp_path / f"{report}.pdf"
            pdf.write_bytes((await client.get(done["pdf"]["url"])).content)
            texts[report] = text_of(pdf)
    sales = texts["sales_summary"]
    rows = sample("sales_summary")["rows"]
    for row in rows:
        assert row["product"] in sales
    assert f"{sum(row['revenue'] for row in rows):,.2f}" in sales
    assert f"{sum(row['quantity'] for row in rows):,}" in sales
    days = sample("user_activity")["days"]
    assert f"{sum(day['newUsers'] for day in days):,}" in texts["user_activity"]
    for text in texts.values():
        pages = text.rstrip("\f").split("\f")
        assert len(pages) > 1
        for number, page in enumerate(pages, 1):
            assert re.search(rf"\b{number} ?/ ?{len(pages)}\b", page), f"page {number} has no number"


async def test_every_built_in_report_is_printed_whole_in_arabic(tmp_path: Path) -> None:
    async with open_daemon(tmp_path) as daemon, daemon.client() as client:
        for report in BUILT_IN:
            body = {"reportType": report, "userId": USER, "parameters": sample(report), "locale": "ar"}
            accepted = await client.post("/reports/generate-async", json=body)
            done = await finished(client, accepted.json()["taskId"])
            assert (done["state"], done["warnings"]) == ("succeeded", []), report


async def test_the_table_head_is_on_every_page_and_no_row_is_left_alone(tmp_path: Path) -> None:
    parameters = sample("sales_summary")
    parameters["rows"] = [
        {"product": f"灯具 {n}", "region": "华东", "quantity": n + 1, "revenue": 10.5 * n} for n in range(203)
    ]
    async with open_daemon(tmp_path) as daemon, daemon.client() as client:
        done = await finished(client, await submit(client, "sales_summary", parameters))
        pdf = tmp_path / "long.pdf"
        pdf.write_bytes((await client.get(done["pdf"]["url"])).content)
    pages = text_of(pdf).rstrip("\f").split("\f")
    assert len(pages) >= 5
    for page in pages:
        lines = [line for line in page.splitlines() if line.strip()]
        heads = [number for number, line in enumerate(lines) if re.match(r"\s*Product\s+Region\s+Quantity", line)]
        assert len(heads) == 1
        assert sum("灯具" in line for line in lines[heads[0] :]) >= 2
