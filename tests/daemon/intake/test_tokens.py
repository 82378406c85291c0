"""The file of tokens is read at the start and at each reload. A faulty file locks nobody out and lets nobody in."""

import os
from pathlib import Path
from typing import Any

import pytest

from reportd.core.tokens import Role, TokensError, parse
from reportd.intake.tokens import Tokens, TokensFileError, log, new_token
from reportd.system.regular_files import MAX_BYTES
from tests.wording import mentions


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    for level in ("info", "warning", "error"):
        monkeypatch.setattr(log, level, lambda event, **fields: entries.append({"event": event, **fields}))
    return entries


def test_a_new_token_is_admitted_by_its_line(tmp_path: Path) -> None:
    secret, line = new_token("web", "submit,read")
    tokens = Tokens(write(tmp_path / "tokens", line))
    token = tokens.find(secret.encode())
    assert token is not None
    assert token.roles == {Role.SUBMIT, Role.READ}
    assert token.user_id is None
    assert tokens.named("web") is token
    assert tokens.required
    assert secret not in line


def test_a_new_token_is_long_random_and_easily_sent() -> None:
    made = {new_token("web", "read")[0] for _ in range(100)}
    assert len(made) == 100
    for secret in made:
        assert secret.startswith("reportd_")
        assert len(secret) >= 50
        assert all("!" <= character <= "~" for character in secret)


def test_a_new_token_can_be_bound() -> None:
    user = "0b9f6c1e-6a0c-4b57-9f2a-2f3c8f1f7f10"
    (token,) = parse(new_token("tenant", "read", user)[1])
    assert token.user_id == user


@pytest.mark.parametrize(("name", "roles", "user"), [("a b", "read", ""), ("a", "root", ""), ("a", "read", "ada")])
def test_no_line_is_made_that_would_be_refused(name: str, roles: str, user: str) -> None:
    with pytest.raises(ValueError, match="accepted: "):
        new_token(name, roles, user)


def test_without_a_file_none_is_asked_for() -> None:
    tokens = Tokens()
    assert not tokens.required
    assert tokens.find(b"") is None
    assert tokens.named("") is None
    assert tokens.read() == ()


def test_every_fault_is_told_with_file_and_line(tmp_path: Path) -> None:
    path = write(tmp_path / "tokens", "web\n\nada read sha256:0")
    with pytest.raises(TokensFileError) as caught:
        Tokens(path)
    one, other = str(caught.value).splitlines()
    assert mentions(one, f"{path}: line 1: ", "accepted: ")
    assert mentions(other, f"{path}: line 3: ", "hash", "accepted: ")


def test_a_file_that_is_away_or_no_text_is_told(tmp_path: Path) -> None:
    with pytest.raises(TokensFileError, match="can't be read: No such file"):
        Tokens(tmp_path / "none")
    with pytest.raises(TokensFileError, match="can't be read: Is a directory"):
        Tokens(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(TokensFileError, match="regular file"):
        Tokens(tmp_path / "fifo")
    write(tmp_path / "large", "#" * (MAX_BYTES + 1))
    with pytest.raises(TokensFileError, match="8 MiB"):
        Tokens(tmp_path / "large")
    (tmp_path / "tokens").write_bytes(b"web read sha256:\xff")
    with pytest.raises(TokensFileError, match="is not UTF-8"):
        Tokens(tmp_path / "tokens")


@pytest.mark.parametrize(
    ("mode", "exposed"), [(0o600, False), (0o440, False), (0o644, True), (0o660, True), (0o602, True)]
)
def test_a_file_that_others_can_read_or_change_is_warned_of(
    tmp_path: Path, logged: list[dict[str, Any]], mode: int, *, exposed: bool
) -> None:
    Tokens(write(tmp_path / "tokens", new_token("web", "read")[1], mode))
    assert [entry["event"] for entry in logged] == (["tokens.exposed"] if exposed else [])


def test_read_again_new_tokens_count_and_old_ones_do_not(tmp_path: Path, logged: list[dict[str, Any]]) -> None:
    (old, old_line), (new, new_line) = new_token("a", "read"), new_token("b", "read")
    tokens = Tokens(write(tmp_path / "tokens", old_line))
    write(tmp_path / "tokens", new_line)
    assert tokens.find(new.encode()) is None, "not before it is told"
    read = tokens.read()
    assert tokens.find(new.encode()) is None, "not before it is in force"
    tokens.exchange(read)
    assert tokens.find(old.encode()) is None
    assert tokens.find(new.encode()) is not None
    assert logged == []


@pytest.mark.parametrize("text", ["", "web read sha256:0", None])
def test_a_bad_file_changes_nothing_and_that_is_said(tmp_path: Path, text: str | None) -> None:
    secret, line = new_token("a", "read")
    path = write(tmp_path / "tokens", line)
    tokens = Tokens(path)
    path.unlink()
    if text is not None:
        write(path, text)
    with pytest.raises(TokensFileError, match=str(path)):
        tokens.read()
    assert tokens.find(secret.encode()) is not None


def test_a_faulty_text_is_a_value_error() -> None:
    with pytest.raises(TokensError):
        parse("x")
