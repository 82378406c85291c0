"""Messages as producers have broken them, and what triage must make of each.

A row is a name, a body, and the verdict: ``repair`` to the job below, ``requeue`` where nothing is wrong with it after
all, or ``quarantine`` with a word of its reason.
"""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

TASK = "4f8c0e0e-5c1b-5a86-8a5e-1d1f3f0c9b7e"
USER = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
PARAMETERS: dict[str, Any] = {
    "title": "Q1",
    "currency": "EUR",
    "period": {"from": "2025-01-01", "to": "2025-03-31"},
    "rows": [
        {"product": "智能台灯", "region": "华东", "quantity": 12, "revenue": 1188},
        {"product": "Lamp", "quantity": 7, "revenue": 693.5},
    ],
}
GOOD: dict[str, Any] = {
    "taskId": TASK,
    "reportType": "sales_summary",
    "parameters": PARAMETERS,
    "userId": USER,
    "submittedAt": "2025-04-01T08:30:00.250Z",
}
DAYS = {"period": PARAMETERS["period"], "days": [{"date": "2025-01-01", "activeUsers": 5}]}


@dataclass(frozen=True)
class Broken:
    """``reason`` is part of the verdict's. ``differs``: where a repaired job is not the good one."""

    name: str
    body: str
    verdict: str
    reason: str = ""
    differs: tuple[str, ...] = ()


def text(message: Any) -> str:
    return json.dumps(message, ensure_ascii=False)


def said(**changes: Any) -> str:
    """The good message with these fields changed."""
    return text(GOOD | changes)


def without(*names: str) -> str:
    return text({name: value for name, value in GOOD.items() if name not in names})


def renamed(**names: str) -> str:
    return text({names.get(name, name): value for name, value in GOOD.items()})


def filled(**changes: Any) -> str:
    """The good message with these parameters changed."""
    return said(parameters=PARAMETERS | changes)


def rows(**changes: Any) -> str:
    return filled(rows=[row | changes for row in PARAMETERS["rows"]])


def of_rows(change: Callable[[dict[str, Any]], dict[str, Any]]) -> str:
    return filled(rows=[change(row) for row in PARAMETERS["rows"]])


def in_base64(body: str) -> str:
    return base64.b64encode(body.encode()).decode()


def in_sns(body: str, **more: Any) -> str:
    envelope = {"Type": "Notification", "MessageId": USER, "TopicArn": "arn:aws:sns:eu-central-1:1:t", "Message": body}
    return text(envelope | more)


def in_event_bridge(detail: Any, **more: Any) -> str:
    named = {"version": "0", "id": USER, "detail-type": "report", "source": "shop", "account": "1"}
    return text(
        named | {"time": "2025-04-01T08:30:00Z", "region": "eu-central-1", "resources": [], "detail": detail} | more
    )


def in_celery(arguments: list[Any], keywords: dict[str, Any], *, encoded: bool = True) -> str:
    """As kombu puts a task into SQS, message protocol 2."""
    after = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    body = text([arguments, keywords, after])
    headers = {"lang": "py", "task": "shop.report", "id": USER, "retries": 0, "argsrepr": "", "kwargsrepr": ""}
    properties = {"correlation_id": USER, "delivery_mode": 2, "body_encoding": "base64" if encoded else "utf-8"}
    return text(
        {
            "body": in_base64(body) if encoded else body,
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": headers,
            "properties": properties,
        }
    )


def repaired(name: str, body: str, *differs: str) -> Broken:
    return Broken(name, body, "repair", differs=differs)


def refused(name: str, body: str, reason: str) -> Broken:
    return Broken(name, body, "quarantine", reason)


G = text(GOOD)

MESSAGES = [
    # Wrapped once too often
    repaired("encoded twice", text(G)),
    repaired("encoded three times", text(text(G))),
    repaired("a byte order mark", "\ufeff" + G),
    repaired("a byte order mark read as Latin-1", "\u00ef\u00bb\u00bf" + G),
    repaired("a byte order mark inside a string", text("\ufeff" + G)),
    repaired("a no-break space around it", f"\u00a0{G}\u00a0"),
    repaired("a NUL at its end", G + "\0"),
    repaired("base64", in_base64(G)),
    repaired("base64 in lines", "\r\n".join(in_base64(G)[at : at + 76] for at in range(0, len(in_base64(G)), 76))),
    repaired("base64 without padding", in_base64(G + " ").rstrip("=")),
    repaired("base64 for URLs", base64.urlsafe_b64encode(G.encode()).decode()),
    repaired("base64 of base64", in_base64(in_base64(G))),
    repaired("base64 of a string", in_base64(text(G))),
    repaired("base64 in a string", text(in_base64(G))),
    repaired("an SNS envelope", in_sns(G)),
    repaired("an SNS envelope with attributes", in_sns(G, MessageAttributes={}, Subject=None, Signature="x")),
    repaired("SNS of base64", in_sns(in_base64(G))),
    repaired("SNS of SNS", in_sns(in_sns(G))),
    repaired("an EventBridge envelope", in_event_bridge(GOOD)),
    repaired("an EventBridge envelope around a text", in_event_bridge(G)),
    repaired("EventBridge in SNS", in_sns(in_event_bridge(GOOD))),
    repaired("a Celery task with keywords", in_base64(in_celery([], GOOD))),
    repaired("a Celery task with one argument", in_base64(in_celery([GOOD], {}))),
    repaired("a Celery task with a text", in_celery([G], {}, encoded=False)),
    repaired("a Celery task, protocol 1", text({"task": "shop.report", "id": USER, "args": [], "kwargs": GOOD})),
    repaired(
        "a Celery task, protocol 1, framed",
        text({"headers": {}, "body": in_base64(text({"task": "t", "id": USER, "args": [GOOD], "kwargs": {}}))}),
    ),
    repaired("blanks around base64", f"\n  {in_base64(G)}\n"),
    # Names
    repaired(
        "snake case",
        renamed(taskId="task_id", reportType="report_type", userId="user_id", submittedAt="submitted_at"),
    ),
    repaired(
        "Pascal case",
        renamed(
            taskId="TaskId",
            reportType="ReportType",
            parameters="Parameters",
            userId="UserId",
            submittedAt="SubmittedAt",
        ),
    ),
    repaired("kebab case", renamed(taskId="task-id", reportType="report-type", userId="user-id")),
    repaired("upper case", renamed(taskId="TASK_ID", userId="USERID")),
    repaired("one name in snake case", renamed(userId="user_id")),
    # The report type
    repaired("its type in capitals", said(reportType="SALES_SUMMARY")),
    repaired("its type in camel case", said(reportType="salesSummary")),
    repaired("its type in Pascal case", said(reportType="SalesSummary")),
    repaired("its type with hyphens", said(reportType="sales-summary")),
    repaired("its type in words", said(reportType="Sales Summary")),
    repaired("its type with blanks", said(reportType=" sales_summary\n")),
    repaired("its type's alias in capitals", said(reportType="Sales"), "report_type"),
    repaired("its type's old name", said(reportType="quarterly-sales"), "report_type"),
    # Its own fields
    repaired("no task id", without("taskId"), "task_id"),
    repaired("an empty task id", said(taskId=""), "task_id"),
    repaired("a null task id", said(taskId=None), "task_id"),
    repaired("no time", without("submittedAt"), "submitted_at"),
    repaired("a null time", said(submittedAt=None), "submitted_at"),
    repaired("neither", without("taskId", "submittedAt"), "task_id", "submitted_at"),
    repaired("a time in a text", said(submittedAt="1743496200250")),
    repaired("a time without its offset", said(submittedAt="2025-04-01T08:30:00.250")),
    repaired("a time with blanks", said(submittedAt=" 2025-04-01T08:30:00.250Z ")),
    repaired("a task id with blanks", said(taskId=f" {TASK} ")),
    repaired("a task id in braces", said(taskId=f"{{{TASK}}}")),
    repaired("a task id as a URN", said(taskId=f"urn:uuid:{TASK}")),
    repaired("a user without hyphens", said(userId=USER.replace("-", ""))),
    repaired("a user with a line end", said(userId=f"{USER}\r\n")),
    repaired("parameters encoded by themselves", said(parameters=text(PARAMETERS))),
    repaired("parameters encoded by themselves, with blanks", said(parameters=f" {text(PARAMETERS)}\n")),
    # What the schema says
    repaired(
        "numbers as strings", of_rows(lambda r: r | {"quantity": str(r["quantity"]), "revenue": str(r["revenue"])})
    ),
    repaired(
        "one number as a string", filled(rows=[PARAMETERS["rows"][0] | {"quantity": "12"}, PARAMETERS["rows"][1]])
    ),
    repaired("a number with blanks", of_rows(lambda r: r | {"quantity": f" {r['quantity']} "})),
    repaired("a string as a number", filled(title=1), "parameters"),
    repaired("a string as a fraction", filled(title=2025.5), "parameters"),
    repaired("strings as numbers and numbers as strings", rows(product=7, quantity="1e3"), "parameters"),
    repaired(
        "parameters in snake case",
        text(
            GOOD
            | {
                "reportType": "user_activity",
                "parameters": DAYS | {"days": [{"date": "2025-01-01", "active_users": 5}]},
            }
        ),
        "report_type",
        "parameters",
    ),
    repaired("all at once", in_sns(in_base64(text("\ufeff" + renamed(userId="user_id"))))),
    # Sound after all: nobody has tried it
    Broken("a good message", G, "requeue"),
    Broken("a good message with more in it", said(traceId="abc"), "requeue"),
    Broken("a good message of an alias", said(reportType="sales"), "requeue"),
    Broken("a good message with blanks around it", f"\n {G} \n", "requeue"),
    Broken("a good message with the time in milliseconds", said(submittedAt=1743496200250), "requeue"),
    # Beyond repair
    refused("nothing", "", "not JSON"),
    refused("blanks", " \n", "not JSON"),
    refused("words", "please render my report", "not JSON"),
    refused("half a message", G[: len(G) // 2], "not JSON"),
    refused("single quotes", str(GOOD), "not JSON"),
    refused("a comma too many", G[:-1] + ",}", "not JSON"),
    refused("two messages", G + G, "not JSON"),
    refused("XML", "<report><type>sales_summary</type></report>", "not JSON"),
    refused(
        "base64 of something else", in_base64("\udcff".encode(errors="surrogateescape").decode("latin-1") * 9), "not"
    ),
    refused("null", "null", "JSON object"),
    refused("a number", "42", "JSON object"),
    refused("a list", "[]", "JSON object"),
    refused("a message in a list", f"[{G}]", "JSON object"),
    refused("an empty object", "{}", "taskId"),
    refused("encoded too often", text(text(text(text(text(text(text(G))))))), "JSON object"),
    refused("an SNS envelope around nothing", in_sns(""), "taskId"),
    refused("an EventBridge envelope around a list", in_event_bridge([GOOD]), "taskId"),
    refused(
        "an EventBridge envelope around more than can be written",
        '{"detail-type":"t","source":"s","detail":' + '{"a":' * 300 + "1" + "}" * 301,
        "taskId",
    ),
    refused("a Celery task with two arguments", in_celery([GOOD, GOOD], {}), "taskId"),
    refused("a Celery task with both", in_celery([GOOD], {"more": 1}), "taskId"),
    refused("a Celery task with nothing", in_celery([], {}), "taskId"),
    refused("a Celery task with a body that is no task", text({"headers": {}, "body": in_base64("[1, 2]")}), "taskId"),
    refused("an SNS subscription", text({"Type": "SubscriptionConfirmation", "Message": G}), "taskId"),
    refused("no user", without("userId"), "userId"),
    refused("a user that is a name", said(userId="ada"), "userId"),
    refused("a task id that is a number", said(taskId=42), "taskId"),
    refused("a task id that is a word", said(taskId="task-42"), "taskId"),
    refused("no parameters", without("parameters"), "parameters"),
    refused("parameters that are a list", said(parameters=[PARAMETERS]), "parameters"),
    refused("parameters that are words", said(parameters="from January to March"), "parameters"),
    refused("parameters with NUL", filled(title="a\0b"), "NUL"),
    refused("a time that is a word", said(submittedAt="yesterday"), "submittedAt"),
    refused("a type that is a number", said(reportType=7), "reportType"),
    refused("no type", without("reportType"), "reportType"),
    refused("a type that nobody knows", said(reportType="balance_sheet"), "/reportType"),
    refused("a type in another alphabet", said(reportType="отчёт"), "reportType"),
    refused("rows missing", said(parameters={"period": PARAMETERS["period"]}), "/parameters"),
    refused("a number that is a word", rows(quantity="many"), "quantity"),
    refused("a number with leading zeros", rows(quantity="007"), "quantity"),
    refused("a number with a comma", rows(revenue="1.188,00"), "revenue"),
    refused("a number that is infinite", rows(revenue="1e999"), "revenue"),
    refused("a number beyond all bounds", rows(revenue="9" * 30), "revenue"),
    refused("a number that is true", rows(quantity=True), "quantity"),
    refused("a date that is none", filled(period={"from": "01/02/2025", "to": "2025-03-31"}), "from"),
    refused("a currency of two letters", filled(currency="EU"), "currency"),
    refused("too many fields", filled(colour="red"), "parameters"),
    refused("a text that is a list", filled(title=["Q1"]), "title"),
]
