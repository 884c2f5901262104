"""A child that dies, hangs or refuses gives one clear error in time, and is gone afterwards."""

import os
from pathlib import Path
from typing import Any

import pytest

from greenroom.actors.host.demo import process
from greenroom.actors.host.demo.process import ChildProcess
from greenroom.protocol.errors import GreenroomError, InvalidInput

ECHO = """
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    if asked["do"] == "die":
        sys.stderr.write("the reason\\n")
        sys.exit(3)
    if asked["do"] == "hang":
        continue
    if asked["do"] == "refuse":
        print(json.dumps({"number": asked["number"], "error": "no", "code": asked["code"]}))
    else:
        print(json.dumps({"event": "seen"}))
        print(json.dumps({"number": asked["number"], "pid_seen": asked.get("x")}))
    sys.stdout.flush()
    if asked["do"] == "stop":
        break
"""


@pytest.fixture(autouse=True)
def echo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The module that is run is a small program that answers, dies or hangs as asked."""
    (tmp_path / "echo_child.py").write_text(ECHO)
    monkeypatch.setattr(process, "CHILD_MODULE", "echo_child")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


async def _start(tmp_path: Path, events: list[dict[str, Any]]) -> ChildProcess:
    child, told = await ChildProcess.start({"x": 7}, events.append, tmp_path / "stderr")
    assert told["pid_seen"] == 7
    return child


def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.asyncio
async def test_requests_are_answered_and_events_passed_on(tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    child = await _start(tmp_path, events)
    assert (await child.ask("echo", x=8))["pid_seen"] == 8
    await child.stop()
    assert _is_gone(child.pid)
    assert {"event": "seen"} in events


@pytest.mark.asyncio
async def test_a_child_that_dies_is_reported_with_its_last_words(tmp_path: Path) -> None:
    child = await _start(tmp_path, [])
    with pytest.raises(GreenroomError, match="ended with code 3; its last words: the reason"):
        await child.ask("die")
    with pytest.raises(GreenroomError, match="ended with code 3"):
        await child.ask("echo")
    await child.kill()


@pytest.mark.asyncio
async def test_a_child_that_hangs_is_reported_after_the_deadline(tmp_path: Path) -> None:
    child = await _start(tmp_path, [])
    with pytest.raises(GreenroomError, match=r"did not answer 'hang' within 0\.05 s"):
        await child.ask("hang", 0.05)
    await child.kill()
    assert _is_gone(child.pid)


@pytest.mark.asyncio
async def test_a_store_that_cannot_be_used_is_the_callers_to_mend(tmp_path: Path) -> None:
    child = await _start(tmp_path, [])
    with pytest.raises(InvalidInput, match="no"):
        await child.ask("refuse", code="store_in_use")
    with pytest.raises(GreenroomError) as refused:
        await child.ask("refuse", code="internal")
    assert not isinstance(refused.value, InvalidInput)
    await child.kill()


@pytest.mark.asyncio
async def test_a_child_that_says_nothing_at_start_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "echo_child.py").write_text("import time\nwhile True: time.sleep(60)\n")
    with pytest.raises(GreenroomError, match="did not answer 'start'"):
        await ChildProcess.start({}, lambda event: None, tmp_path / "stderr", timeout_s=0.3)
