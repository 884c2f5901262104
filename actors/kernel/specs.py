"""What a supervisor is to run, as data that is checked before anything starts."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from greenroom.actors.kernel.actor import Actor
from greenroom.protocol.errors import InvalidConfig
from greenroom.protocol.supervision import Backoff, Intensity, OnIntensity, Restart, Strategy

ADDRESS_MAX = 128

ChildCallback = Callable[[str, int], None]
FailureCallback = Callable[[str, BaseException | None], None]


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """One child: how to make it, when to restart it, how long it may take.

    `factory` is called for every instance, on the child's own thread: an Actor class, a
    `functools.partial` of one, or any callable together with `actor_class`. `shutdown_timeout` and
    `start_timeout` are seconds. Raises InvalidConfig.
    """

    id: str
    factory: Callable[[], Actor[Any]]
    restart: Restart = "permanent"
    shutdown_timeout: float = 5.0
    start_timeout: float = 30.0
    kind: Literal["worker", "supervisor"] = "worker"
    dispatcher: Literal["loop", "thread"] | None = None
    actor_class: type[Actor[Any]] | None = None

    def __post_init__(self) -> None:
        _check_id(self.id)
        if not callable(self.factory):
            raise InvalidConfig(f"child {self.id!r}: the factory is not callable")
        if self.restart not in ("permanent", "transient", "temporary"):
            raise InvalidConfig(f"child {self.id!r}: unknown restart {self.restart!r}")
        if self.dispatcher not in (None, "loop", "thread"):
            raise InvalidConfig(f"child {self.id!r}: unknown dispatcher {self.dispatcher!r}")
        if self.shutdown_timeout < 0 or self.start_timeout <= 0:
            raise InvalidConfig(f"child {self.id!r}: a timeout is out of its range")
        self.find_class()

    def find_class(self) -> type[Actor[Any]]:
        """The class whose messages and bounds the address has. Raises InvalidConfig if it cannot be
        known.
        """
        made_by: Any = self.actor_class or self.factory
        while isinstance(made_by, functools.partial):
            made_by = made_by.func
        if not (inspect.isclass(made_by) and issubclass(made_by, Actor)):
            raise InvalidConfig(
                f"child {self.id!r}: name the class that the factory makes: actor_class=..."
            )
        if made_by.messages is None:
            raise InvalidConfig(f"child {self.id!r}: {made_by.__name__}.messages is not set")
        return made_by


@dataclass(frozen=True, slots=True)
class SupervisorSpec:
    """A supervisor and its children, in start order. Raises InvalidConfig.

    `escalate`: more than `restarts_max` failures of all children within `window_s` seconds fail the
    supervisor itself. `give_up`: the failures are counted for each child; a child over the limit
    stays down (with all that its strategy would restart) until `restart_child`, and nobody else
    notices. `chance` gives jitter, in [0, 1); None: the system's own. `on_child_restarted(address,
    incarnation)` and `on_child_failed(address, error)` (a child was given up) are called on the
    supervisor's loop, so they must be quick and must not raise.
    """

    id: str
    children: tuple["ChildSpec | SupervisorSpec", ...] = ()
    strategy: Strategy = "one_for_one"
    restarts_max: int = 3
    window_s: float = 5.0
    backoff: Backoff = field(default_factory=Backoff)
    on_intensity: OnIntensity = "escalate"
    restart: Restart = "permanent"
    shutdown_timeout: float = 30.0
    chance: Callable[[], float] | None = None
    on_child_restarted: ChildCallback | None = None
    on_child_failed: FailureCallback | None = None

    def __post_init__(self) -> None:
        _check_id(self.id)
        if self.strategy not in ("one_for_one", "one_for_all", "rest_for_one"):
            raise InvalidConfig(f"supervisor {self.id!r}: unknown strategy {self.strategy!r}")
        if self.on_intensity not in ("escalate", "give_up"):
            raise InvalidConfig(f"supervisor {self.id!r}: on_intensity is {self.on_intensity!r}")
        if self.restarts_max < 0 or self.window_s <= 0 or self.shutdown_timeout < 0:
            raise InvalidConfig(f"supervisor {self.id!r}: a limit is out of its range")
        backoff = self.backoff
        if backoff.initial_s <= 0 or backoff.factor < 1 or not 0 <= backoff.jitter <= 1:
            raise InvalidConfig(f"supervisor {self.id!r}: the backoff is out of its range")
        ids = [child.id for child in self.children]
        if len(set(ids)) != len(ids):
            raise InvalidConfig(f"supervisor {self.id!r}: two children have one id: {ids}")

    @property
    def intensity(self) -> Intensity:
        return Intensity(restarts_max=self.restarts_max, window_s=self.window_s)


def _check_id(child_id: str) -> None:
    if not child_id or len(child_id) > ADDRESS_MAX or "/" in child_id or not child_id.isprintable():
        raise InvalidConfig(
            f"a child's id has 1 to {ADDRESS_MAX} printable characters and no slash: {child_id!r}"
        )
