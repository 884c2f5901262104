"""Policy for named checkpoints."""

from typing import Final

import msgspec

from greenroom.protocol.errors import UnsupportedSetting
from greenroom.protocol.limits import CHECKPOINT_AGE_DAYS_MAX, STEPS_MAX
from greenroom.protocol.settings import check_integer, require

_NUMBERS: Final = ("max_age_days", "prune_every_n_nodes", "keep_last_n_nodes")
_WITHOUT_MEANING: Final = ("async_checkpoint", "include_full_memory", "include_metrics")


class CheckpointConfig(msgspec.Struct, frozen=True, kw_only=True):
    """When checkpoints are made by themselves, and how long they are kept.

    A checkpoint is a name for a position in a session's journal, made in the transaction of the
    step that it names. Recovery does not depend on checkpoints: every step is journaled in any
    case. A name keeps what it leads to when the journal of a long session is cut; removing a name
    removes nothing that another one needs.

    With `enabled` a pause is named; with `checkpoint_on_node_start` the first start of each visit
    of a node; with `checkpoint_on_node_complete` each node that was done, the last one and routers
    included. Whenever a session has visited `prune_every_n_nodes` more nodes (0: never), its
    names that are older than `max_age_days` leave, and those made by themselves before its last
    `keep_last_n_nodes` visits (None: no such limit).

    `async_checkpoint`, `include_full_memory` and `include_metrics` have no meaning for a name: at
    other values than their defaults a runtime refuses them with UnsupportedSetting.

    Raises InvalidConfig when constructed with values that cannot be used.
    """

    enabled: bool = True
    checkpoint_on_node_start: bool = True
    checkpoint_on_node_complete: bool = True
    max_age_days: int = 7
    prune_every_n_nodes: int = 10
    keep_last_n_nodes: int | None = None
    async_checkpoint: bool = True
    include_full_memory: bool = True
    include_metrics: bool = True

    def __post_init__(self) -> None:
        for field in self.__struct_fields__:
            if field not in _NUMBERS:
                require(isinstance(getattr(self, field), bool), f"{field} must be True or False")
        check_integer("max_age_days", self.max_age_days, 0, CHECKPOINT_AGE_DAYS_MAX)
        check_integer("prune_every_n_nodes", self.prune_every_n_nodes, 0, STEPS_MAX)
        if self.keep_last_n_nodes is not None:
            check_integer("keep_last_n_nodes", self.keep_last_n_nodes, 1, STEPS_MAX)

    def unsupported(self) -> list[UnsupportedSetting]:
        """Return one error for each setting without a meaning that is not at its default."""
        hint = "a checkpoint is a name for a step: it has no contents of its own"
        return [
            UnsupportedSetting(f"checkpoint_config: {name}", hint)
            for name in _WITHOUT_MEANING
            if not getattr(self, name)
        ]


DEFAULT_CHECKPOINT_CONFIG: Final = CheckpointConfig()
MINIMAL_CHECKPOINT_CONFIG: Final = CheckpointConfig(
    checkpoint_on_node_start=False, prune_every_n_nodes=20
)
DISABLED_CHECKPOINT_CONFIG: Final = CheckpointConfig(enabled=False)
