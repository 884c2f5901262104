"""`greenroom sessions history` and `show --at`: beside the process that writes."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from greenroom.actors.host.command_line import BAD_INPUT, OK, run
from greenroom.storage.lmdb_store import open_store

WRITER = """
import asyncio, sys
from greenroom import Agent, CheckpointConfig

agent = Agent("review", goal="Publish what was approved")

@agent.node(outputs=["draft"], then="publish")
def write(topic: str) -> str:
    return f"All about {topic}"

@agent.node(outputs=["published"], terminal=True)
def publish(draft: str, approved: bool = False) -> str:
    if not approved:
        raise ValueError("not\\x1b[31m\\napproved")
    return draft

async def main() -> None:
    policy = CheckpointConfig(checkpoint_on_node_start=False)
    async with agent.runtime(sys.argv[1], checkpoint_config=policy) as runtime:
        options = {"execution_id": "s1"}
        await runtime.trigger_and_wait("default", {"topic": "cats"}, **options)
        await runtime.fork("s1", seq=2, memory={"approved": True}, execution_id="f1")
        await runtime.wait_for_completion("f1")
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


HeldOpen = Callable[[str, Path], AbstractContextManager[None]]


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory, held_open: HeldOpen) -> Iterator[Path]:
    """A store that another process has open for writing, with a session and its fork."""
    path = tmp_path_factory.mktemp("busy") / "store"
    with held_open(WRITER, path):
        yield path


def printed(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    assert run([str(one) for one in arguments]) == OK
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    assert run([str(one) for one in arguments]) == BAD_INPUT
    return capsys.readouterr().err


def test_a_history_is_told_beside_the_process_that_writes(
    busy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line for each record, without what a terminal would act on."""
    head, *lines = printed(capsys, "sessions", "history", busy, "s1").splitlines()
    assert head.split()[:3] == ["SEQ", "TIME", "WHAT"]
    assert [line.split()[0] for line in lines] == [str(one) for one in range(1, len(lines) + 1)]
    assert "'write' succeeded" in lines[1]
    assert "cp_0000000002_node_complete_0000" in lines[1]
    assert "'publish' failed" in lines[-1]
    assert "not?[31m approved" in lines[-1]
    told = printed(capsys, "sessions", "history", busy, "f1")
    assert "forked from session s1 after record 2" in told.splitlines()[1]


def test_a_history_has_pages_and_a_form_for_programs(
    busy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = printed(capsys, "sessions", "history", busy, "s1", "--limit", "1")
    assert page.splitlines()[-1] == "more: --after 1"
    rest = printed(capsys, "sessions", "history", busy, "s1", "--after", "1", "--json")
    found = json.loads(rest)
    assert found["entries"][0]["seq"] == 2
    assert found["entries"][0]["what"] == "'write' succeeded"
    assert (found["entries"][0]["changed"], found["after"]) == (["draft"], None)
    forked = json.loads(printed(capsys, "sessions", "history", busy, "f1", "--json"))
    assert forked["forked_from"] == {"session_id": "s1", "seq": 2}


def test_a_session_is_shown_as_an_earlier_record_left_it(
    busy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    then = printed(capsys, "sessions", "show", busy, "s1", "--at", "1")
    assert "status: running" in then
    assert "memory.topic" in then
    assert "memory.draft" not in then
    assert "memory.draft" in printed(capsys, "sessions", "show", busy, "s1", "--at", "2")
    forked = printed(capsys, "sessions", "show", busy, "f1", "--at", "1")
    assert 'forked_from: {"session_id":"s1","seq":2}' in forked
    assert 'memory.draft: "All about cats"' in forked


def test_what_is_not_there_is_one_line_that_says_what_is(
    busy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "and none of seq 99" in refused(capsys, "sessions", "show", busy, "s1", "--at", "99")
    assert "'nobody'" in refused(capsys, "sessions", "history", busy, "nobody")
    assert "limit is 0" in refused(capsys, "sessions", "history", busy, "s1", "--limit", "0")
    assert "after is -1" in refused(capsys, "sessions", "history", busy, "s1", "--after", "-1")


def test_an_empty_store_has_no_history(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    open_store(tmp_path / "store").close()
    assert "there is no execution" in refused(
        capsys, "sessions", "history", tmp_path / "store", "s1"
    )
