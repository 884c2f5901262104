"""The runtime's process as its parent holds it: JSON lines both ways, a deadline on each wait."""

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Self

from greenroom.protocol.errors import GreenroomError, InvalidInput

CHILD_MODULE: Final = "greenroom.actors.host.demo.child"
START_TIMEOUT_S: Final = 20.0
REPLY_TIMEOUT_S: Final = 15.0
_LINE_BYTES_MAX: Final = 4 * 1024 * 1024
_TAIL_LINES: Final = 12
# Codes of errors that whoever gave the store can mend.
_BAD_INPUT: Final = frozenset({"store_in_use", "store_too_new", "store_corrupt", "invalid_config"})


class ChildProcess:
    """One process that runs the runtime. Belongs to the loop that started it."""

    def __init__(self, on_event: Callable[[dict[str, Any]], None], stderr_path: Path) -> None:
        self._on_event = on_event
        self._stderr_path = stderr_path
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._replies: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._asked = 0

    @classmethod
    async def start(
        cls,
        settings: dict[str, Any],
        on_event: Callable[[dict[str, Any]], None],
        stderr_path: Path,
        timeout_s: float = START_TIMEOUT_S,
    ) -> tuple[Self, dict[str, Any]]:
        """Start the process and wait until the runtime runs; return it with its first report.

        `on_event` is called with each unasked line. Raises InvalidInput when the store cannot be
        used, GreenroomError when the process ends or says nothing in time.
        """
        child = cls(on_event, stderr_path)
        with stderr_path.open("wb") as stderr:
            child._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", CHILD_MODULE),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
                limit=_LINE_BYTES_MAX,
                # Ctrl-C is the parent's to handle; it ends the child itself.
                start_new_session=True,
            )
        child._reading = asyncio.create_task(child._read())
        try:
            return child, await child.ask("start", timeout_s, **settings)
        except BaseException:
            await child.kill()
            raise

    @property
    def pid(self) -> int:
        """The process's id."""
        assert self._process is not None
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self._process is None or self._process.returncode is not None

    async def ask(
        self, what: str, timeout_s: float = REPLY_TIMEOUT_S, **fields: Any
    ) -> dict[str, Any]:
        """Send one request and wait for its reply. Raises as `start` does."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._asked += 1
        number = self._asked
        reply = asyncio.get_running_loop().create_future()
        self._replies[number] = reply
        if self._reading is None or self._reading.done():
            raise await self.why_gone()
        try:
            line = json.dumps({"number": number, "do": what, **fields}) + "\n"
            self._process.stdin.write(line.encode())
            await self._process.stdin.drain()
            answer: dict[str, Any] = await asyncio.wait_for(reply, timeout_s)
        except TimeoutError:
            raise GreenroomError(
                f"the runtime's process did not answer {what!r} within {timeout_s:g} s"
                + self.last_words()
            ) from None
        except ConnectionError:
            raise await self.why_gone() from None
        finally:
            self._replies.pop(number, None)
        if "error" in answer:
            kind = InvalidInput if answer.get("code") in _BAD_INPUT else GreenroomError
            raise kind(answer["error"])
        return answer

    async def kill(self) -> None:
        """End the process with SIGKILL, and return when it is gone; safe at any time."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
        await self._gone()

    async def stop(self) -> None:
        """Ask the runtime to stop, and return when the process has ended by itself."""
        assert self._process is not None
        await self.ask("stop")
        try:
            await asyncio.wait_for(self._process.wait(), REPLY_TIMEOUT_S)
        except TimeoutError:
            raise GreenroomError(
                f"the runtime's process did not end within {REPLY_TIMEOUT_S:g} s"
                + self.last_words()
            ) from None
        if self._process.returncode:
            raise await self.why_gone()

    async def _gone(self) -> None:
        if self._process is not None:
            await self._process.wait()
        if self._reading is not None:
            await asyncio.wait({self._reading})

    async def why_gone(self) -> GreenroomError:
        """Wait until the process has ended; return the error that says so, with its last words."""
        await self._gone()
        assert self._process is not None
        return GreenroomError(
            f"the runtime's process ended with code {self._process.returncode}" + self.last_words()
        )

    def last_words(self) -> str:
        """The end of what it wrote to standard error, as the end of a sentence; may be empty."""
        lines = self._stderr_path.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
        return "; its last words: " + " | ".join(lines) if lines else ""

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            async for line in self._process.stdout:
                told = json.loads(line)
                reply = self._replies.get(told.get("number", 0))
                if reply is None:
                    self._on_event(told)
                elif not reply.done():
                    reply.set_result(told)
        finally:
            for reply in self._replies.values():
                if not reply.done():
                    reply.set_exception(ConnectionResetError("the process has ended"))
