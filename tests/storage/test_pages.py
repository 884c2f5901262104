"""Under retention the file of a store stops growing: the pages of what leaves are used again."""

from typing import Any

from greenroom.protocol.execution import Status

ROUNDS = 40
SETTLED = 20  # rounds after which every limit has been reached for a while
EXECUTIONS = 60
STEPS = 120


def work(bench: Any, make: Any, session: Any, turn: int) -> None:
    """Many executions with results and events, and a part of a session that never ends."""
    for number in range(EXECUTIONS):
        name = f"e{turn}.{number}"
        event = make.event(payload="p" * 5_000)
        (accepted, _) = bench.apply(
            make.accept(name, status=Status.RUNNING, events=(event,)),
            session.step(2 + turn * STEPS + 2 * number, size=1_000 + 37 * number, path=False),
        )
        done = {"memory": {"result": make.raw("r" * 3_000)}}
        bench.apply(
            make.step(name, accepted.ordinal, 2, status=Status.COMPLETED, patch=done),
            session.step(3 + turn * STEPS + 2 * number, size=10_000, path=False),
        )
    bench.apply(session.named(2 + turn * STEPS))
    if turn > 2:
        bench.apply(session.named(forget=(2 + (turn - 3) * STEPS,)))


def test_pages_of_what_leaves_are_used_again(lmdb_bench, make, session_in) -> None:
    """A workload that goes on for ever: after the first rounds the file keeps its size, while many
    times that has been written. Whoever reads does so in short transactions, which hold nothing.
    """
    bench = lmdb_bench
    session = session_in(bench)
    bench.open(results_max=50, events_max=200, journal_records_max=100, sync=False)
    bench.apply(make.accept("e1"))
    pages = []
    for turn in range(ROUNDS):
        work(bench, make, session, turn)
        session.tidy()
        assert bench.store.read(lambda r: r.load_state(1)).seq == 1 + (turn + 1) * STEPS
        pages.append(bench.store.stats().pages)
    stats = bench.store.stats()
    assert pages[-1] <= 1.05 * pages[SETTLED], pages
    assert stats.put_bytes > 8 * stats.bytes
    assert stats.executions_pruned > EXECUTIONS * (ROUNDS - SETTLED)
    assert stats.events_pruned > EXECUTIONS * (ROUNDS - SETTLED)
    assert stats.records_pruned > STEPS * (ROUNDS - SETTLED)
    assert stats.tables["journal"] < 2 * (50 + 100 + EXECUTIONS) + 300
    assert stats.tables["payloads"] < 300
