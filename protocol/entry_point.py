"""Entry points: how work comes in, how much of it at once, and what it may touch."""

from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

from greenroom.protocol.budget import Budget, check_budget
from greenroom.protocol.errors import InvalidConfig
from greenroom.protocol.event_filter import event_types
from greenroom.protocol.ids import validate_id
from greenroom.protocol.isolation import IsolationLevel
from greenroom.protocol.limits import (
    BLOCK_S_MAX,
    CONCURRENT_DEFAULT,
    CONCURRENT_MAX,
    IDEMPOTENCY_WINDOW_S,
    IDEMPOTENCY_WINDOW_S_MAX,
    PRIORITY_MAX,
    QUEUED_MAX,
    QUEUED_MAX_DEFAULT,
    TIMEOUT_S_MAX,
)
from greenroom.protocol.rate_limit import RateLimit, rate_limit_of
from greenroom.protocol.settings import check_integer, check_number, member, require


class TriggerType(StrEnum):
    """What starts executions. Only `event` does so by itself; `webhook`, `api`, `manual` are labels
    for the caller, be it a webhook route or `runtime.trigger`. `timer` has no behaviour yet.
    """

    WEBHOOK = "webhook"
    API = "api"
    TIMER = "timer"
    EVENT = "event"
    MANUAL = "manual"


class Overflow(StrEnum):
    """What becomes of a trigger when `max_queued` executions wait.

    `reject` raises Overloaded. `block` lets the caller wait for a place, in the order of arrival.
    `drop_oldest` accepts it, and cancels the one that was accepted first and never started.
    """

    REJECT = "reject"
    BLOCK = "block"
    DROP_OLDEST = "drop_oldest"


EVENT_TRIGGER_KEYS = frozenset(
    {"event_types", "filter_stream", "filter_node", "include_own_events"}
)

if TYPE_CHECKING:  # a plain str is accepted and converted; decoding knows the members only
    TriggerTypeLike: TypeAlias = TriggerType | str
    IsolationLevelLike: TypeAlias = IsolationLevel | str
    OverflowLike: TypeAlias = Overflow | str
    RateLimitLike: TypeAlias = RateLimit | str | None
else:
    TriggerTypeLike = TriggerType
    IsolationLevelLike = IsolationLevel
    OverflowLike = Overflow
    RateLimitLike = RateLimit | None


class EntryPointSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One way into the graph. Its id is also the id of its stream.

    `trigger_config` is read for `trigger_type="event"` only: `event_types` (list of str),
    `filter_stream`, `filter_node` (str or None), `include_own_events` (bool, default False).
    `priority`: one step counts as a minute of waiting in the queue. `max_concurrent`: executions
    of this entry point that run at once. `max_queued`: accepted ones that wait; what happens to
    more is the choice of `overflow`, where `block_timeout_s` is the longest wait of `block` in
    seconds (None: no limit). `rate_limit`: how many are accepted in a span of time, as a RateLimit
    or as text, "10/s"; more raise RateLimited. `idempotency_window_s`: how long an idempotency key
    is remembered, in seconds from acceptance. `budget`: how much an execution may use, unless its
    trigger says otherwise. `timeout_s`: how many seconds an execution may run, unless its trigger
    says otherwise; time in which it is queued, waits or is paused does not count. Plain strings are
    accepted for `trigger_type`, `isolation_level` and `overflow`.

    Raises InvalidId and InvalidConfig when constructed with values that cannot be used.
    """

    id: str
    entry_node: str
    name: str = ""
    trigger_type: TriggerTypeLike = TriggerType.MANUAL
    trigger_config: dict[str, Any] = {}
    isolation_level: IsolationLevelLike = IsolationLevel.SHARED
    priority: int = 0
    max_concurrent: int = CONCURRENT_DEFAULT
    max_queued: int = QUEUED_MAX_DEFAULT
    overflow: OverflowLike = Overflow.REJECT
    block_timeout_s: float | None = None
    rate_limit: RateLimitLike = None
    idempotency_window_s: float = IDEMPOTENCY_WINDOW_S
    timeout_s: float | None = None
    budget: Budget | None = None

    def __post_init__(self) -> None:
        validate_id("entry point", self.id)
        where = f"entry point {self.id!r}: "
        require(isinstance(self.entry_node, str), where + "entry_node must be a node id (str)")
        if not self.name:
            msgspec.structs.force_setattr(self, "name", self.id)
        for field, kind in _MEMBERS:
            value = member(where + field, getattr(self, field), kind)
            msgspec.structs.force_setattr(self, field, value)
        check_integer(where + "priority", self.priority, -PRIORITY_MAX, PRIORITY_MAX)
        check_integer(where + "max_concurrent", self.max_concurrent, 1, CONCURRENT_MAX)
        check_integer(where + "max_queued", self.max_queued, 0, QUEUED_MAX)
        check_number(
            where + "idempotency_window_s", self.idempotency_window_s, 0, IDEMPOTENCY_WINDOW_S_MAX
        )
        if self.timeout_s is not None:
            check_number(where + "timeout_s", self.timeout_s, 0, TIMEOUT_S_MAX)
        check_budget(self.budget)
        self._check_overflow(where)
        msgspec.structs.force_setattr(self, "rate_limit", rate_limit_of(where, self.rate_limit))
        require(isinstance(self.trigger_config, dict), where + "trigger_config must be a dict")
        if self.trigger_type == TriggerType.EVENT:
            _check_event_trigger(where, self.trigger_config)

    def _check_overflow(self, where: str) -> None:
        if self.block_timeout_s is not None:
            require(
                self.overflow == Overflow.BLOCK, where + "block_timeout_s needs overflow='block'"
            )
            check_number(where + "block_timeout_s", self.block_timeout_s, 0, BLOCK_S_MAX)
        require(
            self.max_queued > 0 or self.overflow != Overflow.DROP_OLDEST,
            where + "overflow='drop_oldest' needs a max_queued of 1 or more: there is none to drop",
        )

    @property
    def rate(self) -> RateLimit | None:
        """`rate_limit` as what it always is after construction."""
        assert not isinstance(self.rate_limit, str), "converted at construction"
        return self.rate_limit

    @property
    def isolation(self) -> IsolationLevel:
        """`isolation_level` as the enum member that it always is after construction."""
        return IsolationLevel(self.isolation_level)

    @property
    def trigger(self) -> TriggerType:
        """`trigger_type` as the enum member that it always is after construction."""
        return TriggerType(self.trigger_type)


_MEMBERS: Final = (
    ("trigger_type", TriggerType),
    ("isolation_level", IsolationLevel),
    ("overflow", Overflow),
)


def _check_event_trigger(where: str, config: dict[str, Any]) -> None:
    unknown = sorted(str(key) for key in config if key not in EVENT_TRIGGER_KEYS)
    if unknown:
        raise InvalidConfig(
            f"{where}trigger_config has unknown keys {unknown}: use {sorted(EVENT_TRIGGER_KEYS)}"
        )
    types = config.get("event_types", [])
    require(
        isinstance(types, list | tuple) and all(isinstance(item, str) for item in types),
        where + "trigger_config['event_types'] must be a list of event type names",
    )
    event_types(where + "trigger_config['event_types']", types)
    for key in ("filter_stream", "filter_node"):
        require(
            config.get(key) is None or isinstance(config[key], str),
            f"{where}trigger_config[{key!r}] must be a str or None",
        )
    require(
        isinstance(config.get("include_own_events", False), bool),
        where + "trigger_config['include_own_events'] must be True or False",
    )
