"""The rule of effects, driven by hand: what is recorded around a call, and what is replayed."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.protocol import effect_journal
from greenroom.protocol.effect_errors import (
    EffectMismatch,
    EffectNotDone,
    OutcomeUnknown,
    TooManyEffects,
)
from greenroom.protocol.effect_journal import Call, Record, VisitEffects
from greenroom.protocol.effects import EffectOutcome, EffectPolicy, EffectRecord, argument_digest
from greenroom.protocol.errors import InvalidId, InvalidValue
from greenroom.protocol.values import decode_value

STEP, REPEAT, IDEMPOTENT, ONCE = EffectPolicy


class Crash(BaseException):
    """The end of the process, at some point of the run."""


class World:
    """What is durable, and every call that reached the outside; a run may end at any point."""

    def __init__(self) -> None:
        self.records: dict[str, Any] = {}
        self.history: list[tuple[str, str]] = []  # (slot, outcome) of every commit
        self.calls: list[tuple[str, str]] = []  # (name, key)
        self.left = 10**6  # points to pass until the crash

    def run(self) -> VisitEffects:
        return VisitEffects("e", "n", 1, self.records)

    def pass_point(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Crash

    def make(
        self,
        effects: VisitEffects,
        name: str = "pay",
        policy: EffectPolicy = ONCE,
        arguments: tuple[Any, ...] = (),
        function: Callable[[], Any] = lambda: None,
    ) -> Any:
        """One effect, every wish carried out; a point before and after each."""
        steps = effects.perform(name, policy, argument_digest(arguments, {}))
        send, given = steps.send, None
        try:
            while True:
                wish = send(given)  # type: ignore[arg-type]
                send, given = steps.send, None
                self.pass_point()
                if isinstance(wish, Record):
                    self.commit(wish)
                    self.pass_point()
                    continue
                assert isinstance(wish, Call)
                self.calls.append((name, wish.key))
                self.pass_point()
                try:
                    given = function()
                except Exception as error:  # noqa: BLE001 - the rule decides
                    send, given = steps.throw, error
        except StopIteration as end:
            return decode_value(end.value)

    def commit(self, wish: Record) -> None:
        self.history.append((wish.slot, wish.record.outcome if wish.record else "withdrawn"))
        if wish.record is None:
            del self.records[wish.slot]
        else:
            self.records[wish.slot] = wish.record


def raising(error: Exception) -> Callable[[], Any]:
    def function() -> Any:
        raise error

    return function


@pytest.mark.parametrize(
    ("policy", "commits"), [(STEP, 1), (REPEAT, 1), (IDEMPOTENT, 2), (ONCE, 2)]
)
def test_the_intent_is_durable_before_the_call_where_it_matters(
    policy: EffectPolicy, commits: int
) -> None:
    world = World()
    assert world.make(world.run(), policy=policy, function=lambda: {"a": (1,)}) == {"a": [1]}
    assert len(world.history) == commits
    assert world.history[-1] == ("pay/1", EffectOutcome.DONE)
    assert world.make(world.run(), policy=policy, function=raising(AssertionError())) == {"a": [1]}
    assert world.calls == [("pay", "e/n/1/pay/1")]


def test_none_is_a_result_like_any_other() -> None:
    world = World()
    assert world.make(world.run()) is None
    assert world.make(world.run()) is None
    assert len(world.calls) == 1


def test_calls_of_one_name_are_told_apart_by_their_place() -> None:
    world = World()
    for _ in range(2):
        effects = world.run()
        numbers = iter([1, 2, 3])
        for expected in (1, 2, 3):
            assert world.make(effects, function=lambda: next(numbers)) == expected  # noqa: B023
    assert [key for _, key in world.calls] == ["e/n/1/pay/1", "e/n/1/pay/2", "e/n/1/pay/3"]


def test_other_arguments_make_a_new_effect_and_fail_a_once() -> None:
    world = World()
    for amount in (1, 2, 2):
        world.make(world.run(), "step", STEP, (amount,))
        world.make(world.run(), "idem", IDEMPOTENT, ({"a": amount, "b": 0},))
    assert [name for name, _ in world.calls] == ["step", "idem"] * 2
    assert len(set(world.calls)) == 2, "its key stays the same, so that a service can object"
    world.make(world.run(), "once", ONCE, (1,))
    for policy in (ONCE, REPEAT):
        with pytest.raises(EffectMismatch) as caught:
            world.make(world.run(), "once", policy, (2,))
        assert caught.value.retryable is False
    assert world.make(world.run(), "once", ONCE, (1,)) is None


def test_the_order_in_which_a_dict_was_filled_does_not_matter() -> None:
    assert argument_digest(({"a": 1, "b": {2, 3}},), {"x": 1, "y": 2}) == argument_digest(
        ({"b": [2, 3], "a": 1},), {"y": 2, "x": 1}
    )
    assert argument_digest((1,), {}) != argument_digest((True,), {})
    with pytest.raises(InvalidValue, match=r"\$\.args\[0\]\.a: "):
        argument_digest(({"a": object()},), {})


def test_what_a_once_raises_leaves_its_outcome_unknown_for_ever() -> None:
    world = World()
    effects = world.run()
    with pytest.raises(OutcomeUnknown, match="raised ConnectionError: reset") as caught:
        world.make(effects, function=raising(ConnectionError("reset")))
    assert isinstance(caught.value.__cause__, ConnectionError)
    assert (caught.value.effect, caught.value.key) == ("pay", "e/n/1/pay/1")
    assert caught.value.retryable is False
    for again in (effects, effects, world.run()):
        with pytest.raises(OutcomeUnknown, match="earlier run"):
            world.make(again)
    assert world.history == [("pay/1", "begun"), ("pay/1", "unknown")]
    assert len(world.calls) == 1


def test_a_once_that_says_that_nothing_happened_may_be_called_again() -> None:
    world = World()
    effects = world.run()
    with pytest.raises(EffectNotDone) as caught:
        world.make(effects, function=raising(EffectNotDone("declined")))
    assert caught.value.retryable is True
    assert world.records == {}
    assert world.make(effects, function=lambda: "paid") == "paid"
    assert world.make(world.run(), function=raising(AssertionError())) == "paid"
    assert world.calls == [("pay", "e/n/1/pay/1")] * 2


@pytest.mark.parametrize("policy", [STEP, REPEAT, IDEMPOTENT])
def test_a_call_that_raised_is_made_again_under_the_same_key(policy: EffectPolicy) -> None:
    world = World()
    effects = world.run()
    for again in (effects, effects, world.run()):
        with pytest.raises(ConnectionError):
            world.make(again, policy=policy, function=raising(ConnectionError()))
    assert world.make(effects, "pay", policy, ("other",), lambda: "other") == "other"
    assert world.make(effects, policy=policy, function=lambda: "paid") == "paid"
    assert [key for _, key in world.calls] == ["e/n/1/pay/1"] * 3 + ["e/n/1/pay/2", "e/n/1/pay/1"]


@pytest.mark.parametrize("policy", EffectPolicy)
def test_a_result_that_cannot_be_stored_is_refused_with_its_path(policy: EffectPolicy) -> None:
    world = World()
    with pytest.raises(InvalidValue, match=r"\$\.result\.a"):
        world.make(world.run(), policy=policy, function=lambda: {"a": object()})
    expected = {IDEMPOTENT: ["begun"], ONCE: ["begun", "unknown"]}.get(policy, [])
    assert [outcome for _, outcome in world.history] == expected


def test_names_are_ids() -> None:
    for name in ("", "a/b", "x" * 200, None):
        with pytest.raises(InvalidId):
            World().make(World().run(), name)  # type: ignore[arg-type]


def test_effects_and_their_results_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(effect_journal, "EFFECTS_MAX", 3)
    monkeypatch.setattr(effect_journal, "EFFECT_RESULTS_BYTES_MAX", 100)
    world = World()
    effects = world.run()
    world.make(effects, "a", STEP, (), lambda: "x" * 90)
    with pytest.raises(TooManyEffects, match="100 bytes"):
        world.make(effects, "b", STEP, (), lambda: "x" * 10)
    world.make(effects, "c", STEP)
    with pytest.raises(TooManyEffects, match="more than 3 effects"):
        world.make(effects, "d")
    assert [name for name, _ in world.calls] == ["a", "b", "c"], "refused before the call"
    with pytest.raises(TooManyEffects):
        world.make(effects, "d")
    assert len(world.make(world.run(), "a", STEP)) == 90, "what is on record is replayed"


NAMES = {"look": STEP, "mail": REPEAT, "pay": IDEMPOTENT, "ship": ONCE}


@given(
    plan=st.lists(st.tuples(st.sampled_from(sorted(NAMES)), st.integers(0, 2)), max_size=6),
    crashes=st.lists(st.integers(0, 20), max_size=4),
)
def test_whatever_crashes_every_policy_keeps_its_promise(
    plan: list[tuple[str, int]], crashes: list[int]
) -> None:
    """A node that does the same in every run, and dies at any points of it."""
    world = World()
    recorded: dict[str, Any] = {}
    for left in [*crashes, 10**6]:
        world.left = left
        effects = world.run()
        before = len(world.calls)
        ended = ("ship", "unknown")
        done = {slot for slot, one in world.records.items() if one.value is not None}
        try:
            for number, (name, argument) in enumerate(plan):
                value = world.make(effects, name, NAMES[name], (argument,), lambda n=number: n)
                assert value == recorded.setdefault(str(number), value) == number
        except Crash:
            pass
        except OutcomeUnknown as unknown:
            ended = (unknown.effect, world.records[unknown.key.removeprefix("e/n/1/")].outcome)
        assert ended == ("ship", "unknown")
        for _, key in world.calls[before:]:
            assert key.removeprefix("e/n/1/") not in done, "what was recorded was done again"
    keys = [key for name, key in world.calls if name == "ship"]
    assert len(keys) == len(set(keys)), "a once was called twice"
    if not any(one.outcome == "unknown" for one in world.records.values()):
        assert len({key for _, key in world.calls}) == len(plan)


def test_what_a_person_gave_up_stays_unknown_and_is_asked_about_no_more() -> None:
    world = World()
    with pytest.raises(OutcomeUnknown):
        world.make(world.run(), function=raising(ConnectionError()))
    known = world.records["pay/1"]
    assert known.ask is False
    asking = world.run().perform("pay", ONCE, known.digest, ask=True)
    wish = next(asking)
    assert isinstance(wish, Record)
    world.commit(wish)
    assert world.records["pay/1"].ask is True, "the node wants it now"
    given_up = EffectRecord(ONCE, EffectOutcome.GIVEN_UP, known.digest)
    world.records["pay/1"] = given_up
    with pytest.raises(OutcomeUnknown, match="a person gave it up"):
        next(world.run().perform("pay", ONCE, known.digest, ask=True))
    assert len(world.calls) == 1
