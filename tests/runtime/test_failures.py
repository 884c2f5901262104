"""A failure that is raised and one that is returned take the same way. B17."""

import asyncio
from typing import Any

import pytest

from greenroom import NodeFailed, NonRetryable
from greenroom.protocol.execution import Status
from greenroom.protocol.graph import EdgeSpec, NodeSpec

pytestmark = pytest.mark.asyncio


class Unreachable(NodeFailed):
    """A failure of the user's own, with a code to name it by."""

    code = "unreachable"


class Failing:
    """A node that fails with one error, raised or returned, async or plain."""

    def __init__(self, error: Exception, *, returned: bool) -> None:
        self.error, self.returned = error, returned
        self.attempts: list[int] = []

    def plain(self, ctx: Any) -> Any:
        self.attempts.append(ctx.attempt)
        ctx.write_sync("left", ctx.attempt, "global")
        ctx.publish("custom", {"attempt": ctx.attempt})
        ctx.sleep(3_600)
        if self.returned:
            return self.error
        raise self.error

    async def coroutine(self, ctx: Any) -> Any:
        await asyncio.sleep(0)
        return self.plain(ctx)


EDGE = EdgeSpec(
    id="bad", source="work", target="mend", condition="on_failure", input_mapping={"why": "error"}
)


async def _outcome(lab: Any, node: Failing, call: Any, **settings: Any) -> dict[str, Any]:
    """All that can be seen of a run: results, events, and what it left behind."""

    async def mend(why: str) -> dict[str, str]:
        return {"mended": why}

    work = NodeSpec(id="work", backoff_initial_s=0.01, max_retries=3, **settings)
    nodes = [work, NodeSpec(id="mend", input_keys=["why"])]
    store = f"store-{node.returned}"
    async with lab.runtime({"work": call, "mend": mend}, nodes, [EDGE], store=store) as runtime:
        result = await runtime.trigger_and_wait("main", timeout=20)
        events = runtime.event_bus.get_history(limit=100)
        left = await runtime.state_manager.read("left", None)
    return {
        "status": result.status,
        "output": result.output,
        "path": result.path,
        "retries": result.retry_details,
        "attempts": node.attempts,
        "left": left,
        "events": [
            (event.type, event.data if "node_failed" in event.type else None)
            for event in reversed(events)
            if event.execution_id
        ],
    }


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
@pytest.mark.parametrize(
    ("error", "settings", "attempts"),
    [
        (ValueError("broken"), {}, 3),
        (NodeFailed("broken"), {}, 3),
        (NonRetryable("broken"), {}, 1),
        (NonRetryable("broken"), {"retry_on": ["NonRetryable"]}, 1),
        (Unreachable("broken"), {"retry_on": ["unreachable"]}, 3),
        (Unreachable("broken"), {"retry_on": ["OSError"]}, 1),
        (Unreachable("broken"), {"no_retry_on": ["NodeFailed"]}, 1),
    ],
)
async def test_a_returned_failure_is_the_same_as_a_raised_one(
    lab: Any, kind: str, error: Exception, settings: Any, attempts: int
) -> None:
    """Attempts, events, the way for failures, and that what was buffered is dropped."""
    found = []
    for returned in (False, True):
        node = Failing(error, returned=returned)
        found.append(await _outcome(lab, node, getattr(node, kind), **settings))
    raised, given_back = found
    assert raised == given_back
    assert raised["attempts"] == list(range(1, attempts + 1))
    assert raised["left"] is None
    assert raised["path"] == ["work", "mend"]
    assert raised["output"] == {"mended": "broken", "why": "broken"}
    assert ("custom", None) not in raised["events"]


async def test_failures_before_a_restart_count(lab: Any) -> None:
    """Attempts, and the time of the next one, are in the store."""
    node = Failing(ValueError("broken"), returned=False)
    spec = NodeSpec(id="work", backoff_initial_s=2.0, backoff_factor=1.0, backoff_jitter=0.5)
    for attempt in (1, 2):
        waiting: asyncio.Queue[Any] = asyncio.Queue()
        runtime = lab.runtime({"work": node.plain}, [spec])
        runtime.subscribe_to_events(["execution_waiting"], waiting.put)
        async with runtime:
            if attempt == 1:
                execution = await runtime.trigger("main")
            async with asyncio.timeout(20):
                await waiting.get()
    async with lab.runtime({"work": node.plain}, [spec]) as runtime:
        assert runtime.recovery.waiting == 1
        result = await runtime.wait_for_completion(execution, timeout=20)
    assert (result.status, node.attempts) == (Status.FAILED, [1, 2, 3])
    assert result.error == "Node 'work' failed after 3 attempts: broken"
    assert result.retry_details == {"work": 3}
