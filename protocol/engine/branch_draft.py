"""What one transition changes of fan-outs and branches, laid over a state that is only read."""

from collections.abc import Iterator, Mapping

import msgspec

from greenroom.protocol.branches import (
    MAIN,
    Branch,
    Branching,
    BranchingPatch,
    BranchStatus,
    Fan,
    FanKind,
    MapResult,
)

Values = Mapping[str, msgspec.Raw]


class BranchDraft:
    """Collects the changes. Lives for one call of `advance`, in its thread."""

    __slots__ = (
        "_before",
        "_newest",
        "branches",
        "fans",
        "overlays",
        "results",
        "visits",
    )

    def __init__(self, before: Branching | None) -> None:
        self._before = Branching() if before is None else before
        self._newest = self._before.newest
        self.fans: dict[int, Fan | None] = {}
        self.branches: dict[int, Branch | None] = {}
        self.overlays: dict[int, dict[str, msgspec.Raw]] = {}
        self.results: dict[int, dict[int, MapResult]] = {}
        self.visits: dict[int, dict[str, int]] = {}

    def number(self) -> int:
        """Give a number that the execution has never given."""
        self._newest += 1
        return self._newest

    def fan(self, fan_id: int) -> Fan:
        """The open fan-out of that number."""
        found = self.fans[fan_id] if fan_id in self.fans else self._before.fans[fan_id]
        assert found is not None, "it is open"
        return found

    def branch(self, branch_id: int) -> Branch | None:
        """The branch of that number, None when it is no more."""
        if branch_id in self.branches:
            return self.branches[branch_id]
        return self._before.branches.get(branch_id)

    def is_open(self, branch_id: int) -> bool:
        """Say whether something may still happen in a branch."""
        while branch_id != MAIN:
            branch = self.branch(branch_id)
            if branch is None or branch.status is not BranchStatus.OPEN:
                return False
            branch_id = self.fan(branch.fan).branch
        return True

    def all(self) -> dict[int, Branch]:
        """Every branch that there is."""
        merged = {**self._before.branches, **self.branches}
        return {number: one for number, one in merged.items() if one is not None}

    def of_fan(self, fan_id: int) -> list[tuple[int, Branch]]:
        """The branches of a fan-out that are there, in their order."""
        found = [(number, one) for number, one in self.all().items() if one.fan == fan_id]
        return sorted(found, key=lambda item: item[1].index)

    def is_within(self, branch_id: int, outer: int) -> bool:
        """Say whether a branch is `outer`, or in it."""
        while branch_id not in (outer, MAIN):
            branch = self.branch(branch_id)
            if branch is None:
                return False
            branch_id = self.fan(branch.fan).branch
        return branch_id == outer

    def outer(self, branch_id: int) -> Iterator[int]:
        """The branch and those that it is in, the nearest first, without the main line."""
        while branch_id != MAIN:
            yield branch_id
            branch = self.branch(branch_id)
            assert branch is not None, "what is in it is there"
            branch_id = self.fan(branch.fan).branch

    def open_fans(self) -> dict[int, Fan]:
        """Every fan-out that is open."""
        merged = {**self._before.fans, **self.fans}
        return {number: one for number, one in merged.items() if one is not None}

    def inner_fans(self, branch_id: int) -> list[int]:
        """The fan-outs that are open directly in a branch."""
        return [number for number, one in self.open_fans().items() if one.branch == branch_id]

    # --- memory

    def layers(self, branch_id: int, main: tuple[Values, ...]) -> Iterator[Values]:
        """The layers of memory that a branch sees, the nearest first; `main` are those of the main
        line.
        """
        while branch_id != MAIN:
            for overlays in (self.overlays, self._before.overlays):
                if branch_id in overlays:
                    yield overlays[branch_id]
            branch = self.branch(branch_id)
            assert branch is not None, "whoever looks is in it"
            yield branch.inputs
            fan = self.fan(branch.fan)
            if fan.kind is FanKind.SUBGRAPH:
                return
            branch_id = fan.branch
        yield from main

    def overlay(self, branch_id: int) -> dict[str, msgspec.Raw]:
        """What a branch has written."""
        before = self._before.overlays.get(branch_id, {})
        return {**before, **self.overlays.get(branch_id, {})}

    def write(self, branch_id: int, values: Values) -> None:
        """Lay values over what a branch sees."""
        if values:
            self.overlays.setdefault(branch_id, {}).update(values)

    # --- maps

    def results_of(self, fan_id: int) -> dict[int, MapResult]:
        """What has come of the elements of a map, by their places."""
        return {**self._before.results.get(fan_id, {}), **self.results.get(fan_id, {})}

    def map_branch(self, branch_id: int) -> int | None:
        """The nearest branch of a map that a branch is, or is in."""
        for one in self.outer(branch_id):
            branch = self.branch(one)
            if branch is not None and self.fan(branch.fan).kind is FanKind.MAP:
                return one
        return None

    def visited(self, branch_id: int, node_id: str) -> int:
        """How often a branch of a map has visited a node."""
        changed = self.visits.get(branch_id, {}).get(node_id)
        if changed is not None:
            return changed
        return self._before.visits.get(branch_id, {}).get(node_id, 0)

    def count_visit(self, branch_id: int, node_id: str) -> None:
        """Count a visit of a node by a branch of a map."""
        counts = self.visits.setdefault(branch_id, {})
        counts[node_id] = self.visited(branch_id, node_id) + 1

    # --- ends

    def remove_branch(self, branch_id: int) -> None:
        """Forget a branch and what it wrote."""
        self.overlays.pop(branch_id, None)
        self.visits.pop(branch_id, None)
        if branch_id in self._before.branches:
            self.branches[branch_id] = None
        else:
            self.branches.pop(branch_id, None)

    def remove_fan(self, fan_id: int) -> None:
        """Forget a fan-out with all its branches, and what is open in them."""
        for branch_id, _ in self.of_fan(fan_id):
            for inner in self.inner_fans(branch_id):
                self.remove_fan(inner)
            self.remove_branch(branch_id)
        self.results.pop(fan_id, None)
        if fan_id in self._before.fans:
            self.fans[fan_id] = None
        else:
            self.fans.pop(fan_id, None)

    def patch(self) -> BranchingPatch | None:
        """What was collected, None for nothing."""
        newest = self._newest if self._newest != self._before.newest else 0
        changed = self.fans, self.branches, self.overlays, self.results, self.visits
        if not newest and not any(changed):
            return None
        return BranchingPatch(
            fans=self.fans,
            branches=self.branches,
            overlays=self.overlays,
            results=self.results,
            visits=self.visits,
            newest=newest,
        )
