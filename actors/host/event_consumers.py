"""Which entry points events drive, and the end of those that are no more."""

import logging
from collections.abc import Iterable, Sequence

from greenroom.actors.kernel.ref import ActorRef
from greenroom.protocol.entry_point import EntryPointSpec, TriggerType
from greenroom.protocol.event_trigger import CONSUMER_PREFIX, consumer_name
from greenroom.protocol.messages import DropCursor, WriterMessage
from greenroom.storage.store import Store

logger = logging.getLogger("greenroom.host")


def event_driven(entry_points: Iterable[EntryPointSpec]) -> list[EntryPointSpec]:
    """The entry points that wait for events; one that names none is warned of and left out."""
    driven = []
    for spec in entry_points:
        if spec.trigger is not TriggerType.EVENT:
            continue
        if spec.trigger_config.get("event_types"):
            driven.append(spec)
        else:
            logger.warning("entry point %s has no event_types: no event starts it", spec.id)
    return driven


async def forget_others(
    store: Store, writer: ActorRef[WriterMessage], driven: Sequence[EntryPointSpec]
) -> None:
    """Drop the positions of event-driven entry points that are gone.

    They would hold back the pruning of the log for ever. One that comes back begins at the end of
    the log, as a new one does.
    """
    kept = {consumer_name(spec.id) for spec in driven}
    for consumer in store.read(lambda reader: reader.cursors()):
        if consumer.startswith(CONSUMER_PREFIX) and consumer not in kept:
            logger.info("%s is gone: its position in the log is dropped", consumer)
            await writer.ask(DropCursor(consumer=consumer), control=True)
