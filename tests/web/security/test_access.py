"""Access rules: every route of the application, with every kind of caller.

The routes come from the application and its OpenAPI document, so that a new route is tested too.
"""

from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import Response

from reportd.core.tokens import Role
from reportd_web.api import reports
from reportd_web.security.access import PUBLIC, RULES
from reportd_web.security.origin import SAFE_METHODS
from reportd_web.security.sessions import COOKIE
from tests.web.running import Running, submission
from tests.web.secured import Secured

FOREIGN = {"Origin": "http://evil.example"}


# The table


async def described(secured: Secured) -> set[tuple[str, str]]:
    paths = (await secured.client.get("/openapi.json", headers=secured.bearer("read"))).json()["paths"]
    return {(method.upper(), path) for path, item in paths.items() for method in item}


async def test_every_call_has_a_rule(secured: Secured) -> None:
    assert {*secured.calls(), *await described(secured)} <= set(RULES)


async def test_a_call_without_a_rule_cannot_be_added(secured: Secured) -> None:
    async def new(_: Request) -> Response:
        return Response()

    with pytest.raises(LookupError, match=r"no rule for POST /new/\{name\}: say there who may call it"):
        reports.add_calls(secured.running.app, "/new/{name:int}", {"POST": new})
    # A route added in another way is found by the test above.
    secured.running.app.add_route("/new", new)
    assert not set(secured.calls()) <= set(RULES)


def test_the_rules_that_must_be() -> None:
    """Repeats the table, so that a mistake in it does not pass as the rule."""
    assert [call for call, rule in RULES.items() if rule.render_token] == [("GET", "/reports/{taskId}/parameters")]
    assert {call for call, rule in RULES.items() if rule is PUBLIC} == {
        ("GET", "/.well-known/jwks.json"),
        ("GET", "/healthz"),
        ("GET", "/readyz"),
        ("GET", "/login"),
        ("POST", "/login"),
        ("POST", "/logout"),
    }
    for (method, path), rule in RULES.items():
        if rule is not PUBLIC:
            own = path.startswith(("/reports", "/jobs")) and "/evidence/" not in path
            assert rule.tenants == (own or path == "/openapi.json"), path
        if "/evidence/" in path or path.endswith("/parameters"):
            assert rule.roles == (Role.OPERATE,), path
        if path.startswith(("/breakers", "/dead-letters", "/types", "/letters")):
            assert rule.roles == ((Role.READ,) if method == "GET" else (Role.OPERATE,)), path
        if method not in SAFE_METHODS and rule is not PUBLIC:
            assert Role.READ not in rule.roles, path


# Every caller against every call


async def test_without_a_token_nothing_but_the_public_answers(secured: Secured) -> None:
    task_id = await secured.task()
    strangers = [
        {},
        {"Authorization": "Bearer reportd_unknown"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic YTpi"},
        {"Authorization": secured.secrets["all"]},
        {"Authorization": f"Digest {secured.secrets['all']}"},
        {"Authorization": "Bearer é"},
        {"Cookie": f"{COOKIE}=all.x.y"},
        {"Cookie": f"{COOKIE}={secured.secrets['all']}"},
        # A valid cookie does not make up for a wrong token.
        {"Authorization": "Bearer reportd_unknown", **secured.cookie("all")},
    ]
    for method, template in secured.calls():
        for headers in strangers:
            answer = await secured.ask(method, template, headers, task_id)
            if RULES[method, template] is PUBLIC:
                assert answer.status not in (401, 403), (method, template, headers)
                continue
            assert answer.status == 401, (method, template, headers)
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.headers["www-authenticate"].startswith('Bearer realm="reportd"')
            assert ("invalid_token" in answer.headers["www-authenticate"]) == ("Authorization" in headers)
            assert secured.secrets["all"] not in answer.text
    assert (await secured.running.record(task_id)).state == "queued"
    assert await secured.running.rows() == 1


@pytest.mark.parametrize("name", ["submit", "read", "operate"])
async def test_the_wrong_role_is_403_and_the_right_one_is_let_in(secured: Secured, name: str) -> None:
    task_id = await secured.task()
    has = {Role(name)} | ({Role.READ} if name == "operate" else set())
    for method, template in secured.calls():
        rule = RULES[method, template]
        for headers in secured.ways(name):
            answer = await secured.ask(method, template, headers, task_id)
            if rule is PUBLIC or has & set(rule.roles):
                assert answer.status not in (401, 403), (method, template)
                continue
            assert answer.status == 403, (method, template)
            assert f"this token lacks the role {' or '.join(rule.roles)}" in answer.text
            assert f'error="insufficient_scope", scope="{" ".join(rule.roles)}"' in answer.headers["www-authenticate"]


async def test_a_tenant_sees_nothing_of_others_and_nothing_of_all(secured: Secured) -> None:
    for method, template in secured.calls():
        rule = RULES[method, template]
        for name, is_own in (("other", False), ("tenant", True)):
            for headers in secured.ways(name):
                task_id = await secured.task()
                answer = await secured.ask(method, template, headers, task_id)
                if rule is PUBLIC or (rule.tenants and "{taskId}" not in template and template != reports.SUBMIT):
                    assert answer.status not in (401, 403, 404), (method, template)
                elif not rule.tenants:
                    assert answer.status == 403, (method, template)
                    assert "bound to a user" in answer.text
                elif is_own:
                    assert answer.status not in (401, 403, 404), (method, template)
                else:
                    assert answer.status == (403 if template == reports.SUBMIT else 404), (method, template)
                    assert (await secured.running.record(task_id)).state == "queued"


async def test_another_site_changes_nothing_whatever_it_can_show(secured: Secured) -> None:
    changing = [call for call in secured.calls() if call[0] not in SAFE_METHODS]
    assert len(changing) >= 5
    for method, template in changing:
        task_id = await secured.task()
        for shown in (*secured.ways("all"), {}):
            for foreign in (FOREIGN, {"Sec-Fetch-Site": "cross-site"}):
                answer = await secured.ask(method, template, {**shown, **foreign}, task_id)
                assert answer.status == 403, (method, template)
                assert "another site" in answer.text
        assert (await secured.running.record(task_id)).state == "queued"


async def test_own_pages_change_state_with_the_cookie(secured: Secured) -> None:
    task_id = await secured.task()
    own = {"Origin": "http://127.0.0.1:8080"}
    answer = await secured.client.delete(f"/reports/{task_id}", headers={**secured.cookie("all"), **own})
    assert answer.json()["state"] == "cancelled"


# Bypasses


@pytest.mark.parametrize(
    "path", ["/status/", "/status%0a", "//status", "/%73tatus", "/status?x=1", "/./status", "/STATUS"]
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_no_spelling_of_a_path_gets_around_its_rule(secured: Secured, method: str, path: str) -> None:
    for headers in ({}, secured.bearer("submit"), secured.bearer("tenant")):
        answer = await secured.client.request(method, path, headers=headers)
        assert answer.status_code in (401, 403, 404), path


async def test_a_submission_with_a_slash_at_the_end_is_refused_the_same(secured: Secured) -> None:
    for path in (reports.SUBMIT, f"{reports.SUBMIT}/"):
        assert (await secured.client.post(path, json=submission())).status_code == 401
        assert (await secured.client.post(path, json=submission(), headers=secured.bearer("read"))).status_code == 403
    assert await secured.running.rows() == 0


async def test_style_is_public_and_what_is_nowhere_is_404(secured: Secured) -> None:
    assert (await secured.client.get("/static/status.css")).status_code == 200
    assert (await secured.client.get("/no")).status_code == 404


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer  "])
async def test_the_scheme_may_be_spelt_as_one_likes(secured: Secured, scheme: str) -> None:
    headers = {"Authorization": f"{scheme} {secured.secrets['read']}"}
    assert (await secured.client.get("/reports", headers=headers)).status_code == 200


# Without tokens


async def test_without_tokens_anybody_may(running: Running) -> None:
    for headers in ({}, {"Authorization": "Bearer x"}, {"Cookie": f"{COOKIE}=x"}):
        assert (await running.client.get("/", headers=headers)).status_code == 200
        assert (await running.client.post(reports.SUBMIT, json=submission(), headers=headers)).status_code == 202
        assert (await running.client.post("/reports/generate-async/", headers=headers)).status_code == 415
    for method in ("GET", "POST"):
        answer = await running.client.request(method, "/login")
        assert (answer.status_code, answer.headers["location"]) == (303, "/"), "there is nothing to log in to"


# Other places that show permissions


async def test_reasons_are_for_those_who_may_see_the_page(secured: Secured) -> None:
    secured.running.parts = {"queue": (False, "no answer from queue.internal")}
    for headers in ({}, secured.bearer("submit"), secured.bearer("tenant"), {"Authorization": "Bearer x"}):
        answer = await secured.client.get("/readyz", headers=headers)
        assert (answer.status_code, answer.json()["parts"]) == (503, {"queue": {"ok": False, "detail": ""}})
    for headers in (*secured.ways("read"), secured.bearer("operate")):
        assert "queue.internal" in (await secured.client.get("/readyz", headers=headers)).text


async def test_the_document_says_which_roles_a_call_asks_for(secured: Secured) -> None:
    document = (await secured.client.get("/openapi.json", headers=secured.bearer("submit"))).json()
    for path, item in document["paths"].items():
        for method, call in item.items():
            rule = RULES[method.upper(), path]
            named = {role for entry in call["security"] for roles in entry.values() for role in roles}
            assert named == set(rule.roles)
            assert ("401" in call["responses"]) == (rule is not PUBLIC)
            assert {scheme for entry in call["security"] for scheme in entry} <= set(
                document["components"]["securitySchemes"]
            )


async def test_a_token_that_is_taken_out_is_no_longer_accepted(secured: Secured, folder: Path) -> None:
    lines = (folder / "tokens").read_text().splitlines()
    (folder / "tokens").write_text("\n".join(line for line in lines if not line.startswith("read ")))
    assert (await secured.client.get("/reports", headers=secured.bearer("read"))).status_code == 200
    secured.access.tokens.exchange(secured.access.tokens.read())
    for headers in secured.ways("operate"):
        assert (await secured.client.get("/reports", headers=headers)).status_code == 200
    assert (await secured.client.get("/reports", headers=secured.bearer("read"))).status_code == 401
