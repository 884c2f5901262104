"""A stream's way down: nothing more starts, and what runs may finish."""

from collections.abc import Callable

from greenroom.actors.kernel.actor import Reply
from greenroom.protocol.execution import ExecutionState, Phase


class Draining:
    """Knows which nodes run and who waits for them to end. Only on the runtime's loop thread."""

    def __init__(self, commits_in_flight: Callable[[], int]) -> None:
        self._commits_in_flight = commits_in_flight
        self._nodes: set[tuple[str, int]] = set()  # (execution id, token id)
        self._waiting: list[Reply] = []
        self.begun = False

    def node_began(self, execution_id: str, token_id: int) -> None:
        """A node run was handed over."""
        self._nodes.add((execution_id, token_id))

    def node_ended(self, execution_id: str, token_id: int) -> None:
        """It reported its end, or was stopped."""
        self._nodes.discard((execution_id, token_id))

    def runs_all(self, state: ExecutionState) -> bool:
        """Say whether every node run of the execution was handed over, and has not ended. One that
        was not, because this was on the way down, is for the next start to run.
        """
        name = state.accepted.execution_id
        flying = [one for one, token in state.tokens.items() if token.phase is Phase.RUNNING]
        return bool(flying) and all((name, one) in self._nodes for one in flying)

    def begin(self, reply: Reply) -> None:
        """Answer `reply` when no node runs and no commit is in flight."""
        self.begun = True
        self._waiting.append(reply)
        self.look()

    def look(self) -> None:
        """Answer who waits, if it is time."""
        if self._waiting and not self._nodes and not self._commits_in_flight():
            for reply in self._waiting:
                reply.set(True)
            self._waiting.clear()
