"""The pool of daemon threads: bounded, and never at the mercy of a call that hangs."""

import subprocess
import sys
import threading

from greenroom.actors.kernel.testkit import Condition, await_condition
from greenroom.actors.nodes.pool import SyncPool


class Hung:
    """A call that waits until it is let go."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.gate = threading.Event()

    def __call__(self) -> None:
        self.begun.set()
        assert self.gate.wait(60)


def test_calls_run_on_daemon_threads() -> None:
    done = Condition()
    pool = SyncPool(2)
    for _ in range(10):
        pool.submit(lambda: done.add(threading.current_thread()))
    threads = done.wait(10)
    assert all(thread.daemon for thread in threads)
    assert len({thread.name for thread in threads}) <= 2


def test_no_thread_starts_before_there_is_work() -> None:
    assert SyncPool(8).threads == 0


def test_at_most_size_calls_run_at_once() -> None:
    pool = SyncPool(2)
    hung = [Hung(), Hung(), Hung()]
    for call in hung:
        pool.submit(call)
    assert hung[0].begun.wait(10)
    assert hung[1].begun.wait(10)
    assert not hung[2].begun.is_set()
    assert pool.threads == 2
    hung[0].gate.set()
    assert hung[2].begun.wait(10)
    for call in hung:
        call.gate.set()


def test_the_place_of_an_abandoned_call_is_given_away() -> None:
    pool = SyncPool(1)
    hung, done = Hung(), Condition()
    call = pool.submit(hung)
    pool.submit(done.add)
    assert hung.begun.wait(10)
    assert call is not None
    pool.abandon(call)
    done.wait(1)
    assert pool.abandoned == 1
    assert not pool.degraded
    hung.gate.set()
    await_condition(lambda: pool.abandoned == 0)


def test_a_call_abandoned_in_the_queue_never_runs() -> None:
    pool = SyncPool(1)
    hung, done = Hung(), Condition()
    pool.submit(hung)
    assert hung.begun.wait(10)
    call = pool.submit(lambda: done.add("abandoned"))
    pool.submit(lambda: done.add("after"))
    assert call is not None
    pool.abandon(call)
    hung.gate.set()
    assert done.wait(1) == ["after"]


def test_past_the_limit_of_replaced_threads_the_pool_is_degraded_until_calls_return() -> None:
    pool = SyncPool(2, abandoned_max=2)
    hung = [Hung() for _ in range(4)]
    for one in hung:
        call = pool.submit(one)
        assert one.begun.wait(10)
        assert call is not None
        pool.abandon(call)
    assert pool.degraded
    assert pool.abandoned == 4
    assert pool.submit(lambda: None) is None, "every place hangs: it would wait for ever"
    for one in hung:
        one.gate.set()
    await_condition(lambda: not pool.degraded and pool.abandoned == 0)
    done = Condition()
    pool.submit(done.add)
    done.wait(1)


def test_an_urgent_call_waits_for_no_place_and_its_thread_ends_after_it() -> None:
    pool = SyncPool(1)
    hung, done = Hung(), Condition()
    pool.submit(hung)
    assert hung.begun.wait(10)
    pool.submit(lambda: done.add("patient"))
    for _ in range(5):
        pool.submit(lambda: done.add("urgent"), urgent=True)
    assert done.wait(5) == ["urgent"] * 5
    await_condition(lambda: pool.threads == 1)
    assert done.values == ["urgent"] * 5
    hung.gate.set()
    assert done.wait(6)[5] == "patient"


def test_a_call_that_raises_leaves_its_place_in_order() -> None:
    pool = SyncPool(1)
    done = Condition()

    def broken() -> None:
        raise SystemExit(3)

    pool.submit(broken)
    pool.submit(done.add)
    done.wait(1)


def test_a_closed_pool_takes_nothing() -> None:
    pool = SyncPool(1)
    pool.close()
    assert pool.submit(lambda: None) is None


HANGING = """
import threading
from greenroom.actors.nodes.pool import SyncPool

begun = threading.Event()

def hang():
    begun.set()
    threading.Event().wait()

pool = SyncPool(4)
pool.submit(hang)
assert begun.wait(30)
print("leaving")
"""


def test_a_call_that_hangs_does_not_keep_the_process_alive() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", HANGING], capture_output=True, text=True, timeout=60, check=True
    )
    assert ended.stdout == "leaving\n"
