"""Many triggers in one commit, from the caller's event loop."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from greenroom.actors.host.submission import Submission
from greenroom.actors.host.trigger_options import TriggerItem
from greenroom.actors.host.triggering import build_trigger, execution_of
from greenroom.protocol.admission_errors import BatchTooLarge, InvalidItem
from greenroom.protocol.commit import CommitOutcome, OutcomeKind
from greenroom.protocol.entry_point import EntryPointSpec
from greenroom.protocol.errors import IdempotencyConflict, InvalidInput
from greenroom.protocol.limits import TRIGGER_MANY_BYTES_MAX, TRIGGER_MANY_MAX
from greenroom.protocol.stream_messages import Trigger

Item = TriggerItem | Mapping[str, Any] | None


def build_triggers(spec: EntryPointSpec, items: Sequence[Item], now: float) -> list[Trigger]:
    """The checked messages, one for each item.

    Raises InvalidItem with the index of the first that cannot be used, BatchTooLarge.
    """
    if isinstance(items, str | bytes | Mapping) or not isinstance(items, Sequence):
        raise InvalidInput(f"items is a {type(items).__name__}: pass a list")
    if len(items) > TRIGGER_MANY_MAX:
        raise BatchTooLarge("items", len(items), TRIGGER_MANY_MAX)
    triggers: list[Trigger] = []
    size = 0
    for index, one in enumerate(items):
        item = one if isinstance(one, TriggerItem) else TriggerItem(one)
        try:
            trigger = _build(spec, item, now)
        except InvalidInput as error:
            raise InvalidItem(index, error) from error
        size += sum(map(len, trigger.memory.values()))
        if size > TRIGGER_MANY_BYTES_MAX:
            raise BatchTooLarge("bytes of input", size, TRIGGER_MANY_BYTES_MAX)
        triggers.append(trigger)
    return triggers


def _build(spec: EntryPointSpec, item: TriggerItem, now: float) -> Trigger:
    if item.options.get("execution_id") is not None:
        raise InvalidInput("an item takes no execution_id: give it an idempotency_key")
    data, correlation_id = item.input_data, item.correlation_id
    return build_trigger(spec, data, now, correlation_id=correlation_id, **item.options)


async def accept_all(submission: Submission, triggers: Sequence[Trigger]) -> list[str]:
    """The ids of the executions that stand for the triggers, in their order.

    Repeats of an idempotency key, also within the batch, are answered the first id and keep nobody
    back; one that is in conflict refuses all. Raises as `Submission.submit_many` does, and
    IdempotencyConflict.
    """
    firsts = _firsts(triggers)
    ids: dict[str, str] = {}
    new: dict[str, Trigger] = {}
    for first in firsts:
        known = submission.known(first) if first.idempotency_key is not None else None
        if known is None:
            new[first.execution_id] = first
        else:
            ids[first.execution_id] = execution_of(known, first)[0]
    if new:
        outcome = await submission.submit_many(tuple(new.values()))
        ids.update(_ids_of(outcome, new))
    return [ids[first.execution_id] for first in firsts]


def _firsts(triggers: Iterable[Trigger]) -> list[Trigger]:
    """For each trigger the first with its idempotency key. Raises IdempotencyConflict."""
    by_key: dict[str, Trigger] = {}
    firsts = []
    for trigger in triggers:
        first = trigger
        if trigger.idempotency_key is not None:
            first = by_key.setdefault(trigger.idempotency_key, trigger)
            if first.digest != trigger.digest:
                raise IdempotencyConflict(trigger.idempotency_key, first.execution_id)
        firsts.append(first)
    return firsts


def _ids_of(outcome: CommitOutcome, new: Mapping[str, Trigger]) -> dict[str, str]:
    if outcome.kind is not OutcomeKind.APPLIED:
        offender = new.get(outcome.execution_id) or next(iter(new.values()))
        execution_of(outcome, offender)  # raises what its refusal means
    parts = {part.execution_id: part for part in outcome.parts}
    # One without a part was accepted before its stream crashed, and the batch came again.
    return {
        name: execution_of(parts.get(name, outcome), trigger)[0] for name, trigger in new.items()
    }
