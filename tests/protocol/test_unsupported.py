"""Settings without behaviour are refused by name."""

from typing import Any

import pytest

from greenroom.protocol.checkpoint import DEFAULT_CHECKPOINT_CONFIG, CheckpointConfig
from greenroom.protocol.engine.unsupported import refuse_unsupported, unsupported_settings
from greenroom.protocol.entry_point import EntryPointSpec
from greenroom.protocol.errors import UnsupportedSetting
from greenroom.protocol.goal import Goal
from greenroom.protocol.graph import EdgeSpec, GraphSpec, NodeSpec


def graph(**changes: Any) -> GraphSpec:
    return GraphSpec(**{"id": "g", "entry_node": "a", "nodes": [NodeSpec(id="a")]} | changes)


DECIDED = EdgeSpec(id="e", source="a", target="a", condition="llm_decide")


@pytest.mark.parametrize(
    ("declared", "name"),
    [
        ({"graph": graph(conversation_mode="isolated")}, "graph 'g': conversation_mode"),
        ({"graph": graph(loop_config={"max_iterations": 3})}, "graph 'g': loop_config"),
        ({"graph": graph(identity_prompt="You")}, "graph 'g': identity_prompt"),
        ({"graph": graph(max_retries_per_node=5)}, "graph 'g': max_retries_per_node"),
        (
            {"graph": graph(nodes=[NodeSpec(id="a", node_type="event_loop")])},
            "node 'a': node_type 'event_loop'",
        ),
        ({"graph": graph(nodes=[NodeSpec(id="a", model="m")])}, "node 'a': model"),
        ({"graph": graph(nodes=[NodeSpec(id="a", tools=["t"])])}, "node 'a': tools"),
        ({"graph": graph(nodes=[NodeSpec(id="a", output_model=Goal)])}, "node 'a': output_model"),
        (
            {
                "graph": graph(
                    nodes=[NodeSpec(id="s", graph=graph(nodes=[NodeSpec(id="x", model="m")]))]
                )
            },
            "graph of node 's': node 'x': model",
        ),
        ({"graph": graph(edges=[DECIDED])}, "edge 'e': condition 'llm_decide'"),
        (
            {"entry_points": [EntryPointSpec(id="t", entry_node="a", trigger_type="timer")]},
            "entry point 't': trigger_type 'timer'",
        ),
        (
            {"entry_points": [EntryPointSpec(id="t", entry_node="a", trigger_config={"x": 1})]},
            "entry point 't': trigger_config",
        ),
        (
            {"checkpoint_config": CheckpointConfig(include_metrics=False)},
            "checkpoint_config: include_metrics",
        ),
        ({"goal": Goal(id="g", input_schema={"a": 1})}, "goal 'g': input_schema"),
    ],
)
def test_a_setting_without_behaviour_is_refused_by_name(
    declared: dict[str, Any], name: str
) -> None:
    assert [error.name for error in unsupported_settings(**declared)] == [name]
    with pytest.raises(UnsupportedSetting, match="not supported yet"):
        refuse_unsupported(**declared)


def test_defaults_are_supported() -> None:
    declared = unsupported_settings(
        graph(async_entry_points=[EntryPointSpec(id="e", entry_node="a", trigger_type="api")]),
        [EntryPointSpec(id="ev", entry_node="a", trigger_type="event", trigger_config={})],
        DEFAULT_CHECKPOINT_CONFIG,
        Goal(id="g"),
    )
    assert declared == []
    refuse_unsupported()
