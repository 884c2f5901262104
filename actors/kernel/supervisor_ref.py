"""How a supervisor is told what to do with its children."""

from typing import Any, Literal, NamedTuple

from greenroom.actors.kernel.future import Future
from greenroom.actors.kernel.ref import ActorRef
from greenroom.actors.kernel.specs import ChildSpec, SupervisorSpec


class Command(NamedTuple):
    """What a SupervisorRef asks for."""

    what: Literal["adopt", "terminate", "restart", "delete"]
    id: str


class ChildInfo(NamedTuple):
    """One child as `which_children` shows it."""

    id: str
    address: str
    state: str
    incarnation: int
    restart: str
    kind: str


class SupervisorRef(ActorRef[Any]):
    """A supervisor, to be told what to do with its children."""

    __slots__ = ()

    def start_child(self, spec: ChildSpec | SupervisorSpec) -> ActorRef[Any]:
        """Add and start a child at the end of the order. Raises InvalidConfig if the id is taken,
        ActorStopped.
        """
        ref: ActorRef[Any] = self._cell.context.system.adopt(self._cell, spec)
        self.tell(Command("adopt", spec.id), control=True)
        return ref

    def terminate_child(self, child_id: str) -> Future[bool]:
        """Stop a child for good; its spec stays, so `restart_child` can bring it back. False: no
        such child.
        """
        return self.ask(Command("terminate", child_id), control=True)

    def restart_child(self, child_id: str) -> Future[bool]:
        """Start a child that was terminated, ended or given up, on its old address. False: unknown,
        or not down.
        """
        return self.ask(Command("restart", child_id), control=True)

    def delete_child(self, child_id: str) -> Future[bool]:
        """Stop a child and forget its spec and its address. False: no such child."""
        return self.ask(Command("delete", child_id), control=True)

    def which_children(self) -> list[ChildInfo]:
        """The children in start order, as they are now; never blocks."""
        return [
            ChildInfo(c.spec.id, c.address, c.state, c.incarnation, c.spec.restart, c.spec.kind)
            for c in list(self._cell.children.values())
        ]

    def tree_ready(self) -> Future[None]:
        """Done when the supervisor's children have had their first start, in order."""
        ready: Future[None] = Future()
        cell = self._cell

        def begun(started: Future[None]) -> None:
            error = started.exception()
            if error is not None:
                ready.settle_exception(error)
            elif cell.tree_ready is not None:
                cell.tree_ready.add_done_callback(lambda _: ready.settle(None))

        cell.wait_ready().add_done_callback(begun)
        return ready
