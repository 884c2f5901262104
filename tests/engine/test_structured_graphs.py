"""Graphs of branches within branches within maps: every node runs as often as the graph says."""

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st

from greenroom.protocol.engine.ticks import (
    Dispatch,
    Due,
    NodeErrored,
    NodeSucceeded,
    Pause,
    Recover,
    Resume,
)
from greenroom.protocol.execution import Phase, Status
from greenroom.protocol.graph import EdgeSpec, GraphSpec, NodeSpec
from greenroom.protocol.parallel import MapSpec, ParallelExecutionConfig


@dataclass
class Built:
    """A graph in the making, and how often each of its nodes is to run."""

    nodes: list[NodeSpec] = field(default_factory=list)
    edges: list[EdgeSpec] = field(default_factory=list)
    runs: dict[str, int] = field(default_factory=dict)
    lists: dict[str, int] = field(default_factory=dict)  # node -> length of the list it returns
    joins: int = 0

    def node(self, times: int, **settings: Any) -> str:
        """Add a node that is to run `times` times."""
        name = f"n{len(self.nodes)}"
        self.nodes.append(
            NodeSpec(id=name, max_node_visits=0, max_retries=9, backoff_initial_s=0.0, **settings)
        )
        self.runs[name] = times
        return name

    def edge(self, source: str, target: str, over: MapSpec | None = None) -> None:
        """Add an edge."""
        name = f"e{len(self.edges)}"
        kind = "on_success"
        self.edges.append(EdgeSpec(id=name, source=source, target=target, condition=kind, map=over))


# A shape is an int (so many nodes in a row), a list of shapes (side by side), or a pair of a length
# and a shape (a map over a list of that length).
SHAPES = st.recursive(
    st.integers(1, 3),
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=3),
        st.tuples(st.integers(0, 3), inner),
    ),
    max_leaves=5,
)


def build(built: Built, shape: Any, times: int) -> tuple[str, str]:
    """Add a shape; return its first and last nodes."""
    if isinstance(shape, int):
        names = [built.node(times) for _ in range(shape)]
        for source, target in pairwise(names):
            built.edge(source, target)
        return names[0], names[-1]
    first = built.node(times)
    built.joins += times
    if isinstance(shape, list):
        parts = [build(built, one, times) for one in shape]
        last = built.node(times)
        for begin, end in parts:
            built.edge(first, begin)
            built.edge(end, last)
        return first, last
    length, inner = shape
    built.lists[first] = length
    begin, end = build(built, inner, times * length)
    last = built.node(times)
    built.edge(
        first, begin, MapSpec(over=f"list_{first}", into=f"all_{first}", until=last, concurrency=2)
    )
    built.edge(end, last)
    return first, last


def owed(run: Any, built: Built, number: int) -> Any:
    """What may happen next: the likely things more often."""
    tokens = [item for item in run.known.tokens.items() if item[1].phase is Phase.RUNNING]
    if run.known.status is Status.PAUSED:
        return Resume({})
    if not tokens:
        if run.known.status is Status.QUEUED:
            return Dispatch()
        run.now += 1
        return Due(permit=True)
    token_id, token = tokens[number // 16 % len(tokens)]
    own = (token_id, token.visit, token.attempt)
    match number % 16:
        case 0:
            return Recover(process_death=False, permit=number % 32 == 0)
        case 1:
            return NodeErrored(*own, "for once", ("E",), 1) if token.failures < 5 else Pause()
        case 2:
            return Pause()
        case _:
            outputs: dict[str, object] = {token.node: token.visit}
            if token.node in built.lists:
                outputs[f"list_{token.node}"] = list(range(built.lists[token.node]))
            return NodeSucceeded(*own, run.encoded(outputs), 1)


@settings(max_examples=150, deadline=None)
@given(
    shape=SHAPES,
    numbers=st.lists(st.integers(0, 10_000), max_size=60),
    conflict=st.sampled_from(["last_wins", "first_wins", "error"]),
)
def test_every_node_runs_as_often_as_the_graph_says_whatever_is_interrupted(
    run_class: Any, fits: Any, shape: Any, numbers: list[int], conflict: str
) -> None:
    """Joins run once for each time that their fan-outs do; nothing is lost, doubled or stuck."""
    built = Built()
    first, _ = build(built, shape, 1)
    graph = GraphSpec(
        id="graph",
        entry_node=first,
        nodes=built.nodes,
        edges=built.edges,
        max_steps=10_000,
        parallel=ParallelExecutionConfig(memory_conflict_strategy=conflict),
    )
    run = run_class(graph, {"n": 1})
    for number in (*numbers, *[3] * 2_000):
        if run.known.status is Status.COMPLETED:
            break
        run.tick(owed(run, built, number))
        fits(run)
    assert run.known.status is Status.COMPLETED
    closed = Counter(one.node for one in run.events("node_completed"))
    assert closed == {node: times for node, times in built.runs.items() if times}
    assert run.known.visits == dict(closed)
    assert len(run.events("parallel_joined")) == built.joins
    event(f"{built.joins} joins, {sum(closed.values())} runs")
    for node, length in built.lists.items():
        if built.runs[node] == 1 and node in run.known.memory:
            assert len(run.value(f"all_{node}")) == length
    assert not run.known.branching or not run.known.branching.fans
