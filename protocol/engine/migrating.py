"""Moving an execution to another version of its graph: positions and memory change in one step, and
nothing else does. Whoever waits goes on waiting, and a node in flight runs again in its visit.
"""

from typing import Final

import msgspec

from greenroom.protocol.branches import Branching
from greenroom.protocol.engine.branch_draft import BranchDraft
from greenroom.protocol.engine.draft import Draft
from greenroom.protocol.engine.plan import Plan
from greenroom.protocol.engine.ticks import Migrate
from greenroom.protocol.engine.transition import Transition
from greenroom.protocol.engine.versions import named_nodes
from greenroom.protocol.events import EventType
from greenroom.protocol.execution import ExecutionState, Token
from greenroom.protocol.limits import REASONS_MAX
from greenroom.protocol.migration import OutdatedSession, Position
from greenroom.protocol.patch import Cause, Migrated
from greenroom.protocol.questions import QuestionChange, question_id
from greenroom.protocol.values import decode_value
from greenroom.protocol.versions import PlanVersion

_NODES_TOLD: Final = 10  # of those that have other names now, by the event

_MIGRATED: Final = EventType.EXECUTION_MIGRATED.value


def outdated(
    state: ExecutionState, was: PlanVersion | None, before: bytes, now: PlanVersion
) -> OutdatedSession:
    """Return what a migration is given, without the reasons. `was` is None when only the digest
    `before` is known of the version at which the session stands.
    """
    accepted = state.accepted
    return OutdatedSession(
        session_id=accepted.execution_id,
        entry_point=accepted.entry_point,
        status=state.status,
        positions=tuple(_position(state, *one) for one in state.tokens.items()),
        memory={key: decode_value(raw) for key, raw in state.memory.items()},
        reasons=(),
        from_version="" if was is None else was.version,
        to_version=now.version,
        from_digest=before.hex(),
        to_digest=now.digest.hex(),
    )


def _position(state: ExecutionState, token_id: int, token: Token) -> Position:
    name = state.accepted.execution_id
    return Position(
        node=token.node,
        visit=token.visit,
        attempt=token.attempt,
        ended=token.ended is not None,
        phase=token.phase,
        branch=token.branch,
        questions=tuple(
            question_id(name, number)
            for number, one in state.questions.items()
            if one.token == token_id
        ),
    )


def unusable(plan: Plan, state: ExecutionState, tick: Migrate) -> tuple[str, ...]:
    """Return why the execution cannot be moved like that, () when it can."""
    graph = f"graph {plan.graph_id!r}"
    found = [
        f"the migration maps node {old!r} to {new!r}, which is not in {graph}: map it to one of its"
        " nodes"
        for old, new in tick.nodes.items()
        if new not in plan.nodes
    ]
    for node in named_nodes(state):
        if node not in tick.nodes and node not in plan.nodes:
            found.append(f"the migration maps node {node!r} to none, and it is not in {graph}")
    for token in state.tokens.values():
        target = plan.nodes.get(tick.nodes.get(token.node, token.node))
        runs = token.ended is None and token.attempt > 0
        if target is not None and runs and target.function is None:
            found.append(
                f"the migration maps node {token.node!r}, which had not ended, to {target.id!r}, "
                "which runs no function: map it to one that does"
            )
    return tuple(dict.fromkeys(found))[:REASONS_MAX]


def migrate(plan: Plan, state: ExecutionState, tick: Migrate, now: float) -> Transition | None:
    """Move the execution, in whatever status; None when it stands nowhere, or cannot be moved like
    that.
    """
    if not state.tokens or unusable(plan, state, tick):
        return None
    draft = Draft(plan, state, now)
    draft.active_unknown = True  # it was read from the store: until now is not its own time
    draft.memory = dict(tick.memory)
    visits = _visits(state, tick)
    draft.visits = {
        node: count for node, count in visits.items() if state.visits.get(node) != count
    }
    moved: dict[str, str] = {}
    for token_id, token in state.tokens.items():
        node = tick.nodes.get(token.node, token.node)
        if node != token.node:
            moved[token.node] = node
            draft.tokens[token_id] = here = _moved(state, tick, token, node, visits)
            draft.question_changes += [
                QuestionChange(number=number, node=node, visit=here.visit)
                for number, one in state.questions.items()
                if one.token == token_id
            ]
    if draft.parallel is not None and state.branching is not None:
        _move_branches(draft.parallel, state.branching, tick)
        draft.over = True  # how it stands is how it stood
    for number, kept in state.inbox.items():
        if tick.nodes.get(kept.node, kept.node) != kept.node:
            draft.inbox[number] = msgspec.structs.replace(kept, node=tick.nodes[kept.node])
    data = {
        "from": tick.before.hex(),
        "to": tick.after.hex(),
        "nodes": dict(list(moved.items())[:_NODES_TOLD]),
    }
    draft.event(_MIGRATED, None, data)
    made = draft.finish(Cause(tick="migrate"))
    patch = msgspec.structs.replace(
        made.patch,
        forget=tuple(key for key in tick.forget if key in state.memory),
        migrated=Migrated(
            before=tick.before,
            after=tick.after,
            unvisited=tuple(node for node in state.visits if node not in visits),
        ),
    )
    return msgspec.structs.replace(made, patch=patch)


def _move_branches(draft: BranchDraft, branching: Branching, tick: Migrate) -> None:
    """Open fan-outs lead to nodes by their new names, and branches of maps have visited those."""
    for fan_id, fan in branching.fans.items():
        renamed = fan.renamed(tick.nodes)
        if renamed != fan:
            draft.fans[fan_id] = renamed
    for branch_id, counts in branching.visits.items():
        for node, count in counts.items():
            if (name := tick.nodes.get(node, node)) != node:
                draft.visits.setdefault(branch_id, {})[name] = count


def _visits(state: ExecutionState, tick: Migrate) -> dict[str, int]:
    """The numbers of visits under the new names: those of nodes that become one are added."""
    found: dict[str, int] = {}
    for node, count in state.visits.items():
        name = tick.nodes.get(node, node)
        found[name] = found.get(name, 0) + count
    return found


def _moved(
    state: ExecutionState, tick: Migrate, token: Token, node: str, visits: dict[str, int]
) -> Token:
    """The token at its new node. A visit that has begun keeps the name that its effects have."""
    if token.attempt == 0 and token.ended is None:
        return msgspec.structs.replace(token, node=node, visit=visits.get(node, 0) + 1)
    others = visits.get(node, 0) - state.visits.get(token.node, 0)
    known_as = token.known_as or f"{token.node}/{token.visit}"
    return msgspec.structs.replace(token, node=node, visit=token.visit + others, known_as=known_as)
