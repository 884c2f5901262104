"""Where the branches of a fan-out join."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from greenroom.protocol.engine.joins import Ways, edges_together, fan_outs, joins, ways_of
from greenroom.protocol.graph import EdgeSpec, GraphSpec, NodeSpec
from greenroom.protocol.limits import NODES_MAX

Following = Mapping[str, Sequence[str]]


def drawn(text: str) -> dict[str, list[str]]:
    """Read "a > b c; b > d" as a graph, its nodes declared in the order in which they appear."""
    following: dict[str, list[str]] = {}
    for way in text.split(";"):
        node, _, after = way.partition(">")
        following.setdefault(node.strip(), []).extend(after.split())
    for after in [*following.values()]:
        for node in after:
            following.setdefault(node, [])
    return following


def ways(text: str, *, failing: str = "") -> Ways:
    pairs = {(pair[0], pair[1]) for pair in failing.split()}
    return Ways(drawn(text), entries=["a"], failing=pairs)


@pytest.mark.parametrize(
    ("text", "join"),
    [
        ("a > b c; b > d; c > d", "d"),
        ("a > b c; b > d; c > e; d > f; e > f; f > g", "f"),
        ("a > b c; b > c", "c"),
        ("a > b c", None),
        ("a > b c d; b > e; c > e; d > f; e > f", "f"),
        ("a > b c; b > d e; d > f; e > f; f > g; c > g", "g"),
        ("a > b c; b > x; x > b d; c > d", "d"),
        ("a > b c; b > d; c > d; d > a e", "d"),
        ("a > b c; b > d e; c > d e; d > f; e > f", "f"),
    ],
)
def test_branches_join_where_all_their_ways_meet(text: str, join: str | None) -> None:
    assert ways(text).join(drawn(text)["a"]) == join


@pytest.mark.parametrize(
    ("text", "join"),
    [
        ("a > b c; b > d h; c > d", "d"),
        ("a > b c d; b > e; c > e; e > f", "e"),
        ("a > b c d; b > e h; c > e h; d > e h; e > f", "e"),
        ("a > b c d; b > e h; c > e h; d > e; e > f", "e"),
    ],
)
def test_a_way_that_ends_early_does_not_prevent_a_join(text: str, join: str) -> None:
    assert ways(text, failing="bh ch dh").join(drawn(text)["a"]) == join


def test_a_join_may_share_its_error_handler_with_what_comes_before_it() -> None:
    """Each node but the handler has the same one, and from it nothing leads on."""
    found = ways("a > b c; b > d h; c > d h; d > e h; e > h", failing="bh ch dh eh")
    assert found.join("bc") == "d"
    assert found.join_after("b") == "d"


def test_an_error_handler_that_leads_behind_a_join_moves_it_there() -> None:
    found = ways("a > b c; b > d h; c > d h; d > e; h > e", failing="bh ch")
    assert found.join("bc") == "e"
    assert found.join_after("b") == "e"


def test_branches_join_after_an_error_handler_that_leads_back_to_the_others() -> None:
    text = "a > b c; b > h d; c > h d; h > d; d > e"
    assert ways(text, failing="bh ch").join(["b", "c"]) == "d"


@pytest.mark.parametrize("text", ["a > b c; b > h d; c > h d", "a > b c; b > d h; c > d h"])
def test_of_two_nodes_where_branches_meet_it_is_the_one_without_a_failure(text: str) -> None:
    """A shared error handler, declared before or after the join, is never the join."""
    assert ways(text, failing="bh ch").join(["b", "c"]) == "d"


def test_of_two_nodes_where_branches_meet_it_is_the_one_to_which_more_of_them_come() -> None:
    assert ways("a > b c d e f; b > x; c > x; d > y; e > y; f > y").join("bcdef") == "y"
    assert ways("a > b c d e; b > x; c > x; d > y; e > y").join("bcde") == "x"
    assert ways("a > b c; b > d e; c > e d").join("bc") == "d"


def test_of_two_nodes_where_branches_meet_it_is_the_one_that_leads_on() -> None:
    """Each branch can be rejected, and that leads nowhere: it is no join, though declared first."""
    assert ways("a > b c; b > r d; c > r d; d > e").join("bc") == "d"


def test_branches_that_all_begin_at_one_node_join_there() -> None:
    assert ways("a > b; b > c").join(["b", "b"]) == "b"


@pytest.mark.parametrize(
    ("text", "join"),
    [
        ("a > m; m > r", "r"),
        ("a > m; m > p q; p > r; q > r", "r"),
        ("a > m; m > p q; p > r", None),
        ("a > m", None),
        ("a > m; m > r m", "r"),
        ("a > m; m > n r; n > m", "r"),
        ("a > m; m > n; n > m", "n"),
        ("a > m; m > h r; r > s", "r"),
        ("a > m; m > h r; h > s; r > s", "s"),
        ("a > m; m > h", None),
    ],
)
def test_a_node_is_left_for_the_one_where_all_its_ways_meet(text: str, join: str | None) -> None:
    """What runs once for each element of a list ends there, if nobody says otherwise."""
    assert ways(text, failing="mh").join_after("m") == join


def test_the_body_is_what_is_reached_before_its_end_and_follows_ways_back() -> None:
    found = ways("a > b; b > c; c > b d h; d > e")
    assert found.body(["b"], "d") == ["b", "c", "h"]
    assert found.body(["b"], None) == ["b", "c", "d", "h", "e"]
    assert found.body(["d"], "d") == []
    assert found.leads("a", "e")
    assert not found.leads("c", "b")


def graph(edges: Sequence[tuple[str, str, dict[str, Any]]], **changes: Any) -> GraphSpec:
    names = dict.fromkeys(node for edge in edges for node in edge[:2])
    fields: dict[str, Any] = {
        "id": "g",
        "entry_node": edges[0][0],
        "nodes": [NodeSpec(id=name) for name in names],
        "edges": [
            EdgeSpec(id=f"{at}", source=source, target=target, **more)
            for at, (source, target, more) in enumerate(edges)
        ],
    }
    return GraphSpec(**fields | changes)


FAILURE = {"condition": "on_failure"}
OTHER = {"condition": "otherwise"}


def when(priority: int = 0) -> dict[str, Any]:
    return {"condition": "conditional", "condition_expr": "true", "priority": priority}


@pytest.mark.parametrize(
    ("edges", "fan"),
    [
        ([{}, {}], "01"),
        ([{}, FAILURE], ""),
        ([when(), when()], "01"),
        ([when(2), when(1)], ""),
        ([when(2), when(1), {}], "012"),
        ([when(), OTHER], ""),
        ([when(), OTHER, OTHER], "12"),
        ([{}], ""),
        ([{"condition": "on_success"}, FAILURE, {}], "02"),
    ],
)
def test_edges_fan_out_that_may_be_taken_at_once(edges: list[dict[str, Any]], fan: str) -> None:
    made = graph([("a", f"b{at}", edge) for at, edge in enumerate(edges)])
    assert "".join(edge.id for edge in edges_together(made.edges)) == fan
    assert fan_outs(made) == ({"a": tuple(f"b{at}" for at in fan)} if fan else {})


def test_a_graph_tells_the_join_of_each_fan_out() -> None:
    edges = [("a", "b", {}), ("a", "c", {}), ("b", "d", {}), ("c", "d", {}), ("d", "e", {})]
    made = graph([*edges, ("d", "f", {}), ("b", "h", FAILURE), ("c", "h", FAILURE)])
    assert joins(made) == {"a": "d", "d": None}


def test_edges_of_terminal_nodes_and_of_pauses_that_go_on_elsewhere_are_no_ways() -> None:
    edges = [("a", "b", {}), ("a", "c", {}), ("b", "d", {}), ("c", "d", {}), ("c", "e", {})]
    edges += [("e", "d", {"condition": "on_success"}), ("d", "f", {}), ("b", "f", FAILURE)]
    success = {"condition": "on_success"}
    made = graph([(source, target, {**success, **more}) for source, target, more in edges])
    assert joins(made) == {"a": "f", "c": "d"}
    assert joins(GraphSpec(**fields(made) | {"terminal_nodes": ["b"]})) == {"a": "f", "c": "d"}
    stopped = GraphSpec(**fields(made) | {"terminal_nodes": ["a", "c"]})
    assert joins(stopped) == {}
    resumed = {"pause_nodes": ["b"], "entry_points": {"b_resume": "e"}}
    assert ways_of(GraphSpec(**fields(made) | resumed)).leads("b", "e")


def fields(spec: GraphSpec) -> dict[str, Any]:
    return {name: getattr(spec, name) for name in spec.__struct_fields__}


@st.composite
def graphs_without_rings(draw: st.DrawFn) -> dict[str, list[str]]:
    """Every node leads on, but for the last: no way ends early."""
    count = draw(st.integers(min_value=3, max_value=9))
    names = [str(at) for at in range(count)]
    following: dict[str, list[str]] = {"end": []}
    for at, name in enumerate(names):
        later = [*names[at + 1 :], "end"]
        after = draw(st.lists(st.sampled_from(later), min_size=1, max_size=3, unique=True))
        following[name] = after
    shuffled = draw(st.permutations(list(following)))
    return {name: following[name] for name in shuffled}


def post_dominators(following: Following) -> dict[str, set[str]]:
    """The textbook iteration over sets, to the fixed point."""
    found = {node: set(following) if after else {node} for node, after in following.items()}
    changed = True
    while changed:
        changed = False
        for node, after in following.items():
            if after:
                fresh = {node} | set.intersection(*(found[one] for one in after))
                changed, found[node] = changed or fresh != found[node], fresh
    return found


@given(graphs_without_rings())
def test_without_early_ends_a_join_is_the_immediate_post_dominator(following: Following) -> None:
    """Of the nodes on every way to the end, the one that has all the others behind it."""
    on_every_way = post_dominators(following)
    found = Ways(following, entries=["0"])
    for node, after in following.items():
        strict = on_every_way[node] - {node}
        first = next((one for one in strict if strict <= on_every_way[one]), None)
        if len(after) > 1:
            event(f"joins at the end: {first == 'end'}")
            assert found.join(after) == first
        assert found.join_after(node) == first


@st.composite
def any_graphs(draw: st.DrawFn) -> dict[str, list[str]]:
    names = [str(at) for at in range(draw(st.integers(min_value=2, max_value=8)))]
    return {name: draw(st.lists(st.sampled_from(names), max_size=3)) for name in names}


def reached(starts: Iterable[str], following: Following, without: str | None = None) -> set[str]:
    pending, found = list(starts), set()
    while pending:
        node = pending.pop()
        if node != without and node not in found:
            found.add(node)
            pending += following[node]
    return found


@given(any_graphs(), st.data())
def test_a_join_is_where_two_meet_and_none_can_bypass_it(
    following: Following, data: st.DataObject
) -> None:
    """For any graph without rings, early ends and failures included, against the words."""
    forward = {node: [one for one in after if one > node] for node, after in following.items()}
    pairs = [(node, one) for node, after in forward.items() for one in after]
    failing = set(data.draw(st.lists(st.sampled_from(pairs), max_size=4)) if pairs else [])
    leading = {
        node: [one for one in after if (node, one) not in failing]
        for node, after in forward.items()
    }
    found = Ways(forward, failing=failing)
    for node, after in forward.items():
        starts = set(after)
        if len(starts) < 2:
            continue
        joining = {
            one
            for one in forward
            if sum(one in reached([start], forward) for start in starts) > 1
            and not reached(starts, forward, without=one) & reached(leading[one], leading)
        }
        join = found.join(after)
        event(f"{len(joining)} may be the join")
        assert join in joining if joining else join is None
        assert join is None or not any(join in reached(leading[one], leading) for one in joining)
        assert {one for one in forward if found.leads(node, one)} == reached(leading[node], leading)


@given(any_graphs())
def test_equal_graphs_have_equal_joins(following: Following) -> None:
    starts = list(following)[1:]
    made = [Ways(dict(following), entries=["0"]) for _ in range(2)]
    assert len({one.join(starts) for one in made if starts}) <= 1


def test_the_largest_graphs_have_their_joins_soon() -> None:
    """A fan-out at each node, and none joins before the last: the search must not be long for
    each.
    """
    last = NODES_MAX - 1
    following = {f"{at}": [f"{at + 1}", f"{min(at + 3, last)}"] for at in range(last)}
    following[f"{last}"] = []
    found = Ways(following, entries=["0"])
    joined = [found.join(following[f"{at}"]) for at in range(last - 1)]
    assert joined == [f"{last}"] * (last - 1)
