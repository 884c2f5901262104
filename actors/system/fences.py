"""What a new instance of a stream must have stored before it serves."""

import asyncio
from typing import Any, Final

from msgspec import Raw

from greenroom.actors.kernel.ref import ActorRef
from greenroom.protocol.codec import encode
from greenroom.protocol.errors import StoreUnavailable
from greenroom.protocol.messages import NotePlan, RaiseFence, WriterMessage
from greenroom.protocol.versions import PlanVersion

RETRY_S: Final = 0.25


async def raise_fence(writer: ActorRef[WriterMessage], stream: str) -> int:
    """Return the incarnation number for the new instance of `stream`; older ones are refused from
    now on.

    While the store cannot write it waits: an instance that failed instead would be restarted until
    its supervisor gave it up, for a fault that is not its own. Its time to start bounds the wait.
    """
    incarnation: int = await _stored(writer, RaiseFence(stream=stream))
    return incarnation


async def note_plan(writer: ActorRef[WriterMessage], plan: PlanVersion) -> None:
    """Return when it is stored what a graph's digest stands for; waits as `raise_fence` does."""
    description = Raw(encode(plan))
    await _stored(writer, NotePlan(digest=plan.digest, description=description))


async def _stored(writer: ActorRef[WriterMessage], message: RaiseFence | NotePlan) -> Any:
    while True:
        try:
            return await writer.ask(message, control=True)
        except StoreUnavailable:
            await asyncio.sleep(RETRY_S)
