"""The supervisor: starts children in order, restarts them by rule, stops them in reverse."""

import asyncio
import functools
import logging
from collections import deque
from collections.abc import Iterable
from typing import Any, ClassVar, Literal, NamedTuple

from greenroom.actors.kernel.actor import Actor
from greenroom.actors.kernel.cell import Cell, ChildExit
from greenroom.actors.kernel.future import Future
from greenroom.actors.kernel.ref import ActorRef
from greenroom.actors.kernel.specs import SupervisorSpec
from greenroom.actors.kernel.supervisor_ref import Command
from greenroom.protocol.errors import ActorStopped, SupervisionFailed
from greenroom.protocol.supervision import (
    affected,
    record_failure,
    restart_delay,
    wants_restart,
)

logger = logging.getLogger("greenroom.supervisor")

Status = Literal["starting", "running", "waiting", "stopped", "given_up"]


class Started(NamedTuple):
    """The outcome of a child's start; `attempt` tells it from an earlier one."""

    id: str
    attempt: int
    error: BaseException | None


class Advance(NamedTuple):
    """Go on with a sequence of starts, after its backoff."""

    sequence: "Sequence"
    token: int


class Sequence:
    """Children to start in order; the next one begins when the one before it runs."""

    __slots__ = ("ids", "token")

    def __init__(self, ids: Iterable[str]) -> None:
        self.ids = deque(ids)
        self.token = 0


class Child:
    """What one supervisor instance knows of a child; the address and its mailbox are the cell's."""

    __slots__ = ("attempt", "cell", "failures", "sequence", "start_failures", "status")

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.status: Status = "waiting"
        self.attempt = 0
        self.failures: tuple[float, ...] = ()
        self.start_failures = 0
        self.sequence: Sequence | None = None


class Supervisor(Actor[Any]):
    """Runs the children of a SupervisorSpec. Never waits for a start, so that it can always be told
    to stop.
    """

    messages: ClassVar[Any] = object
    local: ClassVar[bool] = True
    cancel_on_stop: ClassVar[bool] = True

    def __init__(self, spec: SupervisorSpec) -> None:
        super().__init__()
        self._spec = spec
        self._children: dict[str, Child] = {}
        self._sequences: set[Sequence] = set()
        self._failures: tuple[float, ...] = ()
        self._begun: Future[None] = Future()

    def on_start(self) -> None:
        self._cell.tree_ready = self._begun
        for cell in list(self._cell.children.values()):
            if not cell.mailbox.closed:
                self._add(cell)
        self._begin(list(self._children))
        self._settle_begun()

    def _add(self, cell: Cell) -> Child:
        child = Child(cell)
        self._children[cell.spec.id] = child
        cell.on_exit = functools.partial(_tell, self.ref, self.incarnation)
        return child

    async def on_stop(self) -> None:
        self._begun.settle(None)
        self._sequences.clear()
        final = self._cell.stop_is_final
        for child in reversed(list(self._children.values())):
            await self._stop_child(child, final=final)

    async def on_failure(self, *_error: Any) -> None:
        self._begun.settle(None)
        self._sequences.clear()
        for child in reversed(list(self._children.values())):
            await self._stop_child(child, final=False)

    async def _stop_child(self, child: Child, *, final: bool) -> None:
        """Stop within the child's own deadline; one that is down stays as it is."""
        cell = child.cell
        if cell.state == "closed":
            return
        child.status = "stopped"
        child.attempt += 1
        try:
            async with asyncio.timeout(cell.spec.shutdown_timeout):
                await cell.request_stop(final=final, report=False)
        except TimeoutError:
            cell.abandon(final=final)

    async def handle(self, message: Any) -> Any:
        match message:
            case ChildExit():
                await self._on_exit(message)
            case Started():
                await self._on_started(message)
            case Advance(sequence, token):
                if sequence in self._sequences and sequence.token == token:
                    self._advance(sequence)
            case Command("adopt", child_id):
                self._adopt(child_id)
            case Command("terminate", child_id):
                return await self._terminate(child_id)
            case Command("restart", child_id):
                return self._restart(child_id)
            case Command("delete", child_id):
                found = await self._terminate(child_id)
                self._forget(child_id)
                return found
        return None

    async def _on_exit(self, event: ChildExit) -> None:
        child = self._children.get(event.id)
        if child is None or event.incarnation != child.cell.incarnation:
            return
        if event.final:
            self._ended(child)
        elif child.status != "running":
            return
        elif wants_restart(child.cell.spec.restart, normal=event.error is None):
            await self._failed(child, event.error, at_start=False)
        else:
            child.cell.finalize()
            self._ended(child)

    def _ended(self, child: Child) -> None:
        """The child is down for good, unless `restart_child` is asked for."""
        child.status = "stopped"
        child.attempt += 1
        self._drop([child.cell.spec.id])
        if child.cell.spec.restart == "temporary":
            self._forget(child.cell.spec.id)

    async def _on_started(self, event: Started) -> None:
        child = self._children.get(event.id)
        if child is None or event.attempt != child.attempt or child.status != "starting":
            return
        if event.error is not None:
            child.start_failures += 1
            await self._failed(child, event.error, at_start=True)
            return
        child.status = "running"
        child.start_failures = 0
        cell = child.cell
        if cell.incarnation > 1 and self._spec.on_child_restarted is not None:
            self._spec.on_child_restarted(cell.address, cell.incarnation)
        self._drop([event.id])
        self._settle_begun()

    async def _failed(self, child: Child, error: BaseException | None, *, at_start: bool) -> None:
        """Count the failure, then restart what the strategy says, give up, or fail as a whole."""
        now = self.clock.monotonic()
        own = self._spec.on_intensity == "give_up"
        before = child.failures if own else self._failures
        failures, exceeded = record_failure(before, now, self._spec.intensity)
        if own:
            child.failures = failures
        else:
            self._failures = failures
        child.status = "waiting"
        if exceeded and not own:
            raise SupervisionFailed(
                f"{self.address}: more than {self._spec.restarts_max} failures in "
                f"{self._spec.window_s:g} s, the last one of {child.cell.address}: {error!r}"
            ) from error
        child_id = child.cell.spec.id
        order = [i for i, c in self._children.items() if c is child or c.status not in _DOWN]
        group = affected(self._spec.strategy, order, child_id)
        for other in reversed(group):
            if other != child_id:
                await self._stop_child(self._children[other], final=False)
                self._children[other].status = "waiting"
        if exceeded:
            self._give_up(group, child, error)
            return
        count = child.start_failures if at_start else len(failures)
        delay = restart_delay(self._spec.backoff, count, self._chance(), at_start=at_start)
        self._begin(self._with_followers(group, child_id), delay)

    def _chance(self) -> float:
        chance = self._spec.chance or self.system.chance
        return chance()

    def _with_followers(self, group: Iterable[str], head: str) -> list[str]:
        """The group, and those that still wait for `head` to start before them."""
        ids = set(group)
        sequence = self._children[head].sequence
        if sequence is not None and sequence.ids[0] == head:
            ids.update(sequence.ids)
        return [child_id for child_id in self._children if child_id in ids]

    def _give_up(self, group: Iterable[str], child: Child, error: BaseException | None) -> None:
        ids = list(group)
        for child_id in reversed(ids):
            given_up = self._children[child_id]
            given_up.status = "given_up"
            given_up.attempt += 1
            given_up.cell.finalize()
        logger.error("%s is given up: it failed too often", child.cell.address, exc_info=error)
        self._drop(ids)
        if self._spec.on_child_failed is not None:
            self._spec.on_child_failed(child.cell.address, error)
        self._settle_begun()

    def _begin(self, ids: list[str], delay: float = 0.0) -> None:
        """Start children in order, now or after a delay; they leave any earlier sequence."""
        sequence = Sequence(ids)
        # Known before the old one goes, or the tree would seem to have begun in between.
        self._sequences.add(sequence)
        self._drop(ids, unless=self._children[ids[0]].sequence if ids else None)
        for child_id in ids:
            self._children[child_id].status = "waiting"
            self._children[child_id].sequence = sequence
        if delay > 0:
            self.schedule(delay, Advance(sequence, sequence.token))
        else:
            self._advance(sequence)

    def _drop(self, ids: Iterable[str], *, unless: Sequence | None = None) -> None:
        """Take children out of their sequences, which go on; not the one that is replaced."""
        freed: dict[Sequence, None] = {}
        for child_id in ids:
            child = self._children[child_id]
            sequence, child.sequence = child.sequence, None
            if sequence is None:
                continue
            if sequence.ids[0] == child_id and sequence is not unless:
                freed[sequence] = None
            sequence.ids.remove(child_id)
            if not sequence.ids:
                self._sequences.discard(sequence)
        for sequence in freed:
            if sequence.ids:
                self._advance(sequence)
        self._settle_begun()

    def _advance(self, sequence: Sequence) -> None:
        sequence.token += 1
        if not sequence.ids:
            self._sequences.discard(sequence)
            return
        child_id = sequence.ids[0]
        child = self._children[child_id]
        child.status = "starting"
        child.attempt += 1
        attempt, cell = child.attempt, child.cell
        report = functools.partial(self._report_start, child_id, attempt)
        self._watch_start(cell, child, attempt)
        cell.start().add_done_callback(functools.partial(_when_tree_ready, cell, report))

    def _watch_start(self, cell: Cell, child: Child, attempt: int) -> None:
        def late() -> None:
            if child.attempt == attempt and child.status == "starting":
                cell.abandon(final=False)
                limit = cell.spec.start_timeout
                error = SupervisionFailed(f"{cell.address} did not start within {limit:g} s")
                self._report_start(cell.spec.id, attempt, error)

        if cell.spec.kind == "worker":
            self._cell.dispatcher.call_later(cell.spec.start_timeout, late)

    def _report_start(self, child_id: str, attempt: int, error: BaseException | None) -> None:
        _tell(self.ref, self.incarnation, Started(child_id, attempt, error))

    def _settle_begun(self) -> None:
        if not self._sequences:
            self._begun.settle(None)

    def _adopt(self, child_id: str) -> None:
        cell = self._cell.children.get(child_id)
        if cell is not None and child_id not in self._children and not cell.mailbox.closed:
            self._add(cell)
            self._begin([child_id])

    async def _terminate(self, child_id: str) -> bool:
        child = self._children.get(child_id)
        if child is None:
            return False
        await self._stop_child(child, final=True)
        self._ended(child)
        return True

    def _restart(self, child_id: str) -> bool:
        child = self._children.get(child_id)
        if child is None:
            cell = self._cell.children.get(child_id)
            if cell is None:
                return False
            child = self._add(cell)
        elif child.status not in _DOWN:
            return False
        order = list(self._children)
        group = affected(self._spec.strategy, order, child_id)
        ids = [i for i in group if i == child_id or self._children[i].status == "given_up"]
        for each in ids:
            self._children[each].failures = ()
            self._children[each].start_failures = 0
            self._children[each].cell.reopen()
        self._begin(ids)
        return True

    def _forget(self, child_id: str) -> None:
        child = self._children.pop(child_id, None)
        if child is not None:
            self._cell.children.pop(child_id, None)
            self.system.forget(child.cell)


_DOWN = ("stopped", "given_up")


def _tell(ref: ActorRef[Any], incarnation: int, message: object) -> None:
    """Report to one instance of a supervisor; a later one has not asked for it."""
    try:
        ref.tell(message, control=True, incarnation=incarnation)
    except ActorStopped:
        logger.debug("%s is stopped and does not hear of %r", ref.address, message)


def _when_tree_ready(cell: Cell, report: Any, started: Future[None]) -> None:
    """Report a start; for a supervisor, not before its own children had their first turn."""
    error = started.exception()
    tree = cell.tree_ready
    if error is not None or tree is None:
        report(error)
    else:
        tree.add_done_callback(lambda _: report(None))
