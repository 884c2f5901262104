"""Takes webhook deliveries in: delivery id, event and execution in one commit, then the answer."""

from collections.abc import Awaitable, Callable
from typing import Final

from msgspec import Raw

from greenroom.actors.host.triggering import (
    encode_input,
    execution_of,
    fresh_execution_id,
)
from greenroom.actors.kernel.clock import Clock
from greenroom.actors.kernel.ref import ActorRef
from greenroom.actors.triggers.delivery import WebhookDelivery, WebhookReceipt
from greenroom.protocol.codec import encode
from greenroom.protocol.commit import (
    Commit,
    CommitOutcome,
    IdempotencyClaim,
    NewEvent,
    OutcomeKind,
)
from greenroom.protocol.errors import CommitRefused, StoreUnavailable
from greenroom.protocol.events import EventBody, EventType, Reference
from greenroom.protocol.limits import DELIVERY_WINDOW_S, EVENT_DATA_BYTES_MAX, WEBHOOK_BLOCK_S_MAX
from greenroom.protocol.messages import CommitNow, WriterMessage
from greenroom.protocol.stream_messages import Trigger
from greenroom.protocol.values import encode_value

Submit = Callable[[str, Trigger, float | None], Awaitable[CommitOutcome]]

NO_DIGEST: Final = b""  # a repeated delivery is a repeat whatever its body says


class RuntimeWebhookSink:
    """A WebhookSink over a runtime. Any event loop.

    With an entry point the delivery's data becomes the execution's input, and the event refers to
    it when it is large; without one the event is all there is, with its data beside it.
    """

    def __init__(self, submit: Submit, writer: ActorRef[WriterMessage], clock: Clock) -> None:
        self._submit = submit
        self._writer = writer
        self._clock = clock

    async def accept(self, delivery: WebhookDelivery) -> WebhookReceipt:
        """Store the delivery and return. See WebhookSink for what is raised."""
        if delivery.entry_point is None:
            return await self._publish(delivery)
        return await self._start(delivery, delivery.entry_point)

    async def _start(self, delivery: WebhookDelivery, entry_point: str) -> WebhookReceipt:
        data = delivery.data()
        now = self._clock.now()
        memory = encode_input(data)
        execution_id = fresh_execution_id(now)
        event = _event(delivery, encode_value(data), now, kind="delivery", execution=execution_id)
        trigger = Trigger(
            request=0,
            execution_id=execution_id,
            memory=memory,
            idempotency_namespace=_namespace(delivery),
            idempotency_key=delivery.delivery_id,
            idempotency_window_s=DELIVERY_WINDOW_S,
            digest=NO_DIGEST,
            events=(Raw(encode(event)),),
        )
        outcome = await self._submit(entry_point, trigger, WEBHOOK_BLOCK_S_MAX)
        first, repeat = execution_of(outcome, trigger)
        return WebhookReceipt(execution_id=first, duplicate=repeat)

    async def _publish(self, delivery: WebhookDelivery) -> WebhookReceipt:
        now = self._clock.now()
        encoded = encode_value(delivery.data())
        body = _event(delivery, encoded, now, kind="payload")
        payload = Raw(encoded) if body.reference is not None else None
        claims: tuple[IdempotencyClaim, ...] = ()
        if delivery.delivery_id is not None:
            claims = (
                IdempotencyClaim(
                    _namespace(delivery),
                    delivery.delivery_id,
                    NO_DIGEST,
                    now + DELIVERY_WINDOW_S,
                ),
            )
        commit = Commit(
            commit_id=0,
            stream="",
            incarnation=0,
            events=(NewEvent(Raw(encode(body)), payload),),
            idempotency=claims,
        )
        outcome: CommitOutcome = await self._writer.ask(CommitNow(commit=commit))
        match outcome.kind:
            case OutcomeKind.APPLIED:
                return WebhookReceipt()
            case OutcomeKind.DUPLICATE:
                return WebhookReceipt(duplicate=True)
            case OutcomeKind.UNAVAILABLE:
                raise StoreUnavailable(outcome.text)
            case _:
                raise CommitRefused(f"{outcome.code}: {outcome.text}")


def _namespace(delivery: WebhookDelivery) -> str:
    return "" if delivery.delivery_id is None else f"webhook:{delivery.source_id}"


def _event(
    delivery: WebhookDelivery,
    encoded: bytes,
    now: float,
    *,
    kind: str,
    execution: str | None = None,
) -> EventBody:
    small = len(encoded) <= EVENT_DATA_BYTES_MAX
    return EventBody(
        type=EventType.WEBHOOK_RECEIVED,
        at=now,
        stream=delivery.source_id,
        execution=execution,
        correlation=execution,
        data=Raw(encoded) if small else None,
        reference=None if small else Reference(kind, len(encoded)),
    )
