"""Which names a step gets under a policy, and which leave with it."""

from typing import Any

from greenroom.protocol.checkpoint import (
    DEFAULT_CHECKPOINT_CONFIG,
    DISABLED_CHECKPOINT_CONFIG,
    MINIMAL_CHECKPOINT_CONFIG,
    CheckpointConfig,
)
from greenroom.protocol.engine.naming import names_of
from greenroom.protocol.engine.ticks import Pause, Resume
from greenroom.protocol.execution import ExecutionState, Status
from greenroom.protocol.graph import NodeSpec
from greenroom.protocol.patch import apply

ROUTER = NodeSpec(id="r", node_type="router", routes={"x": "b", "default": "b"}, route_on="label")


def named(run: Any, config: CheckpointConfig | None) -> list[list[tuple[str, str]]]:
    """(type, node) of each step's names, folded anew from the run's transitions."""
    state: ExecutionState | None = None
    found = []
    for number, transition in enumerate(run.transitions, start=1):
        naming = names_of(config, state, transition, run.now)
        names = () if naming is None else naming.names
        found.append([(one.kind.value, one.node) for one in names])
        assert all(one.seq == number and one.at == run.now for one in names)
        assert len({str(one.key) for one in names}) == len(names)
        state = apply(state, transition.patch, number)
    return found


def test_every_start_and_every_end_has_a_name_routers_and_the_last_node_included(
    start: Any,
) -> None:
    run = start(["a", ROUTER, "b"], ["a>r"], terminal=["b"])
    run.succeed({"label": "x"})
    run.succeed()
    assert run.known.status is Status.COMPLETED
    assert named(run, DEFAULT_CHECKPOINT_CONFIG) == [
        [("node_start", "a")],
        [
            ("node_complete", "a"),
            ("node_start", "r"),
            ("node_complete", "r"),
            ("node_start", "b"),
        ],
        [("node_complete", "b")],
    ]
    assert named(run, MINIMAL_CHECKPOINT_CONFIG) == [
        [],
        [("node_complete", "a"), ("node_complete", "r")],
        [("node_complete", "b")],
    ]
    for config in (None, DISABLED_CHECKPOINT_CONFIG):
        assert named(run, config) == [[], [], []]


def test_a_failed_attempt_has_no_name_and_the_next_one_no_second(start: Any) -> None:
    """Nor has the run after a pause; the pause has, whatever else the policy says."""
    run = start([NodeSpec(id="a", backoff_initial_s=0.0), "b"], ["a>b"])
    run.fail()
    token = run.token_id
    run.tick(Pause("later"))
    run.tick(Resume())
    found = named(run, DEFAULT_CHECKPOINT_CONFIG)
    flat = [one for names in found for one in names]
    assert flat == [("node_start", "a"), ("pause", "a")], token
    policy = CheckpointConfig(checkpoint_on_node_start=False, checkpoint_on_node_complete=False)
    assert [one for names in named(run, policy) for one in names] == [("pause", "a")]


def test_names_are_pruned_every_so_many_visits(start: Any) -> None:
    """By age always, by visits when that is set; 0 prunes never."""
    run = start([NodeSpec(id="a", max_node_visits=0)], ["a>a"], max_steps=12)
    while run.known.status is Status.RUNNING:
        run.succeed()
    assert run.known.status is Status.EXHAUSTED

    def rules(**settings: Any) -> list[tuple[int, float, int]]:
        state: ExecutionState | None = None
        found = []
        for number, transition in enumerate(run.transitions, start=1):
            naming = names_of(CheckpointConfig(**settings), state, transition, run.now)
            state = apply(state, transition.patch, number)
            if naming is not None and naming.prune is not None:
                found.append((state.steps, naming.prune.older_than, naming.prune.before_step))
        return found

    week = run.now - 7 * 24 * 3600.0
    assert rules(prune_every_n_nodes=5) == [(5, week, 0), (10, week, 0)]
    assert rules(prune_every_n_nodes=5, keep_last_n_nodes=3, max_age_days=0) == [
        (5, run.now, 3),
        (10, run.now, 8),
    ]
    assert rules(prune_every_n_nodes=0) == []
