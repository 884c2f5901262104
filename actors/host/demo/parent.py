"""The demo from outside: sends webhooks, crashes a stream, kills the process, and proves the rest.

It holds only what the runtime acknowledged and what independent witnesses say: the ledger that node
functions write, and the store, which it opens read-only.
"""

import asyncio
import http.client
import itertools
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from greenroom.actors.host.demo.client import Answer, Delivery, send
from greenroom.actors.host.demo.evidence import Evidence, entered_by, read_evidence, read_global
from greenroom.actors.host.demo.ledger import read_ledger
from greenroom.actors.host.demo.payloads import Payload, load_payloads, own_payloads
from greenroom.actors.host.demo.process import ChildProcess
from greenroom.actors.host.demo.progress import Progress
from greenroom.actors.host.demo.report import DemoReport
from greenroom.protocol.errors import GreenroomError, InvalidInput

STREAM: Final = "github"
BURST: Final = 24
FILES_MAX: Final = 300
DUPLICATES: Final = 4
FORGERIES: Final = 3
API_CALLS: Final = 3
UNFINISHED_MIN: Final = 5
FINISHED_SHARE_MIN: Final = 0.25
_MARGIN: Final = 5  # more than the least, as some finish between the look and the kill
_BURSTS_MAX: Final = 6
_LATENCY_S: Final = 0.1
_LOOK_S: Final = 0.02
_SOON_S: Final = 2.0
_DONE_S: Final = 60.0


class DemoOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`store`: keep it there; None uses a folder that is deleted. `payloads`: a folder of files.
    `quiet`: show nothing while it works.
    """

    store: Path | None = None
    payloads: Path | None = None
    quiet: bool = False


def run_demo(options: DemoOptions) -> DemoReport:
    """Run all of it and return the report. Blocks; belongs to the main thread.

    Raises InvalidInput for options that cannot be used, GreenroomError when the runtime's process
    does not do its part in time. Nothing is left running.
    """
    payloads = load_payloads(options.payloads) if options.payloads else own_payloads()
    if options.store is not None:
        _make_folder(options.store)
    with tempfile.TemporaryDirectory(prefix="greenroom-demo-") as scratch:
        demo = _Demo(
            payloads=payloads[:FILES_MAX],
            store=options.store or Path(scratch) / "store",
            scratch=Path(scratch),
        )
        with Progress(quiet=options.quiet) as progress:
            return asyncio.run(demo.run(progress))


def _make_folder(folder: Path) -> None:
    """Raise InvalidInput when a store cannot be made there, before anything is started."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except FileExistsError:
        raise InvalidInput(f"{folder} is not a folder: name one that is new or a store") from None
    except OSError as error:
        raise InvalidInput(f"{folder} cannot hold a store: {error.strerror}") from error


class _Demo:
    """One run. Every field is what this process saw or was told, and when."""

    def __init__(self, payloads: list[Payload], store: Path, scratch: Path) -> None:
        self.store = store
        self.scratch = scratch
        self.ledger = scratch / "ledger"
        self.secret = secrets.token_hex(16)
        self.payloads: Iterator[Payload] = itertools.cycle(payloads)
        self.burst = max(BURST, (len(payloads) + 1) // 2)
        self.sent: list[tuple[Delivery, str]] = []  # with the execution that was acknowledged
        self.called: list[str] = []
        self.rejected = 0
        self.duplicates = 0
        self.wrong: list[str] = []  # answers that should have been others
        self.restarts = 0
        self.restarted = asyncio.Event()
        self.port = 0
        self.child: ChildProcess | None = None
        self.children = 0

    @property
    def accepted(self) -> frozenset[str]:
        return frozenset([execution for _, execution in self.sent] + self.called)

    async def run(self, progress: Progress) -> DemoReport:
        began = time.monotonic()
        progress.stage("starting the runtime in a process of its own")
        child, _ = await self._start()
        try:
            progress.stage("sending signed webhooks, forged ones and repeats")
            await self._deliver(self.burst)
            await self._call(child)
            progress.stage("crashing the stream that serves them")
            await self._crash_stream(child)
            progress.stage("sending more, and killing the process in the middle of its work")
            before, first_pid = await self._kill_in_flight(child)
            progress.stage("starting again on the same store")
            child, started = await self._start()
            await self._repeat_some()
            progress.stage("finishing everything that was accepted")
            await self._finish(progress)
            goal = (await child.ask("progress"))["progress"]
            await child.stop()
        finally:
            if self.child is not None:
                await self.child.kill()
        return self._report(before, first_pid, child.pid, started["recovered"], goal, began)

    async def _start(self) -> tuple[ChildProcess, dict[str, Any]]:
        self.children += 1
        child, started = await ChildProcess.start(
            {
                "store": str(self.store),
                "ledger": str(self.ledger),
                "secret": self.secret,
                "latency_s": _LATENCY_S,
            },
            self._on_event,
            self.scratch / f"stderr.{self.children}",
        )
        self.child, self.port = child, started["port"]
        return child, started

    async def _send(self, deliveries: list[Delivery]) -> list[Answer]:
        assert self.child is not None
        try:
            return await send(self.port, deliveries)
        except (OSError, http.client.HTTPException) as error:
            raise GreenroomError(
                f"the webhook server did not answer ({error!r})" + self.child.last_words()
            ) from error

    def _on_event(self, event: dict[str, Any]) -> None:
        if event.get("event") == "stream_restarted":
            self.restarts += 1
            self.restarted.set()

    async def _deliver(self, count: int) -> None:
        """Send `count` good deliveries, then forged ones, then repeats of good ones."""
        good = [self._delivery(self.secret) for _ in range(count)]
        for delivery, answer in zip(good, await self._send(good), strict=True):
            if answer.status == 202 and answer.execution_id is not None and not answer.duplicate:
                self.sent.append((delivery, answer.execution_id))
            else:
                self.wrong.append(f"a good delivery was answered {answer}")
        forged = [self._delivery("wrong " + self.secret) for _ in range(FORGERIES)]
        for answer in await self._send(forged):
            self.rejected += answer.status == 401
            if answer.status != 401:
                self.wrong.append(f"a forged delivery was answered {answer}")
        await self._repeat_some()

    def _delivery(self, secret: str) -> Delivery:
        return Delivery(
            payload=next(self.payloads), delivery_id=secrets.token_hex(16), secret=secret
        )

    async def _repeat_some(self) -> None:
        """Send the first deliveries again: each has to be answered with its first execution."""
        repeats = self.sent[:DUPLICATES]
        answers = await self._send([delivery for delivery, _ in repeats])
        for (_, execution), answer in zip(repeats, answers, strict=True):
            right = Answer(status=202, execution_id=execution, duplicate=True)
            self.duplicates += answer == right
            if answer != right:
                self.wrong.append(f"a repeat of {execution} was answered {answer}")

    async def _call(self, child: ChildProcess) -> None:
        payloads = [next(self.payloads) for _ in range(API_CALLS)]
        for one in payloads:
            # One at a time: several large ones would not fit into one line.
            data = {"payload": one.json(), "headers": {"x-github-event": one.event}}
            self.called += (await child.ask("trigger", inputs=[data]))["executions"]

    async def _crash_stream(self, child: ChildProcess) -> None:
        await child.ask("crash", stream=STREAM)
        try:
            await asyncio.wait_for(self.restarted.wait(), 10.0)
        except TimeoutError:
            raise GreenroomError("the crashed stream was not restarted within 10 s") from None

    async def _kill_in_flight(self, child: ChildProcess) -> tuple[Evidence, int]:
        """SIGKILL while some is finished, much is not, and nodes are in flight; return what is
        committed, and the pid.

        On a busy machine the work may be done between the look and the kill: then the process is
        started again, and killed again in the middle of more work.
        """

        def busy_enough(seen: Evidence) -> bool:
            finished = len(self.accepted) - len(seen.unfinished(self.accepted))
            some = finished >= FINISHED_SHARE_MIN * len(self.accepted)
            return some and self._busy(seen, child.pid, UNFINISHED_MIN + _MARGIN)

        for _ in range(_BURSTS_MAX):
            await self._deliver(self.burst)
            if not await self._wait(busy_enough, _SOON_S):
                continue
            await child.kill()
            seen = read_evidence(self.store)
            if self._busy(seen, child.pid, UNFINISHED_MIN):
                return seen, child.pid
            child, _ = await self._start()
        raise GreenroomError("the runtime was never busy enough to be killed in its work")

    def _busy(self, seen: Evidence, pid: int, unfinished_min: int) -> bool:
        if len(seen.unfinished(self.accepted)) < unfinished_min:
            return False
        return not seen.in_flight.isdisjoint(entered_by(pid, read_ledger(self.ledger)))

    async def _finish(self, progress: Progress) -> None:
        accepted = self.accepted

        def done(seen: Evidence) -> bool:
            unfinished = len(seen.unfinished(accepted))
            progress.count(len(accepted) - unfinished, len(accepted))
            webhooks = len(seen.completed(STREAM))
            return not unfinished and len(seen.completed("digest")) >= webhooks

        if not await self._wait(done, _DONE_S):
            left = len(read_evidence(self.store).unfinished(accepted))
            raise GreenroomError(
                f"{left} of {len(accepted)} accepted executions did not end in {_DONE_S:g} s"
            )

    async def _wait(self, holds: Callable[[Evidence], bool], timeout_s: float) -> bool:
        """Look at the store again and again; say whether `holds` came true in time."""
        until = time.monotonic() + timeout_s
        while not holds(read_evidence(self.store)):
            if time.monotonic() > until:
                return False
            if self.child is not None and self.child.has_ended:
                raise await self.child.why_gone()
            await asyncio.sleep(_LOOK_S)
        return True

    def _report(
        self,
        before: Evidence,
        first_pid: int,
        second_pid: int,
        recovered: int,
        goal: dict[str, Any],
        began: float,
    ) -> DemoReport:
        after = read_evidence(self.store)
        entered_again = entered_by(second_pid, read_ledger(self.ledger))
        accepted = self.accepted
        completed = {one for point in (STREAM, "api") for one in after.completed(point)} & accepted
        return DemoReport(
            accepted=len(accepted),
            rejected=self.rejected,
            duplicates=self.duplicates,
            completed=len(completed),
            ended_otherwise=len(accepted - completed - after.unfinished(accepted)),
            lost=len(after.unfinished(accepted)),
            repeated_steps=sum(run in before.closed for run in entered_again),
            stream_restarts=self.restarts,
            recovered=recovered,
            elapsed_s=round(time.monotonic() - began, 2),
            unfinished_at_kill=len(before.unfinished(accepted)),
            in_flight_at_kill=len(before.in_flight),
            committed_before_kill=len(before.closed),
            entered_after_kill=len(entered_again),
            steps=after.steps,
            by_entry_point={
                point: sum(name == point for name in after.entry_points.values())
                for point in sorted(set(after.entry_points.values()))
            },
            completed_by_entry_point={
                point: len(after.completed(point)) for point in set(after.entry_points.values())
            },
            digest=read_global(self.store, "digest") or {},
            goal=goal,
            wrong=self.wrong,
            pids=(first_pid, second_pid),
            store=str(self.store),
        )
