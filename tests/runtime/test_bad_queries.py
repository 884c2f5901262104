"""Listings, searches and wishes with arguments that mean nothing: what is wrong is said in the
caller's terms, and whatever a clock can say is a time.
"""

import asyncio
import math
import threading
from datetime import UTC, datetime
from typing import Any

import pytest

from greenroom import (
    AnswerOutcome,
    InvalidInput,
    NodeContext,
    RuntimeNotRunning,
    Status,
)

NAIVE = datetime(2026, 1, 1)  # noqa: DTZ001  on purpose
NO_TEXTS = (5, "", "\ud800", "x" * 5_000, b"x", [], math.nan)
NO_TIMES = (NAIVE, math.nan, True, "yesterday", [])
ENDS = (-math.inf, -1e30, -(10**400), datetime.min.replace(tzinfo=UTC))
BEGINNINGS = (math.inf, 1e30, 10**400, datetime.max.replace(tzinfo=UTC))


async def ask(ctx: NodeContext) -> dict[str, str]:
    ctx.ask("Shall it go on?", to="word")
    return {"asked": "yes"}


FUNCTIONS = {"ask": ask}


async def called(runtime: Any, call: str, **arguments: Any) -> Any:
    found = getattr(runtime, call)(**arguments)
    return await found if hasattr(found, "__await__") else found


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("call", "names"),
    [
        ("list_sessions", ("goal_id", "entry_point", "status", "after")),
        ("pending_questions", ("entry_point", "assignee", "session_id", "after")),
        ("decisions", ("goal_id", "entry_point", "node", "status", "after", "session_id")),
        ("problems", ("goal_id", "entry_point", "node", "status", "after", "severity")),
        ("runs", ("goal_id", "entry_point", "node", "status", "before")),
    ],
)
async def test_what_cannot_be_a_name_is_refused_by_the_name_of_its_argument(
    lab: Any, call: str, names: tuple[str, ...]
) -> None:
    """Also "": it could mean any, or none."""
    async with lab.runtime(FUNCTIONS) as runtime:
        for name in names:
            for value in NO_TEXTS:
                with pytest.raises(InvalidInput, match=rf"^({name}|execution id)"):
                    await called(runtime, call, **{name: value})
        for limit in (0, -1, 10**9, 1.0, True, "1", None):
            with pytest.raises(InvalidInput, match=r"^limit is"):
                await called(runtime, call, limit=limit)


@pytest.mark.asyncio
@pytest.mark.parametrize("call", ["list_sessions", "decisions", "problems", "runs"])
async def test_every_time_has_an_answer_and_what_is_none_is_refused(lab: Any, call: str) -> None:
    """The ends of the calendar are what people give for "always" and "never"."""
    async with lab.runtime(FUNCTIONS) as runtime:
        await runtime.trigger("main")
        for name in ("since", "until"):
            for value in NO_TIMES:
                with pytest.raises(InvalidInput, match=rf"^{name} "):
                    await called(runtime, call, **{name: value})
        for early in ENDS:
            await called(runtime, call, since=early)
        for late in BEGINNINGS:
            await called(runtime, call, until=late)
        page = runtime.list_sessions(since=-math.inf, until=math.inf)
        assert len(page.sessions) == 1
        assert not runtime.list_sessions(since=math.inf).sessions
        assert not runtime.list_sessions(until=-math.inf).sessions


@pytest.mark.asyncio
async def test_marks_of_pages_that_no_page_has_given_are_refused(lab: Any) -> None:
    """However many digits they have."""
    async with lab.runtime(FUNCTIONS) as runtime:
        for after in ("after-", "after--1", "after-" + "9" * 5_000, "after-\u0663"):
            with pytest.raises(InvalidInput, match=r"^after is"):
                runtime.list_sessions(after=after)
        for after in ("1.1", f"{2**64}.1.1", f"1.{2**32}.1", f"1.1.{2**32}", "\u0663.1.1"):
            with pytest.raises(InvalidInput, match=r"^after is"):
                await runtime.decisions(after=after)


@pytest.mark.asyncio
async def test_an_id_of_a_question_that_no_execution_can_have_is_an_unknown_one(lab: Any) -> None:
    """Such ids come from outside, and are no reason to fail."""
    async with lab.runtime(FUNCTIONS) as runtime:
        for unknown in ("\ud800:q1", "../x:q1", "x" * 9_000 + ":q1", f"x:q{2**33}"):
            assert runtime.get_question(unknown) is None
            assert await runtime.answer(unknown, 1) is AnswerOutcome.UNKNOWN


@pytest.mark.asyncio
async def test_wishes_say_what_is_wrong_with_their_arguments(lab: Any) -> None:
    """And change nothing."""
    async with lab.runtime(FUNCTIONS) as runtime:
        execution = await runtime.trigger("main")
        for node in NO_TEXTS:
            with pytest.raises(InvalidInput, match=r"^node id"):
                await runtime.inject_input(node, "yes")
        for reason in (5, None, b"x", "\ud800", "x" * 2_000_000):
            with pytest.raises(InvalidInput, match=r"^reason"):
                await runtime.pause(execution, reason)
            with pytest.raises(InvalidInput, match=r"^reason"):
                await runtime.cancel_execution("main", execution, reason)
        assert runtime.get_session(execution).status in (Status.RUNNING, Status.WAITING)


@pytest.mark.asyncio
async def test_a_deadline_at_the_end_of_the_calendar_can_be_shown(lab: Any) -> None:
    """`datetime.max` is how one says that there is none."""
    async with lab.runtime(FUNCTIONS) as runtime:
        never = datetime.max.replace(tzinfo=UTC)
        execution = await runtime.trigger("main", deadline=never)
        assert await runtime.pause(execution)
        assert runtime.get_session(execution).next_due.year == 9999


@pytest.mark.asyncio
async def test_what_is_read_at_once_is_empty_while_the_runtime_is_stopped(lab: Any) -> None:
    """Before the start, and after the stop."""
    runtime = lab.runtime(FUNCTIONS)
    for _ in range(2):
        assert not runtime.list_sessions().sessions
        assert runtime.pending_questions() == runtime.list_checkpoints("x") == []
        for found in (runtime.get_session, runtime.load_checkpoint, runtime.get_question):
            assert found("x") is None
        async with runtime:
            await runtime.trigger("main")


@pytest.mark.asyncio
async def test_searches_may_be_awaited_on_any_loop(lab: Any) -> None:
    """As whatever else the runtime offers."""
    async with lab.runtime(FUNCTIONS) as runtime:
        execution = await runtime.trigger("main")

        def elsewhere() -> list[Any]:
            return [
                asyncio.run(runtime.get_run(execution)).id,
                [one.id for one in asyncio.run(runtime.runs())],
                asyncio.run(runtime.decisions()),
                asyncio.run(runtime.problems()),
            ]

        found = await asyncio.to_thread(elsewhere)
        assert found == [execution, [execution], [], []]


@pytest.mark.asyncio
async def test_a_search_that_is_under_way_at_the_stop_says_so(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It neither waits for ever nor tells of a store that its caller knows nothing of."""
    begun, gate = threading.Event(), threading.Event()

    def slow(store: Any, *rest: Any) -> Any:
        begun.set()
        gate.wait(30)
        return store.read(lambda reader: [])

    monkeypatch.setattr("greenroom.actors.host.records.find_runs", slow)
    async with lab.runtime(FUNCTIONS) as runtime:
        search = asyncio.ensure_future(runtime.runs())
        await asyncio.to_thread(begun.wait, 20)
    try:
        with pytest.raises(RuntimeNotRunning):
            await asyncio.wait_for(search, 10)
    finally:
        gate.set()
