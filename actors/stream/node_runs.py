"""What a node run is given of the execution that it belongs to."""

from collections.abc import Sequence

from greenroom.actors.nodes.runner import NodeRun
from greenroom.protocol.branches import memory_of
from greenroom.protocol.engine.transition import Command, RunNode
from greenroom.protocol.execution import ExecutionState


def node_run_of(state: ExecutionState, command: RunNode, *, holds_turns: bool) -> NodeRun:
    """Return the run that a committed transition asks for. What it is given is its own: the state
    goes on changing.
    """
    accepted, effects = state.accepted, state.effects.get(command.token_id)
    return NodeRun(
        execution_id=accepted.execution_id,
        token_id=command.token_id,
        node=command.node,
        visit=command.visit,
        attempt=command.attempt,
        memory=memory_of(state.memory, state.branching, state.tokens[command.token_id].branch),
        correlation_id=accepted.correlation_id,
        holds_turns=holds_turns,
        hops=accepted.hops,
        effects=None if effects is None else effects.copy(),
        asked=state.asked,
        rewinds=state.rewinds,
        known_as=state.tokens[command.token_id].known_as,
    )


def node_runs_of(state: ExecutionState, commands: Sequence[Command]) -> dict[int, NodeRun]:
    """Return the runs that a transition asks for, by token, as its own step leaves the state. None
    of them holds turns.
    """
    return {
        one.token_id: node_run_of(state, one, holds_turns=False)
        for one in commands
        if isinstance(one, RunNode)
    }
