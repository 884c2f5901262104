"""The state manager gives turns out in order, on time, and not before the store is up to date."""

import threading
from typing import Any

import pytest

from greenroom.actors.kernel.testkit import Condition, await_condition
from greenroom.protocol.commit import Commit, StateKey, StateWrite
from greenroom.protocol.isolation import StateScope
from greenroom.protocol.messages import AwaitTurnFree, CommitBatch, ReleaseStream
from greenroom.protocol.stream_messages import TurnsGranted

K = StateKey("global", "", "k")


def test_turns_are_given_in_the_order_in_which_they_were_asked_for(rig: Any) -> None:
    for execution in ("a", "b", "c"):
        rig.take(execution, "k")
    assert rig.granted(1) == ["a"]
    assert rig.handle.turns.held.holders(K) == {("a", 1)}
    rig.release("a")
    assert rig.granted(2) == ["a", "b"]
    rig.release("b")
    assert rig.granted(3) == ["a", "b", "c"]
    rig.release("c")
    await_condition(lambda: not rig.handle.turns.held.holders(K))


def test_other_keys_are_not_waited_for(rig: Any) -> None:
    rig.take("a", "k")
    rig.take("b", "other")
    assert sorted(rig.granted(2)) == ["a", "b"]


def test_the_grant_names_the_instance_that_asked(rig: Any) -> None:
    rig.take("a", "k", incarnation=9)
    rig.granted(1)
    assert rig.heard.values == [TurnsGranted(incarnation=9, execution_id="a", token_id=1)]


def test_what_was_sent_to_the_store_before_is_durable_when_the_turn_comes(rig: Any) -> None:
    commits = tuple(
        Commit(commit_id=n, stream="", incarnation=0, writes=(StateWrite(K, None),))
        for n in range(200)
    )
    rig.writer.tell(CommitBatch(sender="nobody", commits=commits))
    rig.take("a", "k")
    rig.granted(1)
    assert rig.store.read(lambda reader: reader.state_version(K)) > 0
    assert rig.store.stats().commits == 200


def test_a_new_instance_of_a_stream_frees_what_the_old_one_held(rig: Any) -> None:
    rig.take("a", "k", incarnation=1)
    rig.take("b", "k", incarnation=2)
    rig.granted(1)
    rig.manager.tell(ReleaseStream(stream="stream", incarnation=2), control=True)
    assert rig.granted(2) == ["a", "b"]


def test_nobody_waits_longer_than_the_limit(make_rig: Any) -> None:
    rig = make_rig(timeout_s=0.05)
    rig.take("a", "k")
    rig.take("b", "k")
    assert rig.granted(2) == ["a", "b!"]
    assert rig.handle.turns.held.holders(K) == {("a", 1)}, "a holder keeps its turn"
    rig.take("c", "k")
    assert rig.granted(3) == ["a", "b!", "c!"]


def test_a_key_that_nobody_wants_is_free_at_once(rig: Any) -> None:
    assert rig.handle.turns.when_free(K, ("a", 1)).get(timeout=10) is True


def test_waiting_for_a_free_key_ends_when_nobody_has_or_wants_it(rig: Any) -> None:
    rig.take("a", "k")
    rig.take("b", "k")
    rig.granted(1)
    free = rig.handle.turns.when_free(K, ("x", 1))
    whole = rig.handle.turns.when_free(StateKey("global", "", ""), ("x", 1))
    other = rig.handle.turns.when_free(StateKey("global", "", "other"), ("x", 1))
    assert other.get(timeout=10) is True
    rig.release("a")
    rig.granted(2)
    assert not free.done()
    rig.release("b")
    assert free.get(timeout=10) is True
    assert whole.get(timeout=10) is True


def test_waiting_for_a_free_key_ends_in_vain_after_the_limit(make_rig: Any) -> None:
    rig = make_rig(timeout_s=0.05)
    rig.take("a", "k")
    rig.granted(1)
    assert rig.handle.turns.when_free(K, ("x", 1)).get(timeout=10) is False


def test_ones_own_turn_is_free_to_oneself(rig: Any) -> None:
    rig.take("a", "k")
    rig.granted(1)
    assert not rig.handle.turns.taken(K, ("a", 1))
    assert (
        rig.manager.ask(AwaitTurnFree(key=K, execution_id="a", token_id=1)).get(timeout=10) is True
    )


def test_two_branches_of_one_execution_exclude_each_other(rig: Any) -> None:
    """Each has turns of its own: what one gives back, the other keeps or gets."""
    rig.take("a", "k", token_id=1)
    rig.take("a", "k", token_id=2)
    rig.take("a", "other", token_id=3)
    rig.granted(2)
    assert rig.handle.turns.held.holders(K) == {("a", 1)}
    assert rig.handle.turns.taken(K, ("a", 2))
    free = rig.handle.turns.when_free(K, ("a", 3))
    rig.release("a", token_id=1)
    rig.granted(3)
    assert [one.token_id for one in rig.heard.values if one.token_id != 3] == [1, 2]
    assert not free.done(), "the second branch has its own turn"
    rig.release("a", token_id=2)
    assert free.get(timeout=10) is True


def test_a_host_waits_for_no_run_of_the_execution_that_it_acts_for(rig: Any) -> None:
    """The run that holds the turn may be what called it."""
    rig.take("a", "k")
    rig.granted(1)
    assert not rig.handle.turns.taken(K, ("a", 0))
    assert rig.handle.turns.taken(K, ("b", 0))


def test_turns_survive_a_crash_of_the_state_manager(rig: Any) -> None:
    rig.take("a", "k")
    rig.take("b", "k")
    rig.granted(1)
    waiting = rig.handle.turns.when_free(K, ("x", 1))
    rig.manager.kill()
    assert rig.granted(2) == ["a", "a"], "told again, by the next instance"
    assert rig.handle.turns.held.holders(K) == {("a", 1)}
    for execution in ("a", "b"):
        rig.release(execution)
    assert waiting.get(timeout=10) is True


def test_the_turns_of_a_stream_that_is_gone_are_given_on(rig: Any) -> None:
    rig.take("a", "k")
    rig.granted(1)
    rig.take("b", "k")
    rig.system.ref("stream").stop().get(timeout=10)
    rig.release("a")
    await_condition(lambda: not rig.handle.turns.held.holders(K))


@pytest.mark.parametrize("count", [40])
def test_contenders_all_get_their_turn_one_at_a_time(rig: Any, count: int) -> None:
    for number in range(count):
        rig.take(f"e{number}", "k", "other" if number % 2 else "third")
    for number in range(count):
        assert rig.granted(number + 1)[-1] == f"e{number}"
        rig.release(f"e{number}")


def test_plain_threads_write_and_read_by_the_same_rules(rig: Any) -> None:
    rig.handle.write_sync("k", 1)
    assert rig.handle.read_sync("k") == 1
    memory = rig.handle.create_memory("e1", "ep", "synchronized")
    memory.write_batch_sync({"a": 1, "b": 2}, StateScope.STREAM)
    assert memory.read_all_sync(StateScope.STREAM) == {"a": 1, "b": 2}


def test_a_synchronized_host_waits_for_the_turn_of_a_step(rig: Any) -> None:
    rig.take("a", "k")
    rig.granted(1)
    done = Condition()
    threading.Thread(
        target=lambda: done.add(rig.handle.write_sync("k", "late")), daemon=True
    ).start()
    rig.take("b", "other")
    rig.granted(2)
    assert done.values == []
    assert rig.handle.read_sync("k") is None
    rig.release("a")
    done.wait(1)
    assert rig.handle.read_sync("k") == "late"
