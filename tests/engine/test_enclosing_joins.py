"""A branch within a branch goes no further than to where any of them joins."""

from collections import Counter

import pytest

from greenroom.protocol.engine.ticks import NodeSucceeded
from greenroom.protocol.execution import Phase, Status
from greenroom.protocol.graph import EdgeSpec, GraphSpec, NodeSpec
from greenroom.protocol.parallel import MapSpec

NESTED = "a>b a>c b>k b>l l>j c>j j>z"
JOINED_EARLIER = "a>b a>c b>x b>y b>l x>k y>k l>j c>j j>z"
LATE = "a>b a>c b>k k>k2 k2>k3 b>l l>j c>j j>z"


def drawn(text: str, mapped: str = "") -> GraphSpec:
    ends = [way.split(">") for way in text.split()]
    ids = dict.fromkeys(node for pair in ends for node in pair)
    return GraphSpec(
        id="g",
        entry_node=next(iter(ids)),
        nodes=[NodeSpec(id=one, max_node_visits=0) for one in ids],  # nothing hides a second run
        edges=[
            EdgeSpec(
                id=f"{source}>{target}",
                source=source,
                target=target,
                map=MapSpec(over="items") if f"{source}>{target}" == mapped else None,
            )
            for source, target in ends
        ],
    )


def run_to_the_end(run_class, graph: GraphSpec, newest_first: bool = False) -> Counter[str]:
    """Let every node end, one after the other; return how often each ran."""
    run = run_class(graph, {"items": [1, 2]})
    for _ in range(100):
        running = [
            (key, one) for key, one in run.known.tokens.items() if one.phase is Phase.RUNNING
        ]
        if not running:
            break
        token_id, token = running[-1 if newest_first else 0]
        assert run.tick(NodeSucceeded(token_id, token.visit, token.attempt, {}, 1, None, None))
    assert run.known.status is Status.COMPLETED, run.known.error
    return Counter(run.known.path)


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("text", [NESTED, JOINED_EARLIER, LATE])
def test_a_join_of_the_outer_branches_runs_once(run_class, text: str, newest_first: bool) -> None:
    """Of what fans out within a branch one ends early, or joins with its like, and one comes to the
    join of all.
    """
    ran = run_to_the_end(run_class, drawn(text), newest_first)
    assert ran == Counter(dict.fromkeys(ran, 1))
    assert ran["j"] == ran["z"] == 1


@pytest.mark.parametrize("newest_first", [False, True])
def test_runs_of_a_map_end_where_the_branch_that_they_are_in_joins(
    run_class, newest_first: bool
) -> None:
    """From the target of the map one way ends early, so it has no end of its own."""
    graph = drawn("a>b a>c b>m m>k m>j c>j j>z", mapped="b>m")
    ran = run_to_the_end(run_class, graph, newest_first)
    assert (ran["m"], ran["k"]) == (2, 2)
    assert (ran["j"], ran["z"]) == (1, 1)
