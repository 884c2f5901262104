"""Effects of node runs: the rule's steps carried out, for async functions and for plain ones."""

import asyncio
import inspect
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from typing import Any, Final, TypeVar

import msgspec

from greenroom.actors.kernel.future import Future
from greenroom.actors.nodes.functions import NAMED
from greenroom.actors.nodes.host import NodesHost, is_async
from greenroom.actors.nodes.runs import NodeRun, StreamBinding
from greenroom.protocol.effect_errors import EffectNotDone, StaleNodeRun
from greenroom.protocol.effect_journal import Call, Record, Steps, VisitEffects
from greenroom.protocol.effects import EffectPolicy, OnUnknown, argument_digest
from greenroom.protocol.errors import (
    ActorError,
    InvalidInput,
    RuntimeNotRunning,
    StateAccessError,
)
from greenroom.protocol.stream_messages import RecordEffect
from greenroom.protocol.values import decode_value

Choice = TypeVar("Choice", bound=StrEnum)

KEY_PARAMETER: Final = "idempotency_key"


class EffectCall:
    """A call that a node wants to make as an effect; checked before anything is recorded.

    Raises InvalidInput for a policy that there is not and for what cannot be called, TypeError
    for arguments that do not fit, and as `argument_digest`.
    """

    __slots__ = (
        "_arguments",
        "_function",
        "_keywords",
        "_takes_key",
        "ask",
        "digest",
        "is_async",
        "name",
        "policy",
    )

    def __init__(
        self,
        name: str,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        keywords: dict[str, Any],
        policy: EffectPolicy | str,
        on_unknown: OnUnknown | str = OnUnknown.FAIL,
    ) -> None:
        self.policy = _one_of(EffectPolicy, "policy", policy)
        self.ask = _one_of(OnUnknown, "on_unknown", on_unknown) is OnUnknown.ASK
        if self.ask and self.policy is not EffectPolicy.ONCE:
            raise InvalidInput("on_unknown='ask' goes with policy='once': others are called again")
        if not callable(function):
            raise InvalidInput(f"effect {name!a:.80} needs a function: {function!a:.80} is none")
        self.name = name
        self.digest = argument_digest(arguments, keywords)
        self.is_async = is_async(function)
        self._function, self._arguments, self._keywords = function, arguments, keywords
        self._takes_key = False
        try:
            signature = inspect.signature(function)
        except ValueError:  # some built-ins have none
            return
        key = signature.parameters.get(KEY_PARAMETER)
        if key is not None and key.kind in NAMED and key.name not in keywords:
            bound = signature.bind_partial(*arguments, **keywords).arguments
            self._takes_key = key.name not in bound
        signature.bind(*arguments, **self._with_key(""))

    def with_key(self, key: str) -> Callable[[], Any]:
        """Return the call, given its key if it has a parameter for it that was left open."""
        return partial(self._function, *self._arguments, **self._with_key(key))

    def _with_key(self, key: str) -> dict[str, Any]:
        return {**self._keywords, KEY_PARAMETER: key} if self._takes_key else self._keywords


def _one_of(kind: type[Choice], name: str, given: str) -> Choice:
    try:
        return kind(given)
    except ValueError:
        choices = ", ".join(kind)
        raise InvalidInput(f"{name} is {given!a:.40}: use one of {choices}") from None


class _Course:
    """The steps of one effect on their way: the next `wish`, or none and the `result`."""

    __slots__ = ("_steps", "result", "wish")

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self.result = msgspec.Raw()
        self.wish: Call | Record | None = None
        self._go(steps.send, None)

    def done(self, value: object) -> None:
        """The wish was carried out."""
        self._go(self._steps.send, value)

    def failed(self, error: BaseException) -> None:
        """It raised."""
        self._go(self._steps.throw, error)

    def _go(self, move: Callable[[Any], Call | Record], given: object) -> None:
        try:
            self.wish = move(given)
        except StopIteration as end:
            self.wish, self.result = None, end.value


class EffectPerformer:
    """Performs the effects of one node run."""

    __slots__ = ("_binding", "_host", "_run", "_visit")

    def __init__(self, run: NodeRun, binding: StreamBinding, host: NodesHost) -> None:
        self._run = run
        self._binding = binding
        self._host = host
        self._visit = VisitEffects(
            run.execution_id,
            run.node,
            run.visit,
            run.effects or {},
            rewinds=run.rewinds,
            known_as=run.known_as,
        )

    async def perform(self, call: EffectCall) -> Any:
        """Return the effect's result, fresh from its stored form; on the nodes' loop."""
        course = _Course(self._visit.perform(call.name, call.policy, call.digest, ask=call.ask))
        while (wish := course.wish) is not None:
            value: Any = None
            try:
                if isinstance(wish, Record):
                    asked = self._ask(wish)
                    await _settled(asked)
                    _confirm(asked)
                else:
                    value = await self._made(call, wish.key)
            except BaseException as error:  # noqa: BLE001  the rule decides what is raised
                course.failed(error)
            else:
                course.done(value)
        return decode_value(course.result)

    def perform_sync(self, call: EffectCall) -> Any:
        """As `perform`, for plain functions in the pool.

        Raises StateAccessError on an event loop, InvalidInput for an async function.
        """
        if asyncio._get_running_loop() is not None:
            raise StateAccessError(
                f"effect {call.name!a:.80} would block the event loop: await ctx.effect() or "
                "ctx.step() in an async function, or use a plain node that is not inline"
            )
        if call.is_async:
            raise InvalidInput(
                f"the function of effect {call.name!a:.80} is async: await ctx.effect() or "
                "ctx.step() in an async node"
            )
        course = _Course(self._visit.perform(call.name, call.policy, call.digest, ask=call.ask))
        while (wish := course.wish) is not None:
            value: Any = None
            try:
                if isinstance(wish, Record):
                    _confirm(self._ask(wish))
                else:
                    value = call.with_key(wish.key)()
            except BaseException as error:  # noqa: BLE001  the rule decides what is raised
                course.failed(error)
            else:
                course.done(value)
        return decode_value(course.result)

    async def _made(self, call: EffectCall, key: str) -> Any:
        if call.is_async:
            return await call.with_key(key)()
        began = False

        def make() -> Any:
            nonlocal began
            began = True
            return call.with_key(key)()

        try:
            value = await self._host.in_pool(make)
        except RuntimeNotRunning as error:
            if began:
                raise
            raise EffectNotDone(f"effect {call.name!r} was not called: {error}") from error
        return await value if inspect.isawaitable(value) else value

    def _ask(self, wish: Record) -> Future[Any]:
        run = self._run
        message = RecordEffect(
            incarnation=self._binding.incarnation,
            execution_id=run.execution_id,
            token_id=run.token_id,
            visit=run.visit,
            attempt=run.attempt,
            slot=wish.slot,
            record=wish.record,
        )
        return self._binding.ref.ask(message, control=True)


async def _settled(asked: Future[Any]) -> None:
    """Wait for an answer; who stops waiting does not take the question back."""
    answered: Future[None] = Future()
    asked.add_done_callback(lambda _: answered.settle(None))
    await answered


def _confirm(asked: Future[Any]) -> None:
    """Raise StaleNodeRun unless the record is durable; blocks until that is known."""
    try:
        recorded = asked.get()
    except ActorError as error:
        raise StaleNodeRun(f"the stream of this node run is down: {error}") from error
    if not recorded:
        raise StaleNodeRun(
            "this run of the node counts no more, or its record was refused: nothing was recorded"
        )
