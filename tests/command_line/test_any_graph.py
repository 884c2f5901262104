"""Whatever is declared can be checked and shown: a graph with every mistake at once, too."""

from hypothesis import event, given
from hypothesis import strategies as st

from greenroom.actors.host.graph_mermaid import mermaid_lines
from greenroom.actors.host.graph_text import graph_lines
from greenroom.protocol.engine.joins import fan_outs, joins
from greenroom.protocol.engine.nesting import levels_of
from greenroom.protocol.engine.plan import compile_plan
from greenroom.protocol.engine.validation import validate_graph
from greenroom.protocol.entry_point import EntryPointSpec
from greenroom.protocol.graph import EdgeCondition, EdgeSpec, GraphSpec, NodeSpec
from greenroom.protocol.parallel import MapSpec, ParallelExecutionConfig

NAMES = st.sampled_from(["a", "b", "c", "d", "s", "a..b", "", "gone", '"', "s.a"])
KNOWN = st.sampled_from(["a", "b", "c", "d"])
CONDITIONS = [one for one in EdgeCondition if one is not EdgeCondition.LLM_DECIDE]
STRICT = ParallelExecutionConfig(memory_conflict_strategy="error")


def maps(names: st.SearchStrategy[str]) -> st.SearchStrategy[MapSpec]:
    return st.builds(
        MapSpec,
        over=st.just("k"),
        until=st.one_of(st.none(), names.filter(bool)),
        collect=st.sampled_from([None, "k", "x"]),
    )


def graphs(
    names: st.SearchStrategy[str], inner: st.SearchStrategy[GraphSpec | None]
) -> st.SearchStrategy[GraphSpec]:
    nodes = st.builds(
        NodeSpec,
        id=names,
        node_type=st.sampled_from(["function", "router", "subgraph"]),
        routes=st.dictionaries(st.sampled_from(["x", "default"]), names, max_size=2),
        output_keys=st.sampled_from([[], ["k"]]),
        parallel=st.sampled_from([None, STRICT]),
        graph=inner,
    )
    edges = st.builds(
        EdgeSpec,
        id=st.uuids().map(str),
        source=names,
        target=names,
        condition=st.sampled_from(CONDITIONS),
        priority=st.integers(min_value=0, max_value=1),
        map=st.one_of(st.none(), maps(names)),
    )
    return st.builds(
        GraphSpec,
        id=st.just("g"),
        entry_node=names,
        entry_points=st.dictionaries(st.sampled_from(["a_resume", "x"]), names, max_size=2),
        async_entry_points=st.lists(
            st.builds(EntryPointSpec, id=st.just("e"), entry_node=KNOWN), max_size=1
        ),
        terminal_nodes=st.lists(names, max_size=1),
        pause_nodes=st.lists(names, max_size=1),
        nodes=st.lists(nodes, max_size=5),
        edges=st.lists(edges, max_size=7),
    )


def nested(names: st.SearchStrategy[str]) -> st.SearchStrategy[GraphSpec]:
    return graphs(names, st.one_of(st.none(), graphs(names, st.none())))


@given(nested(NAMES))
def test_every_graph_can_be_checked_and_shown(graph: GraphSpec) -> None:
    problems = validate_graph(graph)
    assert all(isinstance(problem, str) for problem in problems)
    levels = levels_of(graph)[0]
    assert list(graph_lines(levels))
    chart = list(mermaid_lines(levels))
    assert chart.count("flowchart TD") == 1
    assert all(line.count('"') % 2 == 0 for line in chart)
    if not problems:
        compile_plan(graph)
    event(f"sound: {not problems}")


@st.composite
def likely_sound(draw: st.DrawFn) -> GraphSpec:
    """Most edges lead on to later nodes, as people draw graphs."""
    ids = ["a", "b", "c", "d", "e"]
    edges = []
    for at, source in enumerate(ids[:-1]):
        later = st.sampled_from(ids[at + 1 :])
        for number, target in enumerate(draw(st.lists(later, min_size=1, max_size=2, unique=True))):
            spec = draw(st.one_of(st.none(), st.none(), maps(later)))
            kind = draw(st.sampled_from([EdgeCondition.ON_SUCCESS, EdgeCondition.CONDITIONAL]))
            edges.append(
                EdgeSpec(
                    id=f"{at}.{number}", source=source, target=target, condition=kind, map=spec
                )
            )
    return GraphSpec(id="g", entry_node="a", nodes=[NodeSpec(id=one) for one in ids], edges=edges)


@given(likely_sound())
def test_a_sound_graph_compiles_with_its_joins(graph: GraphSpec) -> None:
    reached = [one for one in validate_graph(graph) if "unreachable" not in one]
    event(f"sound: {not reached}")
    if reached:
        return
    plan = compile_plan(graph)
    meeting = joins(graph)
    assert {node: plan.nodes[node].join for node in fan_outs(graph)} == meeting
