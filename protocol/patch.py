"""What a journal stores: outcomes. A record's patch says what changed; `apply` folds it.

`apply` knows no graph and evaluates nothing, and its meaning never changes once released: a
deploy, a mended bug or a new library version cannot rewrite the past.
"""

import msgspec

from greenroom.protocol.branches import BranchingPatch, apply_branching
from greenroom.protocol.budget import Budget
from greenroom.protocol.effects import EffectRecord
from greenroom.protocol.execution import Accepted, ExecutionState, Status, Token
from greenroom.protocol.questions import BRANCHES_FROM, Injected, OpenQuestion


class Rewound(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """How a step took its execution back: of the path the first `kept` stay, and `path` follows
    them; the nodes in `unvisited` had not been visited then.
    """

    kept: int
    path: tuple[str, ...] = ()
    unvisited: tuple[str, ...] = ()


class Migrated(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """How a step moved its execution from one version of its graph to another, given by their
    digests; the nodes in `unvisited` have other names now.
    """

    before: bytes
    after: bytes
    unvisited: tuple[str, ...] = ()


class Patch(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """The changes of one step. Absent fields change nothing.

    `tokens` maps a token's id to its new value, or to None when it is gone; `memory` sets keys,
    `forget` deletes keys (deletes come first); `visits` holds new absolute counts; `path` is
    appended; `steps`, `retries`, `failures` (by node), `latency_ms`, `node_runs` and `wall_s` are
    added; `violated` holds the ids of the soft constraints that do not hold now; `questions` maps a
    question's number to what opened it, or to None when it is closed; `inbox` that of an input to
    what is kept, or to None when it is used. `effects` sets what is on record in the slots of a
    token, None deletes it; all of it goes when the token goes or has ended. `active_s` and
    `active_at` are set together. `rewound` and `migrated` come before `visits` and `path`. `unfit`
    comes with a status, and each status replaces it.
    """

    accepted: Accepted | None = None
    status: Status | None = None
    tokens: dict[int, Token | None] = {}
    forget: tuple[str, ...] = ()
    memory: dict[str, msgspec.Raw] = {}
    visits: dict[str, int] = {}
    path: tuple[str, ...] = ()
    steps: int = 0
    retries: int = 0
    failures: dict[str, int] = {}
    latency_ms: int = 0
    effects: dict[int, dict[str, EffectRecord | None]] = {}
    run: int | None = None
    error: str | None = None
    clear_error: bool = False
    started_at: float | None = None
    ended_at: float | None = None
    violated: tuple[str, ...] | None = None
    active_s: float | None = None
    active_at: float | None = None
    questions: dict[int, OpenQuestion | None] = {}
    inbox: dict[int, Injected | None] = {}
    node_runs: int = 0
    wall_s: float = 0.0
    budget: Budget | None = None
    rewound: Rewound | None = None
    unfit: tuple[str, ...] = ()
    migrated: Migrated | None = None
    branching: BranchingPatch | None = None


class Cause(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """Why a record was written: the tick's kind, and the node run it closes, if any; `error` when
    that run failed.
    """

    tick: str
    node: str | None = None
    visit: int = 0
    attempt: int = 0
    error: str | None = None


class JournalRecord(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """One step of one execution. (execution, seq, incarnation) is the commit's id.

    `notes` counts the decisions and problems that are stored beside it.
    """

    seq: int
    at: float  # wall UTC seconds
    incarnation: int
    plan: bytes  # digest of the compiled graph
    cause: Cause
    patch: Patch
    notes: int = 0


def apply(state: ExecutionState | None, patch: Patch, seq: int) -> ExecutionState:
    """Fold `patch`, the change of record `seq`, into `state` in place and return it; None starts
    a new state, but for a fork, which begins with `beginnings.beginning`.

    Raises ValueError when the records do not follow one another: a gap would be silent loss.
    """
    if state is None:
        if patch.accepted is None:
            raise ValueError(f"record {seq} does not begin an execution")
        if patch.accepted.forked is not None:
            raise ValueError(f"record {seq} begins a fork, which begins with the state of another")
        state = ExecutionState(accepted=patch.accepted, seq=seq - 1)
    if seq != state.seq + 1:
        raise ValueError(f"record {seq} does not follow record {state.seq}")
    state.seq = seq
    if patch.status is not None:
        state.status = patch.status
        state.unfit = patch.unfit
    for token_id, token in patch.tokens.items():
        if token is None:
            state.tokens.pop(token_id, None)
        else:
            state.tokens[token_id] = token
        if token is None or token.ended is not None:
            state.effects.pop(token_id, None)
    for token_id, changes in patch.effects.items():
        _apply_effects(state.effects.setdefault(token_id, {}), changes)
    for key in patch.forget:
        state.memory.pop(key, None)
    state.memory.update(patch.memory)
    if patch.rewound is not None:
        _apply_rewound(state, patch.rewound)
    if patch.migrated is not None:
        for node in patch.migrated.unvisited:
            state.visits.pop(node, None)
    state.visits.update(patch.visits)
    state.path.extend(patch.path)
    state.steps += patch.steps
    state.retries += patch.retries
    state.latency_ms += patch.latency_ms
    state.node_runs += patch.node_runs
    state.wall_s += patch.wall_s
    for node, count in patch.failures.items():
        state.retry_details[node] = state.retry_details.get(node, 0) + count
    if patch.questions:
        _apply_questions(state, patch.questions)
    if patch.inbox:
        _apply_inbox(state, patch.inbox)
    if patch.branching is not None:
        state.branching = apply_branching(state.branching, patch.branching)
    _apply_ends(state, patch)
    return state


def _apply_effects(
    records: dict[str, EffectRecord], changes: dict[str, EffectRecord | None]
) -> None:
    for slot, record in changes.items():
        if record is None:
            records.pop(slot, None)
        else:
            records[slot] = record


def _apply_inbox(state: ExecutionState, inbox: dict[int, Injected | None]) -> None:
    for number, kept in inbox.items():
        state.injected = max(state.injected, number)
        if kept is None:
            state.inbox.pop(number, None)
        else:
            state.inbox[number] = kept


def _apply_questions(state: ExecutionState, questions: dict[int, OpenQuestion | None]) -> None:
    for number, question in questions.items():
        if number < BRANCHES_FROM:
            state.asked = max(state.asked, number)
        if question is None:
            state.questions.pop(number, None)
        else:
            state.questions[number] = question


def _apply_rewound(state: ExecutionState, rewound: Rewound) -> None:
    state.rewinds += 1
    state.path[rewound.kept :] = rewound.path
    for node in rewound.unvisited:
        state.visits.pop(node, None)


def _apply_ends(state: ExecutionState, patch: Patch) -> None:
    if patch.budget is not None:
        state.budget = patch.budget
    if patch.run is not None:
        state.run = patch.run
        state.ended_at = None
    if patch.violated is not None:
        state.violated = patch.violated
    if patch.clear_error:
        state.error = None
    if patch.error is not None:
        state.error = patch.error
    if patch.started_at is not None and state.started_at is None:
        state.started_at = patch.started_at
    if patch.ended_at is not None:
        state.ended_at = patch.ended_at
    if patch.active_s is not None:
        state.active_s, state.active_at = patch.active_s, patch.active_at
