"""SIGKILL at every boundary of an execution whose branches nest, map, ask, retry, fail and dawdle:
it ends as if nothing had happened, whatever the failure of a branch means.
"""

from collections import Counter
from typing import Any

import pytest

from greenroom.protocol.values import decode_value
from greenroom.storage.lmdb_store import open_reader
from greenroom.storage.reader import Reader

pytestmark = pytest.mark.faults

FAILURE = (
    "Parallel execution failed at node 'begin': of its branches, "
    "3: Node 'worse' failed after 1 attempts: it is broken"
)
JOINS = {"begin": 1, "left": 1, "list": 1}  # by the node from which they fan out
# What is told once, however often a process dies.
TOLD_ONCE = {
    "node_completed", "parallel_started", "parallel_joined", "branch_failed",
    "execution_started", "execution_failed", "execution_completed",
}  # fmt: skip
Told = tuple[str, str | None, int]


class Story:
    """What the store tells of the execution, in the order in which it was."""

    def __init__(self, place: Any) -> None:
        self.closed: Counter[tuple[str, int]] = Counter()
        self.closed_while_failed: list[str] = []
        self.events: list[Told] = []
        if not place.store.joinpath("data.mdb").exists():
            return
        reader = open_reader(place.store)
        try:
            reader.read(self._load)
        finally:
            reader.close()

    def _load(self, reader: Reader) -> None:
        found = reader.execution("e")
        if found is None:
            return
        failed = False
        for record in reader.journal(found.ordinal, limit=1_000):
            cause = record.cause
            if record.patch.status is not None:
                failed = record.patch.status == "failed"
            elif failed:
                self.closed_while_failed.append(cause.tick)
            if cause.tick == "node_succeeded":
                self.closed[str(cause.node), cause.visit] += 1
        for _, event in reader.events(1, 10_000):
            data = {} if event.data is None else decode_value(event.data)
            if event.execution == "e":
                self.events.append((event.type, event.node, data.get("visit", 0)))

    def told_once(self) -> Counter[Told]:
        return Counter(one for one in self.events if one[0] in TOLD_ONCE)

    def check_order(self, name: str) -> None:
        """Every node had begun before it was done, and every branch was done at its join."""
        seen: set[Told] = set()
        for kind, node, visit in self.events:
            if kind == "node_completed":
                assert ("node_started", node, visit) in seen, f"{name}: {node}"
            elif kind == "parallel_joined":
                assert ("parallel_started", node, visit) in seen, f"{name}: {node}"
                for last in {"left": ["one", "two"], "list": ["twice"], "begin": ["both", "all"]}[
                    node
                ]:
                    assert ("node_completed", last, 1) in seen, f"{name}: {node}"
            elif kind == "node_started" and node == "meet":
                assert ("parallel_joined", "begin", 1) in seen, name
            seen.add((kind, node, visit))


def end_of(place: Any) -> dict[str, Any]:
    """How it ended, but for what depends on which branch was faster."""
    result = dict(place.results()["e"])
    result["path"] = sorted(result["path"])
    result["output"] = result["output"] | {"question": None}
    return result


def check_end(place: Any, policy: str, name: str) -> Story:
    """What holds of every end, killed or not; returns how it came to it."""
    output = place.results()["e"]["output"]
    story = Story(place)
    assert output["doubles"] == [2, 4, 6, 8], name
    assert output["reply"] == "slow 1", f"{name}: the last branch wins"
    assert output.get("mended_by") == (None if policy == "continue_others" else "hand"), name
    assert set(story.closed.values()) == {1}, f"{name}: a node run was closed twice"
    assert story.closed_while_failed == [], f"{name}: a sibling ended after the failure"
    joined = Counter(one[1] for one in story.events if one[0] == "parallel_joined")
    assert joined == JOINS, name
    for failure in place.heard("failure"):
        assert failure == FAILURE, name
    assert place.heard("left") in ([], [{"mended": False}]), f"{name}: a branch wrote too early"
    story.check_order(name)
    return story


@pytest.mark.parametrize("policy", ["fail_all", "continue_others", "wait_all"])
@pytest.mark.parametrize("point", ["before", "after", "answered", "resumed"])
def test_no_kill_loses_repeats_or_revives_a_branch(
    new_branches_place: Any, policy: str, point: str
) -> None:
    whole = new_branches_place("whole")
    assert whole.run(policy=policy) == 0, whole.said()
    expected, told = end_of(whole), check_end(whole, policy, "whole").told_once()
    assert bool(whole.heard("failure")) == (policy != "continue_others")
    stopped = [line["stopped"] for line in whole.entered() if "stopped" in line]
    assert stopped == (["slow"] if policy == "fail_all" else []), "really stopped, or left alone"
    passed = whole.heard("passed")[0].get(point, 0)
    assert passed or (point, policy) == ("resumed", "continue_others")

    killed = 0
    for k in range(1, passed + 1):
        name = f"{policy} {point} {k}"
        place = new_branches_place(k)
        status = place.run(policy=policy, kill=[point, k])
        assert status in (0, -9), place.said()
        killed += status == -9
        assert place.problems() == [], name
        closed = Story(place).closed
        before = len(place.entered())
        assert place.run(policy=policy) == 0, (name, place.said())
        assert place.problems() == [], name
        runs = [line for line in place.entered() if "node" in line]
        for line in place.entered()[before:]:
            ran = line.get("node"), line.get("visit")
            assert ran not in closed, f"{name}: {line} ran again"
        keys = {(line["node"], line["visit"], line["key"]) for line in runs}
        assert len(keys) == len({key for _, _, key in keys}), f"{name}: a key of two runs"
        assert len(keys) == len({one[:2] for one in keys}), f"{name}: two keys of a run"
        story = check_end(place, policy, name)
        assert end_of(place) == expected, name
        assert story.told_once() == told, name
    assert killed >= passed * 2 // 3
