"""When snapshots of a large state are made."""

import msgspec

from greenroom.actors.stream.commits import CommitMaker
from greenroom.actors.stream.live import Live
from greenroom.protocol.commit import OutcomeKind
from greenroom.protocol.engine.advance import advance
from greenroom.protocol.engine.plan import compile_plan
from greenroom.protocol.engine.ticks import Accept, NodeSucceeded
from greenroom.protocol.execution import Accepted
from greenroom.protocol.graph import EdgeSpec, GraphSpec, NodeSpec
from greenroom.protocol.limits import SNAPSHOT_PATCH_BYTES
from greenroom.protocol.patch import apply
from greenroom.protocol.values import encode_value
from greenroom.storage.check import check
from greenroom.storage.memory_store import MemoryStore

LARGE = 5 * SNAPSHOT_PATCH_BYTES


def test_a_large_state_is_measured_now_and_then_and_not_at_every_step() -> None:
    """To measure it is to encode all of it, which the steps of a long session cannot afford."""
    graph = GraphSpec(
        id="graph",
        entry_node="a",
        nodes=[NodeSpec(id="a", max_node_visits=0)],
        edges=[EdgeSpec(id="again", source="a", target="a")],
        max_steps=10_000,
    )
    plan, store, live = compile_plan(graph), MemoryStore(), Live("e1")
    maker = CommitMaker("main", store.raise_fence("main"), plan.digest, store)
    accepted = Accepted(
        execution_id="e1",
        entry_point="main",
        entry_node="a",
        graph_id="graph",
        goal_id="goal",
        correlation_id="e1",
        accepted_at=1.0,
    )
    memory = {"large": msgspec.Raw(encode_value("x" * LARGE))}
    tick: Accept | NodeSucceeded = Accept(accepted=accepted, memory=memory, permit=True)
    measured: set[int] = set()
    snapshots = 0
    for number in range(1, 900):
        transition = advance(plan, live.state, tick, 2.0)
        assert transition is not None
        commit = maker.step(number, live, transition, 2.0)
        (outcome,) = store.commit([commit], 2.0)
        assert outcome.kind is OutcomeKind.APPLIED
        live.ordinal = outcome.ordinal
        live.state = apply(live.state, transition.patch, number)
        measured.add(live.state_bytes)
        snapshots += commit.snapshot is not None
        ((token_id, token),) = live.state.tokens.items()
        output = {"y": msgspec.Raw(encode_value(f"{number}" * 300))}
        tick = NodeSucceeded(token_id, token.visit, token.attempt, output, 1)
    assert snapshots >= 1
    assert len(measured) <= 2 * snapshots + 3
    assert check(store) == []
    store.close()
