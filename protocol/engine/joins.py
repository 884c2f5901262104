"""Where branches join: the node at which the ways from a fan-out meet.

An immediate post-dominator, the textbook answer, is too weak for graphs of agents: one error
handler from which nothing leads on would leave a fan-out without a join, and what comes after it
would run once for each branch. So a way that ends early does not count here. The join is the first
node at which at least two branches meet and which none can bypass: nothing to which it leads
without a failure can be reached without it. Where no way ends early, and none is for failures
alone, that is the immediate post-dominator. An error handler that the nodes before the join share
with those behind it so takes nothing from the join, while one that leads behind it does.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from heapq import heappop, heappush
from typing import Final

from greenroom.protocol.graph import EdgeCondition, EdgeSpec, GraphSpec

_SURE: Final = (EdgeCondition.ALWAYS, EdgeCondition.ON_SUCCESS, EdgeCondition.LLM_DECIDE)
_LEFT_ALONG: Final = (EdgeCondition.ALWAYS, EdgeCondition.ON_FAILURE, EdgeCondition.CONDITIONAL)


class Ways:
    """All ways from node to node, made ready for questions about where they meet.

    `following` has the nodes in the order in which they are declared, each with the nodes that can
    come next; names that are no keys of it are left out. `entries` are where executions begin.
    `failing` are the (node, next node) that only a failure leads along: they count like any other,
    but where the branches could meet at several nodes that do not lead to each other, it is at the
    one that most of them come to without a failure; then that most come to at all; then one from
    which a way leads on; then the first.

    Edges back are ignored: those to a node from which a depth-first search, from the entries and in
    the declared order, has come. The others give an order in which every node comes before those
    that follow it; sets of nodes are kept as integers, one bit a node in that order.
    """

    def __init__(
        self,
        following: Mapping[str, Sequence[str]],
        *,
        entries: Iterable[str] = (),
        failing: Collection[tuple[str, str]] = (),
    ) -> None:
        self._following = {
            node: tuple(one for one in dict.fromkeys(after) if one in following)
            for node, after in following.items()
        }
        back = self._edges_back((*(one for one in entries if one in following), *following))
        forward = {
            node: [one for one in after if (node, one) not in back]
            for node, after in self._following.items()
        }
        self._order = _in_order(forward)
        self._place = {node: at for at, node in enumerate(self._order)}
        self._ends = 0  # the nodes from which no way leads on, not even back
        for node, after in self._following.items():
            if not after:
                self._ends |= 1 << self._place[node]
        self._next = {
            node: [one for one in after if (node, one) not in failing]
            for node, after in forward.items()
        }
        self._after = self._reached(forward)
        self._after_success = self._reached(self._next) if failing else self._after
        self._kept = self._not_bypassed(forward, self._next)

    def join(self, starts: Iterable[str]) -> str | None:
        """Return the node at which branches that begin at `starts`, in this graph, join; None when
        that is the end.

        It is the one start when all begin there.
        """
        places = [self._place[one] for one in dict.fromkeys(starts)]
        if len(places) == 1:
            return self._order[places[0]]
        once = twice = 0
        kept = -1
        for at in places:
            reached = self._after[at] | 1 << at
            twice |= once & reached
            once |= reached
            kept &= self._kept[at]
        return self._first(twice & kept, places, needed=2)

    def join_after(self, node: str) -> str | None:
        """Return the node at which all ways from `node` meet, None when that is the end: the one
        that follows it, if only one does, else the join of those that do.

        Ways along a failure, and those that only lead back, need not come to it.
        """
        at = self._place[node]
        places = [self._place[one] for one in self._next[node]]
        ending = [one for one in places if (self._after[one] | 1 << one) & self._ends]
        counted = ending or places
        return self._first(self._after[at] & self._kept[at], counted, needed=min(2, len(counted)))

    def body(self, starts: Iterable[str], until: str | None) -> list[str]:
        """Return the nodes that can be reached from `starts` without passing `until`, in order.

        Ways that lead back are followed too.
        """
        pending = [one for one in starts if one != until]
        found: set[str] = set()
        while pending:
            node = pending.pop()
            if node not in found:
                found.add(node)
                pending += [one for one in self._following[node] if one != until]
        return sorted(found, key=self._place.__getitem__)

    def leads(self, node: str, other: str) -> bool:
        """Return whether `node` leads on to `other` without a failure, edges back left aside."""
        return bool(self._after_success[self._place[node]] >> self._place[other] & 1)

    def _first(self, candidates: int, places: Sequence[int], *, needed: int) -> str | None:
        """Return the best of `candidates` to which `needed` of the places lead."""
        best = (0, 0, False)
        found: int | None = None
        while candidates:
            bit = candidates & -candidates
            at = bit.bit_length() - 1
            beyond = self._after[at]
            candidates &= ~(self._after_success[at] | bit)  # what it leads to is no better
            count = sum(bool((self._after[one] | 1 << one) & bit) for one in places)
            succeeding = sum(bool((self._after_success[one] | 1 << one) & bit) for one in places)
            weight = (succeeding, count, bool(beyond))
            if count >= needed and weight > best:
                best, found = weight, at
        return None if found is None else self._order[found]

    def _reached(self, forward: Mapping[str, Sequence[str]]) -> list[int]:
        """Return, by place, the nodes that follow each node."""
        reached = [0] * len(self._order)
        for at in range(len(self._order) - 1, -1, -1):
            for one in forward[self._order[at]]:
                place = self._place[one]
                reached[at] |= reached[place] | 1 << place
        return reached

    def _not_bypassed(
        self, forward: Mapping[str, Sequence[str]], succeeding: Mapping[str, Sequence[str]]
    ) -> list[int]:
        """Return, by place, the nodes that no way from each node bypasses: nothing to which they
        lead without a failure is reached without them, nor is it the node itself.
        """
        every = (1 << len(self._order)) - 1
        before = [0] * len(self._order)
        for at, node in enumerate(self._order):
            for one in succeeding[node]:
                before[self._place[one]] |= before[at] | 1 << at
        kept = [every] * len(self._order)
        for at in range(len(self._order) - 1, -1, -1):
            for one in forward[self._order[at]]:
                kept[at] &= kept[self._place[one]]
            kept[at] = kept[at] & ~before[at] | 1 << at
        return kept

    def _edges_back(self, roots: Iterable[str]) -> set[tuple[str, str]]:
        back: set[tuple[str, str]] = set()
        seen: set[str] = set()
        for root in roots:
            if root in seen:
                continue
            seen.add(root)
            here = {root}
            stack = [(root, iter(self._following[root]))]
            while stack:
                node, left = stack[-1]
                for one in left:
                    if one in here:
                        back.add((node, one))
                    elif one not in seen:
                        seen.add(one)
                        here.add(one)
                        stack.append((one, iter(self._following[one])))
                        break
                else:
                    here.discard(node)
                    stack.pop()
        return back


def _in_order(forward: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the nodes so that each comes before those that follow it, else as declared."""
    declared = {node: at for at, node in enumerate(forward)}
    names = list(forward)
    waiting = dict.fromkeys(forward, 0)
    for after in forward.values():
        for one in after:
            waiting[one] += 1
    ready = [declared[node] for node, count in waiting.items() if count == 0]
    order: list[str] = []
    while ready:
        node = names[heappop(ready)]
        order.append(node)
        for one in forward[node]:
            waiting[one] -= 1
            if waiting[one] == 0:
                heappush(ready, declared[one])
    return order


def ways_of(graph: GraphSpec, entries: Iterable[str] = ()) -> Ways:
    """Return the ways of a graph: its edges, routes and the places at which a pause goes on.

    Executions begin at `entries`, too; they count for what leads back only.
    Names that are no nodes are left out. After a terminal node, or a pause that goes on elsewhere,
    only those edges are ways that can be taken after a failure.
    """
    following: dict[str, list[str]] = {node.id: list(node.routes.values()) for node in graph.nodes}
    leaving: dict[str, list[EdgeSpec]] = {}
    for edge in sorted(graph.edges, key=lambda one: -one.priority):
        leaving.setdefault(edge.source, []).append(edge)
    succeeding: dict[str, set[str]] = {}
    terminal, pausing = set(graph.terminal_nodes), set(graph.pause_nodes)
    for node, after in following.items():
        edges = leaving.get(node, [])
        taken = [one.target for one in edges if one.kind is not EdgeCondition.ON_FAILURE]
        resume_at = graph.entry_points.get(f"{node}_resume") if node in pausing else None
        if resume_at is not None:
            after[:], taken = [resume_at], []
        elif node in terminal:
            after[:], taken = [], []
        succeeding[node] = {*after, *taken}
        ends = resume_at is not None or node in terminal
        after += [one.target for one in edges if not ends or one.kind in _LEFT_ALONG]
    entries = [graph.entry_node, *graph.entry_points.values(), *entries]
    entries += [one.entry_node for one in graph.async_entry_points]
    failing = {
        (node, one)
        for node, after in following.items()
        for one in after
        if one not in succeeding[node]
    }
    return Ways(following, entries=entries, failing=failing)


def fan_outs(graph: GraphSpec) -> dict[str, tuple[str, ...]]:
    """Return the nodes after which several edges may be taken at once, each with the different
    targets of these, in the order in which the edges are tried.

    Conditional edges of lower priority than others are taken in place of these, not beside them;
    `otherwise` edges are beside their like only.
    """
    alone = {*graph.terminal_nodes}
    alone |= {one for one in graph.pause_nodes if f"{one}_resume" in graph.entry_points}
    leaving: dict[str, list[EdgeSpec]] = {
        node.id: [] for node in graph.nodes if node.id not in alone
    }
    known = {node.id for node in graph.nodes}
    for edge in sorted(graph.edges, key=lambda one: -one.priority):
        if edge.source in leaving and edge.target in known:
            leaving[edge.source].append(edge)
    found: dict[str, tuple[str, ...]] = {}
    for node, edges in leaving.items():
        targets = [edge.target for edge in edges_together(edges)]
        if targets:
            found[node] = tuple(dict.fromkeys(targets))
    return found


def edges_together(edges: Sequence[EdgeSpec]) -> list[EdgeSpec]:
    """Return those of the edges of one node that may be taken, after a success, beside another."""
    sure = sum(edge.kind in _SURE for edge in edges)
    beside = Counter(edge.priority for edge in edges if edge.kind is EdgeCondition.CONDITIONAL)
    others = sum(edge.kind is EdgeCondition.OTHERWISE for edge in edges)
    found = []
    for edge in edges:
        if edge.kind in _SURE:
            together = sure > 1 or bool(beside)
        elif edge.kind is EdgeCondition.CONDITIONAL:
            together = sure > 0 or beside[edge.priority] > 1
        else:
            together = edge.kind is EdgeCondition.OTHERWISE and others > 1
        if together:
            found.append(edge)
    return found


def joins(graph: GraphSpec, entries: Iterable[str] = ()) -> dict[str, str | None]:
    """Return the node at which each fan-out of the graph joins, None for one that does at the end.

    Each node after which several edges may be taken at once has its entry, and no other has.
    `entries` are as for `ways_of`.
    """
    fans = fan_outs(graph)
    if not fans:
        return {}
    ways = ways_of(graph, entries)
    return {node: ways.join(starts) for node, starts in fans.items()}
