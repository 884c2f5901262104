"""What an agent that dies on command does about a disk that is full; see agent.py."""

import asyncio
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

from greenroom.actors.host.runtime import AgentRuntime
from greenroom.protocol.errors import StoreUnavailable


def allow_file_size(limit: int) -> None:
    """Let no file grow beyond the limit in bytes; 0 lifts it."""
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit or hard, hard))


async def fill_disk(
    runtime: AgentRuntime, request: dict[str, Any], append: Callable[..., None]
) -> None:
    """Trigger until the store may not grow, look around, make room, and wait for all accepted."""
    said, refused, accepted = request["said"], [], []
    store = Path(request["store"])
    first = await runtime.trigger_and_wait("ep", {"text": "before"})
    assert first is not None
    allow_file_size(max(one.stat().st_size for one in store.iterdir()) + 400_000)

    async def send(text: str) -> None:
        try:
            accepted.append(await runtime.trigger("ep", {"text": text}))
        except StoreUnavailable as error:
            refused.append(str(error))

    n = 0
    while not refused:
        n += 1
        await asyncio.gather(*(send("y" * 2000) for _ in range(10)))
    for _ in range(5):
        await send("z")
    append(
        said,
        refused=refused,
        rounds=n,
        first_known=runtime.get_execution_result("ep", first.execution_id) == first,
        streams=list(runtime.get_stats()["streams"]),
        history=len(runtime.event_bus.get_history(limit=10)),
        running=runtime.get_stream("ep").is_running,
    )
    if request["full_disk"] == "kill_stream":
        for _ in range(3):
            runtime.get_stream("ep").ref.kill()
            await asyncio.sleep(0.1)
    if request["full_disk"] == "kill_writer":
        runtime._assembly.writer.kill()
        await runtime._assembly.writer.ready()
    allow_file_size(0)
    statuses = []
    for one in accepted:
        result = await runtime.wait_for_completion(one, timeout=15)
        statuses.append("missing" if result is None else result.status.value)
    again = None
    while again is None:
        try:
            again = await runtime.trigger_and_wait("ep", {"text": "after"})
        except StoreUnavailable:
            await asyncio.sleep(0.05)  # the store is probed at its own pace
    append(said, statuses=sorted(set(statuses)), accepted_total=len(accepted), again=bool(again))
