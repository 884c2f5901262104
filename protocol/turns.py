"""Turns: who may change contended keys next. Pure rules; the state manager acts on them.

A step that lost a race asks for the turns of all its keys at once. Requests are served first come,
first served, and each gets all of its turns together, as soon as no earlier request, waiting or
holding, touches one of them. So nobody ever holds one turn while waiting for another: there can be
no deadlock, in whatever order keys are named. A key "" stands for its whole scope.

A turn belongs to one run of one node: two branches of an execution exclude each other as two
executions do.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from greenroom.protocol.commit import StateKey, StateRead, StateWrite
from greenroom.protocol.stream_messages import NodeResult

Scope = tuple[str, str]  # scope and owner
Holder = tuple[str, int]
"""Whose a turn is: an execution's id, and the id of the token whose node runs. Token 0 is that of
a host which changes state for an execution, and holds no turns."""

_NOBODY: Final[frozenset[Holder]] = frozenset()


@dataclass(slots=True)
class Ticket:
    """One node run's request. `held` from the moment that its turns are its own."""

    holder: Holder
    stream: str  # address of the stream that is told
    incarnation: int
    keys: tuple[StateKey, ...]
    held: bool = False


class KeySet:
    """Keys that may stand for whole scopes, and whether another key overlaps with them."""

    __slots__ = ("_keys", "_scopes", "_touched")

    def __init__(self) -> None:
        self._keys: set[StateKey] = set()
        self._scopes: set[Scope] = set()  # whole ones
        self._touched: set[Scope] = set()  # in which there is any key

    def add(self, keys: Iterable[StateKey]) -> None:
        """Put in every one of `keys`."""
        for key in keys:
            scope = (key.scope, key.owner)
            self._touched.add(scope)
            if key.key:
                self._keys.add(key)
            else:
                self._scopes.add(scope)

    def overlaps(self, key: StateKey) -> bool:
        """Say whether `key` is in, lies in a scope that is, or is a scope that has one that is."""
        scope = (key.scope, key.owner)
        if scope not in self._touched:
            return False
        return not key.key or key in self._keys or scope in self._scopes


@dataclass(slots=True)
class Turns:
    """Every request in the order in which it came; a node run has at most one."""

    tickets: dict[Holder, Ticket] = field(default_factory=dict)

    def take(self, ticket: Ticket) -> list[Ticket]:
        """Queue a request and return who got their turns by that: nobody, or itself.

        A node run that asks again gives up what it had, and stands at the end.
        """
        granted = self.release(ticket.holder)
        self.tickets[ticket.holder] = ticket
        return granted + self._grant()

    def release(self, holder: Holder) -> list[Ticket]:
        """Take a request back, held or waiting; return who got their turns by that."""
        if self.tickets.pop(holder, None) is None:
            return []
        return self._grant()

    def release_stream(self, stream: str, incarnation: int) -> list[Ticket]:
        """Take back the requests of a stream's older incarnations; return who got their turns."""
        gone = [
            one.holder
            for one in self.tickets.values()
            if one.stream == stream and one.incarnation < incarnation
        ]
        for holder in gone:
            del self.tickets[holder]
        return self._grant() if gone else []

    def wanted(self) -> "HeldTurns":
        """Return who holds or waits for what, as an immutable snapshot."""
        return HeldTurns.of(self.tickets.values())

    def held(self) -> "HeldTurns":
        """Return who holds what, as an immutable snapshot."""
        return HeldTurns.of([one for one in self.tickets.values() if one.held])

    def _grant(self) -> list[Ticket]:
        granted = []
        earlier = KeySet()
        for ticket in self.tickets.values():
            if not ticket.held and not any(earlier.overlaps(key) for key in ticket.keys):
                ticket.held = True
                granted.append(ticket)
            earlier.add(ticket.keys)
        return granted


@dataclass(frozen=True, slots=True)
class HeldTurns:
    """Who has which turns; immutable, so any thread may read it. `keys` may name whole scopes."""

    keys: Mapping[StateKey, frozenset[Holder]]
    scopes: Mapping[Scope, frozenset[Holder]]  # who has something in it

    @staticmethod
    def of(tickets: Iterable[Ticket]) -> "HeldTurns":
        """Return the snapshot of these requests."""
        keys: dict[StateKey, set[Holder]] = {}
        scopes: dict[Scope, set[Holder]] = {}
        for ticket in tickets:
            for key in ticket.keys:
                keys.setdefault(key, set()).add(ticket.holder)
                scopes.setdefault((key.scope, key.owner), set()).add(ticket.holder)
        return HeldTurns(
            MappingProxyType({key: frozenset(ids) for key, ids in keys.items()}),
            MappingProxyType({scope: frozenset(ids) for scope, ids in scopes.items()}),
        )

    def holders(self, key: StateKey) -> frozenset[Holder]:
        """Return who has the turn of `key` or of its whole scope; of a scope, of anything in it."""
        scope = (key.scope, key.owner)
        inside = self.scopes.get(scope)
        if inside is None:
            return _NOBODY
        if not key.key:
            return inside
        whole = self.keys.get(StateKey(key.scope, key.owner, ""), _NOBODY)
        return self.keys.get(key, _NOBODY) | whole

    def taken(self, key: StateKey, holder: Holder) -> bool:
        """Say whether anybody other than `holder` has a turn that overlaps.

        A host waits for no run of its own execution: one of them may have called it.
        """
        if not self.keys:
            return False
        others = self.holders(key) - {holder}
        if holder[1]:
            return bool(others)
        return any(one[0] != holder[0] for one in others)


NOTHING_HELD: Final = HeldTurns.of(())


def blocked(
    held: HeldTurns,
    holder: Holder,
    reads: Iterable[StateRead],
    writes: Iterable[StateWrite],
) -> tuple[StateKey, ...]:
    """Return the keys of a closing step whose turns others hold: a lost race."""
    if not held.keys:
        return ()
    keys = dict.fromkeys([*(one.key for one in reads), *(one.key for one in writes)])
    return tuple(key for key in keys if held.taken(key, holder))


def stale_is_update_only(stale: Iterable[StateKey], result: NodeResult) -> bool:
    """Say whether nothing but `update` touched the stale keys: then only the updates and the commit
    are made again, and not the node.

    `result.updates` names no key that was also read, written or compared in another way.
    """
    updated = {one.key for one in result.updates}
    lost = tuple(stale)
    return bool(lost) and updated.issuperset(lost)
