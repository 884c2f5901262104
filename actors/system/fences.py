"""Raising a fence, which a new instance must do before it reads anything."""

import asyncio
from typing import Final

from greenroom.actors.kernel.ref import ActorRef
from greenroom.protocol.errors import StoreUnavailable
from greenroom.protocol.messages import RaiseFence, WriterMessage

RETRY_S: Final = 0.25


async def raise_fence(writer: ActorRef[WriterMessage], stream: str) -> int:
    """Return the incarnation number for the new instance of `stream`; older ones are refused from
    now on.

    While the store cannot write it waits: an instance that failed instead would be restarted until
    its supervisor gave it up, for a fault that is not its own. Its time to start bounds the wait.
    """
    while True:
        try:
            incarnation: int = await writer.ask(RaiseFence(stream=stream), control=True)
        except StoreUnavailable:
            await asyncio.sleep(RETRY_S)
        else:
            return incarnation
