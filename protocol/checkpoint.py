"""Policy for named checkpoints."""

from typing import Final

import msgspec

from greenroom.protocol.settings import check_integer, require


class CheckpointConfig(msgspec.Struct, frozen=True, kw_only=True):
    """When named checkpoints are made and how long they are kept.

    Named checkpoints have no behaviour yet: a runtime accepts None or a config that is not
    `enabled`. Recovery does not depend on them: every step is journaled in any case.

    Raises InvalidConfig when constructed with values that cannot be used.
    """

    enabled: bool = True
    checkpoint_on_node_start: bool = True
    checkpoint_on_node_complete: bool = True
    max_age_days: int = 7
    prune_every_n_nodes: int = 10
    async_checkpoint: bool = True
    include_full_memory: bool = True
    include_metrics: bool = True

    def __post_init__(self) -> None:
        for field in self.__struct_fields__:
            if field not in ("max_age_days", "prune_every_n_nodes"):
                require(isinstance(getattr(self, field), bool), f"{field} must be True or False")
        check_integer("max_age_days", self.max_age_days, 0, 36_500)
        check_integer("prune_every_n_nodes", self.prune_every_n_nodes, 0, 1_000_000)


DEFAULT_CHECKPOINT_CONFIG: Final = CheckpointConfig()
MINIMAL_CHECKPOINT_CONFIG: Final = CheckpointConfig(
    checkpoint_on_node_start=False, prune_every_n_nodes=20
)
DISABLED_CHECKPOINT_CONFIG: Final = CheckpointConfig(enabled=False)
