"""Supervision, in virtual time: who restarts, in which order, how often, and who hears of it."""

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, ClassVar, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.actors.kernel.actor import Actor
from greenroom.actors.kernel.specs import ChildSpec, SupervisorSpec
from greenroom.actors.kernel.supervisor_ref import SupervisorRef
from greenroom.actors.kernel.system import ActorSystem
from greenroom.actors.kernel.testkit import SeededDispatcher
from greenroom.protocol.errors import ActorStopped, InvalidConfig
from greenroom.protocol.supervision import Backoff


class Say(msgspec.Struct, frozen=True, tag="say"):
    word: str


class Talker(Actor[Say]):
    """Logs its life in a list shared with the test; `broken` names those that cannot start."""

    messages: ClassVar[Any] = Say

    def __init__(self, log: list[str], broken: set[str]) -> None:
        self.log = log
        self.broken = broken

    async def on_start(self) -> None:
        self.log.append(f"start {self.address}")
        if self.address in self.broken:
            raise RuntimeError("broken")

    def on_stop(self) -> None:
        self.log.append(f"stop {self.address}")

    def handle(self, message: Say) -> str:
        if message.word == "end":
            self.stop()
        self.log.append(f"{self.address} {message.word}")
        return message.word


class World:
    """A system on a seeded dispatcher, and the log of its talkers."""

    def __init__(self, seed: int = 0) -> None:
        self.dispatcher = SeededDispatcher(seed)
        self.system = ActorSystem(
            dispatcher=self.dispatcher, clock=self.dispatcher.clock, chance=lambda: 0.0
        )
        self.log: list[str] = []
        self.broken: set[str] = set()
        self.failed: list[str] = []
        self.restarted: list[tuple[str, int]] = []
        self.system.start()
        self.run()

    def run(self, seconds: float = 0.0) -> list[str]:
        """Run for some virtual seconds; what was logged meanwhile."""
        before = len(self.log)
        self.dispatcher.advance(seconds)
        return self.log[before:]

    def child(self, child_id: str, restart: Any = "permanent") -> ChildSpec:
        return ChildSpec(child_id, partial(Talker, self.log, self.broken), restart=restart)

    def tree(self, *ids: str, **settings: Any) -> SupervisorRef:
        settings.setdefault("on_child_failed", lambda address, error: self.failed.append(address))
        settings.setdefault("on_child_restarted", lambda *what: self.restarted.append(what))
        settings.setdefault("backoff", Backoff(initial_s=1.0, jitter=0.0))
        children = tuple(self.child(i) for i in ids)
        return self.system.supervise(SupervisorSpec("top", children, **settings))

    def kill(self, address: str) -> None:
        ref = self.system.ref(address)
        assert ref is not None
        ref.kill()

    def state(self, address: str) -> str:
        ref = self.system.ref(address)
        return "none" if ref is None else ref.stats().state

    def close(self) -> None:
        self.system.stop()
        self.dispatcher.close()


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.close()


def test_children_start_in_order_and_stop_in_reverse(world: World) -> None:
    world.tree("a", "b", "c")
    assert world.run() == ["start top/a", "start top/b", "start top/c"]
    world.system.stop()
    assert world.log[-3:] == ["stop top/c", "stop top/b", "stop top/a"]


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("one_for_one", ["start top/b"]),
        ("rest_for_one", ["stop top/c", "start top/b", "start top/c"]),
        (
            "one_for_all",
            ["stop top/c", "stop top/a", "start top/a", "start top/b", "start top/c"],
        ),
    ],
)
def test_a_strategy_restarts_whom_it_names(
    world: World, strategy: str, expected: list[str]
) -> None:
    world.tree("a", "b", "c", strategy=strategy)
    world.run()
    world.kill("top/b")
    assert world.run() == expected
    assert ("top/b", 2) in world.restarted


def test_siblings_that_restart_keep_their_mail(world: World) -> None:
    world.tree("a", "b", strategy="one_for_all", backoff=Backoff(initial_s=1.0, jitter=0.0))
    world.run()
    world.kill("top/a")
    world.run()
    world.kill("top/a")
    world.run()
    assert world.state("top/b") == "down"
    ref = world.system.ref("top/b")
    assert ref is not None
    for word in "xyz":
        ref.tell(Say(word))
    assert world.run(1.0)[-3:] == ["top/b x", "top/b y", "top/b z"]


def test_a_failed_start_is_retried_with_growing_delays_and_holds_up_those_after_it(
    world: World,
) -> None:
    world.broken.add("top/a")
    world.tree("a", "b", restarts_max=100)
    starts = [world.run(delay) for delay in (0.0, 1.0, 2.0, 4.0)]
    assert starts == [["start top/a"]] * 4
    world.broken.clear()
    assert world.run(8.0) == ["start top/a", "start top/b"]


def test_a_supervisor_that_retries_can_still_be_stopped(world: World) -> None:
    world.broken.add("top/a")
    top = world.tree("a", "b", restarts_max=100)
    world.run()
    stopped = top.stop()
    world.run()
    assert stopped.get() is True
    assert world.run(100.0) == []


def test_a_tree_waits_for_the_tree_before_it_also_if_that_loses_a_child(world: World) -> None:
    world.broken.add("top/inner/x")
    inner = SupervisorSpec("inner", (world.child("x"),), restarts_max=100)
    top = SupervisorSpec("top", (inner, world.child("b")), restarts_max=100)
    ready = world.system.supervise(top).tree_ready()
    assert world.run(0.01) == ["start top/inner/x"]
    assert not ready.done()
    ref = world.system.ref("top/inner/x")
    assert ref is not None
    ref.stop()
    assert world.run() == ["start top/b"]
    assert ready.done()


def test_give_up_leaves_the_siblings_and_restart_child_brings_the_child_back(world: World) -> None:
    top = world.tree("a", "b", on_intensity="give_up", restarts_max=1, window_s=60.0)
    world.run()
    ref = world.system.ref("top/a")
    assert ref is not None
    for _ in range(2):
        world.kill("top/a")
        world.run()
    assert world.failed == ["top/a"]
    assert (world.state("top/a"), world.state("top/b")) == ("closed", "running")
    with pytest.raises(ActorStopped):
        ref.tell(Say("x"))
    back = top.restart_child("a")
    again = top.restart_child("b")
    world.run()
    assert (back.get(), again.get()) == (True, False)
    answer = ref.ask(Say("here"))
    world.run()
    assert answer.get() == "here"


def test_escalation_stops_the_children_and_the_parent_restarts_the_tree(world: World) -> None:
    world.tree("a", "b", restarts_max=0)
    world.run()
    world.kill("top/a")
    assert world.run(1.0) == ["stop top/b", "start top/a", "start top/b"]
    top = world.system.ref("top")
    assert top is not None
    assert top.stats().incarnation == 2


def test_failures_far_apart_are_not_too_many(world: World) -> None:
    world.tree("a", on_intensity="give_up", restarts_max=1, window_s=5.0)
    world.run()
    for _ in range(5):
        world.kill("top/a")
        world.run(6.0)
    assert world.failed == []
    assert world.state("top/a") == "running"


@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
@pytest.mark.parametrize("how", ["end", "crash"])
def test_the_restart_rule_of_a_child(
    world: World, restart: Literal["permanent", "transient", "temporary"], how: str
) -> None:
    ref = world.system.spawn(world.child("x", restart))
    world.run()
    if how == "end":
        ref.tell(Say("end"))
    else:
        ref.kill()
    world.run(1.0)
    comes_back = restart == "permanent" or (restart == "transient" and how == "crash")
    assert ref.is_alive() is comes_back
    assert (world.system.ref("x") is None) is (restart == "temporary")


def test_terminate_delete_and_the_list_of_children(world: World) -> None:
    top = world.tree("a", "b")
    world.run()
    terminated, unknown = top.terminate_child("a"), top.terminate_child("z")
    world.run()
    assert (terminated.get(), unknown.get()) == (True, False)
    assert [(c.id, c.state) for c in top.which_children()] == [("a", "closed"), ("b", "running")]
    top.delete_child("a")
    world.run()
    assert [c.id for c in top.which_children()] == ["b"]
    top.start_child(world.child("a"))
    world.run()
    assert [(c.id, c.state) for c in top.which_children()] == [("b", "running"), ("a", "running")]


def test_a_child_that_is_stopped_for_good_is_not_restarted(world: World) -> None:
    world.tree("a")
    world.run()
    ref = world.system.ref("top/a")
    assert ref is not None
    stopped = ref.stop()
    world.run(5.0)
    assert stopped.get() is True
    assert world.log == ["start top/a", "stop top/a"]
    assert not ref.is_alive()


def test_a_start_that_hangs_is_abandoned_and_tried_again(world: World) -> None:
    class Hangs(Talker):
        async def on_start(self) -> None:
            self.log.append(f"start {self.incarnation}")
            if self.incarnation == 1:
                await asyncio.Event().wait()

    spec = ChildSpec("h", partial(Hangs, world.log, world.broken), start_timeout=2.0)
    ref = world.system.spawn(spec)
    assert world.run(1.0) == ["start 1"]
    assert world.run(2.0) == ["start 2"]
    assert ref.stats().state == "running"


BAD_SPECS: list[Callable[[], Any]] = [
    lambda: ChildSpec("", Talker),  # type: ignore[arg-type]
    lambda: ChildSpec("a/b", partial(Talker, [], set())),
    lambda: ChildSpec("a", partial(Talker, [], set()), restart="often"),  # type: ignore[arg-type]
    lambda: ChildSpec("a", partial(Talker, [], set()), shutdown_timeout=-1),
    lambda: ChildSpec("a", lambda: Talker([], set())),
    lambda: SupervisorSpec("s", strategy="all"),  # type: ignore[arg-type]
    lambda: SupervisorSpec("s", window_s=0),
    lambda: SupervisorSpec("s", backoff=Backoff(initial_s=0)),
    lambda: SupervisorSpec("s", (ChildSpec("a", partial(Talker, [], set())),) * 2),
]


@pytest.mark.parametrize("make", BAD_SPECS)
def test_a_bad_spec_is_refused_before_anything_starts(make: Callable[[], Any]) -> None:
    with pytest.raises(InvalidConfig):
        make()


def test_two_actors_cannot_have_one_address(world: World) -> None:
    world.system.spawn(world.child("x"))
    with pytest.raises(InvalidConfig):
        world.system.spawn(world.child("x"))


@given(
    st.integers(0, 1000),
    st.sampled_from(["one_for_one", "one_for_all", "rest_for_one"]),
    st.lists(
        st.one_of(
            st.tuples(st.just("kill"), st.sampled_from("abc")),
            st.tuples(st.just("stop"), st.sampled_from("abc")),
            st.tuples(st.just("restart"), st.sampled_from("abc")),
            st.tuples(st.just("say"), st.sampled_from("abc")),
            st.tuples(st.just("break"), st.sampled_from("abc")),
            st.tuples(st.just("mend"), st.sampled_from("abc")),
            st.tuples(st.just("run"), st.sampled_from("abc")),
        ),
        max_size=25,
    ),
)
def test_whatever_happens_in_whatever_order_the_tree_settles(
    seed: int, strategy: Any, events: list[tuple[str, str]]
) -> None:
    """Random failures, stops and restarts: no ask stays open, every child ends running or down."""
    world = World(seed)
    top = world.tree("a", "b", "c", strategy=strategy, on_intensity="give_up")
    asks = []
    for what, who in events:
        ref = world.system.ref(f"top/{who}")
        assert ref is not None
        match what:
            case "kill":
                ref.kill()
            case "stop":
                ref.stop()
            case "restart":
                asks.append(top.restart_child(who))
            case "say":
                asks.append(ref.ask(Say("hello")))
            case "break":
                world.broken.add(f"top/{who}")
            case "mend":
                world.broken.discard(f"top/{who}")
            case _:
                world.run(0.5)
    world.broken.clear()
    world.run(200.0)
    states = {world.state(f"top/{who}") for who in "abc"}
    assert states <= {"running", "closed"}
    assert all(ask.done() for ask in asks)
    assert world.system.stop()
    world.dispatcher.close()
