"""The three pages of the benchmark, as a report type of its own: a chart and as many rows as asked for."""

from typing import Any

TEMPLATE = """<!doctype html><html><head><meta charset="utf-8"><title>{{ title }}</title><style>
@page { size: A4; margin: 15mm }
body { font: 9pt Inter, "Noto Sans CJK SC", sans-serif; color: #222; margin: 0 }
table { width: 100%; border-collapse: collapse } thead { display: table-header-group }
td, th { border-bottom: .5pt solid #ccc; padding: 1mm; text-align: left } tr { break-inside: avoid }
</style></head><body><h1>{{ title }}</h1>
<svg width="600" height="120">{% for n in range(24) %}<rect x="{{ n * 25 }}" y="{{ 110 - n * 4 }}" width="18"
 height="{{ n * 4 + 6 }}" fill="#0f5c6e"/>{% endfor %}</svg>
<table><thead><tr><th>No.</th><th>Product</th><th>Region</th><th>Quantity</th><th>Revenue</th></tr></thead><tbody>
{% for n in range(rows) %}<tr><td>{{ n }}</td><td>Lamp 灯具 {{ n % 97 }}</td><td>Region {{ n % 13 }}</td>
<td>{{ n * 7 % 501 }}</td><td>{{ n * 1234 % 98765 }}</td></tr>
{% endfor %}</tbody></table></body></html>
"""

SIZES = {"1 page": 20, "400 rows": 400, "5,000 rows": 5000}

CONFIG = """
[queue]
max_backlog = 1000000
[log]
level = "warning"
[reports.bench]
template = "bench.html"
"""


def parameters(rows: int) -> dict[str, Any]:
    return {"title": f"{rows} rows", "rows": rows}
