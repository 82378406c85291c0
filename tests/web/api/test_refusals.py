"""Invalid submissions: each is refused with a status, the field's JSON pointer, and what is accepted."""

import gzip
import json
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from reportd.config.report_types import BUILT_IN
from reportd.core.jobs.submission import MAX_PROBLEMS
from tests.web.running import MAX_BODY_BYTES, PARAMETERS, USER, Running, submission

URL = "/reports/generate-async"
GOOD = json.dumps(submission()).encode()


@dataclass(frozen=True)
class Bad:
    """``accepted``: the text about accepted values that the answer must have."""

    body: bytes
    status: int
    pointer: str
    accepted: str
    content_type: str | None = "application/json"
    coding: str | None = None
    place: str = "body"


def changed(**changes: Any) -> bytes:
    return json.dumps(submission(**changes)).encode()


def without(name: str) -> bytes:
    return json.dumps({key: value for key, value in submission().items() if key != name}).encode()


def parameters(**changes: Any) -> bytes:
    return changed(parameters={**PARAMETERS, **changes})


def raw_parameters(text: str) -> bytes:
    return json.dumps(submission(parameters="HERE")).replace('"HERE"', text).encode()


def nested(depth: int) -> str:
    return '{"a":' * depth + "1" + "}" * depth


def product(text: str) -> bytes:
    """``text`` goes into the body unchanged."""
    return GOOD.replace(b'"Tea"', f'"{text}"'.encode())


FORM = "application/x-www-form-urlencoded"
JSON = "must be application/json, in UTF-8"
UUID = "must be a UUID"

TYPES = ", ".join(sorted(BUILT_IN))

BAD = {
    # 400: no JSON
    "empty": Bad(b"", 400, "", "must be JSON in UTF-8"),
    "blank": Bad(b" \n", 400, "", "must be JSON in UTF-8"),
    "cut off": Bad(GOOD[:-1], 400, "", "must be JSON in UTF-8"),
    "two documents": Bad(GOOD + GOOD, 400, "", "must be JSON in UTF-8"),
    "single quotes": Bad(b"{'reportType': 'a'}", 400, "", "must be JSON in UTF-8"),
    "trailing comma": Bad(GOOD[:-1] + b",}", 400, "", "must be JSON in UTF-8"),
    "byte order mark": Bad(b"\xef\xbb\xbf" + GOOD, 400, "", "must be JSON in UTF-8"),
    "UTF-16": Bad(GOOD.decode().encode("utf-16"), 400, "", "must be JSON in UTF-8"),
    "UTF-32": Bad(GOOD.decode().encode("utf-32-le"), 400, "", "must be JSON in UTF-8"),
    "Latin-1": Bad(GOOD.replace(b"Tea", b"Caf\xe9"), 400, "", "must be JSON in UTF-8"),
    "overlong UTF-8": Bad(GOOD.replace(b"Tea", b"\xc0\xaf"), 400, "", "must be JSON in UTF-8"),
    "surrogate in UTF-8": Bad(GOOD.replace(b"Tea", b"\xed\xa0\x80"), 400, "", "must be JSON in UTF-8"),
    "lone surrogate": Bad(product(r"\ud800"), 400, "", "must be JSON in UTF-8"),
    "surrogates reversed": Bad(product(r"\udc00\ud800"), 400, "", "must be JSON in UTF-8"),
    "raw NUL": Bad(product("\0"), 400, "", "must be JSON in UTF-8"),
    "NaN": Bad(GOOD.replace(b"12.5", b"NaN"), 400, "", "must be JSON in UTF-8"),
    "Infinity": Bad(GOOD.replace(b"12.5", b"-Infinity"), 400, "", "must be JSON in UTF-8"),
    "number beyond doubles": Bad(GOOD.replace(b"12.5", b"1e999"), 400, "", "must be JSON in UTF-8"),
    "100,000 deep": Bad(b"[" * 50_000, 400, "", "must be JSON in UTF-8"),
    # 413
    "too large": Bad(GOOD + b" " * MAX_BODY_BYTES, 413, "", f"at most {MAX_BODY_BYTES} bytes"),
    "2 MiB": Bad(b" " * 2 * 1024 * 1024, 413, "", f"at most {MAX_BODY_BYTES} bytes"),
    # 415
    "no content type": Bad(GOOD, 415, "/Content-Type", JSON, content_type=None, place="header"),
    "form": Bad(GOOD, 415, "/Content-Type", JSON, content_type=FORM, place="header"),
    "plain text": Bad(GOOD, 415, "/Content-Type", JSON, content_type="text/plain", place="header"),
    "wildcard": Bad(GOOD, 415, "/Content-Type", JSON, content_type="application/*", place="header"),
    "another JSON": Bad(GOOD, 415, "/Content-Type", JSON, content_type="application/json-seq", place="header"),
    "charset": Bad(GOOD, 415, "/Content-Type", JSON, content_type="application/json; charset=utf-16", place="header"),
    "gzip": Bad(gzip.compress(GOOD), 415, "/Content-Encoding", "must be identity", coding="gzip", place="header"),
    "two codings": Bad(GOOD, 415, "/Content-Encoding", "must be identity", coding="identity, br", place="header"),
    # 422: the body
    "null": Bad(b"null", 422, "", "must be an object, not null"),
    "list": Bad(b"[]", 422, "", "must be an object, not array"),
    "text": Bad(b'"x"', 422, "", "must be an object, not string"),
    "number": Bad(b"1", 422, "", "must be an object, not number"),
    "boolean": Bad(b"true", 422, "", "must be an object, not boolean"),
    "unknown field": Bad(changed(userID=USER), 422, "/userID", "accepted: callbackUrl, fileName, locale, "),
    "unknown field with slashes": Bad(changed(**{"a/b~c": 1}), 422, "/a~1b~0c", "accepted: callbackUrl"),
    # 422: reportType
    "no type": Bad(without("reportType"), 422, "/reportType", "must be the name of a report type, and is missing"),
    "type null": Bad(changed(reportType=None), 422, "/reportType", "must be the name of a report type, not null"),
    "type number": Bad(changed(reportType=1), 422, "/reportType", "must be the name of a report type, not number"),
    "type list": Bad(changed(reportType=["sales_summary"]), 422, "/reportType", "must be the name of a report type"),
    "unknown type": Bad(changed(reportType="x"), 422, "/reportType", f"accepted: {TYPES}"),
    "empty type": Bad(changed(reportType=""), 422, "/reportType", f"accepted: {TYPES}"),
    "other case": Bad(changed(reportType="Sales_Summary"), 422, "/reportType", f"accepted: {TYPES}"),
    "type with NUL": Bad(changed(reportType="sales_summary\0"), 422, "/reportType", f"accepted: {TYPES}"),
    "type is a path": Bad(changed(reportType="../sales_summary"), 422, "/reportType", f"accepted: {TYPES}"),
    # 422: userId
    "no user": Bad(without("userId"), 422, "/userId", UUID),
    "user null": Bad(changed(userId=None), 422, "/userId", UUID),
    "user number": Bad(changed(userId=42), 422, "/userId", UUID),
    "user is a name": Bad(changed(userId="ada"), 422, "/userId", UUID),
    "user without hyphens": Bad(changed(userId=USER.replace("-", "")), 422, "/userId", UUID),
    "user in braces": Bad(changed(userId=f"{{{USER}}}"), 422, "/userId", UUID),
    "user as URN": Bad(changed(userId=f"urn:uuid:{USER}"), 422, "/userId", UUID),
    "user with a line end": Bad(changed(userId=f"{USER}\n"), 422, "/userId", UUID),
    "user with other digits": Bad(changed(userId=USER.replace("0", "\u0660")), 422, "/userId", UUID),
    "user with NUL": Bad(changed(userId=USER[:-1] + "\0"), 422, "/userId", UUID),
    # 422: parameters
    "no parameters": Bad(without("parameters"), 422, "/parameters", "must be an object, and is missing"),
    "parameters null": Bad(changed(parameters=None), 422, "/parameters", "must be an object, not null"),
    "parameters list": Bad(changed(parameters=[]), 422, "/parameters", "must be an object, not array"),
    "parameters text": Bad(changed(parameters="{}"), 422, "/parameters", "must be an object, not string"),
    "100 deep": Bad(raw_parameters(nested(100)), 422, "/parameters", "nested deeper than 32"),
    "NUL in a text": Bad(product(r"\u0000"), 422, "/parameters", "must not hold the character NUL"),
    "NUL in a name": Bad(parameters(**{"a\0b": 1}), 422, "/parameters", "holds the character NUL"),
    # 422: the type's own schema
    "nothing in it": Bad(changed(parameters={}), 422, "/parameters", '"period" is a required property'),
    "no rows": Bad(parameters(rows=[]), 422, "/parameters/rows", "[] has less than 1 item"),
    "rows of texts": Bad(parameters(rows=["x"]), 422, "/parameters/rows/0", '"x" is not of type "object"'),
    "no such parameter": Bad(parameters(**{"a/b": 1}), 422, "/parameters", "'a/b' was unexpected"),
    "no date": Bad(
        parameters(period={"from": "2025-02-30", "to": "2025-03-31"}), 422, "/parameters/period/from", "date"
    ),
    "text for a number": Bad(
        parameters(rows=[{"product": "Tea", "quantity": "3", "revenue": 1}]),
        422,
        "/parameters/rows/0/quantity",
        'is not of type "number"',
    ),
    "huge number": Bad(
        parameters(rows=[{"product": "Tea", "quantity": 10**400, "revenue": 1}]).replace(b"0" * 400, b"0" * 200),
        422,
        "/parameters/rows/0/quantity",
        "is greater than the maximum",
    ),
    # 422: options
    "locale": Bad(changed(locale="xx"), 422, "/locale", "must be a BCP 47 language tag: language, script and region"),
    "timezone": Bad(changed(timezone="Mars/Base"), 422, "/timezone", "must be the name of an IANA time zone, e.g. "),
    "fileName": Bad(changed(fileName="../a"), 422, "/fileName", "1 to 150 characters before .pdf, with"),
    "pdf": Bad(changed(pdf="A4"), 422, "/pdf", "must be an object of print options, each a text, number or boolean"),
    "pdf.format": Bad(changed(pdf={"format": "A5"}), 422, "/pdf/format", "accepted: locale, timezone, fileName"),
    # 422: callbackUrl
    "callback number": Bad(changed(callbackUrl=1), 422, "/callbackUrl", "must be an absolute http or https URL"),
    "callback relative": Bad(changed(callbackUrl="/done"), 422, "/callbackUrl", "must be an absolute http or https"),
    "callback file": Bad(changed(callbackUrl="file:///etc/passwd"), 422, "/callbackUrl", "must be an absolute http"),
    "callback script": Bad(changed(callbackUrl="javascript:alert(1)"), 422, "/callbackUrl", "must be an absolute"),
    "callback no host": Bad(changed(callbackUrl="https://"), 422, "/callbackUrl", "must be an absolute http or https"),
    "callback port": Bad(changed(callbackUrl="https://a.example:99999/"), 422, "/callbackUrl", "must be an absolute"),
    "callback port text": Bad(changed(callbackUrl="https://a.example:x/"), 422, "/callbackUrl", "must be an absolute"),
    "callback bracket": Bad(changed(callbackUrl="https://[::1/"), 422, "/callbackUrl", "must be an absolute http"),
    "callback NUL": Bad(changed(callbackUrl="https://a.example/\0"), 422, "/callbackUrl", "must be an absolute http"),
    "callback line": Bad(changed(callbackUrl="https://a.example/\r\nX: y"), 422, "/callbackUrl", "must be an absolute"),
    "callback long": Bad(changed(callbackUrl="https://a.example/" + "a" * 2048), 422, "/callbackUrl", "must be an"),
    "callback elsewhere": Bad(
        changed(callbackUrl="https://evil.example/"), 422, "/callbackUrl", "callbacks.allowed_hosts"
    ),
    "callback metadata": Bad(
        changed(callbackUrl="http://169.254.169.254/latest"), 422, "/callbackUrl", "callbacks.allowed_hosts"
    ),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
async def test_refused_with_field_and_what_is_accepted(running: Running, bad: Bad) -> None:
    headers = {"Content-Type": bad.content_type, "Content-Encoding": bad.coding}
    given = {name: value for name, value in headers.items() if value is not None}
    answer = await running.client.post(URL, content=bad.body, headers=given)
    assert answer.status_code == bad.status
    problem = is_problem(answer)
    assert problem["instance"] == URL
    error = problem["errors"][0]
    assert (error["in"], error["pointer"]) == (bad.place, bad.pointer)
    assert bad.accepted in error["detail"]
    assert await running.rows() == 0


def is_problem(answer: httpx.Response) -> dict[str, Any]:
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    problem: dict[str, Any] = answer.json()
    assert problem["type"] == "about:blank"
    assert problem["status"] == answer.status_code
    assert all(isinstance(problem[name], str) and problem[name] for name in ("title", "detail", "instance"))
    return problem


async def test_all_mistakes_are_named_at_once(running: Running) -> None:
    answer = await running.client.post(URL, json={"userId": 1, "parameters": [], "x": 0, "callbackUrl": "no"})
    pointers = {error["pointer"] for error in is_problem(answer)["errors"]}
    assert pointers == {"/reportType", "/userId", "/parameters", "/x", "/callbackUrl"}


async def test_a_thousand_mistakes_do_not_make_a_long_answer(running: Running) -> None:
    fields = {f"field{n}": n for n in range(1000)}
    rows = [{"product": 1}] * 1000
    for body in (fields, submission(parameters={**PARAMETERS, "rows": rows})):
        answer = await running.client.post(URL, json=body)
        assert answer.status_code == 422
        assert 1 < len(is_problem(answer)["errors"]) <= MAX_PROBLEMS
        assert len(answer.content) < 10_000


async def test_refused_media_types_say_what_would_do(running: Running) -> None:
    answer = await running.client.post(URL, content=GOOD, headers={"Content-Type": "text/plain"})
    assert answer.headers["accept"] == "application/json"
    coding = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    answer = await running.client.post(URL, content=gzip.compress(GOOD), headers=coding)
    assert answer.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON",
        "application/json;",
        "application/json; charset=utf-8",
        'application/json;charset="UTF-8"',
        "application/json ; profile=x; charset=utf-8",
    ],
)
async def test_every_spelling_of_json_is_accepted(running: Running, content_type: str) -> None:
    answer = await running.client.post(URL, content=GOOD, headers={"Content-Type": content_type})
    assert answer.status_code == 202


GOOD_BODIES = {
    "white space": b"\r\n\t " + GOOD + b"\n",
    "escapes": product(r"\u0041\ud83d\ude00\/"),
    "emoji": product("😀 العربية 中文 e\u0301"),
    "HTML": product("<script>alert(1)</script>"),
    "other order": json.dumps(dict(reversed(submission().items()))).encode(),
    "no callback": changed(callbackUrl=None),
    "negative zero": GOOD.replace(b"12.5", b"-0"),
    "exponent": GOOD.replace(b"12.5", b"1.25E+1"),
    "integer beyond 64 bits": GOOD.replace(b"12.5", b"100000000000.00000000000000000000000000000001"),
    "largest": GOOD + b" " * (MAX_BODY_BYTES - len(GOOD)),
}


@pytest.mark.parametrize("body", GOOD_BODIES.values(), ids=GOOD_BODIES.keys())
async def test_unusual_but_good(running: Running, body: bytes) -> None:
    answer = await running.client.post(URL, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 202, answer.text
    record = await running.record(answer.json()["taskId"])
    assert record.job.parameters == json.loads(body)["parameters"]


async def test_of_a_name_given_twice_the_last_counts_everywhere(running: Running) -> None:
    """As in every common parser. The schema, the row and the message must see the same value."""
    body = GOOD.replace(b'"Tea"', b'7, "product": "Tea"')
    answer = await running.client.post(URL, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 202
    (message,) = await running.queue.receive(1, 0)
    record = await running.record(answer.json()["taskId"])
    assert record.job.parameters["rows"][0]["product"] == "Tea"
    assert json.loads(message.body)["parameters"]["rows"][0]["product"] == "Tea"
    body = GOOD.replace(b'"Tea"', b'"Tea", "product": 7')
    answer = await running.client.post(URL, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
