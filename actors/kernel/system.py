"""The actor system: one loop, one tree, one clock; several in a process do not see each other."""

import asyncio
import atexit
import functools
import itertools
import logging
import random
import threading
import time
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from greenroom.actors.kernel.actor import Actor
from greenroom.actors.kernel.cell import Cell
from greenroom.actors.kernel.clock import Clock, SystemClock
from greenroom.actors.kernel.dead_letters import DeadLetters
from greenroom.actors.kernel.dispatcher import (
    Dispatcher,
    LoopDispatcher,
    ThreadDispatcher,
    TimerHandle,
)
from greenroom.actors.kernel.future import Future
from greenroom.actors.kernel.ref import ActorRef, ActorStats
from greenroom.actors.kernel.specs import ChildSpec, SupervisorSpec
from greenroom.actors.kernel.supervisor import Supervisor
from greenroom.actors.kernel.supervisor_ref import SupervisorRef
from greenroom.actors.kernel.watchdog import Blocked, Watchdog
from greenroom.protocol.errors import InvalidConfig, RuntimeStopped
from greenroom.protocol.limits import DEAD_LETTERS_MAX
from greenroom.protocol.supervision import Restart

logger = logging.getLogger("greenroom.system")

STOP_TIMEOUT_S = 10.0


class ActorSystem:
    """Actors, their addresses, and the tree that supervises them.

    A context manager both ways; otherwise `start` and `stop`. A system that was not stopped is
    stopped when the interpreter exits, within `exit_timeout` seconds; all of its threads are
    daemons, so the process never hangs. The root supervisor is one_for_one and gives up a child
    that fails too often (`root` changes this). `dispatcher`, `clock` and `chance` can be replaced
    by those of the test kit. `watchdog_limit_s=None` turns the watchdog off.
    """

    def __init__(
        self,
        name: str = "greenroom",
        *,
        clock: Clock | None = None,
        uvloop: bool = False,
        dispatcher: Dispatcher | None = None,
        chance: Callable[[], float] | None = None,
        root: SupervisorSpec | None = None,
        dead_letters_limit: int = DEAD_LETTERS_MAX,
        watchdog_limit_s: float | None = 0.05,
        on_blocked: Callable[[Blocked], None] | None = None,
        exit_timeout: float = STOP_TIMEOUT_S,
    ) -> None:
        self.name = name
        self.clock: Clock = clock or SystemClock()
        self.dead_letters = DeadLetters(dead_letters_limit)
        self.chance: Callable[[], float] = chance or random.random
        self.exit_timeout = exit_timeout
        self._shared = dispatcher is not None
        self.dispatcher: Dispatcher = dispatcher or LoopDispatcher(f"{name}-loop", uvloop=uvloop)
        self._watchdog: Watchdog | None = None
        if watchdog_limit_s is not None and not self._shared:
            self._watchdog = Watchdog(self.dispatcher, watchdog_limit_s, on_blocked)
        self._lock = threading.RLock()
        self._cells: dict[str, Cell] = {}
        self._numbers = itertools.count(1)
        self._started = False
        self._stopping: Future[bool] | None = None
        self._stopped = threading.Event()
        spec = root or SupervisorSpec("root", on_intensity="give_up")
        self._root = self._make(spec, "/", None)

    @property
    def system(self) -> "ActorSystem":
        return self

    @property
    def root(self) -> SupervisorRef:
        """The supervisor of everything that `spawn` and `supervise` start at the top."""
        ref = self._root.ref
        assert isinstance(ref, SupervisorRef)
        return ref

    @property
    def stopped(self) -> bool:
        return self._stopped.is_set()

    # -- life -------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the loop and the root supervisor. Does nothing if it runs; raises RuntimeStopped
        after `stop`.
        """
        with self._lock:
            if self._stopping is not None:
                raise RuntimeStopped
            if self._started:
                return
            self.dispatcher.start()
            self._started = True
        if self._watchdog is not None:
            self._watchdog.start()
        _stop_at_exit(self)
        self._root.start()

    def stop(self, timeout: float = STOP_TIMEOUT_S) -> bool:
        """Stop every actor, last started first, then the threads; blocks up to `timeout` seconds.
        Idempotent.

        True if all ended in order; False if some had to be abandoned (their asks are settled all
        the same). Raises RuntimeError on the system's own threads, where it would wait for itself:
        use `stop_async` there.
        """
        if self.dispatcher.is_current_thread() and not self._shared:
            raise RuntimeError("an actor cannot wait for its own system to stop: use stop_async()")
        until = time.monotonic() + timeout
        done = threading.Event()
        future = self._begin_stop()
        future.add_done_callback(lambda _: done.set())
        pump = getattr(self.dispatcher, "run_until_idle", None)
        if pump is not None:
            pump()
        else:
            done.wait(timeout)
        return self._finish_stop(future, until)

    async def stop_async(self, timeout: float = STOP_TIMEOUT_S) -> bool:
        """`stop` without blocking the caller's loop."""
        until = time.monotonic() + timeout
        future = self._begin_stop()
        released = asyncio.Event()
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(released.set))
        try:
            async with asyncio.timeout(timeout):
                await released.wait()
        except TimeoutError:
            logger.warning("%s: the actors did not stop within %g s", self.name, timeout)
        return self._finish_stop(future, until)

    def _begin_stop(self) -> Future[bool]:
        with self._lock:
            if self._stopping is None:
                self._stopping = self._root.request_stop(final=True)
            return self._stopping

    def _finish_stop(self, future: Future[bool], until: float) -> bool:
        clean = future.done() and future.get()
        for cell in list(self._cells.values()):
            if cell.state != "closed":
                clean = False
                cell.abandon()
        if not self._shared:
            ended = self.dispatcher.stop(max(until - time.monotonic(), 0.1))
            clean = clean and (ended or self.dispatcher.is_current_thread())
        if self._watchdog is not None:
            self._watchdog.stop()
        self._stopped.set()
        return clean

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop_async()

    # -- actors -----------------------------------------------------------------------------

    def spawn(
        self,
        what: ChildSpec | Callable[[], Actor[Any]],
        *,
        id: str | None = None,
        restart: Restart = "permanent",
        supervisor: SupervisorRef | None = None,
    ) -> ActorRef[Any]:
        """Start an actor: a ChildSpec, an Actor class, or a `functools.partial` of one. Any thread;
        never blocks.

        Messages may be sent at once; `ref.ready()` tells when the first instance runs. `id`
        defaults to the class's name and a number. Raises InvalidConfig if the address is taken.
        """
        if not isinstance(what, ChildSpec):
            made_by: Any = what
            while isinstance(made_by, functools.partial):
                made_by = made_by.func
            name = id or f"{getattr(made_by, '__name__', 'actor').lower()}-{next(self._numbers)}"
            what = ChildSpec(name, what, restart=restart)
        return (supervisor or self.root).start_child(what)

    def supervise(
        self, spec: SupervisorSpec, *, supervisor: SupervisorRef | None = None
    ) -> SupervisorRef:
        """Start a supervisor and its children; their addresses exist when this returns. Any thread;
        never blocks.
        """
        ref = (supervisor or self.root).start_child(spec)
        assert isinstance(ref, SupervisorRef)
        return ref

    def ref(self, address: str) -> ActorRef[Any] | None:
        """The actor at an address, or None."""
        cell = self._cells.get(address)
        return None if cell is None else cell.ref

    def stats(self) -> list[ActorStats]:
        """The counters of every address."""
        return [cell.ref.stats() for cell in list(self._cells.values())]

    # -- for the kernel ---------------------------------------------------------------------

    def dispatcher_for(self, kind: str, address: str) -> Dispatcher:
        """The dispatcher of a new address: the shared loop, or a thread of its own."""
        if kind == "loop" or self._shared:
            return self.dispatcher
        return ThreadDispatcher(f"{self.name}-{address}")

    def call_later(self, delay_s: float, function: Callable[[], object]) -> TimerHandle:
        """Run a function on the loop after a delay."""
        return self.dispatcher.call_later(delay_s, function)

    def adopt(self, parent: Cell, spec: ChildSpec | SupervisorSpec) -> ActorRef[Any]:
        """Make the addresses of a new child and of all below it."""
        with self._lock:
            if self._stopping is not None:
                raise RuntimeStopped
            prefix = "" if parent is self._root else f"{parent.address}/"
            return self._make(spec, f"{prefix}{spec.id}", parent).ref

    def forget(self, cell: Cell) -> None:
        """An address, and all below it, are free again."""
        with self._lock:
            self._cells.pop(cell.address, None)
            for child in cell.children.values():
                self.forget(child)

    def _make(self, spec: ChildSpec | SupervisorSpec, address: str, parent: Cell | None) -> Cell:
        if address in self._cells:
            raise InvalidConfig(f"there is an actor at {address!r} already")
        if isinstance(spec, ChildSpec):
            cell = Cell(self, address, spec)
            cell.ref = ActorRef(cell)
        else:
            cell = Cell(self, address, _as_child(spec))
            cell.ref = SupervisorRef(cell)
        self._cells[address] = cell
        if isinstance(spec, SupervisorSpec):
            prefix = "" if parent is None else f"{address}/"
            for child in spec.children:
                self._make(child, f"{prefix}{child.id}", cell)
        if parent is not None:
            parent.children[spec.id] = cell
        return cell


def _as_child(spec: SupervisorSpec) -> ChildSpec:
    return ChildSpec(
        spec.id,
        functools.partial(Supervisor, spec),
        restart=spec.restart,
        shutdown_timeout=spec.shutdown_timeout,
        kind="supervisor",
    )


def _stop_at_exit(system: ActorSystem) -> None:
    """Stop the system when the interpreter exits, if it still lives.

    `threading._register_atexit` runs before threads are joined and while they still work; `atexit`
    alone is too late for a host whose own threads wait for ours. It is private, so its absence must
    not matter.
    """
    weak = weakref.ref(system)

    def stop() -> None:
        living = weak()
        if living is not None and not living.stopped:
            living.stop(living.exit_timeout)

    register: Callable[..., Any] | None = getattr(threading, "_register_atexit", None)
    try:
        (register or atexit.register)(stop)
    except RuntimeError:
        # The interpreter is exiting already; whoever starts a system now stops it too.
        logger.debug("%s starts while the interpreter exits", system.name)
