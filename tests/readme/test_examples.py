"""The examples run as processes of their own, the web application over a real socket."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

Python = Callable[..., tuple[int, str]]

SERVING = re.compile(r"running on (http://[\w.]+:\d+)")


def test_the_script_keeps_its_count_from_run_to_run(
    repository: Path, tmp_path: Path, python: Python
) -> None:
    """Global state is found again by the next process."""
    script = repository / "examples" / "script_agent.py"
    for number, title in enumerate(("Crash on start", "It crashes"), start=1):
        code, printed = python(tmp_path, script, "./store", title)
        assert code == 0
        assert printed == f"unfinished work found: 0\ncompleted: bug number {number}\n"


def test_actors_of_ones_own_are_restarted(repository: Path, tmp_path: Path, python: Python) -> None:
    """A kill starts the next instance, with fresh state, on the same address."""
    code, printed = python(tmp_path, repository / "examples" / "own_actors.py")
    assert (code, printed.splitlines()[-1]) == (0, "{'total': 0, 'incarnation': 2}")


@pytest.fixture
def serve(
    repository: Path, tmp_path: Path
) -> Iterator[Callable[[], tuple[str, Callable[[], str]]]]:
    """Starts the web application on a free port; returns its address and how to stop it."""
    running: list[subprocess.Popen[str]] = []

    def start() -> tuple[str, Callable[[], str]]:
        server = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "--port", "0", "starlette_app:app"],
            cwd=repository / "examples",
            env={**os.environ, "STORE": str(tmp_path / "store")},
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(server)
        assert server.stderr is not None
        said = ""
        for line in server.stderr:
            said += line
            if found := SERVING.search(line):
                return found[1], lambda: _stop(server)
        raise AssertionError(said)

    yield start
    for server in running:
        if server.poll() is None:
            server.kill()
        _close(server)


def _stop(server: "subprocess.Popen[str]") -> str:
    """Stop it in order; returns what it still said."""
    server.terminate()
    _, said = server.communicate(timeout=30)
    return said


def _close(server: "subprocess.Popen[str]") -> None:
    server.wait()
    if server.stderr is not None:
        server.stderr.close()


def test_the_web_application_accepts_work_and_finds_it_again_after_a_restart(
    serve: Callable[[], tuple[str, Callable[[], str]]],
) -> None:
    """Accept, answer, repeat under one key, refuse what is wrong; then stop, start and look."""
    address, stop = serve()
    with httpx2.Client(base_url=address, timeout=30) as client:
        accepted = client.post(
            "/tickets", json={"title": "Crash"}, headers={"idempotency-key": "one"}
        )
        assert accepted.status_code == 202
        execution = accepted.json()["execution_id"]
        shown = client.get(f"/tickets/{execution}").json()
        assert shown["status"] == "completed"
        assert shown["output"]["answer"] == "'Crash' is filed as a bug."
        again = client.post("/tickets", json={"title": "Crash"}, headers={"idempotency-key": "one"})
        assert again.json() == {"execution_id": execution}
        assert client.post("/tickets", content="no json").status_code == 400
        assert client.post("/tickets", json=[1]).status_code == 400
        assert client.get("/tickets/unknown").status_code == 404
    said = stop()
    assert "shutdown complete" in said
    assert "Traceback" not in said
    address, stop = serve()
    with httpx2.Client(base_url=address, timeout=30) as client:
        assert client.get(f"/tickets/{execution}").json() == shown
    stop()
