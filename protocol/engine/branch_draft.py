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
    items_of,
)

Values = Mapping[str, msgspec.Raw]


class BranchDraft:
    """Collects the changes. Lives for one call of `advance`, in its thread."""

    __slots__ = (
        "_before",
        "_begun",
        "_counts",
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
        self._begun: dict[int, list[int]] = {}  # branches, by their fan-outs
        self._counts: dict[int, tuple[int, int]] = {}  # how many more are there, and are open
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

    def is_there(self, fan_id: int) -> bool:
        """Say whether a fan-out is open."""
        return (self.fans if fan_id in self.fans else self._before.fans).get(fan_id) is not None

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
        known = self._before.index.members.get(fan_id, {})
        numbers = dict.fromkeys([*known, *self._begun.get(fan_id, ())])
        found = [(number, one) for number in numbers if (one := self.branch(number)) is not None]
        return sorted(found, key=lambda item: item[1].index)

    def count_of(self, fan_id: int) -> tuple[int, int]:
        """How many branches of a fan-out are there, and how many of them are open."""
        index = self._before.index
        there, opened = self._counts.get(fan_id, (0, 0))
        return len(index.members.get(fan_id, ())) + there, index.opened.get(fan_id, 0) + opened

    def set_branch(self, branch_id: int, branch: Branch) -> None:
        """Begin a branch, or bring it further."""
        before = self.branch(branch_id)
        self._count(before, -1)
        self._count(branch, 1)
        if before is None:
            self._begun.setdefault(branch.fan, []).append(branch_id)
        self.branches[branch_id] = branch

    def _count(self, branch: Branch | None, change: int) -> None:
        if branch is not None:
            there, opened = self._counts.get(branch.fan, (0, 0))
            opened += change if branch.status is BranchStatus.OPEN else 0
            self._counts[branch.fan] = there + change, opened

    def within(self, outer: int) -> set[int]:
        """The branch and all that are in it."""
        found, pending = {outer}, [outer]
        while pending:
            for fan_id in self.inner_fans(pending.pop()):
                for branch_id, _ in self.of_fan(fan_id):
                    found.add(branch_id)
                    pending.append(branch_id)
        return found

    def outer(self, branch_id: int) -> Iterator[int]:
        """The branch and those that it is in, the nearest first, without the main line."""
        while branch_id != MAIN:
            yield branch_id
            branch = self.branch(branch_id)
            assert branch is not None, "what is in it is there"
            branch_id = self.fan(branch.fan).branch

    def outer_of_gone(self, branch_id: int) -> Iterator[int]:
        """Like `outer`, also for a branch that this step took away; one that came and went in it
        is in nothing.
        """
        while branch_id != MAIN:
            branch = self.branch(branch_id) or self._before.branches.get(branch_id)
            fan = None if branch is None else self.fans.get(branch.fan)
            if branch is not None and fan is None:
                fan = self._before.fans.get(branch.fan)
            if fan is None:
                return
            yield branch_id
            branch_id = fan.branch

    def open_fans(self) -> dict[int, Fan]:
        """Every fan-out that is open."""
        merged = {**self._before.fans, **self.fans}
        return {number: one for number, one in merged.items() if one is not None}

    def inner_fans(self, branch_id: int) -> list[int]:
        """The fan-outs that are open directly in a branch."""
        known = self._before.index.inner.get(branch_id, {})
        changed = [one for one, fan in self.fans.items() if fan and fan.branch == branch_id]
        return [one for one in dict.fromkeys([*known, *changed]) if self.is_there(one)]

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
            if fan.map is not None:
                yield fan.map.inputs
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

    def renew(self, values: Values) -> None:
        """Lay new input over all that branches see: over what they wrote, and what they were given.
        The element of a map and its place stay what they are.
        """
        for fan_id, fan in self.open_fans().items():
            if fan.map is not None and (given := _known(values, fan.map.inputs)):
                spec = msgspec.structs.replace(fan.map, inputs={**fan.map.inputs, **given})
                self.fans[fan_id] = msgspec.structs.replace(fan, map=spec)
            for number, branch in self.of_fan(fan_id):
                self.write(number, _known(values, self.overlay(number)))
                if fan.map is not None or branch.status is BranchStatus.ARRIVED:
                    continue
                inside = fan.kind is FanKind.SUBGRAPH  # where the main line's memory is not seen
                if given := dict(values) if inside else _known(values, branch.inputs):
                    inputs = {**branch.inputs, **given}
                    self.set_branch(number, msgspec.structs.replace(branch, inputs=inputs))

    # --- maps

    def results_of(self, fan_id: int) -> dict[int, MapResult]:
        """What has come of the elements of a map, by their places."""
        return {**self._before.results.get(fan_id, {}), **self.results.get(fan_id, {})}

    def count_results(self, fan_id: int) -> int:
        """How many elements of a map have come to their end."""
        before = self._before.results.get(fan_id, {})
        return len(before) + sum(at not in before for at in self.results.get(fan_id, ()))

    def items(self, fan_id: int) -> list[msgspec.Raw]:
        """The elements of the list of a map."""
        if fan_id in self._before.fans:
            return self._before.index.items(fan_id)
        spec = self.fan(fan_id).map
        assert spec is not None, "it is a map"
        return items_of(spec)

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
        self._count(self.branch(branch_id), -1)
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


def _known(values: Values, keys: Values) -> dict[str, msgspec.Raw]:
    return {key: raw for key, raw in values.items() if key in keys}
