"""With which state a fork begins. The journal of a fork folds over it, so its meaning never changes
once released.
"""

import msgspec

from greenroom.protocol.branches import resting
from greenroom.protocol.execution import Accepted, ExecutionState, Status


def beginning(target: ExecutionState, accepted: Accepted) -> ExecutionState:
    """Return the state before the first record of a fork: all of `target`, the state at the
    position that `accepted.forked` names, but for what belonged to that execution alone: what was
    asked, what is on record of effects, its times and its end. `target` is given away.
    """
    return msgspec.structs.replace(
        target,
        accepted=accepted,
        seq=0,
        status=Status.QUEUED,
        effects={},
        run=1,
        error=None,
        started_at=None,
        ended_at=None,
        active_s=0.0,
        active_at=None,
        questions={},
        asked=0,
        branching=target.branching and resting(target.branching),
    )
