"""What `import greenroom` offers, and what it does to the importing process."""

import subprocess
import sys

import greenroom

PROMISED = {
    *("AgentRuntime", "create_agent_runtime", "AgentRuntimeConfig", "EntryPointSpec", "GraphSpec"),
    *("NodeSpec", "EdgeSpec", "EdgeCondition", "Goal", "SuccessCriterion", "Constraint"),
    *("CheckpointConfig", "ExecutionResult", "NodeContext", "EventType", "AgentEvent"),
    *("IsolationLevel", "StateScope", "ActorSystem", "Actor", "ChildSpec", "Supervisor"),
    *("GreenroomError", "Agent", "SupervisorSpec", "ActorRef", "RecoveryReport", "WebhookRoute"),
    *("MapSpec", "ParallelExecutionConfig", "OnBranchFailure", "MemoryConflictStrategy"),
}
TALK = """
import logging, greenroom
logging.getLogger("greenroom.actor").error("not asked for")
logging.basicConfig()
logging.getLogger("greenroom.actor").error("asked for")
"""


def test_every_promised_name_is_public() -> None:
    """A name that is left out of `__all__` is not seen by type checkers and readers."""
    assert set(greenroom.__all__) >= PROMISED


def test_every_public_name_leads_to_something_documented() -> None:
    """And the list has no name twice."""
    assert len(set(greenroom.__all__)) == len(greenroom.__all__)
    for name in greenroom.__all__:
        assert getattr(greenroom, name).__doc__, name


def test_every_public_error_is_one_of_ours() -> None:
    """`except GreenroomError` catches all that the project raises on purpose."""
    kinds = [getattr(greenroom, name) for name in greenroom.__all__]
    errors = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Exception)]
    assert errors
    assert all(issubclass(kind, greenroom.GreenroomError) for kind in errors)
    codes = [kind.code for kind in errors]
    assert len(set(codes)) == len(codes)


def test_the_loggers_are_silent_until_the_host_configures_logging() -> None:
    """Then they speak like any other."""
    done = subprocess.run(
        [sys.executable, "-c", TALK], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr == "ERROR:greenroom.actor:asked for\n"
