"""From a trigger that forks an execution to the tick that accepts the fork."""

from greenroom.protocol.beginnings import beginning
from greenroom.protocol.engine.ticks import Fork
from greenroom.protocol.errors import StoreCorrupt
from greenroom.protocol.execution import Accepted, Status, asked_again
from greenroom.protocol.forked import Forked
from greenroom.protocol.stream_messages import Trigger
from greenroom.storage.reader import Reader


def read_fork(trigger: Trigger, origin: Forked, accepted: Accepted, reader: Reader) -> Fork:
    """The tick by which the fork is accepted that goes on from `origin`.

    What has been recorded never changes, so it is right whenever its turn comes. Raises
    StoreCorrupt when the position cannot be read, or is there no more, HistoryPruned when it was
    cut since.
    """
    target = reader.load_state(origin.ordinal, origin.seq)
    asked = []
    for number, token_id in asked_again(target):
        found = reader.question(target.accepted.execution_id, number)
        if found is None:
            text = f"question {number} of {origin.execution_id} is not in the store"
            raise StoreCorrupt(text)
        asked.append((token_id, found.record))
    failed = target.status is Status.FAILED
    return Fork(
        base=beginning(target, accepted),
        memory=trigger.memory,
        asked=tuple(asked),
        budget=trigger.budget,
        failed=failed,
    )
