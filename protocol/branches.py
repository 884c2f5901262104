"""Branches of an execution: what is recorded of a fan-out until its branches are joined.

A *fan-out* is open from the step in which a node is left by several ways until the step that joins
them; the run of a map edge and of a graph within a graph are fan-outs, too. Each way is a *branch*.
What it writes lies in an *overlay* over what it was given and over the memory of the branch that it
is in, or of the main line, which is branch 0; nobody else sees it before the join.

Numbers of fan-outs, of branches and, as negative ones, of the tokens in branches are given once in
an execution.
"""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import cached_property
from heapq import heapify, heappop, heappush
from typing import Final

import msgspec

from greenroom.protocol.optional_raw import OptionalRaw
from greenroom.protocol.parallel import MemoryConflictStrategy, OnBranchFailure

MAIN: Final = 0
"""The branch of the main line, which is in no table."""

_STALE_MAX: Final = 64  # times of branches that run no more, before they are cleared away
_split: Final = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode


class FanKind(StrEnum):
    """What fans out."""

    EDGES = "edges"  # the edges of a node
    MAP = "map"  # one edge, over a list
    SUBGRAPH = "subgraph"  # a node that is a graph: one branch, which sees what it was given


class BranchStatus(StrEnum):
    """How far a branch has come."""

    OPEN = "open"
    ARRIVED = "arrived"
    FAILED = "failed"


class FanMap(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """What the branches of a map have in common: `items` is the encoded list."""

    items: msgspec.Raw
    total: int
    target: str
    concurrency: int
    item: str
    into: str
    index: str | None = None
    collect: str | None = None
    inputs: dict[str, msgspec.Raw] = {}  # that every branch gets, beside those of its own


class Fan(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """A fan-out that is open. It was left from `node`, in `branch`, and goes on there at `join`,
    or, without one, is the end of that branch.
    """

    node: str
    kind: FanKind = FanKind.EDGES
    branch: int = MAIN
    join: str | None = None
    visit: int = 1  # of the node
    on_failure: OnBranchFailure = OnBranchFailure.FAIL_ALL
    on_conflict: MemoryConflictStrategy = MemoryConflictStrategy.LAST_WINS
    timeout_s: float | None = None  # that each branch may run
    map: FanMap | None = None

    def needs(self) -> list[str]:
        """The nodes without which its branches could not go on."""
        found = [] if self.join is None else [self.join]
        if self.map is not None:
            found.append(self.map.target)
        if self.kind is FanKind.SUBGRAPH:
            found.append(self.node)
        return found

    def renamed(self, nodes: Mapping[str, str]) -> "Fan":
        """Return it with the names of nodes that `nodes` maps replaced."""
        spec = self.map
        if spec is not None:
            spec = msgspec.structs.replace(spec, target=nodes.get(spec.target, spec.target))
        return msgspec.structs.replace(
            self,
            node=nodes.get(self.node, self.node),
            join=None if self.join is None else nodes.get(self.join, self.join),
            map=spec,
        )


class Branch(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """One branch of a fan-out: the `index`-th in the order of edges, or of the list.

    It had run for `used_s` when it last stood still; since `since` (wall UTC seconds) it runs.
    Both are counted when its fan-out has a timeout.
    """

    fan: int
    index: int = 0
    inputs: dict[str, msgspec.Raw] = {}
    status: BranchStatus = BranchStatus.OPEN
    error: str | None = None
    used_s: float = 0.0
    since: float | None = None
    again: bool = False  # it failed, and goes on when fewer elements of its map run


class MapResult(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What came of one element of a map: a value, or an error."""

    value: OptionalRaw = None
    error: str | None = None


class Branching(msgspec.Struct, omit_defaults=True, kw_only=True, dict=True):
    """The part of an execution's state that is about branches; changed in place by `apply`.

    `overlays` and `visits` are by branch; `visits` counts those of nodes in a branch of a map.
    `results` are by fan-out and place in the list. `newest` is the greatest number given so far.
    `index` can be told from the rest, and is not stored.
    """

    fans: dict[int, Fan] = {}
    branches: dict[int, Branch] = {}
    overlays: dict[int, dict[str, msgspec.Raw]] = {}
    results: dict[int, dict[int, MapResult]] = {}
    visits: dict[int, dict[str, int]] = {}
    newest: int = 0

    @cached_property
    def index(self) -> "BranchIndex":
        """Made when it is first asked for; `apply_branching` keeps it."""
        return BranchIndex(self.fans, self.branches)


class BranchIndex:
    """What belongs to what in a `Branching`. Without it every step would look at every branch.

    `members` has the branches of each fan-out, `opened` how many of them are open, `inner` the
    fan-outs that are open directly in each branch.
    """

    __slots__ = ("_branches", "_ends", "_fans", "_items", "inner", "members", "opened")

    def __init__(self, fans: dict[int, Fan], branches: dict[int, Branch]) -> None:
        self._fans, self._branches = fans, branches  # the tables themselves: they go on changing
        self._items: dict[int, list[msgspec.Raw]] = {}
        self._ends: list[tuple[float, int]] = []  # heap: when, which branch; some are stale
        self.members: dict[int, dict[int, None]] = {}
        self.opened: dict[int, int] = {}
        self.inner: dict[int, dict[int, None]] = {}
        for fan_id, fan in fans.items():
            self.fan_changes(fan_id, None, fan)
        for branch_id, branch in branches.items():
            self.branch_changes(branch_id, None, branch)

    def fan_changes(self, fan_id: int, before: Fan | None, after: Fan | None) -> None:
        """A fan-out comes, goes, or gets other names of nodes."""
        if before is None and after is not None:
            self.inner.setdefault(after.branch, {})[fan_id] = None
        elif before is not None and after is None:
            self._items.pop(fan_id, None)
            inner = self.inner[before.branch]
            del inner[fan_id]
            if not inner:
                del self.inner[before.branch]

    def branch_changes(self, branch_id: int, before: Branch | None, after: Branch | None) -> None:
        """A branch comes, goes, or comes further; its fan-out is in the table, unless both go."""
        if before is not None:
            self._count(before, -1)
            if after is None:
                members = self.members[before.fan]
                del members[branch_id]
                if not members:
                    del self.members[before.fan]
        if after is not None:
            self._count(after, 1)
            self.members.setdefault(after.fan, {})[branch_id] = None
            ends_at = branch_ends_at(after, self._fans[after.fan])
            if ends_at is not None:
                heappush(self._ends, (ends_at, branch_id))

    def _count(self, branch: Branch, change: int) -> None:
        if branch.status is BranchStatus.OPEN:
            count = self.opened.get(branch.fan, 0) + change
            if count:
                self.opened[branch.fan] = count
            else:
                self.opened.pop(branch.fan, None)

    def first_end(self) -> float | None:
        """When the first branch will have run as long as it may; None for never."""
        if len(self._ends) > 2 * len(self._branches) + _STALE_MAX:
            self._ends = [one for one in self._ends if self._ends_then(*one)]
            heapify(self._ends)
        while self._ends and not self._ends_then(*self._ends[0]):
            heappop(self._ends)
        return self._ends[0][0] if self._ends else None

    def _ends_then(self, ends_at: float, branch_id: int) -> bool:
        branch = self._branches.get(branch_id)
        return branch is not None and branch_ends_at(branch, self._fans[branch.fan]) == ends_at

    def items(self, fan_id: int) -> list[msgspec.Raw]:
        """The elements of the list of a map, taken apart once."""
        found = self._items.get(fan_id)
        if found is None:
            spec = self._fans[fan_id].map
            assert spec is not None, "it is a map"
            found = self._items[fan_id] = items_of(spec)
        return found


def items_of(spec: FanMap) -> list[msgspec.Raw]:
    """Take the list of a map apart. The elements are parts of the encoded list, not copies."""
    return _split(spec.items)


def branch_ends_at(branch: Branch, fan: Fan) -> float | None:
    """Return when a branch that runs will have run as long as it may."""
    if fan.timeout_s is None or branch.since is None:
        return None
    return branch.since + max(0.0, fan.timeout_s - branch.used_s)


class BranchingPatch(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """The changes of one step. None in place of a fan-out or a branch removes it, with all that is
    kept of it; `overlays`, `results` and `visits` set what they name. `whole` comes first, in place
    of what there was, but for the newest number.
    """

    whole: Branching | None = None
    fans: dict[int, Fan | None] = {}
    branches: dict[int, Branch | None] = {}
    overlays: dict[int, dict[str, msgspec.Raw]] = {}
    results: dict[int, dict[int, MapResult]] = {}
    visits: dict[int, dict[str, int]] = {}
    newest: int = 0


def apply_branching(before: Branching | None, patch: BranchingPatch) -> Branching:
    """Fold `patch` into `before` in place and return it; None starts a new one."""
    state = Branching() if before is None else before
    if patch.whole is not None:
        state = copy_of(patch.whole)
        state.newest = max(state.newest, 0 if before is None else before.newest)
    state.newest = max(state.newest, patch.newest)
    index: BranchIndex | None = vars(state).get("index")
    for fan_id, fan in patch.fans.items():
        if index is not None:
            index.fan_changes(fan_id, state.fans.get(fan_id), fan)
        if fan is None:
            state.fans.pop(fan_id, None)
            state.results.pop(fan_id, None)
        else:
            state.fans[fan_id] = fan
    for branch_id, branch in patch.branches.items():
        if index is not None:
            index.branch_changes(branch_id, state.branches.get(branch_id), branch)
        if branch is None:
            state.branches.pop(branch_id, None)
            state.overlays.pop(branch_id, None)
            state.visits.pop(branch_id, None)
        else:
            state.branches[branch_id] = branch
    for branch_id, values in patch.overlays.items():
        state.overlays.setdefault(branch_id, {}).update(values)
    for fan_id, results in patch.results.items():
        state.results.setdefault(fan_id, {}).update(results)
    for branch_id, counts in patch.visits.items():
        state.visits.setdefault(branch_id, {}).update(counts)
    return state


def resting(branching: Branching) -> Branching:
    """Return a copy, as it is when nothing of the execution runs: what a branch ran after its
    latest step is not counted.
    """
    copy = copy_of(branching)
    for number, branch in copy.branches.items():
        if branch.since is not None:
            copy.branches[number] = msgspec.structs.replace(branch, since=None)
    return copy


def counts_branches(branching: Branching | None) -> bool:
    """Say whether the time that a branch runs is being counted now."""
    return branching is not None and any(
        one.since is not None for one in branching.branches.values()
    )


def copy_of(branching: Branching) -> Branching:
    """Return a copy that changes apart."""
    return Branching(
        fans=branching.fans.copy(),
        branches=branching.branches.copy(),
        overlays={one: values.copy() for one, values in branching.overlays.items()},
        results={one: values.copy() for one, values in branching.results.items()},
        visits={one: counts.copy() for one, counts in branching.visits.items()},
        newest=branching.newest,
    )


def memory_of(
    memory: dict[str, msgspec.Raw], branching: Branching | None, branch_id: int
) -> dict[str, msgspec.Raw]:
    """Return a copy of what a branch sees; `memory` is the main line's."""
    if branching is None or branch_id == MAIN:
        return memory.copy()
    seen: dict[str, msgspec.Raw] = {}
    for layer in reversed(list(layers(memory, branching, branch_id))):
        seen.update(layer)
    return seen


def layers(
    memory: Mapping[str, msgspec.Raw], branching: Branching, branch_id: int
) -> Iterator[Mapping[str, msgspec.Raw]]:
    """Yield the layers of memory that a branch sees, the nearest first."""
    while branch_id != MAIN:
        branch = branching.branches[branch_id]
        overlay = branching.overlays.get(branch_id)
        if overlay:
            yield overlay
        if branch.inputs:
            yield branch.inputs
        fan = branching.fans[branch.fan]
        if fan.map is not None and fan.map.inputs:
            yield fan.map.inputs
        if fan.kind is FanKind.SUBGRAPH:
            return
        branch_id = fan.branch
    yield memory
