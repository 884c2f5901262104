"""How keys are laid out, in this one place. Integers are big endian, so that byte order is number
order.

Free text of up to 64 bytes stands in a key as it is; longer text is replaced by its digest, the
full text stands in the value and is compared on read.
"""

from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b
from struct import Struct
from typing import Final

from greenroom.protocol.checkpoints import CheckpointKey, CheckpointType
from greenroom.protocol.commit import StateKey
from greenroom.protocol.errors import StoreCorrupt
from greenroom.protocol.execution import Status
from greenroom.protocol.limits import KEY_TEXT_BYTES_MAX
from greenroom.protocol.timers import microseconds

NUMBER_MAX: Final = 2**64 - 1
SEQ_MAX: Final = 2**32 - 1
KEY_END: Final = b"\xff" * 255  # above every key of every table
RUNS_START: Final = b"o"  # of the keys of goals by ordinal
RUNS_END: Final = b"p"
_MICROSECONDS: Final = 1_000_000

_number: Final = Struct(">Q")
_checkpoint: Final = Struct(">QBIH")
_journal: Final = Struct(">QI")
_status: Final = Struct(">B8sQ")
_finished: Final = Struct(">8sQQ")
_timer: Final = Struct(">8sQQ")
_fork: Final = Struct(">QQQ")  # seqs take 8 bytes here, so that there is one above every seq
_concurrency: Final = Struct(">24sBQ")
_pending: Final = Struct(">8sQQI")
_version: Final = Struct(">8s8sQ")

pack_number: Final[Callable[[int], bytes]] = _number.pack
journal_key: Final[Callable[[int, int], bytes]] = _journal.pack
question_key: Final[Callable[[int, int], bytes]] = _journal.pack  # (ordinal, number)

# Stored: a code is never given to another status.
STATUS_CODES: Final[dict[Status, int]] = {
    Status.QUEUED: 1,
    Status.RUNNING: 2,
    Status.WAITING: 3,
    Status.PAUSED: 4,
    Status.HELD: 5,
    Status.COMPLETED: 16,
    Status.FAILED: 17,
    Status.CANCELLED: 18,
    Status.TIMED_OUT: 19,
    Status.EXHAUSTED: 20,
}
_STATUS_OF: Final = {code: status for status, code in STATUS_CODES.items()}

# Stored, in the order in which ids of one position sort.
_CHECKPOINT_CODES: Final[dict[CheckpointType, int]] = {
    CheckpointType.MANUAL: 1,
    CheckpointType.NODE_COMPLETE: 2,
    CheckpointType.NODE_START: 3,
    CheckpointType.PAUSE: 4,
}
_CHECKPOINT_OF: Final = {code: kind for kind, code in _CHECKPOINT_CODES.items()}


def unpack_number(raw: bytes) -> int:
    """Return the integer of `pack_number`; raises StoreCorrupt for other bytes."""
    if len(raw) != _number.size:
        raise StoreCorrupt(f"{raw!r} is not an 8-byte number")
    found: int = _number.unpack(raw)[0]
    return found


def unpack_journal_key(key: bytes) -> tuple[int, int]:
    """Return (ordinal, seq)."""
    ordinal, seq = _journal.unpack(key)
    return ordinal, seq


def status_key(status: Status, entry: bytes, ordinal: int) -> bytes:
    """Key of the status index; `entry` is `entry_digest`."""
    return _status.pack(STATUS_CODES[status], entry, ordinal)


def unpack_status_key(key: bytes) -> tuple[Status, bytes, int]:
    """Return (status, entry digest, ordinal)."""
    code, entry, ordinal = _status.unpack(key)
    return _STATUS_OF[code], entry, ordinal


def status_prefix(status: Status) -> bytes:
    """The first byte of every key of that status."""
    return bytes((STATUS_CODES[status],))


def finished_key(entry: bytes, mark: int, ordinal: int) -> bytes:
    """Key of the index of finished executions: per entry point in the order in which they ended."""
    return _finished.pack(entry, mark, ordinal)


def unpack_finished_key(key: bytes) -> tuple[bytes, int, int]:
    """Return (entry digest, finish mark, ordinal)."""
    entry, mark, ordinal = _finished.unpack(key)
    return entry, mark, ordinal


def timer_key(entry: bytes, due: float, ordinal: int) -> bytes:
    """Key of the index of what comes due: per entry point, in the order of time."""
    return _timer.pack(entry, microseconds(due), ordinal)


def unpack_timer_key(key: bytes) -> tuple[bytes, int, int]:
    """Return (entry digest, due in wall UTC microseconds, ordinal)."""
    entry, due, ordinal = _timer.unpack(key)
    return entry, due, ordinal


def fork_key(parent: int, seq: int, ordinal: int) -> bytes:
    """Key of a fork that is read through record `seq` of its parent: those of one lie together."""
    return _fork.pack(parent, seq, ordinal)


def unpack_fork_key(key: bytes) -> tuple[int, int, int]:
    """Return (the parent's ordinal, its seq, the fork's ordinal)."""
    parent, seq, ordinal = _fork.unpack(key)
    return parent, seq, ordinal


def checkpoint_key(ordinal: int, key: CheckpointKey) -> bytes:
    """Key of a checkpoint: those of one type of an execution lie together, in order."""
    return _checkpoint.pack(ordinal, _CHECKPOINT_CODES[key.kind], key.seq, key.number)


def unpack_checkpoint_key(key: bytes) -> tuple[int, CheckpointKey]:
    """Return (ordinal, what the checkpoint's id says)."""
    ordinal, code, seq, number = _checkpoint.unpack(key)
    return ordinal, CheckpointKey(seq, _CHECKPOINT_OF[code], number)


def run_key(first: int) -> bytes:
    """Key of the run of one goal's executions that begins at that ordinal."""
    return RUNS_START + _number.pack(first)


def goal_key(goal_id: str, first: int) -> bytes:
    """Key by which the runs of a goal are found."""
    return b"g" + entry_digest(goal_id) + _number.pack(first)


def concurrency_key(entry: bytes, text: str, place: int, ordinal: int) -> bytes:
    """Key of the executions with one concurrency key: `place` tells the owner from the others."""
    digest = blake2b(text.encode(), digest_size=16).digest()
    return _concurrency.pack(entry + digest, place, ordinal)


def unpack_concurrency_key(key: bytes) -> tuple[bytes, int, int]:
    """Return (what is equal for one entry point and key, place, ordinal)."""
    prefix, place, ordinal = _concurrency.unpack(key)
    return prefix, place, ordinal


def version_key(entry: bytes, version: bytes, ordinal: int) -> bytes:
    """Key of the index of those who wait, by the version of the graph at which they stand."""
    return _version.pack(entry, version, ordinal)


def unpack_version_key(key: bytes) -> tuple[bytes, bytes, int]:
    """Return (entry digest, digest of the version, ordinal)."""
    entry, version, ordinal = _version.unpack(key)
    return entry, version, ordinal


@lru_cache(maxsize=4096)
def entry_digest(entry_point: str) -> bytes:
    """Eight bytes that stand for an entry point, or a goal, in index keys; readers compare the
    full text.
    """
    return blake2b(entry_point.encode(), digest_size=8).digest()


def pending_filter(entry_point: str = "", assignee: str = "", node: str = "") -> bytes:
    """Eight bytes for the open questions of which all that is given is true; readers compare the
    full texts.
    """
    text = "\0".join((entry_point, assignee, node))
    return blake2b(text.encode(), digest_size=8).digest()


def pending_key(wanted: bytes, asked_at: float, ordinal: int, number: int) -> bytes:
    """Key of the index of open questions: by filter, the oldest first."""
    return _pending.pack(wanted, microseconds(asked_at), ordinal, number)


def unpack_pending_key(key: bytes) -> tuple[int, int]:
    """Return (ordinal, number)."""
    _, _, ordinal, number = _pending.unpack(key)
    return ordinal, number


def text_key(text: str) -> bytes:
    """`text` as a part of a key: itself, or its digest when it is long. The first byte tells."""
    raw = text.encode()
    if len(raw) <= KEY_TEXT_BYTES_MAX:
        return b"t" + raw
    return b"h" + blake2b(raw, digest_size=32).digest()


@lru_cache(maxsize=4096)
def scope_key(scope: str, owner: str) -> bytes:
    """Key of a scope's own record, and the start of the keys of everything in it."""
    return blake2b(f"{scope}\0{owner}".encode(), digest_size=16).digest()


def state_key(key: StateKey) -> bytes:
    """Key of one shared value; the whole scope's when `key.key` is empty."""
    prefix = scope_key(key.scope, key.owner)
    return prefix + text_key(key.key) if key.key else prefix


def claim_key(namespace: str, key: str) -> bytes:
    """Key of an idempotency claim."""
    return scope_key("idempotency", namespace) + text_key(key)


def expiry_key(expires_at: float, claim: bytes) -> bytes:
    """Key of the expiry index: wall UTC in microseconds, then the claim's key."""
    return _number.pack(microseconds(expires_at)) + claim


def expiry_stop(now: float) -> bytes:
    """First key of the expiry index that is not due at `now`."""
    return expiry_key(now, b"")


def split_expiry_key(key: bytes) -> bytes:
    """Return the claim's key from a key of the expiry index."""
    return key[_number.size :]
