"""The part of the facade about checkpoints: named positions of sessions."""

from abc import ABC, abstractmethod
from functools import partial

from greenroom.actors.host import checkpoint_changes
from greenroom.actors.host.assembly import Assembly
from greenroom.actors.host.checkpoint_reading import (
    checkpoint_query,
    checkpoints_in,
    key_of,
    loaded_in,
)
from greenroom.actors.kernel.clock import Clock
from greenroom.protocol.checkpoints import Checkpoint, CheckpointType, LoadedCheckpoint, Pruning
from greenroom.protocol.limits import CHECKPOINT_AGE_DAYS_MAX, LIST_PAGE_DEFAULT
from greenroom.protocol.settings import check_number

_DAY_S = 24 * 3600.0


class CheckpointCalls(ABC):
    """What AgentRuntime offers about checkpoints. Session ids are execution ids."""

    _assembly: Assembly | None
    _clock: Clock

    @abstractmethod
    def _running(self) -> Assembly:
        """The parts of a started runtime. Raises RuntimeNotRunning."""

    async def create_checkpoint(self, session_id: str, description: str = "") -> Checkpoint:
        """Name the position at which a session stands, in any status; returns after the commit.

        Costs the same however long the session is. Raises ExecutionNotFound, InvalidValue,
        StoreUnavailable, RuntimeNotRunning.
        """
        now = self._clock.now()
        return await checkpoint_changes.create(self._running(), session_id, description, now)

    def list_checkpoints(
        self,
        session_id: str,
        checkpoint_type: CheckpointType | str | None = None,
        limit: int = LIST_PAGE_DEFAULT,
        before: str | None = None,
    ) -> list[Checkpoint]:
        """Up to `limit` checkpoints of a session, newest first.

        `before` is the id of the last one of the page before, which need not be there any more.
        Costs about what it returns, however long the session is. Empty while the runtime is
        stopped. Any thread. Raises ExecutionNotFound, InvalidInput, InvalidConfig.
        """
        query = checkpoint_query(session_id, checkpoint_type, limit, before)
        assembly = self._assembly
        return [] if assembly is None else assembly.store.read(partial(checkpoints_in, query))

    def load_checkpoint(
        self, session_id: str, checkpoint_id: str | None = None
    ) -> LoadedCheckpoint | None:
        """A checkpoint with the state that it names, the newest without an id.

        None when there is none, and while the runtime is stopped. Costs about what the state holds.
        Any thread. Raises ExecutionNotFound, StoreCorrupt.
        """
        assembly = self._assembly
        if assembly is None:
            return None
        return assembly.store.read(partial(loaded_in, session_id, checkpoint_id))

    async def delete_checkpoint(self, session_id: str, checkpoint_id: str) -> bool:
        """Remove a name, and nothing else; True after the commit, False when there is none.

        Raises ExecutionNotFound, InvalidInput, StoreUnavailable, RuntimeNotRunning.
        """
        key = key_of("checkpoint_id", checkpoint_id)
        return await checkpoint_changes.delete(self._running(), session_id, key)

    async def prune_checkpoints(self, session_id: str, max_age_days: float) -> int:
        """Remove the names of a session that are older; returns how many they were.

        A session that goes on does so by itself, as its CheckpointConfig says. Raises as
        `delete_checkpoint`, and InvalidConfig.
        """
        check_number("max_age_days", max_age_days, 0, CHECKPOINT_AGE_DAYS_MAX)
        rule = Pruning(older_than=self._clock.now() - max_age_days * _DAY_S)
        return await checkpoint_changes.prune(self._running(), session_id, rule)
