"""Input for a node, from the caller's event loop: an answer, or kept until the node asks."""

from typing import Any

from msgspec import Raw
from uuid_utils import uuid4

from greenroom.actors.host.assembly import Assembly
from greenroom.actors.host.pausing import served_by
from greenroom.actors.host.questions import answer
from greenroom.actors.host.waiting import wish
from greenroom.protocol.engine.injecting import Reception, is_kept, reception
from greenroom.protocol.errors import StreamUnavailable
from greenroom.protocol.execution import ExecutionState
from greenroom.protocol.ids import validate_id
from greenroom.protocol.limits import INJECT_TRIES_MAX, QUESTIONS_OPEN_MAX
from greenroom.protocol.people_errors import AmbiguousBranch, AmbiguousInput, InboxFull
from greenroom.protocol.questions import AnswerOutcome, InjectionOutcome, question_id
from greenroom.protocol.stream_messages import AtNode, InjectInput
from greenroom.protocol.values import encode_value
from greenroom.storage.questions import Wanted
from greenroom.storage.reader import Reader


async def inject(
    assembly: Assembly, node_id: str, content: Any, execution_id: str | None
) -> InjectionOutcome:
    """What became of the input, after its commit; see `PeopleCalls.inject_input`."""
    validate_id("node", node_id)
    value = Raw(encode_value(content))
    if execution_id is None:
        found = await _candidates(assembly, node_id)
        if not found:
            return InjectionOutcome.NOBODY_WAITS
        if len(found) > 1:
            raise AmbiguousInput(node_id, found)
        (execution_id,) = found
    entry_point = served_by(assembly, execution_id)
    message = InjectInput(execution_id=execution_id, node=node_id, value=value, request=uuid4().hex)
    for _ in range(INJECT_TRIES_MAX):
        # Each round that changes nothing means that the execution has moved on meanwhile.
        asked = _open_question(assembly, execution_id, node_id)
        if asked is not None:
            _refuse_several(_state(assembly, execution_id), execution_id, node_id)
            if await answer(assembly, asked, content, None) is AnswerOutcome.ACCEPTED:
                return InjectionOutcome.ANSWERED
            continue
        if await wish(assembly, entry_point, message):
            return InjectionOutcome.KEPT
        state = _state(assembly, execution_id)
        if state is not None and is_kept(state, message.request):
            return InjectionOutcome.KEPT
        can = Reception.NOBODY if state is None else reception(state, node_id, len(value))
        _refuse_several(state, execution_id, node_id)
        if can is Reception.FULL:
            raise InboxFull(execution_id, node_id)
        if can is Reception.NOBODY:
            return InjectionOutcome.NOBODY_WAITS
    raise StreamUnavailable(f"execution {execution_id} moves on too fast: try again")


async def _candidates(assembly: Assembly, node_id: str) -> list[str]:
    """Two at most of the executions that run the node now, or wait at it.

    In this order: a node that ends between the two has its question in the store by then. One that
    is entered again between them is found by the second look.
    """
    found = await _at_node(assembly, node_id) | _waiting_at(assembly, node_id)
    if not found:
        found = await _at_node(assembly, node_id)
    return list(found)[:2]


async def _at_node(assembly: Assembly, node_id: str) -> dict[str, None]:
    found: dict[str, None] = {}
    for ref in assembly.streams.refs.values():
        found |= dict.fromkeys(await ref.ask(AtNode(node=node_id)))
    return found


def _waiting_at(assembly: Assembly, node_id: str) -> dict[str, None]:
    wanted = Wanted(node=node_id)
    waiting = assembly.store.read(
        lambda reader: reader.pending_questions(wanted, None, QUESTIONS_OPEN_MAX + 1)
    )
    return dict.fromkeys(one.record.execution_id for one in waiting if one.record.to)


def _open_question(assembly: Assembly, execution_id: str, node_id: str) -> str | None:
    wanted = Wanted(execution_id=execution_id, node=node_id)
    found = assembly.store.read(
        lambda reader: reader.pending_questions(wanted, None, QUESTIONS_OPEN_MAX)
    )
    for one in found:
        if one.record.to:
            return question_id(execution_id, one.number)
    return None


def _refuse_several(state: ExecutionState | None, execution_id: str, node_id: str) -> None:
    if state is not None and reception(state, node_id, 0) is Reception.SEVERAL:
        raise AmbiguousBranch(node_id, execution_id)


def _state(assembly: Assembly, execution_id: str) -> ExecutionState | None:
    def load(reader: Reader) -> ExecutionState | None:
        found = reader.execution(execution_id)
        return None if found is None else reader.load_state(found.ordinal)

    return assembly.store.read(load)
