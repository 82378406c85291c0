"""Keys of render tokens in the configuration, and where the page of a report type gets its token."""

import json
from pathlib import Path
from typing import Any

import pytest

from reportd.config import Config, ConfigError, load
from reportd.config.load import load_from
from reportd.ports import TokenPlace
from tests.render_keys import a_key

PEM, SECRET = a_key("old").text, a_key("new", "HS256").text
EDDSA, HS256 = {"kid": "old", "algorithm": "EdDSA", "key": PEM}, {"kid": "new", "algorithm": "HS256", "key": SECRET}


def inline(value: Any) -> str:
    """A value as TOML writes it within a line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {inline(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(inline, value)) + "]"
    return json.dumps(value)


def loaded(tmp_path: Path, keys: Any, report: str = "", **environ: str) -> Config:
    file = tmp_path / "reportd.toml"
    lines = [f"render_tokens.keys = {inline(keys)}"] if keys is not None else []
    lines += ["[reports.a]", 'url = "https://app.test/"', report] if report else []
    file.write_text("\n".join(lines))
    return load(file, {"HOME": "/home/ada", **environ})


def refused(tmp_path: Path, keys: Any, report: str = "", **environ: str) -> str:
    """Return the one problem, from its key on."""
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, keys, report, **environ)
    (problem,) = caught.value.problems
    said = f"{problem.key}: {problem.message}"
    assert not any(line in said for line in (*PEM.splitlines()[1:2], SECRET))
    return said


def test_the_keys_are_there_in_their_order(tmp_path: Path) -> None:
    config = loaded(tmp_path, [EDDSA, HS256])
    assert config.render_tokens.parsed() == (a_key("old"), a_key("new", "HS256"))
    assert loaded(tmp_path, None).render_tokens.parsed() == ()


def test_a_variable_holds_them_as_json() -> None:
    environ = {"HOME": "/home/ada", "REPORTD_RENDER_TOKENS__KEYS": json.dumps([HS256])}
    assert load(None, environ).render_tokens.parsed() == (a_key("new", "HS256"),)


def test_a_key_may_be_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "render.pem").write_text(PEM)
    (tmp_path / "render.pem").chmod(0o600)
    config = loaded(tmp_path, [HS256, EDDSA | {"key": {"file": "render.pem"}}])
    assert [key.material().__class__.__name__ for key in config.render_tokens.parsed()] == [
        "bytes",
        "Ed25519PrivateKey",
    ]
    shown = load_from(tmp_path / "reportd.toml", {"HOME": "/home/ada"}).redacted()["render_tokens"]["keys"]
    assert shown == [
        {"kid": "new", "algorithm": "HS256", "key": "***"},
        {"kid": "old", "algorithm": "EdDSA", "key": {"file": str(tmp_path / "render.pem")}},
    ]


def test_no_key_is_shown(tmp_path: Path) -> None:
    config = loaded(tmp_path, [EDDSA, HS256])
    for shown in (repr(config), str(config), repr(config.render_tokens.parsed()), json.dumps(config.redacted())):
        assert SECRET not in shown
        assert PEM.splitlines()[1] not in shown


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ("old", "is not a list"),
        (["old"], "entry 1 is not a table"),
        ([EDDSA, {"kid": "b", "algorithm": "HS256"}], "entry 2 has no key"),
        ([HS256 | {"kid": 3}], "entry 1 has a kid that is no text"),
        (
            [HS256 | {"kid": "a b"}],
            "entry 1 has a kid that is not 1 to 64 letters, digits",
        ),
        ([HS256 | {"kye": "x"}], "entry 1 has the unknown name kye"),
        ([HS256 | {"algorithm": "RS256"}], "entry 1 (new) has an algorithm that is not one of EdDSA, HS256"),
        ([EDDSA, HS256 | {"kid": "old"}], "entry 2 has the kid old, which an earlier one has"),
        (
            [EDDSA, HS256 | {"key": SECRET[:20]}],
            "entry 2 (new) has a key that is shorter than 32 bytes, but HS256 takes 32 random bytes or more",
        ),
        (
            [EDDSA | {"key": PEM[:80]}],
            "entry 1 (old) has a key that is not the PEM of a private key, but EdDSA takes the PEM",
        ),
        ([EDDSA | {"algorithm": "HS256"}], "entry 1 (old) has a key that is not base64"),
    ],
)
def test_faulty_keys_are_refused(tmp_path: Path, keys: Any, problem: str) -> None:
    said = refused(tmp_path, keys, "token = true")
    assert said.startswith(f"render_tokens.keys: {problem}")
    assert 'accepted: a list of {kid = "NAME"' in said


def test_a_faulty_key_from_a_file_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "render.pem").write_text("no key")
    said = refused(tmp_path, [EDDSA | {"key": {"file": "render.pem"}}])
    assert said.startswith("render_tokens.keys: entry 1 (old) has a key that is not the PEM of a private key")
    assert said.endswith(f"it is read from {tmp_path}/render.pem")


# --- where the token goes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "place", "shown"),
    [
        ("true", TokenPlace(header="Authorization"), True),
        ("false", None, False),
        ('"header:X-Render"', TokenPlace(header="X-Render"), "header:X-Render"),
        ('"header:authorization"', TokenPlace(header="authorization"), True),
        ('"cookie:render"', TokenPlace(cookie="render"), "cookie:render"),
    ],
)
def test_a_page_gets_its_token_in_a_header_or_a_cookie(
    tmp_path: Path, text: str, place: TokenPlace | None, shown: Any
) -> None:
    report = loaded(tmp_path, [EDDSA], f"token = {text}").reports["a"]
    assert report.token == place
    assert report.redacted()["token"] == shown
    variable = load(
        None,
        {
            "HOME": "/home/ada",
            "REPORTD_RENDER_TOKENS__KEYS": json.dumps([HS256]),
            "REPORTD_REPORTS__A__URL": "https://app.test/",
            "REPORTD_REPORTS__A__TOKEN": text.strip('"'),
        },
    )
    assert variable.reports["a"].token == place


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("1", "is neither true nor false, nor a text"),
        ('"X-Render"', "is no such place"),
        ('"header:"', "names no header"),
        ('"cookie:a b"', "names no cookie"),
        ('"header:Host"', "names Host, which the browser writes itself"),
        ('"header:TE"', "names TE, which the browser writes itself"),
        ('"header:Proxy-Authorization"', "names Proxy-Authorization, which the browser writes itself"),
        ('"header:Content-Type"', "names Content-Type, which the browser writes itself"),
        ('"header:cookie"', "names cookie, which the browser writes itself"),
    ],
)
def test_other_places_are_refused(tmp_path: Path, text: str, problem: str) -> None:
    said = refused(tmp_path, [EDDSA], f"token = {text}")
    assert said == (
        f"reports.a.token: {problem}; accepted: true (Authorization: Bearer), false, header:NAME or cookie:NAME"
    )


def test_a_token_needs_a_key(tmp_path: Path) -> None:
    assert refused(tmp_path, None, "token = true") == (
        "reports.a.token: has no key to be signed with; accepted: false, or true once render_tokens.keys has a key"
    )


def test_a_templates_page_has_no_token(tmp_path: Path) -> None:
    (tmp_path / "reportd.toml").write_text(
        f'render_tokens.keys = {inline([EDDSA])}\n[reports.a]\ntoken = true\ntemplate = "a.html"'
    )
    with pytest.raises(ConfigError, match=r"reports\.a\.token: is set, but a template's page.*a token for a url"):
        load(tmp_path / "reportd.toml", {"HOME": "/home/ada"})


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ('token = true\nheaders = {authorization = "x"}', "one of its headers"),
        ('token = "cookie:render"\ncookies = {Render = "x"}', "one of its cookies"),
        ('token = "cookie:render"\nheaders = {Cookie = "a=b"}', "cookies instead of that header"),
    ],
)
def test_a_token_has_a_name_of_its_own(tmp_path: Path, keys: str, problem: str) -> None:
    said = refused(tmp_path, [EDDSA], keys)
    assert said.startswith("reports.a.token: ")
    assert problem in said
