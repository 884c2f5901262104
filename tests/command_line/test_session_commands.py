"""`greenroom sessions` and `checkpoints`: beside the process that writes, and without one."""

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

@agent.node(outputs=["draft"], pause=True)
def write(topic: str) -> str:
    if topic == "none":
        raise ValueError("nothing \\x1b[31mto write\\nabout")
    return f"All about {topic}"

@agent.node(outputs=["published"], terminal=True)
def publish(draft: str) -> str:
    return draft

agent.edge("write", "publish", when="output.draft")
agent.entry_point("api", "write")
agent.entry_point("web", "write")

async def main() -> None:
    policy = CheckpointConfig(checkpoint_on_node_start=False)
    async with agent.runtime(sys.argv[1], checkpoint_config=policy) as runtime:
        for name, entry_point, topic in (
            ("s1", "api", "cats"), ("s2", "web", "dogs" * 50), ("s3", "web", "none"),
        ):
            await runtime.trigger_and_wait(entry_point, {"topic": topic}, execution_id=name)
        await runtime.create_checkpoint("s2", "before\\x1b[31m the editor")
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


HeldOpen = Callable[[str, Path], AbstractContextManager[None]]


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory, held_open: HeldOpen) -> Iterator[Path]:
    """A store that another process has open for writing, with three sessions."""
    path = tmp_path_factory.mktemp("busy") / "store"
    with held_open(WRITER, path):
        yield path


def printed(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    assert run([str(one) for one in arguments]) == OK
    written = capsys.readouterr()
    assert written.err == ""
    return written.out


def listed(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> list[str]:
    page = json.loads(printed(capsys, "sessions", "list", *arguments, "--json"))
    return [one["session_id"] for one in page["sessions"]]


def test_sessions_are_listed_while_another_process_writes(
    busy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = printed(capsys, "sessions", "list", busy).splitlines()
    assert lines[0].split() == ["SESSION", "STATUS", "ENTRY", "POINT", "ACCEPTED", "ERROR"]
    cells = [line.split()[:3] for line in lines[1:]]
    assert cells == [["s3", "failed", "web"], ["s2", "paused", "web"], ["s1", "paused", "api"]]
    assert "nothing ?[31mto write about" in lines[1], "a terminal must not act on it"


def test_a_listing_is_filtered_and_paged(busy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert listed(capsys, busy) == ["s3", "s2", "s1"]
    assert listed(capsys, busy, "--status", "paused", "--entry-point", "web") == ["s2"]
    assert listed(capsys, busy, "--goal", "another") == []
    assert listed(capsys, busy, "--since", "2026-01-01") == ["s3", "s2", "s1"]
    assert listed(capsys, busy, "--until", "2026-01-01T00:00:00+02:00") == []
    first = json.loads(printed(capsys, "sessions", "list", busy, "--limit", "2", "--json"))
    assert listed(capsys, busy, "--after", first["after"]) == ["s1"]
    shown = printed(capsys, "sessions", "list", busy, "--limit", "2")
    assert shown.splitlines()[-1] == f"more: --after {first['after']}"
    nothing = printed(capsys, "sessions", "list", busy, "--status", "held")
    assert nothing == "no sessions found\n"


def test_one_session_is_shown(busy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, "sessions", "show", busy, "s1").splitlines()
    assert "status: paused" in lines
    assert "current_nodes: write" in lines
    assert 'input.topic: "cats"' in lines
    assert 'memory.draft: "All about cats"' in lines
    cut = printed(capsys, "sessions", "show", busy, "s2").splitlines()[-1]
    assert cut.endswith("...")
    whole = json.loads(printed(capsys, "sessions", "show", busy, "s2", "--json"))
    assert whole["memory"] == {"topic": "dogs" * 50, "draft": "All about " + "dogs" * 50}
    assert whole["path"] == ["write"]


def test_checkpoints_are_listed(busy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, "checkpoints", "list", busy, "s2").splitlines()
    assert lines[0].split() == ["CHECKPOINT", "NODE", "MADE", "DESCRIPTION"]
    shown = [line.split()[:2] for line in lines[1:]]
    assert shown == [
        ["cp_0000000002_pause_0000", "write"],
        ["cp_0000000002_node_complete_0000", "write"],
        ["cp_0000000002_manual_0000", "write"],
    ]
    assert lines[3].endswith("before?[31m the editor")
    told = json.loads(
        printed(capsys, "checkpoints", "list", busy, "s2", "--type", "manual", "--json")
    )
    (one,) = told["checkpoints"]
    assert (told["session_id"], one["checkpoint_type"], one["seq"]) == ("s2", "manual", 2)
    rest = ["--before", shown[0][0], "--limit", "1", "--json"]
    told = json.loads(printed(capsys, "checkpoints", "list", busy, "s2", *rest))
    assert [one["checkpoint_id"] for one in told["checkpoints"]] == [shown[1][0]]
    nothing = printed(capsys, "checkpoints", "list", busy, "s3", "--type", "pause")
    assert nothing == "no checkpoints found\n"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["list", "STORE", "--status", "lost"], "status is 'lost'"),
        (["list", "STORE", "--since", "yesterday"], "--since is 'yesterday'"),
        (["list", "STORE", "--limit", "0"], "limit is 0"),
        (["list", "STORE", "--after", "s1"], "after is 's1'"),
        (["list", "NOWHERE"], "there is no store"),
        (["list"], "Missing argument"),
        (["show", "STORE", "s9"], "there is no session 's9'"),
        (["show", "STORE", "../etc"], "there is no session '../etc'"),
        (["show", "STORE"], "Missing argument"),
        (["show", "NOWHERE", "s1"], "there is no store"),
        (["checkpoints", "STORE", "s9"], "there is no execution 's9'"),
        (["checkpoints", "STORE", "s9", "--type", "x"], "checkpoint_type is 'x'"),
        (["checkpoints", "STORE", "s9", "--before", "x"], "before is 'x'"),
        (["checkpoints", "NOWHERE", "s1"], "there is no store"),
        (["checkpoints", "STORE"], "Missing argument"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_2(
    tmp_path: Path, arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    open_store(tmp_path / "store").close()
    places = {"STORE": str(tmp_path / "store"), "NOWHERE": str(tmp_path / "nowhere")}
    group = ["checkpoints", "list"] if arguments[0] == "checkpoints" else ["sessions", arguments[0]]
    assert run([*group, *(places.get(one, one) for one in arguments[1:])]) == BAD_INPUT
    written = capsys.readouterr()
    assert (written.out, written.err.count("\n")) == ("", 1)
    assert why in written.err
    assert not (tmp_path / "nowhere").exists()
