"""Only the values that the check points at are changed."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from reportd.core.jobs.submission import FieldProblem
from reportd.core.repair.envelopes import Change
from reportd.core.repair.parameters import ROUNDS, repair_parameters


class Checks:
    """A check that returns these pointers, round by round, and then none."""

    def __init__(self, *rounds: Sequence[str]) -> None:
        self._rounds = list(rounds)

    def __call__(self, _: Mapping[str, Any]) -> list[FieldProblem]:
        return [FieldProblem(pointer, "is wrong") for pointer in self._rounds.pop(0)] if self._rounds else []


def mend(parameters: dict[str, Any], *rounds: Sequence[str]) -> tuple[Any, list[Change]]:
    changes: list[Change] = []
    return repair_parameters(parameters, Checks(*rounds), changes), changes


def test_valid_parameters_are_returned_unchanged() -> None:
    parameters = {"a": "1"}
    assert mend(parameters)[0] is parameters


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("1", 1),
        ("-0.5", -0.5),
        (" 2e3 ", 2000.0),
        (str(2**63 - 1), 2**63 - 1),
        (1, "1"),
        (2.5, "2.5"),
        ({"first_name": 1, "x": 2}, {"firstName": 1, "x": 2}),
        ({"a_b": 1, "aB": 2, "c_d": 3}, {"a_b": 1, "aB": 2, "cD": 3}),
    ],
)
def test_values_with_another_meaning(value: Any, meant: Any) -> None:
    repaired, changes = mend({"a": value, "b": value}, ["/parameters/a"])
    assert repaired == {"a": meant, "b": value}
    assert [(type(repaired["a"]), change.where) for change in changes] == [(type(meant), "/parameters/a")]


@pytest.mark.parametrize(
    "value",
    ["", "x", "01", "1_0", "\u0661", "1e999", str(2**63), "9" * 50, True, None, [1], {}, {"_a": 1, "b_": 2, "C_D": 3}],
)
def test_values_without_another_meaning(value: Any) -> None:
    assert mend({"a": value}, ["/parameters/a"]) == (None, [])


@pytest.mark.parametrize(
    "pointer", ["", "/reportType", "/parameters/b", "/parameters/a/0", "/parameters/rows/7", "/parameters/rows/x"]
)
def test_dangling_pointers_are_ignored(pointer: str) -> None:
    assert mend({"a": "1", "rows": ["1"]}, [pointer])[0] is None


def test_keys_of_any_kind_are_found() -> None:
    assert mend({"a/b": {"~c": "1"}, "0": "2"}, ["/parameters/a~1b/~0c", "/parameters/0"])[0] == {
        "a/b": {"~c": 1},
        "0": 2,
    }


def test_a_mistake_that_rows_share_is_repaired_in_all_of_them() -> None:
    rows = [{"n": "1"}, {"n": "2"}, {"n": 3}, {"n": "x"}, "no row", {}, {"n": "4"}]
    repaired, changes = mend({"rows": rows}, ["/parameters/rows/0/n", "/parameters/rows/1/n"])
    assert repaired["rows"] == [{"n": 1}, {"n": 2}, {"n": 3}, {"n": "x"}, "no row", {}, {"n": 4}]
    assert [change.where for change in changes] == [f"/parameters/rows/{n}/n" for n in (0, 1, 6)]


def test_a_mistake_of_one_row_is_repaired_only_there() -> None:
    assert mend({"rows": ["1", "2"]}, ["/parameters/rows/0"])[0] == {"rows": [1, "2"]}


def test_nested_values_are_repaired_before_their_container() -> None:
    repaired, _ = mend({"all_rows": ["1"]}, ["/parameters", "/parameters/all_rows/0"])
    assert repaired == {"allRows": [1]}


def test_a_repair_that_oscillates_is_given_up() -> None:
    assert mend({"a": "1"}, *[["/parameters/a"]] * (ROUNDS + 1)) == (None, [])
    assert mend({"a": "1"}, *[["/parameters/a"]] * (ROUNDS - 1))[0] == {"a": 1}
