"""How far an execution's reads and writes reach."""

from enum import StrEnum


class IsolationLevel(StrEnum):
    """What an execution may do with state that others see.

    `isolated`: only its own. `shared`: reads the latest committed value, the last writer wins.
    `synchronized`: serialisable; a step that lost a race runs again.
    """

    ISOLATED = "isolated"
    SHARED = "shared"
    SYNCHRONIZED = "synchronized"


class StateScope(StrEnum):
    """Where a key lives: in one execution (its memory), one entry point's stream, or everywhere."""

    EXECUTION = "execution"
    STREAM = "stream"
    GLOBAL = "global"
