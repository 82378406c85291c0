"""The lines around the one that an error speaks of."""

from reportd.core.preview.excerpts import MAX_CHARS, excerpt

TEXT = "\n".join(f"row {number}" for number in range(1, 21))


def test_three_lines_on_each_side_are_shown_and_one_is_marked() -> None:
    shown = excerpt("a.html", TEXT, 10)
    assert [(line.number, line.text) for line in shown.lines] == [(number, f"row {number}") for number in range(7, 14)]
    assert [line.number for line in shown.lines if line.marked] == [10]
    assert (shown.file, shown.line) == ("a.html", 10)


def test_a_line_near_an_end_has_fewer_neighbours() -> None:
    assert [line.number for line in excerpt("a", TEXT, 1).lines] == [1, 2, 3, 4]
    assert [line.number for line in excerpt("a", TEXT, 20).lines] == [17, 18, 19, 20]


def test_a_line_that_is_no_longer_there_marks_the_nearest() -> None:
    assert excerpt("a", TEXT, 99).line == 20
    assert excerpt("a", TEXT, 0).line == 1
    assert [line.marked for line in excerpt("a", "", 5).lines] == [True]


def test_lines_are_counted_as_editors_do_and_long_ones_are_cut() -> None:
    shown = excerpt("a", "one\x0cstill one\r\ntwo" + "x" * 500, 2)
    assert [line.text for line in shown.lines] == ["one\x0cstill one", "two" + "x" * (MAX_CHARS - 4) + "…"]
