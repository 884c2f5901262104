"""The rules of turns, for any sequence of requests."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.protocol.commit import StateKey, StateRead, StateWrite
from greenroom.protocol.stream_messages import NodeResult, UpdateMade
from greenroom.protocol.turns import (
    NOTHING_HELD,
    HeldTurns,
    Holder,
    KeySet,
    Ticket,
    Turns,
    blocked,
    stale_is_update_only,
)

KEYS = [
    StateKey(scope, owner, key)
    for scope, owner in (("global", ""), ("stream", "a"), ("stream", "b"))
    for key in ("", "x", "y")
]
keys = st.lists(st.sampled_from(KEYS), min_size=1, max_size=4).map(tuple)
takes = st.tuples(st.just("take"), st.integers(1, 8), keys)
releases = st.tuples(st.just("release"), st.integers(1, 8), st.just(()))
sequences = st.lists(takes | takes | releases, max_size=40)


def overlap(one: StateKey, other: StateKey) -> bool:
    """The meaning of overlap, said once more and plainly."""
    same_scope = (one.scope, one.owner) == (other.scope, other.owner)
    return same_scope and (one == other or "" in (one.key, other.key))


def clash(one: Ticket, other: Ticket) -> bool:
    return any(overlap(a, b) for a in one.keys for b in other.keys)


def turns_of(run: int) -> Holder:
    """One of several runs in one execution, which exclude each other as executions do."""
    return "e", run


def ticket(run: int, wanted: tuple[StateKey, ...], incarnation: int = 1) -> Ticket:
    return Ticket(turns_of(run), "stream", incarnation, wanted)


def play(sequence: list[tuple[str, int, tuple[StateKey, ...]]]) -> tuple[Turns, list[Holder]]:
    """Carry out the steps; returns the turns, and who was granted, in order."""
    turns, granted = Turns(), []
    for kind, execution, wanted in sequence:
        if kind == "take":
            granted += turns.take(ticket(execution, wanted))
        else:
            granted += turns.release(turns_of(execution))
    return turns, [one.holder for one in granted]


@given(st.lists(st.sampled_from(KEYS), max_size=5), st.sampled_from(KEYS))
def test_overlap_is_the_same_key_or_the_whole_scope(inside: list[StateKey], key: StateKey) -> None:
    found = KeySet()
    found.add(inside)
    assert found.overlaps(key) == any(overlap(key, one) for one in inside)


@given(sequences)
def test_nobody_holds_what_another_holds(sequence: list[object]) -> None:
    turns, _ = play(sequence)  # type: ignore[arg-type]
    held = [one for one in turns.tickets.values() if one.held]
    assert not any(clash(a, b) for a in held for b in held if a is not b)


@given(sequences)
def test_who_waits_waits_for_somebody_who_came_before(sequence: list[object]) -> None:
    """Waiting goes backwards in one order, so it can never turn in a circle."""
    turns, _ = play(sequence)  # type: ignore[arg-type]
    order = list(turns.tickets.values())
    for at, one in enumerate(order):
        assert one.held == (not any(clash(one, before) for before in order[:at]))


@given(sequences)
def test_everybody_gets_a_turn_when_holders_give_theirs_back(sequence: list[object]) -> None:
    turns, _ = play(sequence)  # type: ignore[arg-type]
    waiting = {one.holder for one in turns.tickets.values() if not one.held}
    served = set()
    while turns.tickets:
        holder = next(one for one in turns.tickets.values() if one.held)
        served |= {one.holder for one in turns.release(holder.holder)}
    assert served == waiting


@given(st.lists(st.integers(0, 20), unique=True, min_size=1))
def test_one_key_is_served_in_the_order_of_the_requests(executions: list[int]) -> None:
    turns, granted = play([("take", one, (KEYS[1],)) for one in executions])
    order = [*granted]
    while turns.tickets:
        holder = next(one for one in turns.tickets.values() if one.held)
        order += [one.holder for one in turns.release(holder.holder)]
    assert order == [turns_of(one) for one in executions]


@given(sequences, keys)
def test_a_release_frees_everything(sequence: list[object], wanted: tuple[StateKey, ...]) -> None:
    turns, _ = play(sequence)  # type: ignore[arg-type]
    mine = turns_of(99)
    turns.take(ticket(99, wanted))
    turns.release(mine)
    assert not any(mine in turns.wanted().holders(key) for key in KEYS)
    assert mine not in turns.tickets


@given(sequences, st.sampled_from(KEYS), st.integers(1, 8))
def test_the_snapshot_agrees_with_the_requests(
    sequence: list[object], key: StateKey, execution: int
) -> None:
    turns, _ = play(sequence)  # type: ignore[arg-type]
    mine = turns_of(execution)
    for snapshot, tickets in (
        (turns.wanted(), list(turns.tickets.values())),
        (turns.held(), [one for one in turns.tickets.values() if one.held]),
    ):
        others = {
            one.holder
            for one in tickets
            if one.holder != mine and any(overlap(key, mine_) for mine_ in one.keys)
        }
        assert snapshot.taken(key, mine) == bool(others)
        assert snapshot.holders(key) - {mine} == others


def test_asking_again_gives_up_what_was_held_and_stands_at_the_end() -> None:
    turns = Turns()
    turns.take(ticket(1, (KEYS[1],)))
    turns.take(ticket(2, (KEYS[1],)))
    (granted,) = turns.take(ticket(1, (KEYS[1], KEYS[2])))
    assert granted.holder == turns_of(2)
    (granted,) = turns.release(turns_of(2))
    assert (granted.holder, granted.keys) == (turns_of(1), (KEYS[1], KEYS[2]))


def test_a_streams_older_instances_lose_their_turns_and_no_other_does() -> None:
    turns = Turns()
    turns.take(ticket(1, (KEYS[1],), incarnation=1))
    turns.take(ticket(2, (KEYS[1],), incarnation=2))
    turns.take(Ticket(turns_of(3), "other", 1, (KEYS[2],)))
    (granted,) = turns.release_stream("stream", 2)
    assert granted.holder == turns_of(2)
    assert set(turns.tickets) == {turns_of(2), turns_of(3)}


def test_a_step_is_blocked_by_the_turns_of_others_only() -> None:
    held = HeldTurns.of([ticket(1, (KEYS[1],)), ticket(2, (KEYS[3],))])
    reads = (StateRead(KEYS[1], 5), StateRead(KEYS[2], 0))
    writes = (StateWrite(KEYS[1], None), StateWrite(KEYS[4], None))
    assert blocked(held, turns_of(1), reads, writes) == (KEYS[4],)
    assert blocked(held, turns_of(2), reads, writes) == (KEYS[1],)
    assert blocked(held, turns_of(3), reads, writes) == (KEYS[1], KEYS[4])
    assert blocked(NOTHING_HELD, turns_of(3), reads, writes) == ()


@pytest.mark.parametrize(
    ("stale", "only"),
    [((), False), ((KEYS[1],), True), ((KEYS[1], KEYS[2]), False), ((KEYS[2],), False)],
)
def test_only_keys_that_updates_alone_touched_need_no_new_run(
    stale: tuple[StateKey, ...], only: bool, raw: Callable[[object], object]
) -> None:
    update = UpdateMade(KEYS[1], "increment", raw([]))  # type: ignore[arg-type]
    result = NodeResult(execution_id="e", token_id=0, visit=1, attempt=1, updates=(update,))
    assert stale_is_update_only(stale, result) is only
