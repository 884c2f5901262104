"""The part of `NodeContext` by which nodes reach the outside: effects, and durable sub-steps."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from greenroom.actors.nodes.effects import EffectCall, EffectPerformer
from greenroom.protocol.effects import EffectPolicy, OnUnknown, idempotency_key
from greenroom.protocol.ids import validate_id


class EffectCalls(ABC):
    """Calls to the outside that are recorded as they are made, before the node's step closes.

    When the node runs again in the same visit (a retry, a crash, a lost race, a resume), what is
    recorded is returned as a fresh copy and the function is not called, if the call has the same
    name, the same place among the calls of that name, and equal arguments. Other arguments make
    it a new effect. So derive the arguments from inputs and recorded steps, and give calls that
    are under way at the same time names of their own.

    Arguments and results are storable values. A function with a parameter `idempotency_key` that
    is not given one gets the effect's key. What it raises is not a result: the node gets the
    error, and the same call, made again in this run or a later one, keeps its key.
    """

    __slots__ = ()

    execution_id: str
    node_id: str
    visit: int
    rewinds: int
    known_as: str | None

    @abstractmethod
    def _performer(self) -> EffectPerformer:
        """The effects of this run."""

    @property
    def idempotency_key(self) -> str:
        """The key of this visit of the node: equal in every run of it, new on a new visit, and
        after each time that the execution was taken back to a checkpoint.
        """
        return self._key(None)

    def _key(self, slot: str | None) -> str:
        return idempotency_key(
            self.execution_id,
            self.node_id,
            self.visit,
            slot,
            rewinds=self.rewinds,
            known_as=self.known_as,
        )

    def idempotency_key_for(self, name: str) -> str:
        """A key of this visit for one of several calls. Raises InvalidId for a name that is none.

        `effect` and `step` make keys of their own, which tell also repeated calls apart.
        """
        return self._key(validate_id("effect", name))

    async def effect(
        self,
        name: str,
        function: Callable[..., Any],
        /,
        *arguments: Any,
        policy: EffectPolicy | str = EffectPolicy.REPEAT,
        on_unknown: OnUnknown | str = OnUnknown.FAIL,
        **keywords: Any,
    ) -> Any:
        """Call `function(*arguments, **keywords)` and have its result recorded; returns it.

        Async functions run here, plain ones in the pool. When the node runs again and no result
        was recorded, "repeat" calls it again; "idempotent" too, and has on record before the call
        that it was begun, and with which key; "once" is on record likewise and is never called
        again: that raises OutcomeUnknown, which is not retried, and so does a function that
        raises, unless it raises EffectNotDone to say that nothing happened.

        When a node run ends with that error, it fails; with `on_unknown="ask"` a person is asked
        instead, and the node runs again in its visit when `runtime.answer` has what came of it:
        {"outcome": "happened", "result": ...}, {"outcome": "call_again"}, or {"outcome": "fail"}.

        Raises StaleNodeRun when this run counts no more, EffectMismatch for a `once` whose
        arguments have changed, TooManyEffects, InvalidId, InvalidInput, InvalidValue,
        ValueTooLarge, and what the function raises.
        """
        return await self._performer().perform(
            EffectCall(name, function, arguments, keywords, policy, on_unknown)
        )

    async def step(
        self, name: str, function: Callable[..., Any], /, *arguments: Any, **keywords: Any
    ) -> Any:
        """Call the function once it has no recorded result, and have the result recorded.

        As `effect` with the policy "repeat", without events: for what is worth keeping, but may be
        done again. One commit.
        """
        return await self._performer().perform(
            EffectCall(name, function, arguments, keywords, EffectPolicy.STEP)
        )

    def effect_sync(
        self,
        name: str,
        function: Callable[..., Any],
        /,
        *arguments: Any,
        policy: EffectPolicy | str = EffectPolicy.REPEAT,
        on_unknown: OnUnknown | str = OnUnknown.FAIL,
        **keywords: Any,
    ) -> Any:
        """As `effect`, for plain functions, with a plain function."""
        return self._performer().perform_sync(
            EffectCall(name, function, arguments, keywords, policy, on_unknown)
        )

    def step_sync(
        self, name: str, function: Callable[..., Any], /, *arguments: Any, **keywords: Any
    ) -> Any:
        """As `step`, for plain functions, with a plain function."""
        return self._performer().perform_sync(
            EffectCall(name, function, arguments, keywords, EffectPolicy.STEP)
        )
