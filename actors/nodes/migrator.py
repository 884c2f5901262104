"""Asking the user's function how a session is made to fit a changed graph."""

import asyncio
import inspect
import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final

from msgspec import Raw, Struct

from greenroom.actors.nodes.host import NodesHost, is_async
from greenroom.protocol.errors import InvalidValue, RuntimeNotRunning
from greenroom.protocol.limits import MIGRATION_TIMEOUT_S, MIGRATIONS_HUNG_MAX
from greenroom.protocol.migration import Migration, OutdatedSession
from greenroom.protocol.values import encode_value

logger = logging.getLogger("greenroom.versions")

Migrate = Callable[[OutdatedSession], Any]
"""A user's function: returns a Migration or None, or an awaitable of one."""

_NO_LOOP: Final = "the migration was not asked: the event loop that nodes run on is closed"


class Asked(Struct, frozen=True):
    """What the function wants, checked and encoded; `reasons` when it wants nothing, or failed."""

    nodes: dict[str, str] = {}
    memory: dict[str, Raw] = {}
    forget: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()


Told = Callable[[Asked], object]


class Migrator:
    """Calls the function where nodes run, with a limit of time. `ask` is for any thread.

    A function that hangs too often is asked no more, so that a start ends at all.
    """

    def __init__(self, code: NodesHost, function: Migrate) -> None:
        self._code = code
        self._function = function
        self._hung = 0

    def ask(self, session: OutdatedSession, told: Told) -> None:
        """Call `told`, on the nodes' loop, with what becomes of the session."""
        asked = self._code.call_soon(lambda: self._code.spawn(self._ask(session, told)))
        if not asked:
            told(Asked(reasons=(*session.reasons, _NO_LOOP)))

    async def _ask(self, session: OutdatedSession, told: Told) -> None:
        told(await self._answer(session))

    async def _answer(self, session: OutdatedSession) -> Asked:
        if self._hung >= MIGRATIONS_HUNG_MAX:
            return _no(session, f"the migration was not asked: it hung {self._hung} times")
        try:
            async with asyncio.timeout(MIGRATION_TIMEOUT_S):
                answer = await self._call(session)
        except TimeoutError:
            self._hung += 1
            limit = f"{MIGRATION_TIMEOUT_S:g} s"
            return _no(session, f"the migration took over {limit}, or timed out itself")
        except GeneratorExit:
            raise  # the loop is closed, and nobody is left to tell
        except BaseException as error:
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                raise
            if not isinstance(error, RuntimeNotRunning):
                logger.warning("the migration of %s failed", session.session_id, exc_info=error)
            return _no(session, f"the migration failed: {type(error).__name__}: {error}")
        return checked(session, answer)

    async def _call(self, session: OutdatedSession) -> Any:
        if is_async(self._function):
            return await self._function(session)
        value = await self._code.in_pool(partial(self._function, session))
        return await value if inspect.isawaitable(value) else value


def checked(session: OutdatedSession, answer: object) -> Asked:
    """Return what a migration says, in a form that can be stored, or why it says nothing."""
    if answer is None:
        return Asked(reasons=session.reasons)
    if not isinstance(answer, Migration):
        kind = type(answer).__name__
        return _no(session, f"the migration returned a {kind}: return a Migration, or None")
    if not _texts(answer.nodes, answer.nodes.values() if _is_mapping(answer.nodes) else ()):
        return _no(session, "the migration's nodes must be a dict of names to names")
    if not _texts(answer.memory, ()):
        return _no(session, "the migration's memory must be a dict with str keys")
    keys: object = answer.drop
    drop = tuple(keys) if isinstance(keys, Iterable) and not isinstance(keys, str) else (None,)
    if not _all_texts(drop):
        return _no(session, "the migration's drop must be a list of keys")
    try:
        memory = {
            key: Raw(encode_value(value, f"memory.{key}")) for key, value in answer.memory.items()
        }
    except InvalidValue as error:
        return _no(session, f"the migration's memory cannot be stored: {error}")
    return Asked(nodes=dict(answer.nodes), memory=memory, forget=drop)


def _is_mapping(value: object) -> bool:
    return isinstance(value, Mapping)


def _texts(keys: object, values: Iterable[object]) -> bool:
    return isinstance(keys, Mapping) and _all_texts(keys) and _all_texts(values)


def _all_texts(values: Iterable[object]) -> bool:
    return all(isinstance(one, str) for one in values)


def _no(session: OutdatedSession, why: str) -> Asked:
    return Asked(reasons=(*session.reasons, why))
