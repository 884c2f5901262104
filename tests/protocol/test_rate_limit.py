"""The bucket of tokens: what may be taken, and when the next may be."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.protocol.errors import InvalidConfig
from greenroom.protocol.rate_limit import Bucket, RateLimit

rates = st.builds(
    RateLimit,
    count=st.integers(1, 50),
    per_s=st.sampled_from([0.5, 1.0, 7.0, 60.0]),
    burst=st.one_of(st.none(), st.integers(1, 50)),
)


@pytest.mark.parametrize(
    ("text", "per_s"), [("10/s", 1.0), ("10/m", 60.0), ("10/h", 3600.0), ("10/d", 86_400.0)]
)
def test_a_text_stands_for_a_limit(text: str, per_s: float) -> None:
    assert RateLimit.parse(text) == RateLimit(count=10, per_s=per_s)


@pytest.mark.parametrize(
    "fields", [{"count": 0}, {"per_s": 0}, {"per_s": float("nan")}, {"burst": 0}, {"count": 1.5}]
)
def test_a_limit_that_limits_nothing_or_everything_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidConfig, match="rate_limit"):
        RateLimit(**{"count": 1} | fields)


@given(limit=rates, pauses=st.lists(st.floats(0, 30), max_size=60))
def test_in_no_span_of_time_more_than_the_burst_and_the_rate_are_taken(
    limit: RateLimit, pauses: list[float]
) -> None:
    """Greedily, after pauses of any length; counted from every moment to every later one."""
    bucket, now, taken = Bucket(limit, 0.0), 0.0, []
    for pause in pauses:
        now += pause
        while bucket.wait_s(now) == 0:
            bucket.take()
            taken.append(now)
    for first, since in enumerate(taken):
        for last, until in enumerate(taken[first:], first):
            allowed = limit.capacity + (until - since) * limit.refill_per_s
            assert last - first + 1 <= allowed + 1e-6


@given(limit=rates, count=st.integers(1, 200))
def test_what_is_told_to_wait_is_enough_and_not_too_much(limit: RateLimit, count: int) -> None:
    """Also for more at once than the bucket holds: that is taken as a debt from a full one."""
    bucket = Bucket(limit, 0.0)
    assert bucket.wait_s(0.0, count) == 0
    bucket.take(count)
    wait_s = bucket.wait_s(0.0)
    if count < limit.capacity:
        assert wait_s == 0
        return
    assert bucket.wait_s(wait_s * 0.99) > 0
    assert bucket.wait_s(wait_s + 1e-6) == 0


def test_what_is_given_back_may_be_taken_again_and_no_more() -> None:
    bucket = Bucket(RateLimit(count=2, per_s=60), 0.0)
    bucket.take()
    bucket.give_back()
    bucket.give_back()
    for _ in range(2):
        assert bucket.wait_s(0.0) == 0
        bucket.take()
    assert bucket.wait_s(0.0) == 30
