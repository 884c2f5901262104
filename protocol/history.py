"""A session's history: what each of its records was, in words."""

from datetime import datetime
from typing import Final

import msgspec

from greenroom.protocol.execution import ExecutionState, Status, Token
from greenroom.protocol.patch import JournalRecord, Patch
from greenroom.protocol.questions import question_id
from greenroom.protocol.sessions import ForkedFrom
from greenroom.protocol.timers import moment

_WORDS: Final = {
    "accept": "accepted",
    "dispatch": "got its turn at {node}",
    "node_succeeded": "{node} succeeded",
    "node_errored": "{node} failed",
    "conflicted": "{node} lost a race for shared state",
    "inject": "input was kept for {node}",
    "pause": "paused at {node}",
    "resume": "resumed",
    "rewind": "taken back to an earlier record",
    "recover": "taken up again at {node}, where it was interrupted",
    "cancel": "cancelled",
    "hold": "held",
    "migrate": "moved to another version of its graph",
    "release": "let go, as it fits the graph again",
}
_WITHOUT_NODE: Final = {
    "dispatch": "got its turn",
    "inject": "input was kept",
    "pause": "paused",
    "recover": "taken up again",
}
_NAMED_MAX: Final = 3  # effects or questions that one line names


class HistoryEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One record of a session: what happened at `at` (aware, UTC), and where it stood then.

    `what` is for people, `cause` for programs. `visit` and `attempt` are of the node run that it
    is about, 0 when it is about none; `branch` is 0 on the main line. `changed` are the keys that
    it set in the memory, or for its branch, `removed` those that it took away. `status` and
    `position`, the nodes at which the session stood, are those after it; so are `checkpoints`, the
    ids of what names it.
    """

    seq: int
    at: datetime
    what: str
    cause: str
    node: str | None
    visit: int
    attempt: int
    branch: int
    status: Status
    position: list[str]
    changed: list[str]
    removed: list[str]
    checkpoints: list[str]
    error: str | None


class History(msgspec.Struct, frozen=True, kw_only=True):
    """Part of a session's history, oldest first. `after` is where the next page begins, None when
    there is none at present. That of a fork begins where it was forked from another session.
    """

    session_id: str
    forked_from: ForkedFrom | None
    entries: list[HistoryEntry]
    after: int | None = None


def entry_of(
    record: JournalRecord,
    before: dict[int, Token],
    state: ExecutionState,
    checkpoints: list[str],
) -> HistoryEntry:
    """Return what a record was; `before` are the tokens before it, `state` is that after it."""
    cause, patch = record.cause, record.patch
    return HistoryEntry(
        seq=record.seq,
        at=moment(record.at),
        what=_told(record, state),
        cause=cause.tick,
        node=cause.node,
        visit=cause.visit,
        attempt=cause.attempt,
        branch=_branch(record, before),
        status=state.status,
        position=[token.node for token in state.tokens.values()],
        changed=changed_keys(patch),
        removed=sorted(key for key in patch.forget if key not in patch.memory),
        checkpoints=checkpoints,
        error=cause.error or patch.error,
    )


def _told(record: JournalRecord, state: ExecutionState) -> str:
    cause, patch = record.cause, record.patch
    node = "" if cause.node is None else repr(cause.node)
    match cause.tick:
        case "fork":
            origin = state.accepted.forked
            where = "" if origin is None else f" {origin.execution_id} after record {origin.seq}"
            return f"forked from session{where}"
        case "progressed":
            slots = [slot for changes in patch.effects.values() for slot in changes]
            return f"{node} recorded {_named('effect', slots)}"
        case "answer":
            name = state.accepted.execution_id
            asked = [question_id(name, number) for number in patch.questions]
            return f"{_named('question', asked)} answered"
        case "due":
            return f"the time came that {node or 'it'} waited for"
        case tick:
            words = _WORDS.get(tick, tick.replace("_", " "))
            if not node:
                words = _WITHOUT_NODE.get(tick, words)
            return words.format(node=node)


def _named(kind: str, names: list[str]) -> str:
    shown = ", ".join(names[:_NAMED_MAX])
    more = f" and {len(names) - _NAMED_MAX} more" if len(names) > _NAMED_MAX else ""
    return f"{kind} {shown}{more}" if len(names) == 1 else f"{kind}s {shown}{more}"


def changed_keys(patch: Patch) -> list[str]:
    """Return the keys of memory that a step set, on the main line or in a branch."""
    keys = set(patch.memory)
    if patch.branching is not None:
        keys.update(*patch.branching.overlays.values())
    return sorted(keys)


def _branch(record: JournalRecord, before: dict[int, Token]) -> int:
    """Which branch the record's node run was in."""
    cause = record.cause
    for token in before.values():
        if token.node == cause.node and cause.visit in (0, token.visit):
            return token.branch
    return 0
