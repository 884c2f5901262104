"""What a caller learns of an execution."""

import msgspec

from greenroom.protocol.engine.ticks import Cancel
from greenroom.protocol.execution import Status
from greenroom.protocol.graph import NodeSpec


def test_a_clean_success_has_everything_in_place(start):
    """Field by field."""
    run = start(["a", "b"], ["a>b"], {"in": [1]}, terminal=["b"])
    run.succeed({"x": {"y": 2}})
    run.succeed()
    result = run.result()
    assert msgspec.structs.asdict(result) == {
        "execution_id": "session_1",
        "status": Status.COMPLETED,
        "success": True,
        "output": {"in": [1], "x": {"y": 2}},
        "error": None,
        "steps_executed": 2,
        "total_tokens": 0,
        "total_latency_ms": 10,
        "path": ["a", "b"],
        "paused_at": None,
        "session_state": {},
        "total_retries": 0,
        "nodes_with_failures": [],
        "retry_details": {},
        "had_partial_failures": False,
        "execution_quality": "clean",
        "node_visit_counts": {"a": 1, "b": 1},
    }
    assert result.is_clean_success
    assert not result.is_degraded_success


def test_an_execution_under_way_is_no_success(start):
    """Its status says that it has not ended."""
    result = start(["a"], (), {"in": 1}).result()
    assert (result.status, result.success, result.error) == (Status.RUNNING, False, None)
    assert result.output == {"in": 1}
    assert not result.is_clean_success


def test_a_cancelled_execution_keeps_what_it_had(start):
    """Output is the memory as it was."""
    run = start([NodeSpec(id="a"), "b"], ["a>b"])
    run.succeed({"x": 1})
    run.tick(Cancel())
    result = run.result()
    assert (result.status, result.output) == (Status.CANCELLED, {"x": 1})
    assert result.error == "Execution cancelled"
    assert result.execution_quality == "failed"


def test_a_result_shares_nothing_with_the_state(start):
    """Changing one does not change the other."""
    run = start(["a"], (), {"in": [1]})
    result = run.result()
    result.output["in"].append(2)
    result.path.append("z")
    result.node_visit_counts["z"] = 1
    assert run.result().output == {"in": [1]}
    assert run.result().path == ["a"]
    assert run.result().node_visit_counts == {"a": 1}
