"""The process that is killed: runs the agent's runtime and does what its parent asks.

Reads requests, one JSON object a line, from standard input and answers on standard output; ends
when its input ends, so that it never outlives its parent.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any, Final

from greenroom.actors.host.demo.agent import build_runtime
from greenroom.actors.host.demo.ledger import Ledger
from greenroom.actors.host.runtime import AgentRuntime
from greenroom.protocol.errors import GreenroomError
from greenroom.protocol.events import AgentEvent, EventType

_LINE_BYTES_MAX: Final = 4 * 1024 * 1024


def _tell(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def _on_restart(event: AgentEvent) -> None:
    _tell({"event": "stream_restarted", "stream": event.stream_id})


async def _requests() -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=_LINE_BYTES_MAX)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    return reader


async def _serve(runtime: AgentRuntime, requests: asyncio.StreamReader) -> None:
    async for line in requests:
        asked = json.loads(line)
        number = asked["number"]
        try:
            answer = await _answer(runtime, asked)
        except GreenroomError as error:
            answer = {"error": str(error), "code": error.code}
        if asked["do"] == "stop":
            await runtime.stop()
        _tell({"number": number, **answer})
        if asked["do"] == "stop":
            return


async def _answer(runtime: AgentRuntime, asked: dict[str, Any]) -> dict[str, Any]:
    match asked["do"]:
        case "crash":
            stream = runtime.get_stream(asked["stream"])
            assert stream is not None
            stream.ref.kill()
            return {}
        case "trigger":
            executions = [await runtime.trigger("api", data) for data in asked["inputs"]]
            return {"executions": executions}
        case "progress":
            return {"progress": await runtime.get_goal_progress()}
        case "stop":
            return {}
        case other:
            return {"error": f"unknown request {other!r}"}


async def _main() -> int:
    requests = await _requests()
    first = await requests.readline()
    if not first:
        return 0
    asked = json.loads(first)
    ledger = Ledger(Path(asked["ledger"]))
    runtime = build_runtime(
        Path(asked["store"]), ledger, secret=asked["secret"], latency_s=asked["latency_s"]
    )
    runtime.subscribe_to_events([EventType.STREAM_RESTARTED], _on_restart)
    try:
        await runtime.start()
    except GreenroomError as error:
        _tell({"number": asked["number"], "error": str(error), "code": error.code})
        return 1
    try:
        assert runtime.webhook_server is not None
        _tell(
            {
                "number": asked["number"],
                "port": runtime.webhook_server.port,
                "recovered": runtime.recovery.total - len(runtime.recovery.held),
            }
        )
        await _serve(runtime, requests)
    finally:
        await runtime.stop()
        ledger.close()
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(_main()))
