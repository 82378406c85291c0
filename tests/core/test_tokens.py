"""The parser of the token list: accepted lines, refused lines, and the lookup of a secret."""

from hashlib import sha256

import pytest

from reportd.core import tokens as token_file
from reportd.core.tokens import Role, Token, TokensError, find_token, parse
from tests.wording import mentions

ONE, OTHER = "a" * 64, "b" * 64
USER = "0b9f6c1e-6a0c-4b57-9f2a-2f3c8f1f7f10"


def problems(text: str) -> list[str]:
    with pytest.raises(TokensError) as caught:
        parse(text)
    assert str(caught.value) == "; ".join(caught.value.problems)
    return list(caught.value.problems)


def test_a_line_is_name_roles_and_hash() -> None:
    (token,) = parse(f"web submit,read sha256:{ONE}")
    assert token == Token("web", frozenset({Role.SUBMIT, Role.READ}), bytes.fromhex(ONE))


def test_a_line_may_bind_to_a_user() -> None:
    (token,) = parse(f"tenant read sha256:{ONE} user={USER.upper()}")
    assert token.user_id == USER


@pytest.mark.parametrize(
    ("roles", "expected"),
    [
        ("submit", {Role.SUBMIT}),
        ("read", {Role.READ}),
        ("operate", {Role.OPERATE, Role.READ}),
        ("operate,submit", {Role.OPERATE, Role.READ, Role.SUBMIT}),
        ("read,read", {Role.READ}),
    ],
)
def test_only_operate_includes_another_role(roles: str, expected: set[Role]) -> None:
    (token,) = parse(f"x {roles} sha256:{ONE}")
    assert token.roles == expected


def test_blank_lines_comments_and_extra_blanks_are_ignored() -> None:
    text = f"# who\r\n\r\n  \t\n   # web read sha256:{ONE}\n\tweb  read\tsha256:{ONE.upper()} \r\n"
    text += f"ada.l@x-1_ read sha256:{OTHER}"
    assert [token.name for token in parse(text)] == ["web", "ada.l@x-1_"]


PARTS = "accepted: NAME ROLE[,ROLE] sha256:HEX [user=UUID]"
NAME = "the name is not acceptable; accepted: up to 64 letters, digits and . _ @ -"
ROLES = "the roles are not acceptable; accepted: submit, read, operate, with commas between"
HASH = "the hash is not acceptable; accepted: sha256: and 64 hexadecimal digits"
USER_ID = "the user is not acceptable; accepted: user= and a UUID"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("web", f"has 1 parts; {PARTS}"),
        (f"read sha256:{ONE}", f"has 2 parts; {PARTS}"),
        (f"web submit, read sha256:{ONE} x", f"has 5 parts; {PARTS}"),
        (f"we/b read sha256:{ONE}", NAME),
        (f"-web read sha256:{ONE}", NAME),
        (f"é read sha256:{ONE}", NAME),
        (f"{'w' * 65} read sha256:{ONE}", NAME),
        (f"web admin sha256:{ONE}", ROLES),
        (f"web Read sha256:{ONE}", ROLES),
        (f"web read, sha256:{ONE}", ROLES),
        (f"web , sha256:{ONE}", ROLES),
        (f"web read {ONE}", HASH),
        (f"web read md5:{ONE}", HASH),
        (f"web read sha256:{ONE[1:]}", HASH),
        (f"web read sha256:{ONE}0", HASH),
        (f"web read sha256:{ONE[1:]}g", HASH),
        (f"web read sha256:{ONE[1:]}\u0661", HASH),
        (f"web read sha256:{ONE} {USER}", USER_ID),
        (f"web read sha256:{ONE} user=", USER_ID),
        (f"web read sha256:{ONE} user=ada", USER_ID),
        (f"web read sha256:{ONE} # ours", f"has 5 parts; {PARTS}"),
    ],
)
def test_a_problem_names_its_line(line: str, problem: str) -> None:
    assert problems(f"# who\n\nfine read sha256:{OTHER}\n{line}\n") == [f"line 4: {problem}"]


def test_all_problems_are_listed() -> None:
    assert problems(f"a x sha256:{ONE}\nb read\nc read sha256:0") == [
        f"line 1: {ROLES}",
        f"line 2: has 2 parts; {PARTS}",
        f"line 3: {HASH}",
    ]


def test_names_and_hashes_are_unique() -> None:
    text = f"a read sha256:{ONE}\n\na read sha256:{OTHER}\nb submit sha256:{ONE.upper()}\na read sha256:{ONE}"
    expected = [("line 3: ", "name"), ("line 4: ", "hash"), ("line 5: ", "name"), ("line 5: ", "hash")]
    for problem, (line, part) in zip(problems(text), expected, strict=True):
        assert mentions(problem, line, part, "line 1", "accepted: ")


@pytest.mark.parametrize("text", ["", "\n\n", "# nobody yet\n"])
def test_an_empty_list_is_a_fault(text: str) -> None:
    (told,) = problems(text)
    assert mentions(told, "no token", "accepted: ", "NAME ROLE[,ROLE] sha256:HEX [user=UUID]")


@pytest.mark.parametrize("part", range(4))
def test_a_problem_quotes_nothing_of_its_line(part: int) -> None:
    secret = "reportd_hunter2/hunter2"
    words = ["web", "read", f"sha256:{ONE}", f"user={USER}"]
    words[part] = secret
    (problem,) = problems(" ".join(words))
    assert "hunter2" not in problem


def test_no_hash_is_shown() -> None:
    (token,) = parse(f"web read sha256:{ONE}")
    assert ONE not in repr(token)
    assert repr(token.digest) not in repr(token)


# Lookup


def _tokens(*secrets: str) -> tuple[Token, ...]:
    return parse("\n".join(f"t{n} read sha256:{sha256(s.encode()).hexdigest()}" for n, s in enumerate(secrets)))


@pytest.mark.parametrize(("secret", "name"), [("one", "t0"), ("two", "t1"), ("three", "t2")])
def test_a_secret_is_found_by_its_hash(secret: str, name: str) -> None:
    token = find_token(_tokens("one", "two", "three"), secret.encode())
    assert token is not None
    assert token.name == name


@pytest.mark.parametrize("secret", [b"", b"On", b"one ", b"ONE", b"\xff\0", sha256(b"one").hexdigest().encode()])
def test_an_unknown_secret_matches_no_token(secret: bytes) -> None:
    assert find_token(_tokens("one", "two"), secret) is None


@pytest.mark.parametrize("secret", [b"one", b"three", b"none"])
def test_every_token_is_compared_in_any_case(secret: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []

    def compare(first: bytes, second: bytes) -> bool:
        compared.append(first)
        return first == second

    monkeypatch.setattr(token_file, "compare_digest", compare)
    tokens = _tokens("one", "two", "three")
    find_token(tokens, secret)
    assert compared == [token.digest for token in tokens]
