"""`greenroom sessions check`: before a deploy, beside the process that has the store open."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from greenroom.actors.host.command_line import BAD_INPUT, OK, PROBLEMS, run

AGENT = """
from greenroom import Agent, Migration

def make(name="write", inputs=("topic",), version="1"):
    agent = Agent("review", goal="Publish what was approved", version=version)

    async def write(ctx, topic, **rest):
        if topic != "go":
            ctx.ask("Fine?", to="fine")
        return "text"

    agent.node(name, inputs=inputs, outputs=["draft"], nullable=["fine"], then="publish")(write)

    @agent.node(outputs=["published"], terminal=True)
    def publish(draft):
        return draft

    agent.entry_point("api", name)
    agent.entry_point("web", name)
    return agent

agent = make()
same = make(version="2")
other = make(inputs=("topic", "tone"), version="2")
renamed = make("compose", version="2")
moved = make("compose", version="2")
lost = make("compose", version="2")
fewer = make(version="2")
del fewer._entry_points["web"]
plain = other.graph()

@moved.migrate
async def migrate(session):
    return Migration(nodes={"write": "compose"}) if session.entry_point == "api" else None

@lost.migrate
def lose(session):
    raise LookupError("no idea")
"""
WRITER = """
import asyncio, sys
from versions_agent import agent

async def main():
    async with agent.runtime(sys.argv[1]) as runtime:
        for name, entry_point in (("s1", "api"), ("s2", "web"), ("s3", "web"), ("s4", "web")):
            waits = asyncio.ensure_future(
                runtime.event_bus.wait_for("execution_waiting", execution_id=name)
            )
            await asyncio.sleep(0)
            await runtime.trigger(entry_point, {"topic": "cats"}, execution_id=name)
            await waits
        await runtime.pause("s4")
        await runtime.trigger_and_wait("api", {"topic": "go"}, execution_id="s5")
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""
WHY = (
    "node 'write' had input_keys ['topic'] and has ['topic', 'tone']: change it back, or give a "
    "migration"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("deploy")
    (path / "versions_agent.py").write_text(AGENT)
    return path


@pytest.fixture(scope="module")
def busy(folder: Path) -> Iterator[Path]:
    """A store that another process has open, with four sessions that wait or are paused."""
    path = folder / "store"
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdin is not None
        try:
            assert writer.stdout.readline() == "ready\n"
            yield path
        finally:
            writer.stdin.close()
    assert writer.returncode == 0


@pytest.fixture
def check(
    folder: Path,
    busy: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Any:
    """`check(name, ...)` gives the exit code and what was written, as JSON with `--json`."""
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))

    def ask(name: str, *options: str) -> tuple[int, Any]:
        code = run(["sessions", "check", str(busy), f"versions_agent:{name}", *options])
        written = capsys.readouterr()
        assert written.err == ""
        return code, json.loads(written.out) if "--json" in options else written.out

    return ask


def counts(found: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    keys = ("sessions", "fit", "migrated", "unfit")
    return {one["entry_point"]: tuple(one[key] for key in keys) for one in found["versions"]}


@pytest.mark.parametrize("name", ["agent", "same"])
def test_sessions_that_fit_are_counted_by_entry_point_and_all_is_well(
    check: Any, name: str
) -> None:
    """What has completed is no concern of a deploy."""
    code, found = check(name, "--json")
    assert code == OK
    assert counts(found) == {"api": (1, 1, 0, 0), "web": (3, 3, 0, 0)}
    assert {one["version"] for one in found["versions"]} == {"1"}
    assert len({one["digest"] for one in found["versions"]}) == 1
    assert found["unfit"] == 0


@pytest.mark.parametrize("name", ["other", "plain"])
def test_those_that_would_be_held_or_refused_are_named_with_the_reason(
    check: Any, name: str
) -> None:
    """A graph alone is enough; its functions are taken to be there."""
    code, found = check(name, "--json", "--ids", "2")
    assert code == PROBLEMS
    assert counts(found) == {"api": (1, 0, 0, 1), "web": (3, 0, 0, 3)}
    web = next(one for one in found["versions"] if one["entry_point"] == "web")
    (why,) = web["why"]
    assert (why["reasons"], why["sessions"], len(why["ids"])) == ([WHY], 3, 2)
    assert set(why["ids"]) <= {"s2", "s3", "s4"}
    assert (found["unfit"], found["version"]) == (4, "2")


def test_a_migration_is_tried_and_nothing_of_it_is_kept(check: Any) -> None:
    for _ in range(2):
        code, found = check("moved", "--json")
        assert code == PROBLEMS
        assert counts(found) == {"api": (1, 0, 1, 0), "web": (3, 0, 0, 3)}
    code, found = check("lost", "--json")
    assert code == PROBLEMS
    assert counts(found)["api"] == (1, 0, 0, 1)
    assert "the migration failed: LookupError: no idea" in found["versions"][0]["why"][0]["reasons"]


def test_an_entry_point_that_is_gone_is_a_reason(check: Any) -> None:
    code, found = check("fewer", "--json")
    assert code == PROBLEMS
    assert counts(found) == {"api": (1, 1, 0, 0), "web": (3, 0, 0, 3)}


def test_people_read_a_table_and_the_reasons_below_it(check: Any) -> None:
    code, text = check("renamed")
    assert code == PROBLEMS
    lines = text.splitlines()
    assert lines[0].split() == [
        *("ENTRY", "POINT", "VERSION", "DIGEST", "SESSIONS", "FIT", "MIGRATED", "UNFIT"),
    ]
    assert "web: 3 would not go on: s2, s3, s4" in text
    assert "node 'write' is not in graph 'review' any more" in text
    assert check("same", "--ids", "0")[0] == OK


def test_a_store_without_unfinished_sessions_says_so(
    check: Any, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = "import asyncio, sys; from versions_agent import agent\n"
    script += "async def main():\n    async with agent.runtime(sys.argv[1]): pass\n"
    script += "asyncio.run(main())"
    empty = folder / "empty"
    subprocess.run([sys.executable, "-c", script, str(empty)], check=True, cwd=folder, timeout=60)
    assert run(["sessions", "check", str(empty), "versions_agent:renamed"]) == OK
    assert capsys.readouterr().out == "no unfinished sessions\n"


@pytest.mark.parametrize(
    "arguments", [["versions_agent:nothing"], ["no_module:graph"], ["same"], ["--ids", "-1", "x:y"]]
)
def test_what_names_no_graph_is_bad_input(
    check: Any, busy: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert run(["sessions", "check", str(busy), *arguments]) == BAD_INPUT
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err.count("\n") == 1
