"""Durations in words."""

import pytest

from reportd.core.status.durations import format_duration


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-5.0, "0 s"),
        (0.0, "0 s"),
        (14.9, "14 s"),
        (59.99, "59 s"),
        (60.0, "1 min"),
        (119.0, "1 min"),
        (3599.0, "59 min"),
        (3600.0, "1 h"),
        (7500.0, "2 h 5 min"),
        (86399.0, "23 h 59 min"),
        (86400.0, "1 d"),
        (4 * 86400 + 3 * 3600 + 59 * 60, "4 d 3 h"),
    ],
)
def test_two_units_at_most(seconds: float, said: str) -> None:
    assert format_duration(seconds) == said
