"""The floor: the least that a durable step costs in this language on this disk, with no runtime.

The code is fixed: it is what the runtime is compared to, so it must not change with the runtime.
Per step it encodes one commit of 400 bytes and two events of 150, decodes the commit, and puts
journal, head and both events. Clients are tasks of the caller's loop; one thread commits all that
waits as one transaction and then wakes its clients. A client hands its step over at the end of the
loop's slice, so that puts run while the loop is idle: that is the fastest arrangement known here.
"""

import asyncio
import queue
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import lmdb
import msgspec

STEPS_PER_EXECUTION: Final = 4
_MAP_BYTES: Final = 64 * 1024**3
_TABLES: Final = 15  # as many as the store has
_PADDING: Final = bytes(range(256)) * 2

_number: Final[Callable[[int], bytes]] = struct.Struct(">Q").pack
_journal_key: Final[Callable[[int, int], bytes]] = struct.Struct(">QI").pack


class FloorCommit(msgspec.Struct, frozen=True, kw_only=True):
    """One step: 400 bytes when encoded, a few more for large numbers."""

    execution_id: str
    stream: str
    ordinal: int
    seq: int
    at: float
    status: str
    memory: bytes


class FloorEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event: 150 bytes when encoded, whatever its kind."""

    type: str
    at: float
    stream: str
    execution: str
    node: str
    data: bytes


class _Step(NamedTuple):
    commit: bytes
    first: bytes
    second: bytes
    done: "asyncio.Future[None]"


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(FloorCommit).decode


def encode_commit(ordinal: int, seq: int, at: float) -> bytes:
    """The commit of one step."""
    return _encode(
        FloorCommit(
            execution_id=f"session_20260101_000000_{ordinal:08x}",
            stream="benchmark",
            ordinal=ordinal,
            seq=seq,
            at=at,
            status="running",
            memory=_PADDING[:284],
        )
    )


def encode_event(kind: str, ordinal: int, at: float) -> bytes:
    """One event of a step."""
    return _encode(
        FloorEvent(
            type=kind,
            at=at,
            stream="benchmark",
            execution=f"session_20260101_000000_{ordinal:08x}",
            node="second",
            data=_PADDING[: 51 - len(kind)],
        )
    )


class Floor:
    """An LMDB environment in `folder` and its writer's thread; an async context manager.

    `puts`, `put_bytes` and `steps` count from the beginning.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._environment = lmdb.open(
            str(folder), map_size=_MAP_BYTES, max_dbs=_TABLES, sync=True, metasync=True
        )
        tables: list[Any] = [
            self._environment.open_db(f"table_{number}".encode()) for number in range(_TABLES)
        ]
        self._journal, self._heads, self._events = tables[6], tables[3], tables[9]
        self._batches: queue.SimpleQueue[list[_Step] | None] = queue.SimpleQueue()
        self._waiting: list[_Step] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ordinal = 0
        self._event = 0
        self.puts = self.put_bytes = self.steps = 0
        self._thread = threading.Thread(target=self._write, name="floor-writer", daemon=True)

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._thread.start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._batches.put(None)
        self._thread.join()
        self._environment.close()

    async def run(self, clients: int, seconds: float) -> float:
        """Run closed-loop clients for `seconds`; return steps per second."""
        before, begun = self.steps, time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(self._client(begun + seconds))
        return (self.steps - before) / (time.perf_counter() - begun)

    async def _client(self, until: float) -> None:
        """Run executions, one after the other, until the time has come and at least one."""
        while True:
            self._ordinal = ordinal = self._ordinal + 1
            for seq in range(1, STEPS_PER_EXECUTION + 1):
                await self._submit(ordinal, seq)
            if time.perf_counter() >= until:
                return

    def _submit(self, ordinal: int, seq: int) -> "asyncio.Future[None]":
        assert self._loop is not None, "used inside its context only"
        done = self._loop.create_future()
        at = time.time()
        step = _Step(
            encode_commit(ordinal, seq, at),
            encode_event("node_completed", ordinal, at),
            encode_event("node_started", ordinal, at),
            done,
        )
        if not self._waiting:
            self._loop.call_soon(self._hand_over)
        self._waiting.append(step)
        return done

    def _hand_over(self) -> None:
        steps, self._waiting = self._waiting, []
        self._batches.put(steps)

    def _wake(self, steps: list[_Step]) -> None:
        for step in steps:
            step.done.set_result(None)

    def _write(self) -> None:
        assert self._loop is not None, "started by the context"
        while (steps := self._batches.get()) is not None:
            while not self._batches.empty():
                more = self._batches.get()
                if more is None:
                    return
                steps += more
            with self._environment.begin(write=True) as txn:
                for step in steps:
                    self._put(txn, step)
            self.steps += len(steps)
            self._loop.call_soon_threadsafe(self._wake, steps)

    def _put(self, txn: Any, step: _Step) -> None:
        commit = _decode(step.commit)
        head = _number(commit.seq) + commit.execution_id.encode()
        self._event += 2
        txn.put(_journal_key(commit.ordinal, commit.seq), step.commit, db=self._journal)
        txn.put(_number(commit.ordinal), head, db=self._heads)
        txn.put(_number(self._event - 1), step.first, db=self._events)
        txn.put(_number(self._event), step.second, db=self._events)
        self.puts += 4
        self.put_bytes += 36 + len(step.commit) + len(head) + len(step.first) + len(step.second)
