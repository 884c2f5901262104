"""The webhook server under a real supervisor: its port, its crashes, its end."""

import asyncio
import http.client
import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from greenroom.actors.kernel.future import Future
from greenroom.actors.kernel.specs import SupervisorSpec
from greenroom.actors.kernel.system import ActorSystem
from greenroom.actors.triggers import webhook_server
from greenroom.actors.triggers.delivery import WebhookDelivery, WebhookReceipt
from greenroom.actors.triggers.webhook_server import WebhookServer
from greenroom.protocol.config import AgentRuntimeConfig
from greenroom.protocol.errors import InvalidConfig, PortInUse


class Desk:
    """A sink whose answers can be held back; used from the server's loop and the test's thread."""

    def __init__(self) -> None:
        self.entered: Future[None] = Future()
        self.answer: Future[WebhookReceipt] | None = None

    async def accept(self, delivery: WebhookDelivery) -> WebhookReceipt:
        self.entered.settle(None)
        if self.answer is not None:
            return await self.answer
        return WebhookReceipt(execution_id=delivery.path_params.get("name"))


def _config(port: int = 0, host: str = "127.0.0.1", **more: Any) -> AgentRuntimeConfig:
    routes = [{"source_id": "any", "path": "/hooks/{name}"}]
    return AgentRuntimeConfig(
        webhook_routes=routes, webhook_port=port, webhook_host=host, shutdown_timeout_s=5, **more
    )


def _post(port: int, name: str = "a") -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", f"/hooks/{name}", b"{}")
        told: dict[str, Any] = json.loads(connection.getresponse().read())
        return told
    finally:
        connection.close()


class Running:
    """A server whose actor runs under a supervisor of its own."""

    def __init__(self, system: ActorSystem, desk: Desk) -> None:
        self.desk = desk
        self.server = WebhookServer(_config(), desk)
        self.server.open()
        self.restarted: Future[int] = Future()
        self.supervisor = system.supervise(
            SupervisorSpec(
                "gateway",
                (self.server.child_spec(),),
                on_child_restarted=lambda _, incarnation: (
                    self.restarted.settle(incarnation) and None
                ),
            )
        )
        found = system.ref(f"gateway/{webhook_server.ADDRESS}")
        assert found is not None
        self.ref = found
        self.ref.ready().get(timeout=10)


@pytest.fixture
def running() -> Iterator[Running]:
    with ActorSystem("test") as system:
        one = Running(system, Desk())
        yield one
        assert system.stop(10.0), "the server did not stop in order"
        one.server.close()


def test_port_0_takes_a_free_port_and_says_which(running: Running) -> None:
    assert running.server.port > 0
    assert running.server.is_running
    assert _post(running.server.port)["execution_id"] == "a"


def test_a_killed_server_is_restarted_on_the_same_port(running: Running) -> None:
    port = running.server.port
    running.ref.kill()
    assert running.restarted.get(timeout=10) == 2
    running.ref.ready().get(timeout=10)
    assert running.server.port == port
    assert _post(port, "b")["execution_id"] == "b"


def test_a_server_that_ends_by_itself_is_a_crash_that_its_supervisor_mends(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    """The inner server is told to exit, as it would be by a fault of its own."""
    ended: list[Callable[[], None]] = []

    async def end() -> None:
        for task in asyncio.all_tasks():
            if task.get_name() == "webhook server":
                task.cancel()
                ended.append(task.cancelled)

    with caplog.at_level(logging.CRITICAL):
        asyncio.run(running.server.on_loop(end()))
        assert running.restarted.get(timeout=10) == 2
    assert len(ended) == 1
    running.ref.ready().get(timeout=10)
    assert _post(running.server.port)["status"] == "accepted"


def test_stop_answers_what_is_in_hand_and_then_refuses(running: Running) -> None:
    running.desk.answer = Future()
    answers: list[dict[str, Any]] = []
    sender = threading.Thread(target=lambda: answers.append(_post(port)))
    port = running.server.port
    sender.start()
    running.desk.entered.get(timeout=10)
    stopped = running.ref.stop()
    running.desk.answer.settle(WebhookReceipt(execution_id="late"))
    assert stopped.get(timeout=10)
    sender.join(10)
    assert answers[0]["execution_id"] == "late"
    running.server.close()
    assert not running.server.is_running
    with pytest.raises(ConnectionRefusedError):
        _post(port)


def test_a_taken_port_is_refused_at_open_and_leaves_nothing() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = WebhookServer(_config(port), Desk())
        with pytest.raises(PortInUse, match=f"port {port} on 127.0.0.1 is in use"):
            server.open()
        assert not server.is_running
    server.open()
    assert server.port == port
    server.close()


def test_a_host_that_is_not_ours_is_refused_at_open() -> None:
    with pytest.raises(InvalidConfig, match=r"cannot listen on '192\.0\.2\.1'"):
        WebhookServer(_config(host="192.0.2.1"), Desk()).open()


def test_open_works_again_after_close_on_the_same_port() -> None:
    server = WebhookServer(_config(), Desk())
    server.open()
    port = server.port
    server.close()
    server.close()
    again = WebhookServer(_config(port), Desk())
    again.open()
    assert again.port == port
    again.close()


def test_without_the_http_packages_the_error_names_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(webhook_server, "_MODULES", ("greenroom_no_such_package", "json"))
    with pytest.raises(InvalidConfig, match=r"pip install 'greenroom\[http\]'"):
        WebhookServer(_config(), Desk()).open()
