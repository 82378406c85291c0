"""A breaker as text: all fields survive, another version's text is read, nonsense is refused."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportd.adapters.redis.breaker_json import from_json, to_json
from reportd.core.breaker.breaker import Breaker, BreakerState
from reportd.core.breaker.window import Grade

numbers = st.floats(0, 4e9)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
counts = st.integers(0, 2**53)
breakers = st.builds(
    Breaker,
    report_type=texts,
    state=st.sampled_from(BreakerState),
    epoch=texts,
    version=counts,
    since=numbers,
    until=numbers,
    lease=texts,
    lease_until=numbers,
    failures=counts,
    successes=counts,
    openings=counts,
    opened_at=numbers,
    window=st.lists(st.tuples(numbers, st.sampled_from(Grade)), max_size=5).map(tuple),
    faults=st.lists(texts, max_size=5).map(tuple),
    reason=texts,
    by=texts,
)


@given(breakers)
def test_there_and_back(breaker: Breaker) -> None:
    again = from_json(to_json(breaker))
    assert again == breaker
    assert type(again.state) is BreakerState
    assert all(type(verdict) is Grade for _, verdict in again.window)


def test_fields_of_another_version() -> None:
    text = orjson.dumps({"report_type": "sales", "state": "open", "colour": "red"}).decode()
    assert from_json(text) == Breaker("sales", BreakerState.OPEN)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "[]",
        "7",
        "{}",
        '"report_type"',
        '{"report_type": "sales", "state": "ajar"}',
        '{"report_type": "sales", "until": null}',
        '{"report_type": "sales", "until": {}}',
        '{"report_type": "sales", "version": 1e400}',
        '{"report_type": "sales", "version": "many"}',
        '{"report_type": "sales", "window": [[1]]}',
        '{"report_type": "sales", "window": [[1, "so-so"]]}',
        '{"report_type": "sales", "faults": 3}',
    ],
)
def test_nonsense(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        from_json(text)


values = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | texts
fields = st.sampled_from(list(orjson.loads(to_json(Breaker("sales")))))


@given(st.dictionaries(fields, values | st.lists(values, max_size=3) | st.lists(st.lists(values, max_size=2))))
def test_any_object_is_a_breaker_or_refused(raw: dict[str, object]) -> None:
    try:
        assert isinstance(from_json(orjson.dumps(raw).decode()), Breaker)
    except ValueError:
        assert raw.keys() != {"report_type"}
