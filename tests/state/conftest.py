"""A store in memory with its writer and the state manager, in an actor system of their own."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import msgspec
import pytest

from greenroom.actors.kernel.actor import Actor
from greenroom.actors.kernel.specs import ChildSpec
from greenroom.actors.kernel.system import ActorSystem
from greenroom.actors.kernel.testkit import Condition
from greenroom.actors.system.event_interest import EventInterest
from greenroom.actors.system.state_manager import StateManager
from greenroom.actors.system.state_manager_handle import StateManagerHandle
from greenroom.actors.system.store_writer import StoreWriter
from greenroom.protocol.commit import StateKey
from greenroom.protocol.messages import ReleaseTurns, TakeTurns
from greenroom.protocol.stream_messages import StreamMessage, TurnsGranted
from greenroom.protocol.values import encode_value
from greenroom.storage.memory_store import MemoryStore


class Listener(Actor[StreamMessage]):
    """Stands where a stream stands: keeps the turns that it is told of."""

    messages = StreamMessage

    def __init__(self, heard: Condition) -> None:
        super().__init__()
        self._heard = heard

    def handle(self, message: StreamMessage) -> None:
        self._heard.add(message)


class Rig:
    """A state manager that tests talk to as streams do."""

    def __init__(self, system: ActorSystem, timeout_s: float) -> None:
        self.store = MemoryStore()
        self.handle = StateManagerHandle()
        self.heard = Condition()
        self.system = system
        self.writer = self._spawn("writer", partial(StoreWriter, self.store, EventInterest()))
        self.manager = self._spawn(
            "state", partial(StateManager, self.writer, self.handle.turns, timeout_s)
        )
        self._spawn("stream", partial(Listener, self.heard))
        self.handle.attach(self.store, self.writer, self.manager, streams=("ep",))

    def _spawn(self, name: str, factory: Callable[[], Any]) -> Any:
        ref = self.system.spawn(ChildSpec(name, factory))
        ref.ready().get(timeout=10)
        return ref

    def take(self, execution_id: str, *keys: str, incarnation: int = 1, token_id: int = 1) -> None:
        self.manager.tell(
            TakeTurns(
                stream="stream",
                incarnation=incarnation,
                execution_id=execution_id,
                token_id=token_id,
                keys=tuple(StateKey("global", "", key) for key in keys),
            ),
            control=True,
        )

    def release(self, execution_id: str, token_id: int = 1) -> None:
        """Give turns back."""
        message = ReleaseTurns(execution_id=execution_id, token_id=token_id)
        self.manager.tell(message, control=True)

    def granted(self, count: int) -> list[str]:
        """Wait until so many executions have been told of their turns; in that order."""
        messages = self.heard.wait(count)
        assert all(isinstance(one, TurnsGranted) for one in messages)
        return [one.execution_id + ("!" if one.timed_out else "") for one in messages]


@pytest.fixture
def make_rig() -> Iterator[Callable[..., Rig]]:
    """Makes a state manager; `timeout_s` is the longest wait for a turn."""
    with ActorSystem("test") as system:
        yield lambda timeout_s=30.0: Rig(system, timeout_s)
        assert system.stop(10.0)


@pytest.fixture
def rig(make_rig: Callable[..., Rig]) -> Rig:
    """A state manager."""
    return make_rig()


@pytest.fixture
def raw() -> Callable[[object], msgspec.Raw]:
    """Encodes a value."""
    return lambda value: msgspec.Raw(encode_value(value))
