"""The rule of the engine: what one tick does to one execution.

An execution's status, and what moves it. Every arrow is one transition, that is, one commit:

    Accept without permit -> QUEUED --Dispatch--> RUNNING <- Accept with permit
                               ^                  |  ^
                               |                  |  |
                          Due, Answer             |  Due, Answer: when a permit is at hand
                               |                  |  |
                               +--------------- WAITING   (a node failed and waits 1 s or more, or
                                                           has ended and sleeps until a time, or
                                                           waits for answers of people, who are
                                                           asked for more budget, too)

    stays RUNNING   a node ended and another follows; a node failed and waits less than 1 s; a node
                    run had an effect recorded, which is no step of the graph
    COMPLETED       a terminal node ended, or a node with no edge to take succeeded
    FAILED          a node used up its attempts and has no edge for that, or no edge was taken
                    and the condition of one could not be evaluated; a hard constraint of the goal
                    does not hold
    EXHAUSTED       max_steps, or the execution's own budget, are used up; a person who was asked
                    for more of it says no, from waiting, paused and held
    TIMED_OUT       the deadline has passed, from every status that is not an end; the execution
                    has run for its timeout
    CANCELLED       Cancel, from every status that is not an end
    PAUSED          a pause node ended; the budget is used up, and is one that pauses; Pause, from
                    queued, running and waiting: a node in flight is stopped, and is not finished
    HELD            Hold, from every status that is not an end; a node in flight at three deaths
                    of the process; a token at a node that the graph has not
    QUEUED again    Release, from held, when the graph fits again; Resume, from paused, failed,
                    exhausted and held: the token's node runs again in the same visit, or, when it
                    had ended, what follows it; Rewind, from these and from every end: the same, as
                    it was at an earlier position

A token's id belongs to one visit of one node. Its phase within those statuses: READY (waits for a
permit, or is parked) -> RUNNING (dispatched by the commit that says so) -> BACKOFF (runs again at
`due`) -> RUNNING, or -> ASKING (has ended, and is left when all that it asked is answered) and
SLEEPING (has ended, and is left at `due`). A token that is ASKING and has not ended waits to hear
what came of its effects, or whether it gets more budget, and then runs again in its visit, or
enters its node. A token that is ready with attempt 0 has not entered its node: the visit, the step
and the place in the path count when it does. A token with `ended` has done with its node and never
runs it again: where it goes on is decided by the Resume, the Answer or the Due that lets it go.
COMPLETED leaves no token; the other ends leave theirs READY, with all counters, and close the
questions that are open.

While branches run side by side there is a token in each, and how the execution stands follows from
all of them (standing.py). Two more phases belong to branches: PAUSED (has ended at a pause node,
while others run on) and FAILED (its branch has failed; a Resume of the failed execution lets it go
on). What fans out is in fanning.py, what joins and fails in joining.py.

A node that failed for good has `{"error": text}` as its output, for the conditions and mappings of
its edges; what it wrote is dropped. A router without a function has the output of the node before
it as its own.
"""

from typing import Final, assert_never

import msgspec

from greenroom.protocol.branches import counts_branches
from greenroom.protocol.budget import counts_time
from greenroom.protocol.engine.asking import answer
from greenroom.protocol.engine.coming_due import come_due
from greenroom.protocol.engine.draft import Draft
from greenroom.protocol.engine.due import overdue
from greenroom.protocol.engine.forking import fork
from greenroom.protocol.engine.going_on import go_on_or_wait, set_out
from greenroom.protocol.engine.holding import hold, release
from greenroom.protocol.engine.injecting import inject
from greenroom.protocol.engine.joining import hold_lost
from greenroom.protocol.engine.migrating import migrate
from greenroom.protocol.engine.node_ends import conflicted, node_errored, node_succeeded
from greenroom.protocol.engine.pausing import pause, resume
from greenroom.protocol.engine.plan import Plan
from greenroom.protocol.engine.retry import rerun
from greenroom.protocol.engine.rewinding import rewind
from greenroom.protocol.engine.sub_steps import progressed
from greenroom.protocol.engine.ticks import (
    Accept,
    Answer,
    Cancel,
    Conflicted,
    Dispatch,
    Due,
    Fork,
    Hold,
    Inject,
    Migrate,
    NodeErrored,
    NodeSucceeded,
    Pause,
    Progressed,
    Recover,
    Release,
    Resume,
    Rewind,
    Tick,
)
from greenroom.protocol.engine.transition import Transition
from greenroom.protocol.engine.walk import enter
from greenroom.protocol.events import EventType
from greenroom.protocol.execution import TERMINAL, ExecutionState, Phase, Status, Token
from greenroom.protocol.limits import PROCESS_DEATHS_MAX
from greenroom.protocol.patch import Cause

FIRST_TOKEN: Final = 1  # a token's id is the number of the step that it enters its node with

_RECOVERED: Final = EventType.EXECUTION_RECOVERED.value


def advance(plan: Plan, state: ExecutionState | None, tick: Tick, now: float) -> Transition | None:
    """Return what `tick` does to an execution; None when it is stale or changes nothing.

    `state` is None for Accept and Fork only, and is only read: the caller commits the transition,
    then folds its patch with `patch.apply`. `now` is wall UTC seconds. Equal arguments give equal
    transitions.
    A token at a node that the plan has not holds the execution. Raises ValueError when an Accept
    comes with a state or another tick without one, StoreCorrupt when a condition or `route_on`
    reads a value that is not one.
    """
    match tick:
        case NodeSucceeded():
            return node_succeeded(plan, _known(state), tick, now)
        case NodeErrored():
            return node_errored(plan, _known(state), tick, now)
        case Progressed():
            return progressed(plan, _known(state), tick, now)
        case Dispatch():
            return _dispatch(plan, _known(state), tick, now)
        case Accept():
            if state is not None:
                raise ValueError(f"execution {state.accepted.execution_id} is accepted already")
            return _accept(plan, tick, now)
        case Due():
            return come_due(plan, _known(state), tick, now)
        case Conflicted():
            return conflicted(plan, _known(state), tick, now)
        case Recover():
            return _recover(plan, _known(state), tick, now)
        case Cancel():
            return _cancel(plan, _known(state), tick, now)
        case Pause():
            return pause(plan, _known(state), tick, now)
        case Resume():
            return resume(plan, _known(state), tick, now)
        case Answer():
            return answer(plan, _known(state), tick, now)
        case Inject():
            return inject(plan, _known(state), tick, now)
        case Rewind():
            return rewind(plan, _known(state), tick, now)
        case Fork():
            if state is not None:
                raise ValueError(f"execution {state.accepted.execution_id} is accepted already")
            return fork(plan, tick, now)
        case Hold():
            return hold(plan, _known(state), tick, now)
        case Migrate():
            return migrate(plan, _known(state), tick, now)
        case Release():
            return release(plan, _known(state), now)
        case _:
            assert_never(tick)


def _known(state: ExecutionState | None) -> ExecutionState:
    if state is None:
        raise ValueError("an execution begins with Accept")
    return state


def _accept(plan: Plan, tick: Accept, now: float) -> Transition:
    accepted = tick.accepted
    draft = Draft(plan, ExecutionState(accepted=accepted), now)
    draft.memory = dict(tick.memory)
    draft.budget = tick.budget
    token = Token(node=accepted.entry_node)
    error = overdue(draft.state, now)
    if accepted.timeout_s == 0:
        error = "Execution timed out: it may not run at all"
    if error is not None:
        draft.tokens[FIRST_TOKEN] = token
        draft.stop(Status.TIMED_OUT, error)
    elif not tick.permit:
        draft.queue(FIRST_TOKEN, token)
    elif accepted.entry_node in plan.nodes:
        draft.start()
        enter(draft, FIRST_TOKEN, accepted.entry_node, tick.memory, succeeded=True)
    else:
        hold_lost(draft, FIRST_TOKEN, token)
    return draft.finish(Cause(tick="accept"), accepted)


def _dispatch(plan: Plan, state: ExecutionState, tick: Dispatch, now: float) -> Transition | None:
    if state.status not in (Status.QUEUED, Status.RUNNING):
        return None
    if not any(token.phase is Phase.READY for token in state.tokens.values()):
        return None
    draft = Draft(plan, state, now)
    node: str | None = None
    for token_id, token in state.tokens.items():
        if draft.over or token.phase is not Phase.READY or token_id in draft.tokens:
            continue
        node = node or token.node
        if token.node not in plan.nodes:
            hold_lost(draft, token_id, token)
        elif token.ended is not None:
            go_on_or_wait(draft, token_id, token, token.ended, {}, permit=True)
        else:
            set_out(draft, token_id, token, permit=True)
    return draft.finish(Cause(tick="dispatch", node=node))


def _recover(plan: Plan, state: ExecutionState, tick: Recover, now: float) -> Transition | None:
    if state.status is not Status.RUNNING:
        return None
    flying = [
        (token_id, token)
        for token_id, token in state.tokens.items()
        if token.phase is Phase.RUNNING
    ]
    timed = counts_time(state.accepted.timeout_s, state.budget) or counts_branches(state.branching)
    if not flying and not timed:
        return None
    draft = Draft(plan, state, now)
    draft.active_unknown = True
    for token_id, token in flying:
        crashes = token.crashes + tick.process_death
        rested = msgspec.structs.replace(token, crashes=crashes, phase=Phase.READY, due=None)
        draft.tokens[token_id] = rested
        if token.node not in plan.nodes:
            hold_lost(draft, token_id, rested)
            break
        if crashes >= PROCESS_DEATHS_MAX:
            draft.stop(
                Status.HELD,
                f"node {token.node!r} was running at {crashes} deaths of the process",
            )
            break
        attempt = token.attempt + 1  # the number of the run to come, with or without a permit
        draft.event(_RECOVERED, token.node, {"visit": token.visit, "attempt": attempt})
        if tick.permit:
            draft.dispatch(token_id, rerun(rested, conflicts=token.conflicts))
        else:
            draft.queue(token_id, rested)
    return draft.finish(Cause(tick="recover", node=flying[0][1].node if flying else None))


def _cancel(plan: Plan, state: ExecutionState, tick: Cancel, now: float) -> Transition | None:
    if state.status in TERMINAL:
        return None
    draft = Draft(plan, state, now)
    error = "Execution cancelled" + (f": {tick.reason}" if tick.reason else "")
    draft.stop(Status.CANCELLED, error)
    return draft.finish(Cause(tick="cancel"))
