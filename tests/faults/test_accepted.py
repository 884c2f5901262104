"""What was acknowledged is durable: an id that was returned, and a 202 that was sent."""

import http.client
import json
import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

pytestmark = pytest.mark.faults

TEXTS = {f"k{n}": "x" * (n % 13 + 1) for n in range(40)}


@pytest.mark.parametrize("seed", range(6))
def test_every_id_that_was_returned_completes_after_a_kill(place, seed) -> None:
    chance = random.Random(seed)
    point = chance.choice(["before", "after", "entered", "left", "accepted"])
    kill = [point, chance.randint(1, 40)]
    concurrent = chance.choice([1, 4, 40])
    status = place.run(inputs=TEXTS, keyed=True, concurrent=concurrent, kill=kill)
    assert status in (0, -9), place.said()
    first = {one["asked"]: one["accepted"] for one in place.said() if "accepted" in one}
    assert place.problems() == []

    status = place.run(inputs=TEXTS, keyed=True, concurrent=8, wait=sorted(first.values()))
    assert status == 0, place.said()
    assert not place.heard("missing")
    results = place.results()
    assert set(results) == set(first.values())
    assert {one["status"] for one in results.values()} <= {"completed"}
    for key, execution in first.items():
        assert results[execution]["output"]["text"] == TEXTS[key]
    again = {one["asked"]: one["accepted"] for one in place.said() if "accepted" in one}
    assert set(again) == set(TEXTS)
    assert {key: again[key] for key in first} == first, "a key answers its first id"
    assert place.problems() == []


def post(port: int, key: str, text: str) -> str | None:
    """The execution id of a 202; None when the server died before it answered."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        headers = {"Content-Type": "application/json", "webhook-id": key}
        connection.request("POST", "/hook", json.dumps({"text": text}), headers)
        answer = connection.getresponse()
        body = json.loads(answer.read())
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
    assert answer.status == 202, body
    return str(body["execution_id"])


def heard_soon(place, key: str):
    """The first of what the process in the background says of this kind."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        found = place.heard(key)
        if found:
            return found[0]
        assert not place.heard("failed"), place.said()
        time.sleep(0.005)  # another process's file cannot be waited on
    raise AssertionError(place.said())


def post_all(port: int) -> dict[str, str | None]:
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda item: post(port, *item), TEXTS.items())
        return dict(zip(TEXTS, answers, strict=True))


@pytest.mark.parametrize("kill", [["before", 25], ["after", 17], ["entered", 30]])
def test_every_202_completes_after_a_kill(place, kill) -> None:
    place.begin(webhook=True, stay=True, concurrent=3, kill=kill)
    answered = {key: one for key, one in post_all(heard_soon(place, "port")).items() if one}
    assert place.finish() == -9
    assert place.problems() == []

    waited = sorted(answered.values())
    pid = place.begin(webhook=True, stay=True, concurrent=3, wait=waited)
    heard_soon(place, "done")
    assert not place.heard("missing")
    assert {one["status"] for one in place.results().values()} <= {"completed"}
    again = post_all(heard_soon(place, "port"))
    assert {key: again[key] for key in answered} == answered, "a repeat has the first id"
    os.kill(pid, signal.SIGKILL)
    assert place.finish() == -9
    everything = sorted(one for one in again.values() if one)
    assert len(everything) == len(TEXTS)
    assert place.run(wait=everything, concurrent=8) == 0, place.said()
    assert {one["status"] for one in place.results().values()} == {"completed"}
    assert len(place.look().status) == len(TEXTS), "one execution for each delivery"
