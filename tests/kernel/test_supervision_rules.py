"""The restart rules, as properties: windows never forget too early, backoff stays in its bounds."""

from hypothesis import given
from hypothesis import strategies as st

from greenroom.protocol.supervision import (
    Backoff,
    Intensity,
    affected,
    record_failure,
    restart_delay,
    wants_restart,
)

steps = st.lists(st.floats(0, 10, allow_nan=False), max_size=60)


@given(steps, st.integers(0, 8), st.floats(0.1, 20))
def test_too_often_means_more_than_the_limit_within_the_window(
    gaps: list[float], restarts_max: int, window_s: float
) -> None:
    """Compared with the plain definition over the full history."""
    intensity = Intensity(restarts_max=restarts_max, window_s=window_s)
    now, history = 0.0, []
    kept: tuple[float, ...] = ()
    for gap in gaps:
        now += gap
        history.append(now)
        kept, exceeded = record_failure(kept, now, intensity)
        recent = [at for at in history if at > now - window_s]
        assert exceeded == (len(recent) > restarts_max)
        assert len(kept) <= restarts_max + 1


@given(st.integers(0, 10_000), st.floats(0, 0.999), st.floats(0.001, 10), st.floats(1, 10))
def test_a_backoff_stays_between_its_bounds(
    failures: int, chance: float, initial_s: float, factor: float
) -> None:
    backoff = Backoff(initial_s=initial_s, factor=factor, max_s=20.0, jitter=0.5)
    delay = backoff.delay(failures, chance)
    assert min(initial_s, 20.0) * 0.5 <= delay <= 20.0
    assert backoff.delay(failures + 1, 0.0) >= backoff.delay(failures, 0.0)


def test_the_first_crash_restarts_at_once_and_a_failed_start_never_does() -> None:
    backoff = Backoff(jitter=0.0)
    assert restart_delay(backoff, 1, 0.0, at_start=False) == 0.0
    assert restart_delay(backoff, 2, 0.0, at_start=False) == backoff.initial_s
    assert restart_delay(backoff, 1, 0.0, at_start=True) == backoff.initial_s


@given(st.lists(st.text(min_size=1), min_size=1, unique=True), st.data())
def test_the_failed_child_is_always_affected_and_order_is_kept(
    order: list[str], data: st.DataObject
) -> None:
    failed = data.draw(st.sampled_from(order))
    assert affected("one_for_one", order, failed) == (failed,)
    assert affected("one_for_all", order, failed) == tuple(order)
    rest = affected("rest_for_one", order, failed)
    assert rest[0] == failed
    assert rest == tuple(order[-len(rest) :])


def test_only_permanent_children_return_after_a_normal_end() -> None:
    assert wants_restart("permanent", normal=True)
    assert not wants_restart("transient", normal=True)
    assert wants_restart("transient", normal=False)
    assert not wants_restart("temporary", normal=False)
