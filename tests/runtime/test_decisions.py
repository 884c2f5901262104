"""Runs, decisions and problems: stored by the step that closes a node run, and found again."""

from datetime import UTC, datetime
from typing import Any

import pytest

from greenroom import (
    DecisionType,
    EdgeSpec,
    EntryPointSpec,
    InvalidInput,
    NodeContext,
    NodeSpec,
    RuntimeNotRunning,
    Severity,
    Status,
)

NODES = [
    NodeSpec(id="classify", input_keys=["title"], output_keys=["label"], max_retries=1),
    NodeSpec(
        id="route",
        node_type="router",
        route_on="label",
        routes={"bug": "fix", "default": "reply"},
    ),
    NodeSpec(id="fix", input_keys=["title"], backoff_initial_s=0.0, max_retries=2),
    NodeSpec(id="reply"),
]
EDGES = [EdgeSpec(id="classified", source="classify", target="route", condition="on_success")]


def classify(title: str, ctx: NodeContext) -> str:
    """A plain node that decides and complains."""
    label = "bug" if "crash" in title else "question"
    decision = ctx.decide(
        "label the ticket",
        options=["bug", "question"],
        chosen=label,
        reasoning="by its words",
        decision_type="output_format",
    )
    if not title.endswith("."):
        ctx.report_problem("minor", "no full stop", decision_id=decision)
    return label


async def fix(title: str, ctx: NodeContext) -> dict[str, Any]:
    """An async node whose first attempt fails after it has decided."""
    ctx.decide(f"attempt {ctx.attempt}")
    if ctx.attempt == 1:
        raise ConnectionError("the tracker is down")
    return {"fixed": True}


def reply() -> dict[str, Any]:
    """A node that decides nothing."""
    return {"replied": True}


FUNCTIONS = {"classify": classify, "fix": fix, "reply": reply}


@pytest.mark.asyncio
async def test_a_run_is_stored_and_found_again(lab: Any) -> None:
    """Where the reference writes nothing, everything is there, also after a restart."""
    runtime = lab.runtime(FUNCTIONS, NODES, EDGES)
    async with runtime:
        done = await runtime.trigger_and_wait("main", {"title": "a crash"}, correlation_id="c1")
        before = await runtime.get_run(done.execution_id)
    async with lab.runtime(FUNCTIONS, NODES, EDGES) as again:
        run = await again.get_run(done.execution_id)
    assert run == before
    assert (run.id, run.goal_id, run.entry_point) == (done.execution_id, "goal", "main")
    assert (run.status, run.error, run.correlation_id) == (Status.COMPLETED, None, "c1")
    assert run.path == ["classify", "route", "fix"]
    assert run.input_data == {"title": "a crash"}
    assert run.output_data == done.output
    assert run.started_at <= run.completed_at
    assert not run.truncated
    assert [(one.node_id, one.attempt, one.success, one.error) for one in run.outcomes] == [
        ("classify", 1, True, None),
        ("fix", 1, False, "the tracker is down"),
        ("fix", 2, True, None),
    ]
    assert run.outcomes[0].state_changes == ["label"]
    assert run.metrics["successful_outcomes"] == 2
    assert run.metrics["failed_outcomes"] == 1
    assert run.metrics["total_retries"] == 1
    assert run.narrative.startswith("completed after 3 steps, 1 failed attempt, 3 decisions")


@pytest.mark.asyncio
async def test_decisions_of_every_node_type_have_their_outcome(lab: Any) -> None:
    """Routers decide too, and what a failed attempt had decided is gone."""
    async with lab.runtime(FUNCTIONS, NODES, EDGES) as runtime:
        done = await runtime.trigger_and_wait("main", {"title": "a crash"})
        label, way, repair = await runtime.decisions(done.execution_id)
        problems = await runtime.problems(done.execution_id)
    assert (label.node_id, label.intent, label.chosen_option_id) == (
        "classify",
        "label the ticket",
        "bug",
    )
    assert label.decision_type is DecisionType.OUTPUT_FORMAT
    assert [one.id for one in label.options] == ["bug", "question"]
    assert label.outcome.success
    assert label.outcome.state_changes == ["label"]
    assert (way.node_id, way.chosen_option_id) == ("route", "fix")
    assert way.decision_type is DecisionType.PATH_CHOICE
    assert [one.id for one in way.options] == ["fix", "reply"]
    assert (repair.node_id, repair.intent, repair.attempt) == ("fix", "attempt 2", 2)
    assert [(one.severity, one.description, one.decision_id) for one in problems] == [
        (Severity.MINOR, "no full stop", label.id)
    ]


@pytest.mark.asyncio
async def test_a_router_with_a_function_is_told_with_its_outcome(lab: Any) -> None:
    """The way after its failure is not its choice."""

    def pick(kind: str, ctx: NodeContext) -> str:
        if kind == "broken":
            raise ValueError("cannot tell")
        ctx.decide("pick a way", chosen=kind)
        return kind

    nodes = [
        NodeSpec(
            id="pick",
            node_type="router",
            function="pick",
            input_keys=["kind"],
            max_retries=1,
            routes={"a": "reply", "default": "other"},
        ),
        NodeSpec(id="reply"),
        NodeSpec(id="other", function="reply"),
    ]
    edges = [EdgeSpec(id="failed", source="pick", target="other", condition="on_failure")]
    async with lab.runtime({"pick": pick, "reply": reply}, nodes, edges) as runtime:
        chosen = await runtime.trigger_and_wait("main", {"kind": "a"})
        broken = await runtime.trigger_and_wait("main", {"kind": "broken"})
        said, way = await runtime.decisions(chosen.execution_id)
        assert await runtime.decisions(broken.execution_id) == []
    assert broken.path == ["pick", "other"]
    assert said.chosen_option_id == "a"
    assert (way.chosen_option_id, way.visit, way.attempt) == ("reply", 1, 1)
    assert way.outcome == said.outcome


@pytest.mark.asyncio
async def test_queries_by_goal_status_node_entry_point_and_time(lab: Any) -> None:
    """Each filter alone, and the pages of a search."""

    def node(title: str, ctx: NodeContext) -> None:
        ctx.decide(title)
        ctx.report_problem("critical" if title == "b" else "minor", title)
        if title == "b":
            raise ValueError("never closed")

    nodes = [NodeSpec(id="work", function="node", input_keys=["title"], max_retries=1)]
    points = [EntryPointSpec(id=one, entry_node="work") for one in ("main", "side")]
    runtime = lab.runtime({"node": node}, nodes, entry_points=points)
    async with runtime:
        for title, point in (("a", "main"), ("b", "main"), ("c", "side")):
            await runtime.trigger_and_wait(point, {"title": title})
        between = datetime.now(UTC)
        await runtime.trigger_and_wait("side", {"title": "d"})

        async def intents(**asked: Any) -> list[str]:
            return [one.intent for one in await runtime.decisions(**asked)]

        assert await intents() == ["d", "c", "a"]
        assert await intents(entry_point="side") == ["d", "c"]
        assert await intents(node="work", limit=2) == ["d", "c"]
        assert await intents(node="elsewhere") == []
        assert await intents(goal_id="goal", since=between) == ["d"]
        assert await intents(until=between.timestamp()) == ["c", "a"]
        assert await intents(since=0, until=between, status="completed") == ["c", "a"]
        assert await intents(goal_id="another") == []
        assert await intents(status="failed") == []
        first = await runtime.decisions(limit=2)
        assert await intents(after=first[-1].position) == ["a"]
        minor = await runtime.problems(severity="minor")
        assert [one.description for one in minor] == ["d", "c", "a"]
        assert await runtime.problems(severity="critical") == []
        failed = await runtime.runs(status="failed")
        assert [one.input_data for one in failed] == [{"title": "b"}]
        assert failed[0].outcomes[0].error == "never closed"
        titles = [one.input_data["title"] for one in await runtime.runs(goal_id="goal")]
        assert titles == ["d", "c", "b", "a"]
        page = await runtime.runs(entry_point="main", limit=1)
        rest = await runtime.runs(entry_point="main", before=page[0].id)
        assert [one.input_data["title"] for one in page + rest] == ["b", "a"]
        assert len(await runtime.runs(node="work", since=between)) == 1
        assert await runtime.runs(node="elsewhere") == []
        assert await runtime.get_run("nobody") is None


@pytest.mark.asyncio
async def test_long_runs_come_in_pages_and_bounded(lab: Any) -> None:
    """A loop of more records than one page of the journal, each with several decisions."""

    def turn(ctx: NodeContext, count: int = 0) -> dict[str, int]:
        for part in range(3):
            ctx.decide(f"{count}.{part}")
        return {"count": count + 1}

    nodes = [NodeSpec(id="turn", input_keys=["count"], max_node_visits=0, inline=True)]
    again = EdgeSpec(
        id="again",
        source="turn",
        target="turn",
        condition="conditional",
        condition_expr="output.count < 150",
    )
    async with lab.runtime({"turn": turn}, nodes, [again], max_steps=100) as runtime:
        done = await runtime.trigger_and_wait("main")
        assert done.status is Status.EXHAUSTED
        found: list[str] = []
        after = None
        while page := await runtime.decisions(done.execution_id, after=after, limit=70):
            found += [one.intent for one in page]
            after = page[-1].position
        run = await runtime.get_run(done.execution_id)
    assert found == [f"{count}.{part}" for count in range(100) for part in range(3)]
    assert [one.intent for one in run.decisions] == found
    assert len(run.outcomes) == 100


@pytest.mark.asyncio
async def test_what_a_run_that_failed_its_output_check_had_buffered_is_dropped(
    lab: Any,
) -> None:
    """The engine found the failure after the function had returned."""

    def node(ctx: NodeContext) -> dict[str, Any] | None:
        ctx.decide(f"attempt {ctx.attempt}")
        ctx.publish("custom", {"attempt": ctx.attempt})
        ctx.write_sync("seen", ctx.attempt, "stream")
        return None if ctx.attempt == 1 else {"label": "bug"}

    nodes = [NodeSpec(id="node", output_keys=["label"], backoff_initial_s=0.0, max_retries=2)]
    async with lab.runtime({"node": node}, nodes) as runtime:
        done = await runtime.trigger_and_wait("main")
        assert done.is_degraded_success
        decided = await runtime.decisions(done.execution_id)
        published = runtime.event_bus.get_history("custom")
        changed = runtime.event_bus.get_history("state_changed")
        run = await runtime.get_run(done.execution_id)
    assert [one.intent for one in decided] == ["attempt 2"]
    assert [one.data["attempt"] for one in published] == [2]
    assert len(changed) == 1
    assert [one.success for one in run.outcomes] == [False, True]
    assert "missing output key 'label'" in run.outcomes[0].error


@pytest.mark.asyncio
async def test_wrong_questions_are_refused(lab: Any) -> None:
    """Typed, and before anything is read."""
    runtime = lab.runtime(FUNCTIONS, NODES, EDGES)
    with pytest.raises(RuntimeNotRunning):
        await runtime.decisions()
    async with runtime:
        for wrong in (
            {"limit": 0},
            {"limit": 10**9},
            {"after": ""},
            {"after": "yesterday"},
            {"after": "1.2"},
            {"since": datetime(2026, 1, 1)},  # noqa: DTZ001  what is refused here
            {"until": "noon"},
            {"status": "done"},
            {"session_id": "../etc"},
        ):
            with pytest.raises(InvalidInput):
                await runtime.decisions(**wrong)
        with pytest.raises(InvalidInput):
            await runtime.problems(severity="awful")
        with pytest.raises(InvalidInput):
            await runtime.runs(before="nobody")


@pytest.mark.asyncio
async def test_decisions_leave_with_their_execution(lab: Any) -> None:
    """Retention drops them too, and `check` agrees."""

    def node(ctx: NodeContext) -> None:
        ctx.decide("pick")

    nodes = [NodeSpec(id="node", inline=True)]
    async with lab.runtime({"node": node}, nodes, execution_result_max=1) as runtime:
        for _ in range(110):
            await runtime.trigger_and_wait("main")
        assert len(await runtime.decisions(limit=1000)) == 10


@pytest.mark.asyncio
async def test_what_routers_in_branches_chose_and_branches_wrote_is_told_apart(lab: Any) -> None:
    """The path mixes what runs side by side."""

    def router(name: str, key: str, *targets: str) -> NodeSpec:
        routes = dict(zip(("yes", "default"), targets, strict=True))
        return NodeSpec(id=name, node_type="router", route_on=key, routes=routes)

    nodes = [
        NodeSpec(id="begin"),
        router("left", "l", "l1", "l2"),
        router("right", "r", "r1", "r2"),
        *(NodeSpec(id=one, output_keys=[f"by_{one}"]) for one in ("l1", "l2", "r1", "r2")),
    ]
    edges = [
        EdgeSpec(id=one, source="begin", target=one, condition="on_success")
        for one in ("left", "right")
    ]
    functions = {one: (lambda one=one: one) for one in ("l1", "l2", "r1", "r2")}
    async with lab.runtime({**functions, "begin": dict}, nodes, edges) as runtime:
        done = await runtime.trigger_and_wait("main", {"l": "no", "r": "yes"})
        chosen = await runtime.decisions(done.execution_id)
        run = await runtime.get_run(done.execution_id)
    assert {one.node_id: one.chosen_option_id for one in chosen} == {"left": "l2", "right": "r1"}
    written = {one.node_id: one.state_changes for one in run.outcomes}
    assert set(written) == {"begin", "l2", "r1"}
    assert written["begin"] == []
    for node in ("l2", "r1"):  # the later of the two also joins them
        assert written[node] in ([f"by_{node}"], ["by_l2", "by_r1"])
